// BART (Lewis et al. 2019): an encoder-decoder with learned positions and post-norm layers; and
// what its family shares.
#include "core/models/bart.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace sotto {
namespace {

struct BartConfig {
  struct Half {
    int64_t layers, heads, inner;
  };
  int64_t vocab, decoder_vocab, width, positions, labels;
  int32_t pad, start, end;
  Half encoder, decoder;
  Activation activation;
  float scale, attention_dropout;
  bool shared;  // one table of embeddings for both halves
  bool tied;    // and the decoder's is the output's
  BartStyle style;

  static Result<BartConfig> Read(const Json& json, Head head, const BartStyle& style);
};

Result<BartConfig::Half> ReadHalf(const Json& json, const std::string& half) {
  BartConfig::Half h;
  SOTTO_ASSIGN_OR_RETURN(h.layers, json.IntOr(half + "_layers", 12, 1, kMaxLayers));
  SOTTO_ASSIGN_OR_RETURN(h.heads, json.IntOr(half + "_attention_heads", 16, 1, kMaxHeads));
  SOTTO_ASSIGN_OR_RETURN(h.inner, json.IntOr(half + "_ffn_dim", 4096, 1, kMaxWidth));
  return h;
}

Result<BartConfig> BartConfig::Read(const Json& json, Head head, const BartStyle& style) {
  BartConfig c;
  c.style = style;
  const bool encodes = head != Head::kCausalLM;
  if (encodes) {  // the decoder by itself is what it is, whatever its config says
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "is_encoder_decoder", Json::Bool(true)));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "is_decoder", Json::Bool(false)));
  }
  SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 50265, 1, kMaxVocab));
  SOTTO_ASSIGN_OR_RETURN(c.decoder_vocab, json.IntOr("decoder_vocab_size", c.vocab, 1, kMaxVocab));
  SOTTO_ASSIGN_OR_RETURN(c.width, json.IntOr("d_model", 1024, 4, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(c.positions, json.IntOr("max_position_embeddings", 1024, 1, kMaxContext));
  SOTTO_ASSIGN_OR_RETURN(c.encoder, ReadHalf(json, "encoder"));
  SOTTO_ASSIGN_OR_RETURN(c.decoder, ReadHalf(json, "decoder"));
  SOTTO_RETURN_IF_ERROR(CheckHeads(c.width, c.encoder.heads));
  SOTTO_RETURN_IF_ERROR(CheckHeads(c.width, c.decoder.heads));
  c.activation = style.activation;
  if (!json["activation_function"].is_null()) {
    SOTTO_ASSIGN_OR_RETURN(const std::string name, json.StringAt("activation_function"));
    SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(name));
  }
  SOTTO_ASSIGN_OR_RETURN(c.attention_dropout, ReadDropout(json, "attention_dropout", 0));
  SOTTO_ASSIGN_OR_RETURN(const bool scales, json.BoolOr("scale_embedding", style.scale_embedding));
  c.scale = scales ? std::sqrt(static_cast<float>(c.width)) : 1.0f;
  SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", true));
  SOTTO_ASSIGN_OR_RETURN(c.shared, json.BoolOr("share_encoder_decoder_embeddings", true));
  c.shared = c.shared && c.tied && encodes;
  if (c.shared) c.decoder_vocab = c.vocab;
  const auto id = [&](const char* key, int64_t otherwise) -> Result<int32_t> {
    SOTTO_ASSIGN_OR_RETURN(const int64_t value, json.IntOr(key, otherwise, 0, kMaxVocab));
    return static_cast<int32_t>(value);
  };
  SOTTO_ASSIGN_OR_RETURN(c.pad, id("pad_token_id", style.pad));
  SOTTO_ASSIGN_OR_RETURN(c.start, id("decoder_start_token_id", style.start));
  SOTTO_ASSIGN_OR_RETURN(c.end, id("eos_token_id", style.end));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  c.labels = static_cast<int64_t>(labels.size());
  return c;
}

