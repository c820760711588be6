// ModernBERT (Warner et al. 2024): a pre-norm encoder with rotary positions, gated feed-forwards
// and few biases, most of whose layers see only their neighbourhood; and the decoder of the same
// design (Weller et al. 2025). Tensor names are those of Hugging Face's checkpoints.
#include <cmath>

#include "core/models/decoder.h"

namespace sotto {
namespace {

struct ModernBertConfig {
  bool decoder;
  int64_t vocab, hidden, layers, heads, intermediate, positions;
  Activation activation, head_activation;
  float epsilon;
  bool norm_bias, attention_bias, mlp_bias, decoder_bias, head_bias, mean_pooling, tied;
  int64_t padding;               // of the decoder, whose last real token tells a text's class
  std::vector<int64_t> windows;  // by layer; 0: it sees everything
  RotaryPositions rotary[2];     // of layers that see everything, and of local ones

  static Result<ModernBertConfig> Read(const Json& json, bool decoder) {
    ModernBertConfig c;
    c.decoder = decoder;
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 50368, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("hidden_size", 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_hidden_layers", 22, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("num_attention_heads", 12, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(c.intermediate, json.IntOr("intermediate_size", 1152, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.positions,
                           json.IntOr("max_position_embeddings", 8192, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("norm_eps", 1e-5));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("hidden_activation", "gelu"));
    SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(act));
    SOTTO_ASSIGN_OR_RETURN(const std::string head_act,
                           json.StringOr("classifier_activation", "gelu"));
    SOTTO_ASSIGN_OR_RETURN(c.head_activation, ActivationByName(head_act));
    SOTTO_ASSIGN_OR_RETURN(c.norm_bias, json.BoolOr("norm_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.attention_bias, json.BoolOr("attention_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.mlp_bias, json.BoolOr("mlp_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.decoder_bias, json.BoolOr("decoder_bias", true));
    SOTTO_ASSIGN_OR_RETURN(c.head_bias, json.BoolOr("classifier_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", true));
    SOTTO_ASSIGN_OR_RETURN(const std::string pooling, json.StringOr("classifier_pooling", "cls"));
    if (pooling != "cls" && pooling != "mean")
      return Unsupported(StrCat("config.json: 'classifier_pooling' ", pooling,
                                " is not implemented; cls and mean are"));
    c.mean_pooling = pooling == "mean";
    SOTTO_ASSIGN_OR_RETURN(c.padding, ReadPadding(json, 50283));
    SOTTO_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads));
    SOTTO_RETURN_IF_ERROR(c.ReadReach(json));
    return c;
  }

