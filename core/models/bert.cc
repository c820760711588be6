// BERT (Devlin et al. 2019): a bidirectional encoder with learned positions, segments and post-norm
// layers, and the heads that Hugging Face gives it. Tensor names are those of its checkpoints.
#include <cmath>

#include "core/models/architecture.h"

namespace sotto {
namespace {

struct BertConfig {
  int64_t vocab, hidden, layers, heads, intermediate, positions, types;
  Activation activation;
  float epsilon;
  bool pooler;

  static Result<BertConfig> Read(const Json& json) {
    BertConfig c;
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "position_embedding_type", Json::String("absolute")));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "is_decoder", Json::Bool(false)));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "add_cross_attention", Json::Bool(false)));
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 30522, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("hidden_size", 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_hidden_layers", 12, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("num_attention_heads", 12, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(c.intermediate, json.IntOr("intermediate_size", 3072, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.positions, json.IntOr("max_position_embeddings", 512, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(c.types, json.IntOr("type_vocab_size", 2, 1, 1024));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("layer_norm_eps", 1e-12));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("hidden_act", "gelu"));
    SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(act));
    SOTTO_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads));
    // Hugging Face's constructor takes this; files without the pooler (GGUF) say it here.
    SOTTO_ASSIGN_OR_RETURN(c.pooler, json.BoolOr("add_pooling_layer", true));
    return c;
  }
};

struct BertEmbeddings {
  nn::Embedding word_embeddings, position_embeddings, token_type_embeddings;
  nn::LayerNorm layer_norm;

  void Declare(ParameterList& list, const std::string& at, const BertConfig& c) {
    word_embeddings.Declare(list, at + "word_embeddings", c.vocab, c.hidden);
    position_embeddings.Declare(list, at + "position_embeddings", c.positions, c.hidden);
    token_type_embeddings.Declare(list, at + "token_type_embeddings", c.types, c.hidden);
    layer_norm.epsilon = c.epsilon;
    layer_norm.Declare(list, at + "LayerNorm", c.hidden);
  }

  Tensor operator()(Context& ctx, const ModelInput& input, const Sequence& s) const {
    Tensor types =
        input.token_type_ids ? input.token_type_ids : ctx.NewZeros(input.ids.shape(), DType::kI32);
    Tensor x = word_embeddings(ctx, input.ids);
    x = Add(ctx, x, token_type_embeddings(ctx, types));
    x = Add(ctx, x, position_embeddings(ctx, s.position_ids));
    return Dropout(ctx, layer_norm(ctx, x));
  }
};

struct BertLayer {
  nn::Linear query, key, value, attention_output, intermediate, output;
  nn::LayerNorm attention_norm, output_norm;
  AttentionSpec attention;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const BertConfig& c) {
    query.Declare(list, at + "attention.self.query", c.hidden, c.hidden);
    key.Declare(list, at + "attention.self.key", c.hidden, c.hidden);
    value.Declare(list, at + "attention.self.value", c.hidden, c.hidden);
    attention_output.Declare(list, at + "attention.output.dense", c.hidden, c.hidden);
    attention_norm.epsilon = output_norm.epsilon = c.epsilon;
    attention_norm.Declare(list, at + "attention.output.LayerNorm", c.hidden);
    intermediate.Declare(list, at + "intermediate.dense", c.intermediate, c.hidden);
    output.Declare(list, at + "output.dense", c.hidden, c.intermediate);
    output_norm.Declare(list, at + "output.LayerNorm", c.hidden);
    attention.heads = attention.kv_heads = c.heads;
    const int64_t head_dim = c.hidden / c.heads;
    attention.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    activation = c.activation;
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, int index) const {
    AttentionSpec spec = attention;
    spec.key_mask = s.key_mask;
    Tensor h = nn::Attend(ctx, query(ctx, x), key(ctx, x), value(ctx, x), spec, nullptr, index);
    h = attention_norm(ctx, Add(ctx, x, Dropout(ctx, attention_output(ctx, h))));
    const Tensor f = output(ctx, Activate(ctx, intermediate(ctx, h), activation));
    return output_norm(ctx, Add(ctx, h, Dropout(ctx, f)));
  }
};

