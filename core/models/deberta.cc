// DeBERTa (He et al. 2021) and DeBERTa-v2/v3: encoders whose scores add what a token says about
// distances to what it says about content ("disentangled attention"). The two differ in how the
// projections are stored, in v2's logarithmic buckets of distance and in its convolution beside the
// first layer. Tensor names are those of Hugging Face's checkpoints.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <vector>

#include "core/models/architecture.h"
#include "core/ops/relative.h"

namespace sotto {
namespace {

struct DebertaConfig {
  bool v2;
  int64_t vocab, embedding, hidden, layers, heads, intermediate, positions, types;
  Activation activation, pooler_activation, conv_activation;
  float epsilon;
  bool position_biased, relative, content_to_position, position_to_content, share_att_key;
  bool norm_relative, legacy, tied;
  int64_t farthest, buckets, conv_kernel;

  // Entries of the table of distances: those from -span() on, up to span() - 1.
  int64_t span() const { return buckets > 0 ? buckets : farthest; }

  static Result<DebertaConfig> Read(const Json& json, bool v2) {
    DebertaConfig c;
    c.v2 = v2;
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", v2 ? 128100 : 50265, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("hidden_size", v2 ? 1536 : 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.embedding, json.IntOr("embedding_size", c.hidden, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_hidden_layers", v2 ? 24 : 12, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.heads, json.IntOr("num_attention_heads", v2 ? 24 : 12, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(c.intermediate,
                           json.IntOr("intermediate_size", v2 ? 6144 : 3072, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.positions, json.IntOr("max_position_embeddings", 512, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(c.types, json.IntOr("type_vocab_size", 0, 0, 1024));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("layer_norm_eps", 1e-7));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(c.activation, ReadActivation(json, "hidden_act", "gelu"));
    SOTTO_ASSIGN_OR_RETURN(c.pooler_activation, ReadActivation(json, "pooler_hidden_act", "gelu"));
    SOTTO_ASSIGN_OR_RETURN(c.position_biased, json.BoolOr("position_biased_input", true));
    SOTTO_ASSIGN_OR_RETURN(c.legacy, json.BoolOr("legacy", true));
    SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", true));
    SOTTO_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "talking_head", Json::Bool(false)));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "pooler_hidden_size", Json::Int(c.hidden)));
    SOTTO_RETURN_IF_ERROR(
        RequireConfig(json, "attention_head_size", Json::Int(c.hidden / c.heads)));
    SOTTO_RETURN_IF_ERROR(c.ReadRelative(json));
    return c;
  }

 private:
  static Result<Activation> ReadActivation(const Json& json, std::string_view key,
                                           std::string_view fallback) {
    SOTTO_ASSIGN_OR_RETURN(const std::string name, json.StringOr(key, fallback));
    return ActivationByName(name);
  }

  // The parts of "a|b", or the strings of an array, in lower case.
  static std::vector<std::string> ReadParts(const Json& value) {
    std::vector<std::string> parts;
    for (const Json& item : value.items()) parts.push_back(item.as_string());
    if (value.is_string()) parts.emplace_back();
    for (const char ch : value.as_string()) {
      if (ch == '|') {
        parts.emplace_back();
      } else if (ch != ' ') {
        parts.back() += static_cast<char>(ch >= 'A' && ch <= 'Z' ? ch - 'A' + 'a' : ch);
      }
    }
    return parts;
  }

