// DistilBERT (Sanh et al. 2019): BERT with half of the layers, without segments and pooler. Its
// positions are stored whether they are learned or sines.
#include "core/models/encoder.h"

namespace sotto {
namespace {

Result<EncoderConfig> ReadConfig(const Json& json) {
  EncoderConfig c{.layers = 6, .types = 0};
  SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", c.vocab, 1, kMaxVocab));
  SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("dim", c.hidden, 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("n_layers", c.layers, 1, kMaxLayers));
  SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("n_heads", c.heads, 1, kMaxHeads));
  SOTTO_ASSIGN_OR_RETURN(c.intermediate,
                         json.IntOr("hidden_dim", c.intermediate, 1, 4 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(c.attention_dropout, ReadDropout(json, "attention_dropout", 0.1));
  SOTTO_ASSIGN_OR_RETURN(c.positions,
                         json.IntOr("max_position_embeddings", c.positions, 1, kMaxContext));
  SOTTO_ASSIGN_OR_RETURN(const std::string activation, json.StringOr("activation", "gelu"));
  SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(activation));
  SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", c.tied));
  SOTTO_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads));
  c.embedding = c.hidden;
  return c;
}

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const EncoderConfig config, ReadConfig(json));
  EncoderFrame frame{.prefix = "distilbert.",
                     .layers = "transformer.layer.",
                     .layer = {.query = "attention.q_lin",
                               .key = "attention.k_lin",
                               .value = "attention.v_lin",
                               .attention_output = "attention.out_lin",
                               .attention_norm = "sa_layer_norm",
                               .intermediate = "ffn.lin1",
                               .output = "ffn.lin2",
                               .output_norm = "output_layer_norm"},
                     .transform_activation = config.activation};
  frame.heads.pooler = "";
  frame.heads.sequence = {.dense = "pre_classifier", .activation = Activation::kRelu};
  frame.heads.choice = frame.heads.sequence;
  frame.heads.transform = "vocab_transform";
  frame.heads.transform_norm = "vocab_layer_norm";
  frame.heads.decoder = "vocab_projector";
  frame.heads.decoder_bias = "vocab_projector.bias";
  frame.heads.leftovers = {"vocab_transform.", "vocab_layer_norm.", "vocab_projector."};
  return CreateEncoder(json, config, frame, head);
}

}  // namespace

const Architecture kDistilBert{"distilbert", "DistilBert", Create};

}  // namespace sotto
