// Qwen2 (Yang et al. 2024): Llama with biases on queries, keys and values, and windows in its last
// layers. Qwen3 (Yang et al. 2025): with norms of queries and keys instead.
#include "core/models/pre_norm_decoder.h"

namespace sotto {
namespace {

// Where "use_sliding_window" allows, the layers from "max_window_layers" on see a window.
Result<std::vector<int64_t>> ReadQwenWindows(const Json& json, int64_t layers) {
  SOTTO_ASSIGN_OR_RETURN(const bool windowed, json.BoolOr("use_sliding_window", false));
  int64_t window = 0;
  if (windowed) {
    SOTTO_ASSIGN_OR_RETURN(window, ReadWindow(json, 4096));
  }
  SOTTO_ASSIGN_OR_RETURN(const int64_t full, json.IntOr("max_window_layers", 28, 0, kMaxLayers));
  return ReadWindows(json, layers, window, [&](int64_t i) { return window > 0 && i >= full; });
}

Result<std::unique_ptr<Model>> Create(PreNormConfig c, const Json& json, Head head) {
  c.vocab = 151936;
  c.kv_heads = 32;
  c.intermediate = 22016;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_ASSIGN_OR_RETURN(c.windows, ReadQwenWindows(json, c.layers));
  SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim));
  return PreNormDecoder::Create(c, {.answer_prefix = "transformer."}, head);
}

Result<std::unique_ptr<Model>> CreateQwen2(const Json& json, Head head) {
  PreNormConfig c;
  c.qkv_bias = true;
  return Create(c, json, head);
}

Result<std::unique_ptr<Model>> CreateQwen3(const Json& json, Head head) {
  PreNormConfig c;
  c.head_dim = 128;
  c.query_key_norms = true;
  SOTTO_ASSIGN_OR_RETURN(c.qkv_bias, json.BoolOr("attention_bias", false));
  c.out_bias = c.qkv_bias;
  return Create(c, json, head);
}

}  // namespace

const Architecture kQwen2{"qwen2", "Qwen2", CreateQwen2};
const Architecture kQwen3{"qwen3", "Qwen3", CreateQwen3};

}  // namespace sotto
