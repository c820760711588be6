// Granite (IBM 2024): Llama with multipliers of the embeddings, the attention scores, what each
// layer adds, and the logits (Yang et al. 2022).
#include "core/models/pre_norm_decoder.h"

namespace sotto {
namespace {

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  PreNormConfig c;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_ASSIGN_OR_RETURN(c.qkv_bias, json.BoolOr("attention_bias", false));
  c.out_bias = c.qkv_bias;
  SOTTO_ASSIGN_OR_RETURN(c.mlp_bias, json.BoolOr("mlp_bias", false));
  SOTTO_ASSIGN_OR_RETURN(const double attention, json.NumberOr("attention_multiplier", 1));
  SOTTO_ASSIGN_OR_RETURN(const double residual, json.NumberOr("residual_multiplier", 1));
  SOTTO_ASSIGN_OR_RETURN(const double embedding, json.NumberOr("embedding_multiplier", 1));
  SOTTO_ASSIGN_OR_RETURN(const double logits, json.NumberOr("logits_scaling", 1));
  if (attention == 0 || logits == 0)
    return InvalidFile("config.json: 'attention_multiplier' and 'logits_scaling' must not be 0");
  c.attention_scale = static_cast<float>(attention);
  c.residual_scale = static_cast<float>(residual);
  DecoderFrame frame;
  frame.embedding_scale = static_cast<float>(embedding);
  frame.logits_scale = static_cast<float>(1 / logits);
  SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim));
  return PreNormDecoder::Create(c, frame, head);
}

}  // namespace

const Architecture kGranite{"granite", "Granite", Create};

}  // namespace sotto
