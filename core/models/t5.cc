// T5 (Raffel et al. 2020), T5 1.1 and mT5 (Xue et al. 2021), and UMT5 (Chung et al. 2023): an
// encoder-decoder without absolute positions. Scores are not scaled; what is added to them depends
// on the distance alone, by buckets.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/models/encoder_decoder.h"
#include "core/ops/relative.h"

namespace sotto {
namespace {

// What differs between those that share the layers.
struct T5Style {
  bool table_by_layer = false;  // each layer has a table of distances, not the first alone
  std::string_view feed_forward = "relu";  // what the config says by default
  bool tied = true;                        // the output is the embeddings' where it is scaled
  bool scaled = true;                      // where the config does not say otherwise
};

struct T5Config {
  int64_t vocab, width, heads, head_dim, inner, layers, decoder_layers, buckets, farthest, labels;
  int32_t pad, start, end;
  float epsilon, dropout, fresh;
  Activation activation;
  bool gated, table_by_layer;
  bool tied;     // the output is the embeddings'
  bool may_tie;  // it is where a checkpoint has no output of its own
  bool scaled;   // what it is given was divided by the root of the width

  static Result<T5Config> Read(const Json& json, const T5Style& style);
};

Result<T5Config> T5Config::Read(const Json& json, const T5Style& style) {
  T5Config c;
  c.table_by_layer = style.table_by_layer;
  SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 32128, 1, kMaxVocab));
  SOTTO_ASSIGN_OR_RETURN(c.width, json.IntOr("d_model", 512, 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("num_heads", 8, 1, kMaxHeads));
  SOTTO_ASSIGN_OR_RETURN(c.head_dim, json.IntOr("d_kv", 64, 1, kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(c.inner, json.IntOr("d_ff", 2048, 1, 4 * kMaxWidth));
  SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_layers", 6, 1, kMaxLayers));
  SOTTO_ASSIGN_OR_RETURN(c.decoder_layers,
                         json.IntOr("num_decoder_layers", c.layers, 1, kMaxLayers));
  SOTTO_ASSIGN_OR_RETURN(c.buckets, json.IntOr("relative_attention_num_buckets", 32, 4, 1 << 16));
  SOTTO_ASSIGN_OR_RETURN(c.farthest,
                         json.IntOr("relative_attention_max_distance", 128, 1, kMaxContext));
  // Of what is seen on one side half the buckets are exact, and the rest must lie beyond.
  if (c.farthest <= c.buckets / 2) {
    return InvalidFile(StrCat("config.json: 'relative_attention_max_distance' is ", c.farthest,
                              "; with ", c.buckets, " buckets it must be above ", c.buckets / 2));
  }
  SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("layer_norm_epsilon", 1e-6));
  c.epsilon = static_cast<float>(epsilon);
  SOTTO_ASSIGN_OR_RETURN(c.dropout, ReadDropout(json, "dropout_rate", 0));
  SOTTO_ASSIGN_OR_RETURN(const double fresh, json.NumberOr("initializer_factor", 1));
  c.fresh = static_cast<float>(fresh);
  SOTTO_ASSIGN_OR_RETURN(std::string act,
                         json.StringOr("feed_forward_proj", std::string(style.feed_forward)));
  c.gated = act.starts_with("gated-");
  if (c.gated) act = act == "gated-gelu" ? "gelu_new" : act.substr(6);
  SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(act));
  // Of version 1.0 the output is the embeddings', and scaled; the others have one of their own,
  // which is not. transformers 5 writes of all of them that they are tied, and keeps apart what is
  // scaled.
  SOTTO_ASSIGN_OR_RETURN(c.may_tie, json.BoolOr("tie_word_embeddings", true));
  c.scaled = style.scaled;
  if (c.scaled) {
    SOTTO_ASSIGN_OR_RETURN(c.scaled, json.BoolOr("scale_decoder_outputs", c.may_tie));
  }
  c.tied = style.tied && c.scaled;
  const auto id = [&](const char* key, int64_t otherwise) -> Result<int32_t> {
    SOTTO_ASSIGN_OR_RETURN(const int64_t value, json.IntOr(key, otherwise, 0, kMaxVocab));
    return static_cast<int32_t>(value);
  };
  SOTTO_ASSIGN_OR_RETURN(c.pad, id("pad_token_id", 0));
  SOTTO_ASSIGN_OR_RETURN(c.start, id("decoder_start_token_id", c.pad));
  SOTTO_ASSIGN_OR_RETURN(c.end, id("eos_token_id", 1));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  c.labels = static_cast<int64_t>(labels.size());
  return c;
}

// A matrix [out, in] that begins with a deviation of fresh / sqrt(`of`), as Mesh TensorFlow has it.
void DeclareLinear(ParameterList& list, nn::Linear& linear, const std::string& name, int64_t out,
                   int64_t in, const T5Config& c, int64_t of) {
  linear.Declare(list, name, out, in, /*with_bias=*/false);
  list.BeginsAsNormal(c.fresh / std::sqrt(static_cast<float>(of)));
}

struct T5FeedForward {
  nn::Linear wi, gated, wo;
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const T5Config& c) {
    DeclareLinear(list, wi, at + (c.gated ? "wi_0" : "wi"), c.inner, c.width, c, c.width);
    if (c.gated) DeclareLinear(list, gated, at + "wi_1", c.inner, c.width, c, c.width);
    DeclareLinear(list, wo, at + "wo", c.width, c.inner, c, c.inner);
    activation = c.activation;
  }
  Tensor operator()(Context& ctx, const Tensor& x) const {
    Tensor h = Activate(ctx, wi(ctx, x), activation);
    if (gated.weight) h = Mul(ctx, h, gated(ctx, x));
    return wo(ctx, Dropout(ctx, h));
  }
};

