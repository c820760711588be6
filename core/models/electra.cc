// ELECTRA (Clark et al. 2020): BERT's encoder, with embeddings that may be narrower, trained as a
// generator that fills masks and a discriminator that finds what was replaced.
#include "core/models/encoder.h"

namespace sotto {
namespace {

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  EncoderConfig config{.hidden = 256, .heads = 4, .intermediate = 1024, .embedding = 128};
  SOTTO_RETURN_IF_ERROR(config.Read(json));
  EncoderFrame frame{.prefix = "electra."};
  if (config.embedding != config.hidden) frame.projection = "embeddings_project";
  frame.heads.pooler = "";
  frame.heads.sequence = {.dense = "classifier.dense",
                          .activation = Activation::kGelu,
                          .output = "classifier.out_proj"};
  frame.heads.detector = {.dense = "discriminator_predictions.dense",
                          .activation = config.activation,
                          .output = "discriminator_predictions.dense_prediction"};
  frame.heads.transform = "generator_predictions.dense";
  frame.heads.transform_norm = "generator_predictions.LayerNorm";
  frame.heads.decoder = "generator_lm_head";
  frame.heads.decoder_bias = "generator_lm_head.bias";
  frame.heads.leftovers = {"generator_predictions.", "generator_lm_head.",
                           "discriminator_predictions."};
  if (head == Head::kMultipleChoice) {
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "summary_type", Json::String("first")));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "summary_use_proj", Json::Bool(true)));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "summary_proj_to_labels", Json::Bool(false)));
    SOTTO_ASSIGN_OR_RETURN(const std::string summary, json.StringOr("summary_activation", "gelu"));
    frame.heads.choice.dense = "sequence_summary.summary";
    SOTTO_ASSIGN_OR_RETURN(frame.heads.choice.activation, ActivationByName(summary));
  }
  return CreateEncoder(json, config, frame, head);
}

}  // namespace

const Architecture kElectra{"electra", "Electra", Create};

}  // namespace sotto