// x + part(x) with its norm before the part or after the sum.
template <class Part>
Tensor Residual(Context& ctx, const Tensor& x, const nn::LayerNorm& norm, bool pre_norm,
                const Part& part) {
  const Tensor y = Add(ctx, x, Dropout(ctx, part(pre_norm ? norm(ctx, x) : x)));
  return pre_norm ? y : norm(ctx, y);
}

enum class HalfKind : uint8_t { kEncoder, kDecoder, kDecoderAlone };

struct BartLayer {
  nn::MultiHeadAttention self_attn, encoder_attn;
  nn::LayerNorm self_attn_norm, encoder_attn_norm, final_norm;
  nn::Linear fc1, fc2;
  Activation activation;
  bool pre_norm;

  void Declare(ParameterList& list, const std::string& at, const BartConfig& c,
               const BartConfig::Half& half, HalfKind kind) {
    self_attn.Declare(list, at + "self_attn", c.width, half.heads);
    self_attn.spec.dropout = c.attention_dropout;
    self_attn.spec.causal = kind != HalfKind::kEncoder;
    self_attn_norm.Declare(list, at + "self_attn_layer_norm", c.width);
    if (kind == HalfKind::kDecoder) {
      encoder_attn.Declare(list, at + "encoder_attn", c.width, half.heads);
      encoder_attn.spec.dropout = c.attention_dropout;
      encoder_attn_norm.Declare(list, at + "encoder_attn_layer_norm", c.width);
    }
    fc1.Declare(list, at + "fc1", half.inner, c.width);
    fc2.Declare(list, at + "fc2", c.width, half.inner);
    final_norm.Declare(list, at + "final_layer_norm", c.width);
    activation = c.activation;
    pre_norm = c.style.pre_norm;
  }

  // Without `source`: nothing of an encoder is looked at.
  Tensor operator()(Context& ctx, Tensor x, const Sequence& s, const nn::Source* source,
                    KvCache* cache, int index) const {
    x = Residual(ctx, x, self_attn_norm, pre_norm,
                 [&](const Tensor& h) { return self_attn(ctx, h, s.key_mask, cache, index); });
    if (source != nullptr) {
      x = Residual(ctx, x, encoder_attn_norm, pre_norm,
                   [&](const Tensor& h) { return encoder_attn(ctx, h, *source, cache, index); });
    }
    return Residual(ctx, x, final_norm, pre_norm, [&](const Tensor& h) {
      return fc2(ctx, Activate(ctx, fc1(ctx, h), activation));
    });
  }
};

