// GPT-NeoX (Black et al. 2022), of which Pythia (Biderman et al. 2023): attention and feed-forward
// side by side, heads of which a part turns, and queries, keys and values stacked head by head.
#include "core/models/decoder.h"

namespace sotto {
namespace {

struct GptNeoxConfig : DecoderConfig {
  bool parallel = true, attention_bias = true;
  RotaryPositions rotary;

  Status Read(const Json& json) {
    vocab = 50432;
    hidden = 6144;
    layers = 44;
    heads = 64;
    intermediate = 24576;
    activation = Activation::kGelu;
    SOTTO_RETURN_IF_ERROR(DecoderConfig::Read(json));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "num_key_value_heads", Json()));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "head_dim", Json()));
    SOTTO_ASSIGN_OR_RETURN(const double eps, json.NumberOr("layer_norm_eps", 1e-5));
    epsilon = static_cast<float>(eps);
    SOTTO_ASSIGN_OR_RETURN(parallel, json.BoolOr("use_parallel_residual", true));
    SOTTO_ASSIGN_OR_RETURN(attention_bias, json.BoolOr("attention_bias", true));
    SOTTO_ASSIGN_OR_RETURN(rotary, RotaryPositions::Read(json, head_dim,
                                                         {.theta_key = "rotary_emb_base",
                                                          .fraction = 0.25,
                                                          .fraction_key = "rotary_pct"}));
    return OkStatus();
  }
};

struct GptNeoxLayer {
  nn::LayerNorm input_layernorm, post_attention_layernorm;
  nn::Linear query_key_value, dense_h_to_4h, dense_4h_to_h;
  nn::RotaryAttention attention;  // from the projections on
  Activation activation;
  std::vector<int64_t> widths;  // of one head's query, key and value

  void Declare(ParameterList& list, const std::string& at, const GptNeoxConfig& c) {
    input_layernorm.epsilon = post_attention_layernorm.epsilon = c.epsilon;
    input_layernorm.Declare(list, at + "input_layernorm", c.hidden);
    post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
    query_key_value.Declare(list, at + "attention.query_key_value", 3 * c.hidden, c.hidden,
                            c.attention_bias);
    attention.o_proj.Declare(list, at + "attention.dense", c.hidden, c.hidden, c.attention_bias);
    attention.SetHeads(c.heads, c.heads, c.head_dim);
    widths.assign(3, c.head_dim);
    dense_h_to_4h.Declare(list, at + "mlp.dense_h_to_4h", c.intermediate, c.hidden);
    dense_4h_to_h.Declare(list, at + "mlp.dense_4h_to_h", c.hidden, c.intermediate);
    activation = c.activation;
  }

  Tensor FeedForward(Context& ctx, const Tensor& x) const {
    const Tensor wide = dense_h_to_4h(ctx, post_attention_layernorm(ctx, x));
    return Dropout(ctx, dense_4h_to_h(ctx, Activate(ctx, wide, activation)));
  }
};

class GptNeox final : public Decoder {
 public:
  GptNeox(const GptNeoxConfig& c, const DecoderFrame& frame, Head head)
      : Decoder(c, frame, head), layers_(static_cast<size_t>(c.layers)), parallel_(c.parallel) {
    AddRotary(c.rotary);
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].Declare(parameters_, LayerName(i), c);
  }

  bool Ignores(std::string_view name) const override {
    return Decoder::Ignores(name) || name.ends_with(".attention.bias") ||
           name.ends_with(".attention.masked_bias");
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const GptNeoxLayer& l = layers_[static_cast<size_t>(index)];
    const Tensor fused = l.query_key_value(ctx, l.input_layernorm(ctx, x));
    const std::vector<Tensor> qkv = Split(ctx, fused, l.widths, l.attention.spec.heads);
    const Tensor a = l.attention(ctx, qkv[0], qkv[1], qkv[2], call.sequence.key_mask,
                                 call.turns.data(), call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    return Add(ctx, h, l.FeedForward(ctx, parallel_ ? x : h));
  }

  std::vector<GptNeoxLayer> layers_;
  bool parallel_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  GptNeoxConfig c;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  DecoderFrame frame;
  frame.prefix = "gpt_neox.";
  frame.embeddings = "embed_in";
  frame.norm = "final_layer_norm";
  frame.output = "embed_out.weight";
  frame.layer_norm = true;
  frame.embedding_dropout = true;
  frame.token_classifier = "classifier";
  return std::unique_ptr<Model>(new GptNeox(c, frame, head));
}

}  // namespace

const Architecture kGptNeox{"gpt_neox", "GPTNeoX", Create};

}  // namespace sotto
