// Phi-3 (Abdin et al. 2024): Llama whose checkpoint stacks queries, keys and values, and gate and
// up, in one matrix each; LongRoPE, windows, and heads of which only a part turns.
#include "core/models/decoder.h"

namespace sotto {
namespace {

struct Phi3Config : DecoderConfig {
  int64_t window = 0;
  RotaryPositions rotary;
};

struct Phi3Layer {
  nn::RmsNorm input_layernorm, post_attention_layernorm;
  nn::Linear qkv_proj, gate_up_proj, down_proj;
  nn::RotaryAttention self_attn;  // from the projections on
  Activation activation;
  std::vector<int64_t> qkv_widths;

  void Declare(ParameterList& list, const std::string& at, const Phi3Config& c) {
    const int64_t q = c.heads * c.head_dim, kv = c.kv_heads * c.head_dim;
    input_layernorm.epsilon = post_attention_layernorm.epsilon = c.epsilon;
    input_layernorm.Declare(list, at + "input_layernorm", c.hidden);
    qkv_widths = {q, kv, kv};
    qkv_proj.Declare(list, at + "self_attn.qkv_proj", q + 2 * kv, c.hidden, false);
    self_attn.o_proj.Declare(list, at + "self_attn.o_proj", c.hidden, q, false);
    self_attn.SetHeads(c.heads, c.kv_heads, c.head_dim);
    self_attn.spec.window = c.window;
    post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
    gate_up_proj.Declare(list, at + "mlp.gate_up_proj", 2 * c.intermediate, c.hidden, false);
    down_proj.Declare(list, at + "mlp.down_proj", c.hidden, c.intermediate, false);
    activation = c.activation;
  }
};

class Phi3 final : public Decoder {
 public:
  Phi3(const Phi3Config& c, const DecoderFrame& frame, Head head)
      : Decoder(c, frame, head), layers_(static_cast<size_t>(c.layers)) {
    AddRotary(c.rotary);
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].Declare(parameters_, LayerName(i), c);
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const Phi3Layer& l = layers_[static_cast<size_t>(index)];
    const Tensor fused = l.qkv_proj(ctx, l.input_layernorm(ctx, x));
    const std::vector<Tensor> qkv = Split(ctx, fused, l.qkv_widths);
    const Tensor a = l.self_attn(ctx, qkv[0], qkv[1], qkv[2], call.sequence.key_mask,
                                 call.turns.data(), call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    const std::vector<Tensor> gate_up =
        Split(ctx, l.gate_up_proj(ctx, l.post_attention_layernorm(ctx, h)), 2);
    const Tensor gated = Mul(ctx, Activate(ctx, gate_up[0], l.activation), gate_up[1]);
    return Add(ctx, h, Dropout(ctx, l.down_proj(ctx, gated)));
  }

  std::vector<Phi3Layer> layers_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  Phi3Config c;
  c.vocab = 32064;
  c.hidden = 3072;
  c.intermediate = 8192;
  c.epsilon = 1e-5f;
  c.padding = 32000;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "attention_bias", Json::Bool(false)));
  SOTTO_ASSIGN_OR_RETURN(c.window, ReadWindow(json, 0));
  SOTTO_ASSIGN_OR_RETURN(
      c.rotary, RotaryPositions::Read(json, c.head_dim, {.fraction_key = "partial_rotary_factor"}));
  return std::unique_ptr<Model>(new Phi3(c, {}, head));
}

}  // namespace

const Architecture kPhi3{"phi3", "Phi3", Create};

}  // namespace sotto