 private:
  Status ReadReach(const Json& json) {
    if (json.has("local_attention") && json["local_attention"].is_null())
      return Unsupported("config.json: 'local_attention' null is not implemented");
    SOTTO_ASSIGN_OR_RETURN(const int64_t reach, json.IntOr("local_attention", 128, 2, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(const int64_t every,
                           json.IntOr("global_attn_every_n_layers", 3, 1, kMaxLayers));
    // The encoder sees both ends of its reach, |i - j| <= reach / 2; the decoder does not.
    SOTTO_ASSIGN_OR_RETURN(windows, ReadWindows(json, layers, reach / 2 + (decoder ? 0 : 1),
                                                [=](int64_t i) { return i % every != 0; }));
    SOTTO_ASSIGN_OR_RETURN(rotary[0], RotaryPositions::Read(json, hidden / heads,
                                                            {.layer_type = "full_attention",
                                                             .theta = 160000,
                                                             .theta_key = "global_rope_theta"}));
    SOTTO_ASSIGN_OR_RETURN(rotary[1], RotaryPositions::Read(json, hidden / heads,
                                                            {.layer_type = "sliding_attention",
                                                             .theta = 10000,
                                                             .theta_key = "local_rope_theta"}));
    return OkStatus();
  }
};

struct ModernBertLayer {
  nn::LayerNorm attn_norm, mlp_norm;
  nn::Linear qkv;  // the encoder's, where the decoder has three
  nn::RotaryAttention attn;
  nn::Linear mlp_in, mlp_out;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const ModernBertConfig& c,
               int64_t index) {
    attn_norm.epsilon = mlp_norm.epsilon = c.epsilon;
    // The embeddings come normalized to the first layer.
    if (index > 0) attn_norm.Declare(list, at + "attn_norm", c.hidden, c.norm_bias);
    if (c.decoder) {
      attn.q_proj.Declare(list, at + "attn.q_proj", c.hidden, c.hidden, c.attention_bias);
      attn.k_proj.Declare(list, at + "attn.k_proj", c.hidden, c.hidden, c.attention_bias);
      attn.v_proj.Declare(list, at + "attn.v_proj", c.hidden, c.hidden, c.attention_bias);
    } else {
      qkv.Declare(list, at + "attn.Wqkv", 3 * c.hidden, c.hidden, c.attention_bias);
    }
    attn.o_proj.Declare(list, at + "attn.Wo", c.hidden, c.hidden, c.attention_bias);
    attn.spec.heads = attn.spec.kv_heads = c.heads;
    const int64_t head_dim = c.hidden / c.heads;
    attn.spec.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    attn.spec.causal = c.decoder;
    attn.spec.window = c.windows[static_cast<size_t>(index)];
    mlp_norm.Declare(list, at + "mlp_norm", c.hidden, c.norm_bias);
    mlp_in.Declare(list, at + "mlp.Wi", 2 * c.intermediate, c.hidden, c.mlp_bias);
    mlp_out.Declare(list, at + "mlp.Wo", c.hidden, c.intermediate, c.mlp_bias);
    activation = c.activation;
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s,
                    const nn::RotaryTables (&turns)[2], KvCache* cache, int index) const {
    const nn::RotaryTables* turn = &turns[attn.spec.window > 0 ? 1 : 0];
    const Tensor n = index > 0 ? attn_norm(ctx, x) : x;
    Tensor a;
    if (qkv.weight) {
      const std::vector<Tensor> parts = Split(ctx, qkv(ctx, n), 3);
      a = attn(ctx, parts[0], parts[1], parts[2], s.key_mask, turn, cache, index);
    } else {
      a = attn(ctx, n, s.key_mask, turn, cache, index);
    }
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    const std::vector<Tensor> gated = Split(ctx, mlp_in(ctx, mlp_norm(ctx, h)), 2);
    const Tensor f = Mul(ctx, Activate(ctx, gated[0], activation), gated[1]);
    return Add(ctx, h, mlp_out(ctx, Dropout(ctx, f)));
  }
};

class ModernBert final : public Model {
 public:
  ModernBert(const ModernBertConfig& c, Head head, int64_t labels)
      : layers_(c.layers),
        rotary_{c.rotary[0], c.rotary[1]},
        head_activation_(c.head_activation),
        padding_(c.padding),
        decoder_(c.decoder),
        mean_pooling_(c.mean_pooling),
        tied_(c.tied) {
    head_ = head;
    base_prefix_ = "model.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    max_positions_ = c.positions;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    tok_embeddings_.Declare(parameters_, at + "embeddings.tok_embeddings", c.vocab, c.hidden);
    embeddings_norm_.epsilon = final_norm_.epsilon = head_norm_.epsilon = c.epsilon;
    embeddings_norm_.Declare(parameters_, at + "embeddings.norm", c.hidden, c.norm_bias);
    for (int64_t i = 0; i < c.layers; ++i)
      layers_[i].Declare(parameters_, StrCat(at, "layers.", i, "."), c, i);
    final_norm_.Declare(parameters_, at + "final_norm", c.hidden, c.norm_bias);
    if (head == Head::kNone) return;
    const std::string transform = head == Head::kCausalLM ? "lm_head." : "head.";
    head_dense_.Declare(parameters_, transform + "dense", c.hidden, c.hidden, c.head_bias);
    head_norm_.Declare(parameters_, transform + "norm", c.hidden, c.norm_bias);
    if (IsLanguageModel()) {
      if (!tied_) parameters_.Matrix("decoder.weight", output_.weight, c.vocab, c.hidden);
      if (c.decoder_bias) parameters_.Bias("decoder.bias", output_.bias, c.vocab);
    } else {
      output_.Declare(parameters_, "classifier", head == Head::kMultipleChoice ? 1 : labels,
                      c.hidden, !c.decoder || c.head_bias);
    }
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    if (cache != nullptr && !decoder_)
      ctx.Fail(InvalidArgument("a bidirectional encoder has no past to cache"));
    const Sequence s =
        ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/decoder_);
    if (!ctx.ok()) return out;
    const nn::RotaryTables turns[2] = {rotary_[0].Tables(ctx, s), rotary_[1].Tables(ctx, s)};
    Tensor x = Dropout(ctx, embeddings_norm_(ctx, tok_embeddings_(ctx, input.ids)));
    nn::Observe(ctx, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, turns, cache, static_cast<int>(i));
      if (i + 1 < layers_.size()) nn::Observe(ctx, x);
    }
    x = final_norm_(ctx, x);
    nn::Observe(ctx, x);
    if (cache != nullptr && ctx.ok()) cache->Advance(s.tokens);
    out.last_hidden_state = x;
    if (head_ != Head::kNone && ctx.ok()) out.logits = Logits(ctx, x, s, input);
    return out;
  }

