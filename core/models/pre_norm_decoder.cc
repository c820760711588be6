#include "core/models/pre_norm_decoder.h"

namespace sotto {

Result<std::unique_ptr<Model>> PreNormDecoder::Create(const PreNormConfig& config,
                                                      const DecoderFrame& frame, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  return std::unique_ptr<Model>(new PreNormDecoder(config, frame, head));
}

PreNormDecoder::PreNormDecoder(const PreNormConfig& c, const DecoderFrame& frame, Head head)
    : Decoder(c, frame, head),
      layers_(static_cast<size_t>(c.layers)),
      residual_scale_(c.residual_scale) {
  AddRotary(c.rotary);
  for (size_t i = 0; i < layers_.size(); ++i) layers_[i].Declare(parameters_, LayerName(i), c, i);
}

void PreNormDecoder::OneLayer::Declare(ParameterList& list, const std::string& at,
                                       const PreNormConfig& c, size_t index) {
  input_layernorm.epsilon = post_attention_layernorm.epsilon = c.epsilon;
  input_layernorm.Declare(list, at + "input_layernorm", c.hidden);
  self_attn.Declare(list, at + "self_attn.", c.hidden, c.heads, c.kv_heads, c.head_dim, c.qkv_bias,
                    c.out_bias);
  if (c.query_key_norms) {
    self_attn.q_norm.epsilon = self_attn.k_norm.epsilon = c.epsilon;
    self_attn.q_norm.Declare(list, at + "self_attn.q_norm", c.head_dim);
    self_attn.k_norm.Declare(list, at + "self_attn.k_norm", c.head_dim);
  }
  if (c.attention_scale != 0) self_attn.spec.scale = c.attention_scale;
  if (!c.windows.empty()) self_attn.spec.window = c.windows[index];
  turns = c.without_positions.empty() || !c.without_positions[index];
  post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
  mlp.activation = c.activation;
  mlp.Declare(list, at + "mlp.", c.hidden, c.intermediate, c.mlp_bias);
}

Tensor PreNormDecoder::Layer(Context& ctx, const Tensor& x, const Call& call, int index) const {
  const OneLayer& l = layers_[static_cast<size_t>(index)];
  const Tensor a = l.self_attn(ctx, l.input_layernorm(ctx, x), call.sequence.key_mask,
                               l.turns ? call.turns.data() : nullptr, call.cache, index);
  const Tensor h = AddScaled(ctx, x, a);
  return AddScaled(ctx, h, l.mlp(ctx, l.post_attention_layernorm(ctx, h)));
}

Tensor PreNormDecoder::AddScaled(Context& ctx, const Tensor& x, const Tensor& more) const {
  const Tensor dropped = Dropout(ctx, more);
  if (residual_scale_ == 1 || !ctx.ok()) return Add(ctx, x, dropped);
  return Add(ctx, x, Scale(ctx, dropped, residual_scale_));
}

}  // namespace sotto
