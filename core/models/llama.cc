// Llama (Touvron et al. 2023): a causal decoder with RMSNorm, rotary positions, grouped-query
// attention and SwiGLU. Llama 1 to 3 differ only in their config.
#include "core/models/pre_norm_decoder.h"

namespace sotto {
namespace {

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  PreNormConfig c;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_ASSIGN_OR_RETURN(c.qkv_bias, json.BoolOr("attention_bias", false));
  c.out_bias = c.qkv_bias;
  SOTTO_ASSIGN_OR_RETURN(c.mlp_bias, json.BoolOr("mlp_bias", false));
  SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim));
  return PreNormDecoder::Create(c, {.answer_prefix = "transformer."}, head);
}

}  // namespace

const Architecture kLlama{"llama", "Llama", Create};

}  // namespace sotto