  bool Ignores(std::string_view name) const override {
    // A tie, and the pre-training head that a bare or fine-tuned model leaves behind.
    if (IsLanguageModel()) return name == "decoder.weight" && tied_;
    return name.starts_with("decoder.") || (head_ == Head::kNone && name.starts_with("head."));
  }

 private:
  bool IsLanguageModel() const { return head_ == Head::kMaskedLM || head_ == Head::kCausalLM; }

  Tensor Logits(Context& ctx, const Tensor& x, const Sequence& s, const ModelInput& input) const {
    Tensor h = x;
    if (head_ == Head::kSequenceClassification && decoder_) {
      h = LastTokens(ctx, x, input.ids, s, padding_);
    } else if (head_ == Head::kSequenceClassification || head_ == Head::kMultipleChoice) {
      h = mean_pooling_ ? MeanTokens(ctx, x, s.key_mask) : FirstTokens(ctx, x, s.key_mask);
    } else if (IsLanguageModel()) {
      h = AtRows(ctx, x, input.rows);
    }
    h = head_norm_(ctx, Activate(ctx, head_dense_(ctx, h), head_activation_));
    if (IsLanguageModel())
      return Linear(ctx, h, tied_ ? tok_embeddings_.weight : output_.weight, output_.bias);
    h = output_(ctx, Dropout(ctx, h));
    return head_ == Head::kMultipleChoice && ctx.ok() ? h.Reshaped({s.batch}) : h;
  }

  // [batch, tokens, hidden] -> [batch, hidden]: the first token of each sequence. Of a choice that
  // is the first real one; a sequence's class is read at the very first, real or not.
  Tensor FirstTokens(Context& ctx, const Tensor& x, const Tensor& mask) const {
    if (!ctx.ok()) return {};
    Tensor rows = ctx.New({x.dim(0)}, DType::kI32);
    for (int64_t b = 0; rows && b < x.dim(0); ++b) {
      int64_t first = 0;
      if (head_ == Head::kMultipleChoice && mask) {
        const uint8_t* real = static_cast<const uint8_t*>(mask.data()) + b * x.dim(1);
        while (first < x.dim(1) && real[first] == 0) ++first;
        if (first == x.dim(1)) first = 0;
      }
      rows.i32()[b] = static_cast<int32_t>(b * x.dim(1) + first);
    }
    return SelectRows(ctx, x, rows);
  }

  nn::Embedding tok_embeddings_;
  nn::LayerNorm embeddings_norm_, final_norm_, head_norm_;
  std::vector<ModernBertLayer> layers_;
  RotaryPositions rotary_[2];
  nn::Linear head_dense_, output_;
  Activation head_activation_;
  int64_t padding_;
  bool decoder_, mean_pooling_, tied_;
};

Result<std::unique_ptr<Model>> CreateEncoder(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const ModernBertConfig config, ModernBertConfig::Read(json, false));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  switch (head) {
    case Head::kNone:
    case Head::kMaskedLM:
    case Head::kSequenceClassification:
    case Head::kTokenClassification:
    case Head::kMultipleChoice:
      break;
    case Head::kQuestionAnswering:
      if (labels.size() != 2)
        return InvalidFile("config.json: question answering needs two labels, start and end");
      break;
    default:
      return Unsupported("this head of ModernBERT is not implemented");
  }
  return std::unique_ptr<Model>(new ModernBert(config, head, static_cast<int64_t>(labels.size())));
}

Result<std::unique_ptr<Model>> CreateDecoder(const Json& json, Head head) {
  if (head != Head::kNone && head != Head::kCausalLM && head != Head::kSequenceClassification) {
    return Unsupported(
        "ModernBERT's decoder is implemented bare, as a language model, and for the classes of "
        "sequences");
  }
  SOTTO_ASSIGN_OR_RETURN(const ModernBertConfig config, ModernBertConfig::Read(json, true));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  return std::unique_ptr<Model>(new ModernBert(config, head, static_cast<int64_t>(labels.size())));
}

}  // namespace

const Architecture kModernBert{"modernbert", "ModernBert", CreateEncoder};
const Architecture kModernBertDecoder{"modernbert-decoder", "ModernBertDecoder", CreateDecoder};

}  // namespace sotto