struct T5Layer {
  nn::MultiHeadAttention self_attention, cross_attention;
  nn::Embedding table;  // [buckets, heads], where the layer has one
  T5FeedForward feed_forward;
  nn::RmsNorm self_norm, cross_norm, feed_forward_norm;

  void Declare(ParameterList& list, const std::string& at, const T5Config& c, bool decodes,
               bool has_table) {
    const auto attention = [&](nn::MultiHeadAttention& part, const std::string& name) {
      const int64_t inner = c.heads * c.head_dim;
      // Queries begin smaller by the root of a head's size, by which scores are not divided.
      DeclareLinear(list, part.q, name + ".q", inner, c.width, c, c.width * c.head_dim);
      DeclareLinear(list, part.k, name + ".k", inner, c.width, c, c.width);
      DeclareLinear(list, part.v, name + ".v", inner, c.width, c, c.width);
      DeclareLinear(list, part.out, name + ".o", c.width, inner, c, inner);
      part.spec = {.heads = c.heads, .kv_heads = c.heads, .dropout = c.dropout};
    };
    const auto norm = [&](nn::RmsNorm& part, int place) {
      part.epsilon = c.epsilon;
      part.Declare(list, StrCat(at, "layer.", place, ".layer_norm"), c.width);
    };
    int place = 0;
    attention(self_attention, at + "layer.0.SelfAttention");
    self_attention.spec.causal = decodes;
    if (has_table) {
      table.Declare(list, at + "layer.0.SelfAttention.relative_attention_bias", c.buckets, c.heads);
      list.BeginsAsNormal(c.fresh / std::sqrt(static_cast<float>(c.width)));
    }
    norm(self_norm, place++);
    if (decodes) {
      attention(cross_attention, at + "layer.1.EncDecAttention");
      norm(cross_norm, place++);
    }
    feed_forward.Declare(list, StrCat(at, "layer.", place, ".DenseReluDense."), c);
    norm(feed_forward_norm, place);
  }

  // Without `source`: the encoder's.
  Tensor operator()(Context& ctx, Tensor x, const Sequence& s, const Tensor& bias,
                    const nn::Source* source, KvCache* cache, int index) const {
    const auto add = [&](const Tensor& part) { x = Add(ctx, x, Dropout(ctx, part)); };
    add(self_attention(ctx, self_norm(ctx, x), s.key_mask, cache, index, bias));
    if (source != nullptr) add(cross_attention(ctx, cross_norm(ctx, x), *source, cache, index));
    add(feed_forward(ctx, feed_forward_norm(ctx, x)));
    return x;
  }
};

// The encoder or the decoder.
class T5Stack {
 public:
  void Declare(ParameterList& list, const std::string& at, const T5Config& c, bool decodes) {
    layers_.resize(static_cast<size_t>(decodes ? c.decoder_layers : c.layers));
    for (size_t i = 0; i < layers_.size(); ++i) {
      layers_[i].Declare(list, StrCat(at, "block.", i, "."), c, decodes,
                         i == 0 || c.table_by_layer);
    }
    final_norm_.epsilon = c.epsilon;
    final_norm_.Declare(list, at + "final_layer_norm", c.width);
    decodes_ = decodes;
    buckets_ = c.buckets;
    farthest_ = c.farthest;
  }