  Status ReadRelative(const Json& json) {
    SOTTO_ASSIGN_OR_RETURN(relative, json.BoolOr("relative_attention", false));
    SOTTO_ASSIGN_OR_RETURN(farthest, json.IntOr("max_relative_positions", -1, -1, kMaxContext));
    if (farthest < 1) farthest = positions;
    const std::vector<std::string> types_of_scores = ReadParts(json["pos_att_type"]);
    content_to_position = position_to_content = false;
    for (const std::string& type : types_of_scores) {
      bool* wanted = type == "c2p" ? &content_to_position : &position_to_content;
      if ((type != "c2p" && type != "p2c") || *wanted)
        return Unsupported(StrCat("config.json: 'pos_att_type' with '", type,
                                  "' is not implemented; c2p and p2c are, once each"));
      *wanted = true;
    }
    buckets = conv_kernel = 0;
    share_att_key = norm_relative = false;
    if (!v2) return OkStatus();
    SOTTO_ASSIGN_OR_RETURN(share_att_key, json.BoolOr("share_att_key", false));
    SOTTO_ASSIGN_OR_RETURN(buckets, json.IntOr("position_buckets", -1, -1, kMaxContext));
    if (buckets > 0 && (buckets < 2 || farthest - 1 <= buckets / 2))
      return InvalidFile("config.json: 'position_buckets' reach beyond 'max_relative_positions'");
    for (const std::string& part : ReadParts(json["norm_rel_ebd"])) {
      if (part != "none" && part != "layer_norm")
        return Unsupported(StrCat("config.json: 'norm_rel_ebd' with '", part,
                                  "' is not implemented; 'layer_norm' is"));
      norm_relative = norm_relative || part == "layer_norm";
    }
    SOTTO_ASSIGN_OR_RETURN(conv_kernel, json.IntOr("conv_kernel_size", 0, 0, 255));
    if (conv_kernel > 0 && conv_kernel % 2 == 0)
      return Unsupported("config.json: 'conv_kernel_size' must be odd");
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "conv_groups", Json::Int(1)));
    SOTTO_ASSIGN_OR_RETURN(conv_activation, ReadActivation(json, "conv_act", "tanh"));
    return OkStatus();
  }
};

// x [batch, tokens, columns], 0 where the mask u8 [batch, tokens] is.
Tensor WithoutPadding(Context& ctx, const Tensor& x, const Tensor& mask) {
  if (!mask || !ctx.ok()) return x;
  Tensor keep = ctx.New(x.shape());
  for (int64_t r = 0; keep && r < x.shape().rows(); ++r) {
    std::fill_n(keep.f32() + r * x.dim(2), x.dim(2),
                static_cast<const uint8_t*>(mask.data())[r] != 0 ? 1.0f : 0.0f);
  }
  return Mul(ctx, x, keep);
}

struct DebertaEmbeddings {
  nn::Embedding word_embeddings, position_embeddings, token_type_embeddings;
  nn::Linear embed_proj;
  nn::LayerNorm layer_norm;

  void Declare(ParameterList& list, const std::string& at, const DebertaConfig& c) {
    word_embeddings.Declare(list, at + "word_embeddings", c.vocab, c.embedding);
    if (c.position_biased)
      position_embeddings.Declare(list, at + "position_embeddings", c.positions, c.embedding);
    if (c.types > 0)
      token_type_embeddings.Declare(list, at + "token_type_embeddings", c.types, c.embedding);
    if (c.embedding != c.hidden)
      embed_proj.Declare(list, at + "embed_proj", c.hidden, c.embedding, /*with_bias=*/false);
    layer_norm.epsilon = c.epsilon;
    layer_norm.Declare(list, at + "LayerNorm", c.hidden);
  }

  Tensor operator()(Context& ctx, const ModelInput& input, const Sequence& s) const {
    Tensor x = word_embeddings(ctx, input.ids);
    if (position_embeddings.weight) x = Add(ctx, x, position_embeddings(ctx, s.position_ids));
    if (token_type_embeddings.weight) {
      const Tensor types = input.token_type_ids ? input.token_type_ids
                                                : ctx.NewZeros(input.ids.shape(), DType::kI32);
      x = Add(ctx, x, token_type_embeddings(ctx, types));
    }
    if (embed_proj.weight) x = embed_proj(ctx, x);
    return Dropout(ctx, WithoutPadding(ctx, layer_norm(ctx, x), s.key_mask));
  }
};

// The distances of one call: which entries of the model's table they are, and those entries.
struct Distances {
  Tensor table;  // [entries, hidden]; empty without relative attention
  Tensor entry;  // int32 [2 tokens - 1] by key - query, from -(tokens - 1) on
};

struct DebertaLayer {
  nn::Linear in_proj, query_proj, key_proj, value_proj, pos_key, pos_query;
  Tensor q_bias, v_bias;
  nn::Linear attention_output, intermediate, output;
  nn::LayerNorm attention_norm, output_norm;
  AttentionSpec attention;
  Activation activation;
  bool c2p, p2c, shared;

