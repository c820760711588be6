// RoBERTa (Liu et al. 2019) and its like XLM-RoBERTa (Conneau et al. 2020) and CamemBERT (Martin et
// al. 2020): BERT whose positions are counted over real tokens from after the padding's id on.
#include "core/models/encoder.h"

namespace sotto {
namespace {

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  EncoderConfig config{.vocab = 50265};
  SOTTO_RETURN_IF_ERROR(config.Read(json));
  EncoderFrame frame{.prefix = "roberta."};
  SOTTO_ASSIGN_OR_RETURN(frame.padding, json.IntOr("pad_token_id", 1, 0, config.vocab - 1));
  frame.heads.sequence = {.dense = "classifier.dense", .output = "classifier.out_proj"};
  frame.heads.transform = "lm_head.dense";
  frame.heads.transform_norm = "lm_head.layer_norm";
  frame.heads.decoder = "lm_head.decoder";
  frame.heads.decoder_bias = "lm_head.bias";
  frame.heads.leftovers = {"lm_head."};
  return CreateEncoder(json, config, frame, head);
}

}  // namespace

const Architecture kCamembert{"camembert", "Camembert", Create};
const Architecture kRoberta{"roberta", "Roberta", Create};
const Architecture kXlmRoberta{"xlm-roberta", "XLMRoberta", Create};

}  // namespace sotto