  Tensor operator()(Context& ctx, const Tensor& embedded, const Sequence& s,
                    const nn::Source* source, KvCache* cache) const {
    Tensor x = Dropout(ctx, embedded);
    nn::Observe(ctx, x);
    const Tensor entry = Entries(ctx, s);
    Tensor bias;
    for (size_t i = 0; i < layers_.size() && ctx.ok(); ++i) {
      const T5Layer& layer = layers_[i];
      if (layer.table.weight) bias = RelativeBias(ctx, layer.table.weight, entry);
      x = layer(ctx, x, s, bias, source, cache, static_cast<int>(i));
      if (i + 1 < layers_.size()) nn::Observe(ctx, x);
    }
    x = Dropout(ctx, final_norm_(ctx, x));
    nn::Observe(ctx, x);
    return x;
  }

 private:
  // The bucket of each pair, int32 [tokens, past + tokens].
  Tensor Entries(Context& ctx, const Sequence& s) const {
    if (!ctx.ok()) return {};
    const int64_t keys = s.past + s.tokens;
    Tensor entry = ctx.New({s.tokens, keys}, DType::kI32);
    if (!entry) return entry;
    // By distance: the last token's to the first key first.
    std::vector<int32_t> buckets;
    for (int64_t distance = 1 - keys; distance < s.tokens; ++distance)
      buckets.push_back(RelativeBucket(distance, !decodes_, buckets_, farthest_));
    for (int64_t i = 0; i < s.tokens; ++i)
      std::copy_n(buckets.data() + s.tokens - 1 - i, keys, entry.i32() + i * keys);
    return entry;
  }

  std::vector<T5Layer> layers_;
  nn::RmsNorm final_norm_;
  bool decodes_ = false;
  int64_t buckets_ = 0, farthest_ = 0;
};

// What is stored besides: the ties, and a table that the oldest decoders had and never used.
bool IsLeftover(std::string_view name) {
  return name.ends_with("coder.embed_tokens.weight") ||
         name.ends_with("EncDecAttention.relative_attention_bias.weight");
}

class T5 final : public EncoderDecoder {
 public:
  T5(const T5Config& c, Head head) : spec_(c) {
    head_ = head;
    vocab_size_ = c.vocab;
    hidden_size_ = c.width;
    // Hugging Face puts one class into the other.
    base_prefix_ = head == Head::kSequenceClassification ? "transformer." : "";
    shared_.Declare(parameters_, base_prefix_ + "shared", c.vocab, c.width);
    parameters_.BeginsAsNormal(c.fresh);
    encoder_.Declare(parameters_, base_prefix_ + "encoder.", c, /*decodes=*/false);
    decoder_.Declare(parameters_, base_prefix_ + "decoder.", c, /*decodes=*/true);
    if (head == Head::kSeq2SeqLM && !c.tied) {
      parameters_.Matrix("lm_head.weight", lm_head_, c.vocab, c.width);
      if (c.may_tie) parameters_.MayLack(1);
    } else if (head == Head::kSequenceClassification) {
      dense_.Declare(parameters_, "classification_head.dense", c.width, c.width);
      out_.Declare(parameters_, "classification_head.out_proj", c.labels, c.width);
    } else if (head == Head::kQuestionAnswering) {
      out_.Declare(parameters_, "qa_outputs", 2, c.width);
    }
  }

  bool IsInBackbone(std::string_view name) const override {
    return name.starts_with(base_prefix_) && name != "lm_head.weight" &&
           !name.starts_with("qa_outputs.");
  }

  bool Ignores(std::string_view name) const override {
    if (name == "lm_head.weight") return spec_.tied || head_ != Head::kSeq2SeqLM;
    return IsLeftover(name);
  }

 private:
  Tensor Encode(Context& ctx, const ModelInput& input) const override {
    const Sequence s = EncoderSequence(ctx, input);
    return encoder_(ctx, shared_(ctx, input.ids), s, nullptr, nullptr);
  }

  Tensor Decode(Context& ctx, const ModelInput& input, const nn::Source& source,
                KvCache* cache) const override {
    const Sequence s = DecoderSequence(ctx, input, cache);
    return decoder_(ctx, shared_(ctx, input.decoder_ids), s, &source, cache);
  }