  void Declare(ParameterList& list, const std::string& at, const DebertaConfig& c) {
    const std::string self = at + "attention.self.";
    c2p = c.relative && c.content_to_position;
    p2c = c.relative && c.position_to_content;
    shared = c.share_att_key;
    if (c.v2) {
      query_proj.Declare(list, self + "query_proj", c.hidden, c.hidden);
      key_proj.Declare(list, self + "key_proj", c.hidden, c.hidden);
      value_proj.Declare(list, self + "value_proj", c.hidden, c.hidden);
    } else {
      list.Bias(self + "q_bias", q_bias, c.hidden);
      list.Bias(self + "v_bias", v_bias, c.hidden);
      in_proj.Declare(list, self + "in_proj", 3 * c.hidden, c.hidden, /*with_bias=*/false);
    }
    if (c2p && !shared)
      pos_key.Declare(list, self + (c.v2 ? "pos_key_proj" : "pos_proj"), c.hidden, c.hidden, c.v2);
    if (p2c && !shared)
      pos_query.Declare(list, self + (c.v2 ? "pos_query_proj" : "pos_q_proj"), c.hidden, c.hidden);
    attention_output.Declare(list, at + "attention.output.dense", c.hidden, c.hidden);
    attention_norm.epsilon = output_norm.epsilon = c.epsilon;
    attention_norm.Declare(list, at + "attention.output.LayerNorm", c.hidden);
    intermediate.Declare(list, at + "intermediate.dense", c.intermediate, c.hidden);
    output.Declare(list, at + "output.dense", c.hidden, c.intermediate);
    output_norm.Declare(list, at + "output.LayerNorm", c.hidden);
    activation = c.activation;
    attention.heads = attention.kv_heads = c.heads;
    const int64_t terms = 1 + c.content_to_position + c.position_to_content;
    const int64_t head_size = c.hidden / c.heads;
    attention.scale = 1 / std::sqrt(static_cast<float>(terms * head_size));
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, const Distances& distances,
                    int index) const {
    Tensor q, k, v;
    if (in_proj.weight) {  // each head has its rows of q, k and v together
      const int64_t heads = attention.heads, width = x.dim(2);
      const Tensor qkv = in_proj(ctx, x);
      if (!ctx.ok()) return {};
      const std::vector<Tensor> parts =
          Split(ctx, qkv.Reshaped({s.batch, s.tokens, heads, 3 * width / heads}), 3);
      if (!ctx.ok()) return {};
      q = Add(ctx, parts[0].Reshaped(x.shape()), q_bias);
      k = parts[1].Reshaped(x.shape());
      v = Add(ctx, parts[2].Reshaped(x.shape()), v_bias);
    } else {
      q = query_proj(ctx, x), k = key_proj(ctx, x), v = value_proj(ctx, x);
    }
    AttentionSpec spec = attention;
    spec.key_mask = s.key_mask;
    if (c2p || p2c) {
      const Tensor table = Dropout(ctx, distances.table);
      const Tensor keys = c2p ? (shared ? key_proj : pos_key)(ctx, table) : Tensor();
      const Tensor queries = p2c ? (shared ? query_proj : pos_query)(ctx, table) : Tensor();
      spec.bias =
          DisentangledBias(ctx, q, k, keys, queries, distances.entry, spec.heads, spec.scale);
    }
    Tensor h = nn::Attend(ctx, q, k, v, spec, nullptr, index);
    h = attention_norm(ctx, Add(ctx, x, Dropout(ctx, attention_output(ctx, h))));
    const Tensor f = output(ctx, Activate(ctx, intermediate(ctx, h), activation));
    return output_norm(ctx, Add(ctx, h, Dropout(ctx, f)));
  }
};

// What v2 adds to the first layer's output: a convolution of the embeddings over tokens.
struct DebertaConvolution {
  nn::Linear conv;
  nn::LayerNorm norm;
  Activation activation;
  int64_t taps = 0;

  void Declare(ParameterList& list, const std::string& at, const DebertaConfig& c) {
    taps = c.conv_kernel;
    activation = c.conv_activation;
    list.Convolution(at + "conv.weight", conv.weight, c.hidden, c.hidden, taps);
    list.Bias(at + "conv.bias", conv.bias, c.hidden);
    norm.epsilon = c.epsilon;
    norm.Declare(list, at + "LayerNorm", c.hidden);
  }

