// GPT-2 (Radford et al. 2019): a causal decoder with learned positions and pre-norm layers. The
// checkpoint stores its projections as Conv1D, [in, out].
#include <cmath>

#include "core/models/architecture.h"

namespace sotto {
namespace {

struct Gpt2Config {
  int64_t vocab, hidden, layers, heads, inner, positions;
  Activation activation;
  float epsilon, attention_dropout;
  bool scale_scores, scale_by_layer, tied;

  static Result<Gpt2Config> Read(const Json& json) {
    Gpt2Config c;
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "add_cross_attention", Json::Bool(false)));
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 50257, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("n_embd", 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("n_layer", 12, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("n_head", 12, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(c.inner, json.IntOr("n_inner", 4 * c.hidden, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.positions, json.IntOr("n_positions", 1024, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("layer_norm_epsilon", 1e-5));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("activation_function", "gelu_new"));
    SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(act));
    SOTTO_ASSIGN_OR_RETURN(c.scale_scores, json.BoolOr("scale_attn_weights", true));
    SOTTO_ASSIGN_OR_RETURN(c.scale_by_layer, json.BoolOr("scale_attn_by_inverse_layer_idx", false));
    SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", true));
    SOTTO_ASSIGN_OR_RETURN(c.attention_dropout, ReadDropout(json, "attn_pdrop", 0.1));
    SOTTO_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads));
    return c;
  }
};

struct Gpt2Layer {
  nn::LayerNorm ln_1, ln_2;
  nn::Linear c_attn, attn_proj, c_fc, mlp_proj;
  AttentionSpec attention;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const Gpt2Config& c, int64_t index) {
    ln_1.epsilon = ln_2.epsilon = c.epsilon;
    ln_1.Declare(list, at + "ln_1", c.hidden);
    c_attn.DeclareTransposed(list, at + "attn.c_attn", 3 * c.hidden, c.hidden);
    attn_proj.DeclareTransposed(list, at + "attn.c_proj", c.hidden, c.hidden);
    ln_2.Declare(list, at + "ln_2", c.hidden);
    c_fc.DeclareTransposed(list, at + "mlp.c_fc", c.inner, c.hidden);
    mlp_proj.DeclareTransposed(list, at + "mlp.c_proj", c.hidden, c.inner);
    activation = c.activation;
    attention.heads = attention.kv_heads = c.heads;
    attention.causal = true;
    attention.dropout = c.attention_dropout;
    const int64_t head_dim = c.hidden / c.heads;
    if (c.scale_scores) attention.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    if (c.scale_by_layer) attention.scale /= static_cast<float>(index + 1);
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, KvCache* cache,
                    int index) const {
    AttentionSpec spec = attention;
    spec.key_mask = s.key_mask;
    const std::vector<Tensor> qkv = Split(ctx, c_attn(ctx, ln_1(ctx, x)), 3);
    const Tensor a = attn_proj(ctx, nn::Attend(ctx, qkv[0], qkv[1], qkv[2], spec, cache, index));
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    const Tensor f = mlp_proj(ctx, Activate(ctx, c_fc(ctx, ln_2(ctx, h)), activation));
    return Add(ctx, h, Dropout(ctx, f));
  }
};

class Gpt2 final : public Model {
 public:
  Gpt2(const Gpt2Config& c, Head head) : layers_(c.layers), tied_(c.tied) {
    head_ = head;
    base_prefix_ = "transformer.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    max_positions_ = c.positions;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    wte_.Declare(parameters_, at + "wte", c.vocab, c.hidden);
    wpe_.Declare(parameters_, at + "wpe", c.positions, c.hidden);
    for (int64_t i = 0; i < c.layers; ++i)
      layers_[i].Declare(parameters_, StrCat(at, "h.", i, "."), c, i);
    ln_f_.epsilon = c.epsilon;
    ln_f_.Declare(parameters_, at + "ln_f", c.hidden);
    if (head == Head::kCausalLM && !tied_)
      parameters_.Matrix("lm_head.weight", lm_head_, c.vocab, c.hidden);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    const Sequence s = ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/true);
    Tensor x = Dropout(ctx, Add(ctx, wte_(ctx, input.ids), wpe_(ctx, s.position_ids)));
    nn::Observe(ctx, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, cache, static_cast<int>(i));
      if (i + 1 < layers_.size()) nn::Observe(ctx, x);
    }
    x = ln_f_(ctx, x);
    nn::Observe(ctx, x);
    if (cache != nullptr && ctx.ok()) cache->Advance(s.tokens);
    out.last_hidden_state = x;
    if (head_ == Head::kCausalLM)
      out.logits = Linear(ctx, AtRows(ctx, x, input.rows), tied_ ? wte_.weight : lm_head_, {});
    return out;
  }

  bool Ignores(std::string_view name) const override {
    return name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
           (name == "lm_head.weight" && (tied_ || head_ == Head::kNone));
  }

 private:
  nn::Embedding wte_, wpe_;
  std::vector<Gpt2Layer> layers_;
  nn::LayerNorm ln_f_;
  Tensor lm_head_;
  bool tied_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  if (head != Head::kNone && head != Head::kCausalLM)
    return Unsupported("GPT-2 is implemented bare and with its language-model head");
  SOTTO_ASSIGN_OR_RETURN(const Gpt2Config config, Gpt2Config::Read(json));
  return std::unique_ptr<Model>(new Gpt2(config, head));
}

}  // namespace

const Architecture kGpt2{"gpt2", "GPT2", Create, "LMHeadModel"};

}  // namespace sotto