  void RunHead(Context& ctx, const ModelInput& input, ModelOutput& out) const override {
    const Tensor& x = out.last_hidden_state;
    if (!ctx.ok()) return;
    if (head_ == Head::kSeq2SeqLM) {
      Tensor rows = AtRows(ctx, x, input.rows);
      if (spec_.scaled) rows = Scale(ctx, rows, 1 / std::sqrt(static_cast<float>(spec_.width)));
      out.logits = Linear(ctx, rows, lm_head_ ? lm_head_ : shared_.weight, {});
    } else if (head_ == Head::kSequenceClassification) {
      const Tensor h = Dropout(ctx, AtLastEnds(ctx, x, input, spec_.end));
      out.logits = out_(ctx, Dropout(ctx, Activate(ctx, dense_(ctx, h), Activation::kTanh)));
    } else if (head_ == Head::kQuestionAnswering) {
      out.logits = out_(ctx, x);
    }
  }

  // A model that neither generates nor is bare decodes its own source.
  Tensor DefaultDecoderIds(Context& ctx, const ModelInput& input) const override {
    if (head_ == Head::kSeq2SeqLM || head_ == Head::kNone)
      return EncoderDecoder::DefaultDecoderIds(ctx, input);
    return ShiftedRight(ctx, input.ids, spec_.start, spec_.pad);
  }

  T5Config spec_;
  nn::Embedding shared_;
  T5Stack encoder_, decoder_;
  Tensor lm_head_;
  nn::Linear dense_, out_;
};

// The encoder by itself: EncoderModel and ForTokenClassification.
class T5Encoder final : public Model {
 public:
  T5Encoder(const T5Config& c, Head head) {
    head_ = head;
    vocab_size_ = c.vocab;
    hidden_size_ = c.width;
    base_prefix_ = head == Head::kTokenClassification ? "transformer." : "";
    shared_.Declare(parameters_, base_prefix_ + "shared", c.vocab, c.width);
    parameters_.BeginsAsNormal(c.fresh);
    encoder_.Declare(parameters_, base_prefix_ + "encoder.", c, /*decodes=*/false);
    if (head == Head::kTokenClassification)
      classifier_.Declare(parameters_, "classifier", c.labels, c.width);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    if (cache != nullptr) {
      ctx.Fail(InvalidArgument("an encoder has no use for a cache"));
      return out;
    }
    const Sequence s = ReadSequence(ctx, input, nullptr, max_positions_,
                                    /*counted_positions=*/false);
    out.last_hidden_state = encoder_(ctx, shared_(ctx, input.ids), s, nullptr, nullptr);
    if (classifier_.weight) out.logits = classifier_(ctx, Dropout(ctx, out.last_hidden_state));
    return out;
  }

  // A whole checkpoint has a decoder and an output, too.
  bool Ignores(std::string_view name) const override {
    return IsLeftover(name) ||
           (head_ == Head::kEncoder && (name.starts_with("decoder.") || name == "lm_head.weight"));
  }

 private:
  nn::Embedding shared_;
  T5Stack encoder_;
  nn::Linear classifier_;
};

Result<std::unique_ptr<Model>> CreateT5(const Json& json, Head head, const T5Style& style) {
  SOTTO_ASSIGN_OR_RETURN(const T5Config config, T5Config::Read(json, style));
  switch (head) {
    case Head::kEncoder:
    case Head::kTokenClassification:
      return std::unique_ptr<Model>(new T5Encoder(config, head));
    case Head::kNone:
    case Head::kSeq2SeqLM:
    case Head::kSequenceClassification:
    case Head::kQuestionAnswering:
      SOTTO_RETURN_IF_ERROR(RequireConfig(json, "is_encoder_decoder", Json::Bool(true)));
      return std::unique_ptr<Model>(new T5(config, head));
    default:
      return Unsupported(
          StrCat("the head of ", json["architectures"].Dump(), " is not implemented"));
  }
}

}  // namespace

const Architecture kMT5{
    "mt5", "MT5", [](const Json& json, Head head) {
      return CreateT5(json, head, {.feed_forward = "gated-gelu", .tied = false, .scaled = false});
    }};
const Architecture kT5{"t5", "T5",
                       [](const Json& json, Head head) { return CreateT5(json, head, {}); }};
const Architecture kUMT5{
    "umt5", "UMT5", [](const Json& json, Head head) {
      return CreateT5(json, head,
                      {.table_by_layer = true, .feed_forward = "gated-gelu", .tied = false});
    }};

}  // namespace sotto