  Tensor operator()(Context& ctx, const Tensor& embedded, const Tensor& x,
                    const Tensor& mask) const {
    const Tensor h = WithoutPadding(ctx, conv(ctx, Unfold(ctx, embedded, taps)), mask);
    const Tensor sum = Add(ctx, x, Activate(ctx, Dropout(ctx, h), activation));
    return WithoutPadding(ctx, norm(ctx, sum), mask);
  }
};

class Deberta final : public Model {
 public:
  Deberta(const DebertaConfig& c, Head head, int64_t labels) : config_of_(c), layers_(c.layers) {
    head_ = head;
    base_prefix_ = "deberta.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    max_positions_ = c.position_biased ? c.positions : 0;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    embeddings_.Declare(parameters_, at + "embeddings.", c);
    for (int64_t i = 0; i < c.layers; ++i)
      layers_[i].Declare(parameters_, StrCat(at, "encoder.layer.", i, "."), c);
    if (c.relative)
      rel_embeddings_.Declare(parameters_, at + "encoder.rel_embeddings", 2 * c.span(), c.hidden);
    rel_norm_.epsilon = c.epsilon;
    if (c.norm_relative) rel_norm_.Declare(parameters_, at + "encoder.LayerNorm", c.hidden);
    if (c.conv_kernel > 0) conv_.Declare(parameters_, at + "encoder.conv.", c);
    DeclareHead(labels);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    if (cache != nullptr) ctx.Fail(InvalidArgument("a bidirectional encoder has no past to cache"));
    const Sequence s =
        ReadSequence(ctx, input, nullptr, max_positions_, /*counted_positions=*/false);
    const Tensor embedded = embeddings_(ctx, input, s);
    nn::Observe(ctx, embedded);
    const Distances distances = ReadDistances(ctx, s.tokens);
    Tensor x = embedded;
    for (size_t i = 0; i < layers_.size() && ctx.ok(); ++i) {
      x = layers_[i](ctx, x, s, distances, static_cast<int>(i));
      if (i == 0 && conv_.taps > 0) x = conv_(ctx, embedded, x, s.key_mask);
      nn::Observe(ctx, x);
    }
    out.last_hidden_state = x;
    if (ctx.ok()) out.logits = Logits(ctx, x, input);
    return out;
  }

  bool Ignores(std::string_view name) const override {
    // What the pre-training of these checkpoints needed; the heads that a fine-tuned or bare model
    // leaves behind; and ties.
    return name.ends_with("embeddings.position_ids") ||
           name.ends_with("embeddings.position_embeddings.weight") || name.starts_with("cls.") ||
           name.starts_with("mask_predictions.") || name.starts_with("lm_predictions.") ||
           name.starts_with("pooler.");
  }

 private:
  // The index of a distance in the table, counted from its middle: the distance itself up to half
  // of the buckets, then by its logarithm. In f32, as Hugging Face computes it.
  int64_t Bucket(int64_t distance) const {
    const int64_t middle = config_of_.buckets / 2, size = std::abs(distance);
    if (config_of_.buckets <= 0 || size <= middle) return distance;
    const float range = std::log(static_cast<float>(static_cast<double>(config_of_.farthest - 1) /
                                                    static_cast<double>(middle)));
    const float part = std::log(static_cast<float>(size) / static_cast<float>(middle)) / range;
    const int64_t bucket =
        static_cast<int64_t>(std::ceil(part * static_cast<float>(middle - 1))) + middle;
    return distance < 0 ? -bucket : bucket;
  }

  Distances ReadDistances(Context& ctx, int64_t tokens) const {
    Distances d;
    const int64_t span = config_of_.span();
    if (!config_of_.relative || !ctx.ok()) return d;
    const auto entry_of = [&](int64_t query_minus_key) {
      return std::clamp(Bucket(query_minus_key) + span, int64_t{0}, 2 * span - 1);
    };
    const int64_t first = entry_of(1 - tokens), last = entry_of(tokens - 1);
    d.entry = ctx.New({2 * tokens - 1}, DType::kI32);
    Tensor rows = ctx.New({last - first + 1}, DType::kI32);
    if (!ctx.ok()) return d;
    for (int64_t i = 0; i < 2 * tokens - 1; ++i)
      d.entry.i32()[i] = static_cast<int32_t>(entry_of(tokens - 1 - i) - first);
    for (int64_t i = 0; i < rows.dim(0); ++i) rows.i32()[i] = static_cast<int32_t>(first + i);
    d.table = rel_embeddings_(ctx, rows);
    if (config_of_.norm_relative) d.table = rel_norm_(ctx, d.table);
    return d;
  }

