// SmolLM3 (Hugging Face 2025): Llama in which every fourth layer sees no positions (Yang et al.
// 2025).
#include "core/models/pre_norm_decoder.h"

namespace sotto {
namespace {

// "no_rope_layers" has a 1 for each layer that does see positions.
Result<std::vector<bool>> ReadWithoutPositions(const Json& json, int64_t layers) {
  SOTTO_ASSIGN_OR_RETURN(const int64_t interval,
                         json.IntOr("no_rope_layer_interval", 4, 1, kMaxLayers));
  std::vector<bool> without;
  const Json& listed = json["no_rope_layers"];
  for (int64_t i = 0; listed.is_null() && i < layers; ++i)
    without.push_back((i + 1) % interval == 0);
  for (const Json& seen : listed.items()) without.push_back(seen.as_number() == 0);
  if (static_cast<int64_t>(without.size()) < layers)
    return InvalidFile("config.json: 'no_rope_layers' is shorter than the model");
  return without;
}

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  PreNormConfig c;
  c.vocab = 128256;
  c.hidden = 2048;
  c.layers = 36;
  c.heads = 16;
  c.kv_heads = 4;
  c.tied = true;
  c.padding = 128004;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_ASSIGN_OR_RETURN(c.qkv_bias, json.BoolOr("attention_bias", false));
  c.out_bias = c.qkv_bias;
  SOTTO_ASSIGN_OR_RETURN(c.mlp_bias, json.BoolOr("mlp_bias", false));
  SOTTO_ASSIGN_OR_RETURN(c.without_positions, ReadWithoutPositions(json, c.layers));
  SOTTO_ASSIGN_OR_RETURN(const bool windowed, json.BoolOr("use_sliding_window", false));
  int64_t window = 0;
  if (windowed) {
    SOTTO_ASSIGN_OR_RETURN(window, ReadWindow(json, 0));
  }
  SOTTO_ASSIGN_OR_RETURN(c.windows, ReadWindows(json, c.layers, window, [&](int64_t i) {
                           return window > 0 && c.without_positions[static_cast<size_t>(i)];
                         }));
  SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim, {.theta = 2e6}));
  return PreNormDecoder::Create(c, {.answer_prefix = "transformer."}, head);
}

}  // namespace

const Architecture kSmolLM3{"smollm3", "SmolLM3", Create};

}  // namespace sotto
