#include "core/models/decoder.h"

namespace sotto {

Status DecoderConfig::Read(const Json& json, std::string_view activation_key) {
  SOTTO_ASSIGN_OR_RETURN(vocab, json.IntOr("vocab_size", vocab, 1, kMaxVocab));
  SOTTO_ASSIGN_OR_RETURN(hidden, json.IntOr("hidden_size", hidden, 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(layers, json.IntOr("num_hidden_layers", layers, 1, kMaxLayers));
  SOTTO_ASSIGN_OR_RETURN(heads, json.IntOr("num_attention_heads", heads, 1, kMaxHeads));
  if (kv_heads == 0 || json["num_key_value_heads"].is_null()) kv_heads = heads;
  SOTTO_ASSIGN_OR_RETURN(kv_heads, json.IntOr("num_key_value_heads", kv_heads, 1, heads));
  if (heads % kv_heads != 0)
    return InvalidFile("config.json: 'num_key_value_heads' does not divide the heads");
  if (head_dim == 0 && json["head_dim"].is_null()) {
    SOTTO_RETURN_IF_ERROR(CheckHeads(hidden, heads));
    head_dim = hidden / heads;
  }
  SOTTO_ASSIGN_OR_RETURN(head_dim, json.IntOr("head_dim", head_dim, 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(intermediate,
                         json.IntOr("intermediate_size", intermediate, 1, 4 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(const double eps, json.NumberOr("rms_norm_eps", epsilon));
  epsilon = static_cast<float>(eps);
  if (!json[activation_key].is_null()) {
    SOTTO_ASSIGN_OR_RETURN(const std::string name, json.StringAt(activation_key));
    SOTTO_ASSIGN_OR_RETURN(activation, ActivationByName(name));
  }
  SOTTO_ASSIGN_OR_RETURN(tied, json.BoolOr("tie_word_embeddings", tied));
  return ReadHead(json);
}

Status DecoderConfig::ReadHead(const Json& json) {
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> names, ReadLabels(json));
  labels = static_cast<int64_t>(names.size());
  SOTTO_ASSIGN_OR_RETURN(padding, ReadPadding(json, padding));
  return OkStatus();
}

Result<int64_t> ReadWindow(const Json& json, int64_t fallback) {
  if (json.has("sliding_window") && json["sliding_window"].is_null()) return int64_t{0};
  return json.IntOr("sliding_window", fallback, 1, kMaxContext);
}

Result<std::vector<int64_t>> ReadWindows(const Json& json, int64_t layers, int64_t window,
                                         const std::function<bool(int64_t)>& slides) {
  const Json& types = json["layer_types"];
  if (!types.is_null() && static_cast<int64_t>(types.items().size()) != layers)
    return InvalidFile(StrCat("config.json: 'layer_types' must name ", layers, " layers"));
  std::vector<int64_t> windows(static_cast<size_t>(layers), 0);
  for (int64_t i = 0; i < layers; ++i) {
    bool sliding = false;
    if (types.is_null()) {
      sliding = slides(i);
    } else {
      const std::string& type = types.items()[static_cast<size_t>(i)].as_string();
      sliding = type == "sliding_attention";
      if (!sliding && type != "full_attention")
        return Unsupported(StrCat("config.json: the layer type '", type, "' is not implemented"));
    }
    if (sliding && window <= 0)
      return InvalidFile("config.json: a layer slides, and there is no 'sliding_window'");
    if (sliding) windows[static_cast<size_t>(i)] = window;
  }
  return windows;
}

Decoder::Decoder(const DecoderConfig& c, const DecoderFrame& frame, Head head)
    : frame_(frame), layers_(c.layers), padding_(c.padding), tied_(c.tied) {
  head_ = head;
  const bool answers = head == Head::kQuestionAnswering && !frame.answer_prefix.empty();
  base_prefix_ = answers ? frame.answer_prefix : frame.prefix;
  older_prefix_ = answers ? frame.prefix : frame.older_prefix;
  vocab_size_ = c.vocab;
  hidden_size_ = c.hidden;
  max_positions_ = frame.positions;
  const std::string at = head == Head::kNone ? "" : base_prefix_;
  embeddings_.Declare(parameters_, StrCat(at, frame.embeddings), c.vocab, c.hidden);
  if (!frame.learned_positions.empty())
    positions_.Declare(parameters_, StrCat(at, frame.learned_positions), frame.positions, c.hidden);
  norm_.epsilon = layer_norm_.epsilon = c.epsilon;
  norm_.offset = frame.norm_offset;
  if (frame.layer_norm) {
    layer_norm_.Declare(parameters_, StrCat(at, frame.norm), c.hidden);
  } else {
    norm_.Declare(parameters_, StrCat(at, frame.norm), c.hidden);
  }
  DeclareHead(c);
}

void Decoder::DeclareHead(const DecoderConfig& c) {
  switch (head_) {
    case Head::kCausalLM:
      if (!tied_) parameters_.Matrix(std::string(frame_.output), output_, c.vocab, c.hidden);
      break;
    case Head::kSequenceClassification:
      classes_.Declare(parameters_, "score", c.labels, c.hidden, /*with_bias=*/false);
      break;
    case Head::kTokenClassification:
      classes_.Declare(parameters_, std::string(frame_.token_classifier), c.labels, c.hidden);
      break;
    case Head::kQuestionAnswering:
      classes_.Declare(parameters_, "qa_outputs", 2, c.hidden);
      break;
    default:
      break;
  }
}

std::string Decoder::LayerName(size_t index, std::string_view list) const {
  return StrCat(head_ == Head::kNone ? "" : base_prefix_, list, index, ".");
}

void Decoder::AddRotary(RotaryPositions rotary) {
  if (rotary.restart_length() > 0) restart_length_ = rotary.restart_length();
  rotary_.push_back(std::move(rotary));
}

ModelOutput Decoder::Forward(Context& ctx, const ModelInput& input, KvCache* cache) const {
  ModelOutput out;
  if (cache != nullptr && !frame_.cached)
    ctx.Fail(InvalidArgument("a bidirectional encoder has no past to cache"));
  Call call;
  call.sequence = ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/true);
  if (!ctx.ok()) return out;
  call.cache = cache;
  for (const RotaryPositions& rotary : rotary_)
    call.turns.push_back(rotary.Tables(ctx, call.sequence));
  Tensor x = Embed(ctx, input.ids, call.sequence);
  nn::Observe(ctx, x);
  for (int64_t i = 0; i < layers_; ++i) {
    x = Layer(ctx, x, call, static_cast<int>(i));
    if (i + 1 < layers_) nn::Observe(ctx, x);
  }
  x = frame_.layer_norm ? layer_norm_(ctx, x) : norm_(ctx, x);
  nn::Observe(ctx, x);
  if (cache != nullptr && ctx.ok()) cache->Advance(call.sequence.tokens);
  out.last_hidden_state = x;
  if (head_ == Head::kCausalLM) out.logits = Logits(ctx, AtRows(ctx, x, input.rows));
  if (head_ == Head::kSequenceClassification)
    out.logits = classes_(ctx, LastTokens(ctx, x, input.ids, call.sequence, padding_));
  if (head_ == Head::kTokenClassification) out.logits = classes_(ctx, Dropout(ctx, x));
  if (head_ == Head::kQuestionAnswering) out.logits = classes_(ctx, x);
  return out;
}

Tensor Decoder::Embed(Context& ctx, const Tensor& ids, const Sequence& s) const {
  Tensor x = embeddings_(ctx, ids);
  if (positions_.weight) x = Add(ctx, x, positions_(ctx, s.position_ids));
  if (frame_.embedding_scale != 1 && ctx.ok()) x = Scale(ctx, x, frame_.embedding_scale);
  return frame_.embedding_dropout ? Dropout(ctx, x) : x;
}

Tensor Decoder::Logits(Context& ctx, const Tensor& x) const {
  Tensor y = Linear(ctx, x, tied_ ? embeddings_.weight : output_, {});
  if (frame_.logits_scale != 1 && ctx.ok()) y = Scale(ctx, y, frame_.logits_scale);
  return nn::SoftCap(ctx, y, frame_.logits_cap);
}

bool Decoder::Ignores(std::string_view name) const {
  // A tie, and the language model that a bare or fine-tuned one leaves behind.
  return name.ends_with("rotary_emb.inv_freq") ||
         (name == frame_.output && (tied_ || head_ != Head::kCausalLM));
}

Status CheckDecoderHead(Head head) {
  switch (head) {
    case Head::kNone:
    case Head::kCausalLM:
    case Head::kSequenceClassification:
    case Head::kTokenClassification:
    case Head::kQuestionAnswering:
      return OkStatus();
    default:
      return Unsupported(
          "a decoder is implemented bare, as a language model, for the classes of sequences and "
          "tokens, and for question answering");
  }
}

}  // namespace sotto
