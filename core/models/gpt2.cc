// GPT-2 (Radford et al. 2019): a causal decoder with learned positions and pre-norm layers. The
// checkpoint stores its projections as Conv1D, [in, out].
#include <cmath>

#include "core/models/decoder.h"

namespace sotto {
namespace {

struct Gpt2Config : DecoderConfig {
  int64_t positions = 1024;
  float attention_dropout = 0.1f;
  bool scale_scores = true, scale_by_layer = false;

  Status Read(const Json& json) {
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "add_cross_attention", Json::Bool(false)));
    SOTTO_ASSIGN_OR_RETURN(vocab, json.IntOr("vocab_size", 50257, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(hidden, json.IntOr("n_embd", 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(layers, json.IntOr("n_layer", 12, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(heads, json.IntOr("n_head", 12, 1, kMaxHeads));
    SOTTO_RETURN_IF_ERROR(CheckHeads(hidden, heads));
    SOTTO_ASSIGN_OR_RETURN(intermediate, json.IntOr("n_inner", 4 * hidden, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(positions, json.IntOr("n_positions", positions, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(const double eps, json.NumberOr("layer_norm_epsilon", 1e-5));
    epsilon = static_cast<float>(eps);
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("activation_function", "gelu_new"));
    SOTTO_ASSIGN_OR_RETURN(activation, ActivationByName(act));
    SOTTO_ASSIGN_OR_RETURN(scale_scores, json.BoolOr("scale_attn_weights", true));
    SOTTO_ASSIGN_OR_RETURN(scale_by_layer, json.BoolOr("scale_attn_by_inverse_layer_idx", false));
    SOTTO_ASSIGN_OR_RETURN(tied, json.BoolOr("tie_word_embeddings", true));
    SOTTO_ASSIGN_OR_RETURN(attention_dropout, ReadDropout(json, "attn_pdrop", 0.1));
    return ReadHead(json);
  }
};

struct Gpt2Layer {
  nn::LayerNorm ln_1, ln_2;
  nn::Linear c_attn, attn_proj, c_fc, mlp_proj;
  AttentionSpec attention;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const Gpt2Config& c, size_t index) {
    ln_1.epsilon = ln_2.epsilon = c.epsilon;
    ln_1.Declare(list, at + "ln_1", c.hidden);
    c_attn.DeclareTransposed(list, at + "attn.c_attn", 3 * c.hidden, c.hidden);
    attn_proj.DeclareTransposed(list, at + "attn.c_proj", c.hidden, c.hidden);
    ln_2.Declare(list, at + "ln_2", c.hidden);
    c_fc.DeclareTransposed(list, at + "mlp.c_fc", c.intermediate, c.hidden);
    mlp_proj.DeclareTransposed(list, at + "mlp.c_proj", c.hidden, c.intermediate);
    activation = c.activation;
    attention.heads = attention.kv_heads = c.heads;
    attention.causal = true;
    attention.dropout = c.attention_dropout;
    const int64_t head_dim = c.hidden / c.heads;
    if (c.scale_scores) attention.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    if (c.scale_by_layer) attention.scale /= static_cast<float>(index + 1);
  }
};

class Gpt2 final : public Decoder {
 public:
  Gpt2(const Gpt2Config& c, const DecoderFrame& frame, Head head)
      : Decoder(c, frame, head), layers_(static_cast<size_t>(c.layers)) {
    for (size_t i = 0; i < layers_.size(); ++i)
      layers_[i].Declare(parameters_, LayerName(i, "h."), c, i);
  }

  bool Ignores(std::string_view name) const override {
    return Decoder::Ignores(name) || name.ends_with(".attn.bias") ||
           name.ends_with(".attn.masked_bias");
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const Gpt2Layer& l = layers_[static_cast<size_t>(index)];
    AttentionSpec spec = l.attention;
    spec.key_mask = call.sequence.key_mask;
    const std::vector<Tensor> qkv = Split(ctx, l.c_attn(ctx, l.ln_1(ctx, x)), 3);
    const Tensor a =
        l.attn_proj(ctx, nn::Attend(ctx, qkv[0], qkv[1], qkv[2], spec, call.cache, index));
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    const Tensor f = l.mlp_proj(ctx, Activate(ctx, l.c_fc(ctx, l.ln_2(ctx, h)), l.activation));
    return Add(ctx, h, Dropout(ctx, f));
  }

  std::vector<Gpt2Layer> layers_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  Gpt2Config c;
  SOTTO_RETURN_IF_ERROR(c.Read(json));
  DecoderFrame frame;
  frame.prefix = "transformer.";
  frame.embeddings = "wte";
  frame.norm = "ln_f";
  frame.learned_positions = "wpe";
  frame.positions = c.positions;
  frame.layer_norm = true;
  frame.embedding_dropout = true;
  frame.token_classifier = "classifier";
  return std::unique_ptr<Model>(new Gpt2(c, frame, head));
}

}  // namespace

const Architecture kGpt2{"gpt2", "GPT2", Create, "LMHeadModel"};

}  // namespace sotto