  // Hugging Face has two masked-LM heads: its first one ("legacy"), and that of the authors.
  void DeclareHead(int64_t labels) {
    const DebertaConfig& c = config_of_;
    switch (head_) {
      case Head::kMaskedLM: {
        const std::string at = c.legacy ? "cls.predictions.transform." : "lm_predictions.lm_head.";
        const int64_t width = c.legacy ? c.embedding : c.hidden;
        dense_.Declare(parameters_, at + "dense", width, c.hidden);
        norm_.epsilon = c.epsilon;
        norm_.Declare(parameters_, at + "LayerNorm", width);
        if (c.legacy && !c.tied) {
          output_.Declare(parameters_, "cls.predictions.decoder", c.vocab, width);
        } else {
          parameters_.Bias(c.legacy ? "cls.predictions.bias" : "lm_predictions.lm_head.bias",
                           output_.bias, c.vocab);
        }
        break;
      }
      case Head::kSequenceClassification:
      case Head::kMultipleChoice:
        dense_.Declare(parameters_, "pooler.dense", c.hidden, c.hidden);
        output_.Declare(parameters_, "classifier", head_ == Head::kMultipleChoice ? 1 : labels,
                        c.hidden);
        break;
      case Head::kTokenClassification:
        output_.Declare(parameters_, "classifier", labels, c.hidden);
        break;
      case Head::kQuestionAnswering:
        output_.Declare(parameters_, "qa_outputs", 2, c.hidden);
        break;
      default:
        break;
    }
  }

  Tensor Logits(Context& ctx, const Tensor& x, const ModelInput& input) const {
    switch (head_) {
      case Head::kMaskedLM: {
        const Tensor h =
            Activate(ctx, dense_(ctx, AtRows(ctx, x, input.rows)), config_of_.activation);
        return Linear(ctx, norm_(ctx, h),
                      output_.weight ? output_.weight : embeddings_.word_embeddings.weight,
                      output_.bias);
      }
      case Head::kSequenceClassification:
      case Head::kMultipleChoice: {
        const Tensor pooled = Activate(ctx, dense_(ctx, Dropout(ctx, FirstTokens(ctx, x))),
                                       config_of_.pooler_activation);
        const Tensor y = output_(ctx, Dropout(ctx, pooled));
        return head_ == Head::kMultipleChoice && ctx.ok() ? y.Reshaped({x.dim(0)}) : y;
      }
      case Head::kTokenClassification:
        return output_(ctx, Dropout(ctx, x));
      case Head::kQuestionAnswering:
        return output_(ctx, x);
      default:
        return {};
    }
  }

  DebertaConfig config_of_;
  DebertaEmbeddings embeddings_;
  std::vector<DebertaLayer> layers_;
  nn::Embedding rel_embeddings_;
  nn::LayerNorm rel_norm_;
  DebertaConvolution conv_;
  nn::Linear dense_, output_;  // of the head
  nn::LayerNorm norm_;
};

template <bool kV2>
Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const DebertaConfig config, DebertaConfig::Read(json, kV2));
  switch (head) {
    case Head::kNone:
    case Head::kSequenceClassification:
    case Head::kTokenClassification:
    case Head::kQuestionAnswering:
      break;
    case Head::kMaskedLM:
      if (!config.legacy && (!config.tied || config.embedding != config.hidden))
        return Unsupported(
            "DeBERTa's own masked-LM head is tied to embeddings of the hidden width");
      break;
    case Head::kMultipleChoice:
      if (kV2) break;
      [[fallthrough]];
    default:
      return Unsupported("this head of DeBERTa is not implemented");
  }
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  return std::unique_ptr<Model>(new Deberta(config, head, static_cast<int64_t>(labels.size())));
}

}  // namespace

const Architecture kDeberta{"deberta", "Deberta", Create<false>};
const Architecture kDebertaV2{"deberta-v2", "DebertaV2", Create<true>};

}  // namespace sotto