class Bert final : public Model {
 public:
  Bert(const BertConfig& c, Head head, int64_t labels)
      : layers_(c.layers), activation_(c.activation), bare_pooler_(c.pooler) {
    head_ = head;
    base_prefix_ = "bert.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    max_positions_ = c.positions;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    embeddings_.Declare(parameters_, at + "embeddings.", c);
    for (int64_t i = 0; i < c.layers; ++i) {
      layers_[i].Declare(parameters_, StrCat(at, "encoder.layer.", i, "."), c);
    }
    if (HasPooler()) pooler_.Declare(parameters_, at + "pooler.dense", c.hidden, c.hidden);
    if (HasMaskedLM()) {
      transform_.Declare(parameters_, "cls.predictions.transform.dense", c.hidden, c.hidden);
      transform_norm_.epsilon = c.epsilon;
      transform_norm_.Declare(parameters_, "cls.predictions.transform.LayerNorm", c.hidden);
      parameters_.Bias("cls.predictions.bias", prediction_bias_, c.vocab);
    }
    if (HasNextSentence()) next_sentence_.Declare(parameters_, "cls.seq_relationship", 2, c.hidden);
    if (head == Head::kSequenceClassification || head == Head::kTokenClassification) {
      classifier_.Declare(parameters_, "classifier", labels, c.hidden);
    }
    if (head == Head::kQuestionAnswering)
      classifier_.Declare(parameters_, "qa_outputs", 2, c.hidden);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    if (cache != nullptr) ctx.Fail(InvalidArgument("a bidirectional encoder has no past to cache"));
    const Sequence s =
        ReadSequence(ctx, input, nullptr, max_positions_, /*counted_positions=*/false);
    Tensor x = embeddings_(ctx, input, s);
    nn::Observe(ctx, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, static_cast<int>(i));
      nn::Observe(ctx, x);
    }
    out.last_hidden_state = x;
    if (HasPooler() && ctx.ok())
      out.pooler_output = Activate(ctx, pooler_(ctx, FirstTokens(ctx, x)), Activation::kTanh);
    switch (head_) {
      case Head::kSequenceClassification:
        out.logits = classifier_(ctx, Dropout(ctx, out.pooler_output));
        break;
      case Head::kTokenClassification:
        out.logits = classifier_(ctx, Dropout(ctx, x));
        break;
      case Head::kQuestionAnswering:
        out.logits = classifier_(ctx, x);
        break;
      case Head::kNextSentence:
        out.logits = next_sentence_(ctx, out.pooler_output);
        break;
      case Head::kPreTraining:
        out.next_sentence = next_sentence_(ctx, out.pooler_output);
        [[fallthrough]];
      case Head::kMaskedLM:
        out.logits = Predictions(ctx, AtRows(ctx, x, input.rows));
        break;
      default:
        break;
    }
    return out;
  }

  bool Ignores(std::string_view name) const override {
    // Buffers and ties that old checkpoints store, and the pre-training heads that a fine-tuned or
    // bare model leaves behind.
    return name.ends_with("embeddings.position_ids") || name == "cls.predictions.decoder.weight" ||
           name == "cls.predictions.decoder.bias" || name.starts_with("cls.") ||
           name.find("pooler.dense.") != name.npos;
  }

 private:
  bool HasPooler() const {
    return (head_ == Head::kNone && bare_pooler_) || head_ == Head::kSequenceClassification ||
           HasNextSentence();
  }
  bool HasMaskedLM() const { return head_ == Head::kMaskedLM || head_ == Head::kPreTraining; }
  bool HasNextSentence() const {
    return head_ == Head::kNextSentence || head_ == Head::kPreTraining;
  }

  // [batch, tokens, hidden] -> [batch, hidden]: the [CLS] token of each sequence.
  static Tensor FirstTokens(Context& ctx, const Tensor& x) {
    Tensor rows = ctx.New({x.dim(0)}, DType::kI32);
    for (int64_t b = 0; rows && b < x.dim(0); ++b)
      rows.i32()[b] = static_cast<int32_t>(b * x.dim(1));
    return SelectRows(ctx, x, rows);
  }

  Tensor Predictions(Context& ctx, const Tensor& x) const {
    const Tensor h = transform_norm_(ctx, Activate(ctx, transform_(ctx, x), activation_));
    return Linear(ctx, h, embeddings_.word_embeddings.weight, prediction_bias_);
  }

  BertEmbeddings embeddings_;
  std::vector<BertLayer> layers_;
  Activation activation_;
  bool bare_pooler_;
  nn::Linear pooler_, transform_, next_sentence_, classifier_;
  nn::LayerNorm transform_norm_;
  Tensor prediction_bias_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const BertConfig config, BertConfig::Read(json));
  if (head == Head::kMaskedLM || head == Head::kPreTraining) {
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "tie_word_embeddings", Json::Bool(true)));
  }
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  if (head == Head::kCausalLM)
    return Unsupported("BERT as a causal language model is not implemented");
  return std::unique_ptr<Model>(new Bert(config, head, static_cast<int64_t>(labels.size())));
}

}  // namespace

const Architecture kBert{"bert", "Bert", Create};

}  // namespace sotto