// [positions, width], f64 rounded to f32 as Marian does: sin of position / 10000^(2i / width) in
// the first half, cos in the second.
Result<Tensor> SinusoidalTable(int64_t positions, int64_t width) {
  SOTTO_ASSIGN_OR_RETURN(Tensor table, Tensor::Allocate({positions, width}));
  const int64_t sines = (width + 1) / 2;
  for (int64_t p = 0; p < positions; ++p) {
    for (int64_t j = 0; j < width; ++j) {
      const int64_t i = j < sines ? j : j - sines;
      const double angle =
          static_cast<double>(p) /
          std::pow(10000.0, 2.0 * static_cast<double>(i) / static_cast<double>(width));
      table.f32()[p * width + j] =
          static_cast<float>(j < sines ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

// The encoder or the decoder.
class BartHalf {
 public:
  Status Declare(ParameterList& list, const std::string& at, const BartConfig& c, HalfKind kind) {
    const bool decodes = kind != HalfKind::kEncoder;
    const BartConfig::Half& half = decodes ? c.decoder : c.encoder;
    const BartStyle& style = c.style;
    if (!c.shared)
      embed_tokens_.Declare(list, at + "embed_tokens", decodes ? c.decoder_vocab : c.vocab,
                            c.width);
    if (style.positions == BartStyle::Positions::kLearned) {
      embed_positions_.Declare(list, at + "embed_positions", c.positions + style.position_offset,
                               c.width);
    } else if (style.positions == BartStyle::Positions::kSinusoidal) {
      SOTTO_ASSIGN_OR_RETURN(Tensor table, SinusoidalTable(c.positions, c.width));
      list.Constant(at + "embed_positions.weight", embed_positions_.weight, std::move(table));
    }
    layers_.resize(static_cast<size_t>(half.layers));
    for (int64_t i = 0; i < half.layers; ++i)
      layers_[i].Declare(list, StrCat(at, "layers.", i, "."), c, half, kind);
    if (style.embedding_norm) embedding_norm_.Declare(list, at + "layernorm_embedding", c.width);
    if (style.last_norm) last_norm_.Declare(list, at + "layer_norm", c.width);
    style_ = style;
    scale_ = c.scale;
    pad_ = c.pad;
    norm_before_positions_ = decodes && style.norm_before_positions;
    return OkStatus();
  }

  Tensor operator()(Context& ctx, const Tensor& ids, const nn::Embedding& shared, const Sequence& s,
                    const nn::Source* source, KvCache* cache) const {
    Tensor x = (embed_tokens_.weight ? embed_tokens_ : shared)(ctx, ids);
    if (scale_ != 1) x = Scale(ctx, x, scale_);
    if (norm_before_positions_) x = embedding_norm_(ctx, x);
    x = Add(ctx, x, Positions(ctx, ids, s));
    if (style_.embedding_norm && !norm_before_positions_) x = embedding_norm_(ctx, x);
    x = Dropout(ctx, x);
    nn::Observe(ctx, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, source, cache, static_cast<int>(i));
      if (i + 1 < layers_.size()) nn::Observe(ctx, x);
    }
    if (style_.last_norm) x = last_norm_(ctx, x);
    nn::Observe(ctx, x);
    return x;
  }

  const nn::Embedding& embed_tokens() const { return embed_tokens_; }

 private:
  Tensor Positions(Context& ctx, const Tensor& ids, const Sequence& s) const {
    if (!ctx.ok()) return {};
    if (style_.positions == BartStyle::Positions::kCounted) return CountedPositions(ctx, ids, s);
    if (style_.position_offset == 0) return embed_positions_(ctx, s.position_ids);
    Tensor rows = ctx.New(s.position_ids.shape(), DType::kI32);
    if (!rows) return {};
    const int32_t* from = s.position_ids.i32();
    std::transform(from, from + rows.elements(), rows.i32(), [&](int32_t position) {
      return position + static_cast<int32_t>(style_.position_offset);
    });
    return embed_positions_(ctx, rows);
  }

  // Padding has zeros; the n-th real token of a call after `past` tokens has the position
  // pad + past + n. Angles in f32, as fairseq takes them.
  Tensor CountedPositions(Context& ctx, const Tensor& ids, const Sequence& s) const {
    const int64_t width = last_norm_.weight.elements(), half = width / 2;
    Tensor x = ctx.NewZeros({s.batch, s.tokens, width});
    if (!x) return x;
    const float step = static_cast<float>(std::log(10000.0) / static_cast<double>(half - 1));
    for (int64_t b = 0; b < s.batch; ++b) {
      int64_t counted = 0;
      for (int64_t t = 0; t < s.tokens; ++t) {
        const int64_t at = b * s.tokens + t;
        if (ids.i32()[at] == pad_) continue;
        const auto position = static_cast<float>(pad_ + s.past + ++counted);
        float* row = x.f32() + at * width;
        for (int64_t i = 0; i < half; ++i) {
          const float angle = position * std::exp(static_cast<float>(i) * -step);
          row[i] = std::sin(angle);
          row[half + i] = std::cos(angle);
        }
      }
    }
    return x;
  }

  nn::Embedding embed_tokens_, embed_positions_;
  std::vector<BartLayer> layers_;
  nn::LayerNorm embedding_norm_, last_norm_;
  BartStyle style_;
  float scale_ = 1;
  int32_t pad_ = 0;
  bool norm_before_positions_ = false;
};

class Bart final : public EncoderDecoder {
 public:
  static Result<std::unique_ptr<Model>> Create(const BartConfig& c, Head head, const Json& json) {
    std::unique_ptr<Bart> model(new Bart);
    SOTTO_RETURN_IF_ERROR(model->Declare(c, head));
    SOTTO_RETURN_IF_ERROR(model->DeclarePointer(json));
    return std::unique_ptr<Model>(std::move(model));
  }

  // Ties, which older checkpoints store, the output of a model without one, and positions that no
  // table holds.
  bool Ignores(std::string_view name) const override {
    if (name == "lm_head.weight") return tied_ || head_ != Head::kSeq2SeqLM;
    if (name == "final_logits_bias") return true;
    if (name.starts_with(base_prefix_)) name.remove_prefix(base_prefix_.size());
    const bool counted = style_.positions == BartStyle::Positions::kCounted;
    for (const std::string_view half : {"encoder.", "decoder."}) {
      if (!name.starts_with(half)) continue;
      const std::string_view rest = name.substr(half.size());
      if (rest == "version") return true;
      if (rest == "embed_tokens.weight") return is_shared_;
      if (rest == "embed_positions.weights") return counted;
    }
    return name == "shared.weight" && !is_shared_;
  }

 private:
  Bart() = default;

  Status Declare(const BartConfig& c, Head head) {
    head_ = head;
    base_prefix_ = "model.";
    vocab_size_ = c.decoder_vocab;
    hidden_size_ = c.width;
    style_ = c.style;
    max_positions_ = style_.positions == BartStyle::Positions::kCounted ? 0 : c.positions;
    tied_ = c.tied;
    is_shared_ = c.shared;
    pad_ = c.pad;
    start_ = c.start;
    end_ = c.end;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    if (c.shared) shared_.Declare(parameters_, at + "shared", c.vocab, c.width);
    SOTTO_RETURN_IF_ERROR(encoder_.Declare(parameters_, at + "encoder.", c, HalfKind::kEncoder));
    SOTTO_RETURN_IF_ERROR(decoder_.Declare(parameters_, at + "decoder.", c, HalfKind::kDecoder));
    if (head == Head::kSeq2SeqLM) {
      if (!tied_) parameters_.Matrix("lm_head.weight", lm_head_, c.decoder_vocab, c.width);
      if (style_.logits_bias) {
        SOTTO_ASSIGN_OR_RETURN(Tensor zeros, Tensor::Zeros({1, c.decoder_vocab}));
        parameters_.Constant("final_logits_bias", logits_bias_, std::move(zeros));
      }
    } else if (head == Head::kSequenceClassification) {
      dense_.Declare(parameters_, "classification_head.dense", c.width, c.width);
      out_.Declare(parameters_, "classification_head.out_proj", c.labels, c.width);
    } else if (head == Head::kQuestionAnswering) {
      out_.Declare(parameters_, "qa_outputs", 2, c.width);
    }
    return OkStatus();
  }

  Tensor Encode(Context& ctx, const ModelInput& input) const override {
    return encoder_(ctx, input.ids, shared_, EncoderSequence(ctx, input), nullptr, nullptr);
  }

  Tensor Decode(Context& ctx, const ModelInput& input, const nn::Source& source,
                KvCache* cache) const override {
    const Sequence s = DecoderSequence(ctx, input, cache);
    return decoder_(ctx, input.decoder_ids, shared_, s, &source, cache);
  }

  Tensor DecoderEmbeddings(Context& ctx, const Tensor& ids) const override {
    return (is_shared_ ? shared_ : decoder_.embed_tokens())(ctx, ids);
  }

  void RunHead(Context& ctx, const ModelInput& input, ModelOutput& out) const override {
    const Tensor& x = out.last_hidden_state;
    if (!ctx.ok()) return;
    if (head_ == Head::kSeq2SeqLM) {
      const Tensor& tied = is_shared_ ? shared_.weight : decoder_.embed_tokens().weight;
      out.logits = Linear(ctx, AtRows(ctx, x, input.rows), tied_ ? tied : lm_head_,
                          logits_bias_ ? logits_bias_.Reshaped({vocab_size_}) : Tensor());
    } else if (head_ == Head::kSequenceClassification) {
      const Tensor h = Dropout(ctx, AtLastEnds(ctx, x, input, end_));
      out.logits = out_(ctx, Dropout(ctx, Activate(ctx, dense_(ctx, h), Activation::kTanh)));
    } else if (head_ == Head::kQuestionAnswering) {
      out.logits = out_(ctx, x);
    }
  }

  // A model that does not generate decodes its own source.
  Tensor DefaultDecoderIds(Context& ctx, const ModelInput& input) const override {
    if (head_ == Head::kSeq2SeqLM) return EncoderDecoder::DefaultDecoderIds(ctx, input);
    Tensor shifted = ShiftedRight(ctx, input.ids, start_, pad_);
    if (!shifted || !style_.wraps_last) return shifted;
    const int64_t tokens = input.ids.dim(1);
    for (int64_t b = 0; b < input.ids.dim(0); ++b) {
      const int32_t* row = input.ids.i32() + b * tokens;
      const int64_t real = tokens - std::count(row, row + tokens, pad_);
      shifted.i32()[b * tokens] = row[std::max<int64_t>(real - 1, 0)];
    }
    return shifted;
  }

  nn::Embedding shared_;
  BartHalf encoder_, decoder_;
  Tensor lm_head_, logits_bias_;
  nn::Linear dense_, out_;
  BartStyle style_;
  bool tied_ = true, is_shared_ = true;
  int32_t pad_ = 0, start_ = 0, end_ = 0;
};

// The decoder without the encoder (ForCausalLM): its checkpoints hold what looks at one all the
// same.
class BartDecoder final : public Model {
 public:
  static Result<std::unique_ptr<Model>> Create(const BartConfig& c) {
    std::unique_ptr<BartDecoder> model(new BartDecoder);
    SOTTO_RETURN_IF_ERROR(model->Declare(c));
    return std::unique_ptr<Model>(std::move(model));
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    const Sequence s = ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/false);
    const Tensor& table = decoder_.embed_tokens().weight;
    out.last_hidden_state =
        decoder_(ctx, input.ids, decoder_.embed_tokens(), s, /*source=*/nullptr, cache);
    if (cache != nullptr && ctx.ok()) cache->Advance(s.tokens);
    out.logits = Linear(ctx, AtRows(ctx, out.last_hidden_state, input.rows),
                        lm_head_ ? lm_head_ : table, {});
    return out;
  }

  bool Ignores(std::string_view name) const override {
    return name == "lm_head.weight" || name.find(".encoder_attn") != name.npos ||
           name.ends_with("embed_positions.weights");
  }

 private:
  BartDecoder() = default;

  Status Declare(const BartConfig& c) {
    head_ = Head::kCausalLM;
    base_prefix_ = "model.";
    vocab_size_ = c.decoder_vocab;
    hidden_size_ = c.width;
    max_positions_ = c.style.positions == BartStyle::Positions::kCounted ? 0 : c.positions;
    if (!c.tied) parameters_.Matrix("lm_head.weight", lm_head_, c.decoder_vocab, c.width);
    return decoder_.Declare(parameters_, base_prefix_ + "decoder.", c, HalfKind::kDecoderAlone);
  }

  BartHalf decoder_;
  Tensor lm_head_;
};

constexpr BartStyle kBartStyle{.position_offset = 2, .embedding_norm = true};
constexpr BartStyle kMBartStyle{.position_offset = 2,
                                .pre_norm = true,
                                .embedding_norm = true,
                                .last_norm = true,
                                .wraps_last = true};

}  // namespace

Result<std::unique_ptr<Model>> CreateBart(const Json& json, Head head, const BartStyle& style) {
  if (head != Head::kNone && head != Head::kSeq2SeqLM && head != Head::kCausalLM &&
      head != Head::kSequenceClassification && head != Head::kQuestionAnswering) {
    return Unsupported(StrCat("the head of ", json["architectures"].Dump(), " is not implemented"));
  }
  SOTTO_ASSIGN_OR_RETURN(const BartConfig config, BartConfig::Read(json, head, style));
  return head == Head::kCausalLM ? BartDecoder::Create(config) : Bart::Create(config, head, json);
}

const Architecture kBart{
    "bart", "Bart", [](const Json& json, Head head) { return CreateBart(json, head, kBartStyle); }};
const Architecture kMBart{"mbart", "MBart", [](const Json& json, Head head) {
                            return CreateBart(json, head, kMBartStyle);
                          }};

}  // namespace sotto
