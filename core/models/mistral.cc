// Mistral (Jiang et al. 2023): Llama whose layers see a window.
#include "core/models/pre_norm_decoder.h"

namespace sotto {
namespace {

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  PreNormConfig c;
  c.kv_heads = 8;
  c.intermediate = 14336;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "attention_bias", Json::Bool(false)));
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "layer_types", Json()));
  SOTTO_ASSIGN_OR_RETURN(const int64_t window, ReadWindow(json, 4096));
  c.windows.assign(static_cast<size_t>(c.layers), window);
  SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim));
  return PreNormDecoder::Create(c, {}, head);
}

}  // namespace

const Architecture kMistral{"mistral", "Mistral", Create};

}  // namespace sotto
