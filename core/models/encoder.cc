#include "core/models/encoder.h"

#include <algorithm>
#include <cmath>

namespace sotto {

Status EncoderConfig::Read(const Json& json) {
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "position_embedding_type", Json::String("absolute")));
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "is_decoder", Json::Bool(false)));
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "add_cross_attention", Json::Bool(false)));
  SOTTO_ASSIGN_OR_RETURN(vocab, json.IntOr("vocab_size", vocab, 1, kMaxVocab));
  SOTTO_ASSIGN_OR_RETURN(hidden, json.IntOr("hidden_size", hidden, 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(layers, json.IntOr("num_hidden_layers", layers, 1, kMaxLayers));
  SOTTO_ASSIGN_OR_RETURN(heads, json.IntOr("num_attention_heads", heads, 1, kMaxHeads));
  SOTTO_ASSIGN_OR_RETURN(intermediate,
                         json.IntOr("intermediate_size", intermediate, 1, 4 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(positions,
                         json.IntOr("max_position_embeddings", positions, 1, kMaxContext));
  if (types > 0) {
    SOTTO_ASSIGN_OR_RETURN(types, json.IntOr("type_vocab_size", types, 1, 1024));
  }
  if (embedding > 0) {
    SOTTO_ASSIGN_OR_RETURN(embedding, json.IntOr("embedding_size", embedding, 1, kMaxWidth));
  } else {
    embedding = hidden;
  }
  SOTTO_ASSIGN_OR_RETURN(const double eps, json.NumberOr("layer_norm_eps", epsilon));
  epsilon = static_cast<float>(eps);
  SOTTO_ASSIGN_OR_RETURN(attention_dropout,
                         ReadDropout(json, "attention_probs_dropout_prob", attention_dropout));
  if (!json["hidden_act"].is_null()) {
    SOTTO_ASSIGN_OR_RETURN(const std::string name, json.StringAt("hidden_act"));
    SOTTO_ASSIGN_OR_RETURN(activation, ActivationByName(name));
  }
  SOTTO_ASSIGN_OR_RETURN(tied, json.BoolOr("tie_word_embeddings", tied));
  // Hugging Face's constructor takes this; files without the pooler (GGUF) say it here.
  SOTTO_ASSIGN_OR_RETURN(pooler, json.BoolOr("add_pooling_layer", pooler));
  return CheckHeads(hidden, heads);
}

void EncoderLayer::Declare(ParameterList& list, const std::string& at, const EncoderConfig& c,
                           const EncoderLayerNames& names) {
  query.Declare(list, StrCat(at, names.query), c.hidden, c.hidden);
  key.Declare(list, StrCat(at, names.key), c.hidden, c.hidden);
  value.Declare(list, StrCat(at, names.value), c.hidden, c.hidden);
  attention_output.Declare(list, StrCat(at, names.attention_output), c.hidden, c.hidden);
  attention_norm.epsilon = output_norm.epsilon = c.epsilon;
  attention_norm.Declare(list, StrCat(at, names.attention_norm), c.hidden);
  intermediate.Declare(list, StrCat(at, names.intermediate), c.intermediate, c.hidden);
  output.Declare(list, StrCat(at, names.output), c.hidden, c.intermediate);
  output_norm.Declare(list, StrCat(at, names.output_norm), c.hidden);
  activation = c.activation;
  attention.heads = attention.kv_heads = c.heads;
  const int64_t head_dim = c.hidden / c.heads;
  attention.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  attention.dropout = c.attention_dropout;
}

Tensor EncoderLayer::operator()(Context& ctx, const Tensor& x, const Sequence& s, int index,
                                const Tensor& bias) const {
  AttentionSpec spec = attention;
  spec.key_mask = s.key_mask;
  spec.bias = bias;
  spec.rounds = IsPacked(key.weight.dtype());
  Tensor h = nn::Attend(ctx, query(ctx, x), key(ctx, x), value(ctx, x), spec, nullptr, index);
  h = attention_norm(ctx, Add(ctx, x, Dropout(ctx, attention_output(ctx, h))));
  const Tensor f = output(ctx, Activate(ctx, intermediate(ctx, h), activation));
  return output_norm(ctx, Add(ctx, h, Dropout(ctx, f)));
}

void EncoderHeads::Declare(ParameterList& list, const std::string& at, const EncoderConfig& c,
                           const EncoderHeadNames& names, Activation transform_activation,
                           Head head, int64_t labels) {
  names_ = names;
  head_ = head;
  tied_ = c.tied;
  const bool choice = head == Head::kMultipleChoice;
  const bool sentence = choice || head == Head::kSequenceClassification;
  const SentenceNames& own = choice ? names.choice : names.sequence;
  const bool pairs =
      (head == Head::kPreTraining && names.detector.dense.empty()) || head == Head::kNextSentence;
  if (!names.pooler.empty() &&
      ((head == Head::kNone && c.pooler) || pairs || (sentence && own.dense.empty()))) {
    pooler_.Declare(list, StrCat(at, names.pooler), c.hidden, c.hidden);
    if (head == Head::kNone) list.MayLack(2);  // checkpoints of other classes may have none
  }
  if (sentence) {
    dense_activation_ = own.activation;
    if (!own.dense.empty()) dense_.Declare(list, std::string(own.dense), c.hidden, c.hidden);
    output_.Declare(list, std::string(own.output), choice ? 1 : labels, c.hidden);
  }
  if (head == Head::kTokenClassification) output_.Declare(list, "classifier", labels, c.hidden);
  if (head == Head::kQuestionAnswering) output_.Declare(list, "qa_outputs", 2, c.hidden);
  if (head == Head::kPreTraining && !names.detector.dense.empty()) {
    dense_activation_ = c.activation;
    dense_.Declare(list, std::string(names.detector.dense), c.hidden, c.hidden);
    output_.Declare(list, std::string(names.detector.output), 1, c.hidden);
  } else if (head == Head::kMaskedLM || head == Head::kPreTraining) {
    dense_activation_ = transform_activation;
    dense_.Declare(list, std::string(names.transform), c.embedding, c.hidden);
    norm_.epsilon = c.epsilon;
    norm_.Declare(list, std::string(names.transform_norm), c.embedding);
    if (!tied_) {
      list.Matrix(StrCat(names.decoder, ".weight"), output_.weight, c.vocab, c.embedding);
    }
    // The two names are of one tensor; the first is what old checkpoints have whether tied or not.
    const std::string decoder_bias = StrCat(names.decoder, ".bias");
    list.Bias(tied_ ? std::string(names.decoder_bias) : decoder_bias, output_.bias, c.vocab);
    list.MayBeCalled(tied_ ? decoder_bias : std::string(names.decoder_bias));
  }
  if (pairs) {
    next_sentence_.Declare(list, std::string(names.next_sentence), names.next_sentences, c.hidden);
  }
}

Tensor EncoderHeads::Pooled(Context& ctx, const Tensor& x, const nn::Linear& dense,
                            Activation f) const {
  return Activate(ctx, dense(ctx, FirstTokens(ctx, x)), f);
}

Tensor EncoderHeads::Predictions(Context& ctx, const Tensor& x,
                                 const Tensor& word_embeddings) const {
  const Tensor h = norm_(ctx, Activate(ctx, dense_(ctx, x), dense_activation_));
  return Linear(ctx, h, tied_ ? word_embeddings : output_.weight, output_.bias);
}

ModelOutput EncoderHeads::operator()(Context& ctx, const Tensor& x, const Tensor& rows,
                                     const Tensor& word_embeddings) const {
  ModelOutput out;
  if (!ctx.ok()) return out;
  out.last_hidden_state = x;
  if (pooler_.weight) out.pooler_output = Pooled(ctx, x, pooler_, Activation::kTanh);
  switch (head_) {
    case Head::kSequenceClassification:
    case Head::kMultipleChoice: {
      const Tensor sentence =
          dense_.weight ? Pooled(ctx, x, dense_, dense_activation_) : out.pooler_output;
      out.logits = output_(ctx, Dropout(ctx, sentence));
      if (head_ == Head::kMultipleChoice && ctx.ok()) out.logits = out.logits.Reshaped({x.dim(0)});
      break;
    }
    case Head::kTokenClassification:
      out.logits = output_(ctx, Dropout(ctx, x));
      break;
    case Head::kQuestionAnswering:
      out.logits = output_(ctx, x);
      break;
    case Head::kPreTraining:
      if (!names_.detector.dense.empty()) {
        out.logits = output_(ctx, Activate(ctx, dense_(ctx, x), dense_activation_));
        if (ctx.ok()) out.logits = out.logits.Reshaped({x.dim(0), x.dim(1)});
        break;
      }
      out.logits = Predictions(ctx, AtRows(ctx, x, rows), word_embeddings);
      out.next_sentence = next_sentence_(ctx, Dropout(ctx, out.pooler_output));
      break;
    case Head::kMaskedLM:
      out.logits = Predictions(ctx, AtRows(ctx, x, rows), word_embeddings);
      break;
    case Head::kNextSentence:
      out.logits = next_sentence_(ctx, out.pooler_output);
      break;
    default:
      break;
  }
  return out;
}

bool EncoderHeads::Leaves(std::string_view name) const {
  if (!names_.pooler.empty() && name.find(names_.pooler) != name.npos) return true;
  return std::any_of(names_.leftovers.begin(), names_.leftovers.end(),
                     [&](std::string_view begin) { return name.starts_with(begin); });
}

namespace {

// int32 [batch, tokens]: ids that are not padding are counted from padding + 1 on, and padding is
// at its own place (fairseq's make_positions).
Tensor CountedPositions(Context& ctx, const Tensor& ids, int64_t padding) {
  Tensor positions = ctx.New(ids.shape(), DType::kI32);
  for (int64_t b = 0; positions && b < ids.dim(0); ++b) {
    auto next = static_cast<int32_t>(padding);
    for (int64_t i = b * ids.dim(1); i < (b + 1) * ids.dim(1); ++i) {
      const bool real = ids.i32()[i] != padding;
      positions.i32()[i] = real ? ++next : static_cast<int32_t>(padding);
    }
  }
  return positions;
}

}  // namespace

Encoder::Encoder(const EncoderConfig& c, const EncoderFrame& frame, Head head, int64_t labels)
    : padding_(frame.padding) {
  head_ = head;
  base_prefix_ = frame.prefix;
  vocab_size_ = c.vocab;
  hidden_size_ = c.hidden;
  max_positions_ = c.positions - (frame.padding + 1);
  const std::string at = head == Head::kNone ? "" : base_prefix_;
  word_embeddings_.Declare(parameters_, at + "embeddings.word_embeddings", c.vocab, c.embedding);
  position_embeddings_.Declare(parameters_, at + "embeddings.position_embeddings", c.positions,
                               c.embedding);
  if (c.types > 0) {
    token_type_embeddings_.Declare(parameters_, at + "embeddings.token_type_embeddings", c.types,
                                   c.embedding);
  }
  embeddings_norm_.epsilon = c.epsilon;
  embeddings_norm_.Declare(parameters_, at + "embeddings.LayerNorm", c.embedding);
  if (!frame.projection.empty())
    projection_.Declare(parameters_, StrCat(at, frame.projection), c.hidden, c.embedding);
  if (!frame.layers.empty()) {
    layers_.resize(static_cast<size_t>(c.layers));
    for (size_t i = 0; i < layers_.size(); ++i)
      layers_[i].Declare(parameters_, StrCat(at, frame.layers, i, "."), c, frame.layer);
  }
  heads_.Declare(parameters_, at, c, frame.heads, frame.transform_activation, head, labels);
}

ModelOutput Encoder::Forward(Context& ctx, const ModelInput& input, KvCache* cache) const {
  if (cache != nullptr) ctx.Fail(InvalidArgument("a bidirectional encoder has no past to cache"));
  Sequence s = ReadSequence(ctx, input, nullptr, max_positions_, /*counted_positions=*/false);
  if (!ctx.ok()) return {};
  if (padding_ >= 0 && !input.position_ids)
    s.position_ids = CountedPositions(ctx, input.ids, padding_);
  Tensor x = word_embeddings_(ctx, input.ids);
  if (token_type_embeddings_.weight) {
    // A model with one type is given none by its own tokenizer.
    const bool given = input.token_type_ids && token_type_embeddings_.weight.dim(0) > 1;
    const Tensor types =
        given ? input.token_type_ids : ctx.NewZeros(input.ids.shape(), DType::kI32);
    x = Add(ctx, x, token_type_embeddings_(ctx, types));
  }
  x = Add(ctx, x, position_embeddings_(ctx, s.position_ids));
  x = Dropout(ctx, embeddings_norm_(ctx, x));
  if (projection_.weight) x = projection_(ctx, x);
  nn::Observe(ctx, x);
  x = Layers(ctx, std::move(x), s);
  return heads_(ctx, x, input.rows, word_embeddings_.weight);
}

Tensor Encoder::Layers(Context& ctx, Tensor x, const Sequence& s) const {
  for (size_t i = 0; i < layers_.size() && ctx.ok(); ++i) {
    x = layers_[i](ctx, x, s, static_cast<int>(i));
    nn::Observe(ctx, x);
  }
  return x;
}

bool Encoder::Ignores(std::string_view name) const {
  // Buffers, and heads that a model of another class leaves behind.
  return name.ends_with("embeddings.position_ids") || name.ends_with("embeddings.token_type_ids") ||
         heads_.Leaves(name);
}

Status CheckEncoderFrame(const Json& json, const EncoderConfig& config, const EncoderFrame& frame,
                         Head head) {
  if (config.positions <= frame.padding + 1)
    return InvalidFile("config.json: 'max_position_embeddings' leaves no position after padding's");
  const bool detects = !frame.heads.detector.dense.empty();
  const bool pairs = !frame.heads.next_sentence.empty();
  const bool has =
      (head != Head::kCausalLM && head != Head::kSeq2SeqLM && head != Head::kEncoder) &&
      (head != Head::kPreTraining || detects || pairs) && (head != Head::kNextSentence || pairs);
  if (has) return OkStatus();
  return Unsupported(StrCat("the head of ", json["architectures"].Dump(), " is not implemented"));
}

Result<std::unique_ptr<Model>> CreateEncoder(const Json& json, const EncoderConfig& config,
                                             const EncoderFrame& frame, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckEncoderFrame(json, config, frame, head));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  return std::unique_ptr<Model>(
      new Encoder(config, frame, head, static_cast<int64_t>(labels.size())));
}

}  // namespace sotto
