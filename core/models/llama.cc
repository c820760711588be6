// Llama (Touvron et al. 2023): a causal decoder with RMSNorm, rotary positions, grouped-query
// attention and SwiGLU. Llama 1 to 3 differ only in their config.
#include <cmath>

#include "core/models/architecture.h"
#include "core/models/rotary.h"

namespace sotto {
namespace {

struct LlamaConfig {
  int64_t vocab, hidden, layers, heads, kv_heads, head_dim, intermediate, positions;
  Activation activation;
  float epsilon;
  bool attention_bias, mlp_bias, tied;
  RotaryPositions rotary;

  static Result<LlamaConfig> Read(const Json& json) {
    LlamaConfig c;
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 32000, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("hidden_size", 4096, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_hidden_layers", 32, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("num_attention_heads", 32, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(c.kv_heads, json.IntOr("num_key_value_heads", c.heads, 1, c.heads));
    SOTTO_ASSIGN_OR_RETURN(c.head_dim, json.IntOr("head_dim", c.hidden / c.heads, 2, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.intermediate,
                           json.IntOr("intermediate_size", 11008, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.positions,
                           json.IntOr("max_position_embeddings", 2048, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("rms_norm_eps", 1e-6));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("hidden_act", "silu"));
    SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(act));
    SOTTO_ASSIGN_OR_RETURN(c.attention_bias, json.BoolOr("attention_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.mlp_bias, json.BoolOr("mlp_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", false));
    if (c.heads % c.kv_heads != 0)
      return InvalidFile("config.json: 'num_key_value_heads' does not divide the heads");
    if (c.head_dim % 2 != 0)
      return InvalidFile("config.json: rotary positions need an even head size");
    SOTTO_ASSIGN_OR_RETURN(c.rotary, RotaryPositions::Read(json, c.head_dim));
    return c;
  }
};

struct LlamaLayer {
  nn::RmsNorm input_layernorm, post_attention_layernorm;
  nn::Linear q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj;
  AttentionSpec attention;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const LlamaConfig& c) {
    input_layernorm.epsilon = post_attention_layernorm.epsilon = c.epsilon;
    input_layernorm.Declare(list, at + "input_layernorm", c.hidden);
    q_proj.Declare(list, at + "self_attn.q_proj", c.heads * c.head_dim, c.hidden, c.attention_bias);
    k_proj.Declare(list, at + "self_attn.k_proj", c.kv_heads * c.head_dim, c.hidden,
                   c.attention_bias);
    v_proj.Declare(list, at + "self_attn.v_proj", c.kv_heads * c.head_dim, c.hidden,
                   c.attention_bias);
    o_proj.Declare(list, at + "self_attn.o_proj", c.hidden, c.heads * c.head_dim, c.attention_bias);
    post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
    gate_proj.Declare(list, at + "mlp.gate_proj", c.intermediate, c.hidden, c.mlp_bias);
    up_proj.Declare(list, at + "mlp.up_proj", c.intermediate, c.hidden, c.mlp_bias);
    down_proj.Declare(list, at + "mlp.down_proj", c.hidden, c.intermediate, c.mlp_bias);
    activation = c.activation;
    attention.heads = c.heads;
    attention.kv_heads = c.kv_heads;
    attention.causal = true;
    attention.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, const nn::RotaryTables& turn,
                    KvCache* cache, int index) const {
    AttentionSpec spec = attention;
    spec.key_mask = s.key_mask;
    const Tensor n = input_layernorm(ctx, x);
    const Tensor q = Rotary(ctx, q_proj(ctx, n), turn.cos, turn.sin, spec.heads);
    const Tensor k = Rotary(ctx, k_proj(ctx, n), turn.cos, turn.sin, spec.kv_heads);
    const Tensor a = o_proj(ctx, nn::Attend(ctx, q, k, v_proj(ctx, n), spec, cache, index));
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    const Tensor m = post_attention_layernorm(ctx, h);
    const Tensor f =
        down_proj(ctx, Mul(ctx, Activate(ctx, gate_proj(ctx, m), activation), up_proj(ctx, m)));
    return Add(ctx, h, Dropout(ctx, f));
  }
};

class Llama final : public Model {
 public:
  Llama(const LlamaConfig& c, Head head) : layers_(c.layers), rotary_(c.rotary), tied_(c.tied) {
    head_ = head;
    base_prefix_ = "model.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    max_positions_ = c.positions;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    embed_tokens_.Declare(parameters_, at + "embed_tokens", c.vocab, c.hidden);
    for (int64_t i = 0; i < c.layers; ++i)
      layers_[i].Declare(parameters_, StrCat(at, "layers.", i, "."), c);
    norm_.epsilon = c.epsilon;
    norm_.Declare(parameters_, at + "norm", c.hidden);
    if (head == Head::kCausalLM && !tied_)
      parameters_.Matrix("lm_head.weight", lm_head_, c.vocab, c.hidden);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    const Sequence s = ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/true);
    if (!ctx.ok()) return out;
    const nn::RotaryTables turn = rotary_.Tables(ctx, s);
    Tensor x = embed_tokens_(ctx, input.ids);
    nn::Observe(ctx, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, turn, cache, static_cast<int>(i));
      if (i + 1 < layers_.size()) nn::Observe(ctx, x);
    }
    x = norm_(ctx, x);
    nn::Observe(ctx, x);
    if (cache != nullptr && ctx.ok()) cache->Advance(s.tokens);
    out.last_hidden_state = x;
    if (head_ == Head::kCausalLM) {
      out.logits =
          Linear(ctx, AtRows(ctx, x, input.rows), tied_ ? embed_tokens_.weight : lm_head_, {});
    }
    return out;
  }

  bool Ignores(std::string_view name) const override {
    return name.ends_with("rotary_emb.inv_freq") ||
           (name == "lm_head.weight" && (tied_ || head_ == Head::kNone));
  }

 private:
  nn::Embedding embed_tokens_;
  std::vector<LlamaLayer> layers_;
  nn::RmsNorm norm_;
  RotaryPositions rotary_;
  Tensor lm_head_;
  bool tied_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  if (head != Head::kNone && head != Head::kCausalLM)
    return Unsupported("Llama is implemented bare and with its language-model head");
  SOTTO_ASSIGN_OR_RETURN(const LlamaConfig config, LlamaConfig::Read(json));
  return std::unique_ptr<Model>(new Llama(config, head));
}

}  // namespace

const Architecture kLlama{"llama", "Llama", Create};

}  // namespace sotto
