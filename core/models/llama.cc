// Llama (Touvron et al. 2023): a causal decoder with RMSNorm, rotary positions, grouped-query
// attention and SwiGLU. Llama 1 to 3 differ only in their config; Mistral (Jiang et al. 2023) sees
// a window; SmolLM3 (2025) gives some layers no positions.
#include "core/models/decoder.h"

namespace sotto {
namespace {

struct LlamaConfig : DecoderConfig {
  bool attention_bias = false, mlp_bias = false;
  std::vector<int64_t> windows;  // by layer; 0: none
  std::vector<bool> turns;       // by layer: whether positions are seen
  RotaryPositions rotary;

  Status Read(const Json& json, const RotaryNames& names = {}) {
    SOTTO_RETURN_IF_ERROR(DecoderConfig::Read(json));
    SOTTO_ASSIGN_OR_RETURN(attention_bias, json.BoolOr("attention_bias", false));
    SOTTO_ASSIGN_OR_RETURN(mlp_bias, json.BoolOr("mlp_bias", false));
    SOTTO_ASSIGN_OR_RETURN(rotary, RotaryPositions::Read(json, head_dim, names));
    windows.assign(static_cast<size_t>(layers), 0);
    turns.assign(static_cast<size_t>(layers), true);
    return OkStatus();
  }
};

struct LlamaLayer {
  nn::RmsNorm input_layernorm, post_attention_layernorm;
  nn::RotaryAttention self_attn;
  nn::GatedFeedForward mlp;
  bool turns = true;

  void Declare(ParameterList& list, const std::string& at, const LlamaConfig& c, size_t index) {
    input_layernorm.epsilon = post_attention_layernorm.epsilon = c.epsilon;
    input_layernorm.Declare(list, at + "input_layernorm", c.hidden);
    self_attn.Declare(list, at + "self_attn.", c.hidden, c.heads, c.kv_heads, c.head_dim,
                      c.attention_bias, c.attention_bias);
    self_attn.spec.window = c.windows[index];
    turns = c.turns[index];
    post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
    mlp.activation = c.activation;
    mlp.Declare(list, at + "mlp.", c.hidden, c.intermediate, c.mlp_bias);
  }
};

class Llama final : public Decoder {
 public:
  Llama(const LlamaConfig& c, Head head)
      : Decoder(c, {}, head), layers_(static_cast<size_t>(c.layers)) {
    AddRotary(c.rotary);
    for (size_t i = 0; i < layers_.size(); ++i)
      layers_[i].Declare(parameters_, LayerName(static_cast<int64_t>(i)), c, i);
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const LlamaLayer& l = layers_[static_cast<size_t>(index)];
    const Tensor a = l.self_attn(ctx, l.input_layernorm(ctx, x), call.sequence.key_mask,
                                 l.turns ? call.turns.data() : nullptr, call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    return Add(ctx, h, Dropout(ctx, l.mlp(ctx, l.post_attention_layernorm(ctx, h))));
  }

  std::vector<LlamaLayer> layers_;
};

Result<std::unique_ptr<Model>> CreateLlama(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead("Llama", head));
  LlamaConfig config;
  SOTTO_RETURN_IF_ERROR(config.Read(json));
  return std::unique_ptr<Model>(new Llama(config, head));
}

}  // namespace

const Architecture kLlama{"llama", "Llama", CreateLlama};

}  // namespace sotto
