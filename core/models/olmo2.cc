// OLMo 2 (OLMo et al. 2024): Llama with its norms after attention and feed-forward, where they tame
// what a layer adds, and norms of whole queries and keys.
#include "core/models/decoder.h"

namespace sotto {
namespace {

struct Olmo2Config : DecoderConfig {
  bool attention_bias = false;
  RotaryPositions rotary;
};

struct Olmo2Layer {
  nn::RotaryAttention self_attn;
  nn::GatedFeedForward mlp;
  nn::RmsNorm post_attention_layernorm, post_feedforward_layernorm;

  void Declare(ParameterList& list, const std::string& at, const Olmo2Config& c) {
    self_attn.Declare(list, at + "self_attn.", c.hidden, c.heads, c.kv_heads, c.head_dim,
                      c.attention_bias, c.attention_bias);
    self_attn.q_norm.epsilon = self_attn.k_norm.epsilon = c.epsilon;
    self_attn.q_norm.Declare(list, at + "self_attn.q_norm", c.heads * c.head_dim);
    self_attn.k_norm.Declare(list, at + "self_attn.k_norm", c.kv_heads * c.head_dim);
    post_attention_layernorm.epsilon = post_feedforward_layernorm.epsilon = c.epsilon;
    post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
    mlp.activation = c.activation;
    mlp.Declare(list, at + "mlp.", c.hidden, c.intermediate);
    post_feedforward_layernorm.Declare(list, at + "post_feedforward_layernorm", c.hidden);
  }
};

class Olmo2 final : public Decoder {
 public:
  Olmo2(const Olmo2Config& c, Head head)
      : Decoder(c, {}, head), layers_(static_cast<size_t>(c.layers)) {
    AddRotary(c.rotary);
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].Declare(parameters_, LayerName(i), c);
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const Olmo2Layer& l = layers_[static_cast<size_t>(index)];
    const Tensor a =
        l.self_attn(ctx, x, call.sequence.key_mask, call.turns.data(), call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, l.post_attention_layernorm(ctx, a)));
    return Add(ctx, h, Dropout(ctx, l.post_feedforward_layernorm(ctx, l.mlp(ctx, h))));
  }

  std::vector<Olmo2Layer> layers_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  Olmo2Config c;
  c.vocab = 50304;
  c.epsilon = 1e-5f;
  c.padding = 1;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_ASSIGN_OR_RETURN(c.attention_bias, json.BoolOr("attention_bias", false));
  SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim));
  return std::unique_ptr<Model>(new Olmo2(c, head));
}

}  // namespace

const Architecture kOlmo2{"olmo2", "Olmo2", Create};

}  // namespace sotto
