// NomicBERT (Nussbaum et al. 2024): BERT's post-norm encoder with rotary positions and gated
// feed-forwards. Tensor names are those of the published checkpoints (nomic-embed-text), which
// Hugging Face's code keeps; the config is read in their manner ("n_embd") and in Hugging Face's.
#include <cmath>

#include "core/models/architecture.h"
#include "core/models/rotary.h"

namespace sotto {
namespace {

struct NomicBertConfig {
  int64_t vocab, hidden, layers, heads, intermediate, positions, types;
  Activation activation;  // of the gate
  float epsilon;
  bool attention_bias = false, in_bias = false, out_bias = false;
  RotaryPositions rotary;

  static Result<NomicBertConfig> Read(const Json& json) {
    NomicBertConfig c;
    const bool published = json.has("n_embd");
    const auto key = [&](std::string_view ours, std::string_view theirs) {
      return published ? theirs : ours;
    };
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 30528, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr(key("hidden_size", "n_embd"), 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers,
                           json.IntOr(key("num_hidden_layers", "n_layer"), 12, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.heads,
                           json.IntOr(key("num_attention_heads", "n_head"), 12, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(c.intermediate,
                           json.IntOr(key("intermediate_size", "n_inner"),
                                      published ? 4 * c.hidden : 3072, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.positions, json.IntOr(key("max_position_embeddings", "n_positions"),
                                                   2048, 1, kMaxContext));
    SOTTO_ASSIGN_OR_RETURN(c.types, json.IntOr("type_vocab_size", 2, 1, 1024));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon,
                           json.NumberOr(key("layer_norm_eps", "layer_norm_epsilon"), 1e-12));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_RETURN_IF_ERROR(CheckHeads(c.hidden, c.heads));
    const int64_t head_dim = c.hidden / c.heads;
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "head_dim", Json::Int(head_dim)));
    SOTTO_RETURN_IF_ERROR(published ? c.ReadPublished(json, head_dim) : c.ReadOurs(json, head_dim));
    return c;
  }

 private:
  Status ReadOurs(const Json& json, int64_t head_dim) {
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("hidden_act", "silu"));
    SOTTO_ASSIGN_OR_RETURN(activation, ActivationByName(act));
    SOTTO_ASSIGN_OR_RETURN(rotary, RotaryPositions::Read(json, head_dim, {.theta = 1000}));
    return OkStatus();
  }

  Status ReadPublished(const Json& json, int64_t head_dim) {
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("activation_function", "gelu"));
    if (act != "swiglu" && act != "geglu")
      return Unsupported(StrCat("config.json: 'activation_function' ", act,
                                " is not implemented; swiglu and geglu are"));
    activation = act == "swiglu" ? Activation::kSilu : Activation::kGelu;
    for (const std::string_view off :
         {"prenorm", "parallel_block", "causal", "use_rms_norm", "rotary_emb_interleaved",
          "scale_attn_by_inverse_layer_idx"}) {
      SOTTO_RETURN_IF_ERROR(RequireConfig(json, off, Json::Bool(false)));
    }
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "scale_attn_weights", Json::Bool(true)));
    for (const std::string_view none : {"rotary_scaling_factor", "rotary_emb_scale_base"}) {
      SOTTO_RETURN_IF_ERROR(RequireConfig(json, none, Json()));
    }
    SOTTO_ASSIGN_OR_RETURN(const int64_t experts,
                           json.IntOr("moe_every_n_layers", 0, 0, kMaxLayers));
    if (experts > 0) return Unsupported("config.json: mixtures of experts are not implemented");
    SOTTO_ASSIGN_OR_RETURN(const int64_t multiple,
                           json.IntOr("pad_vocab_size_multiple", 1, 1, kMaxVocab));
    vocab = (vocab + multiple - 1) / multiple * multiple;
    SOTTO_ASSIGN_OR_RETURN(attention_bias, json.BoolOr("qkv_proj_bias", true));
    SOTTO_ASSIGN_OR_RETURN(in_bias, json.BoolOr("mlp_fc1_bias", true));
    SOTTO_ASSIGN_OR_RETURN(out_bias, json.BoolOr("mlp_fc2_bias", true));
    SOTTO_ASSIGN_OR_RETURN(rotary, RotaryPositions::Read(json, head_dim,
                                                         {.theta_key = "rotary_emb_base",
                                                          .fraction = 0,
                                                          .fraction_key = "rotary_emb_fraction",
                                                          .scaling_key = "rotary_scaling_factor"}));
    if (rotary.dim() == 0)
      return Unsupported("config.json: NomicBERT without rotary positions is not implemented");
    return OkStatus();
  }
};

struct NomicBertLayer {
  nn::Linear qkv;
  nn::RotaryAttention attn;
  nn::GatedFeedForward mlp;
  nn::LayerNorm norm1, norm2;

  void Declare(ParameterList& list, const std::string& at, const NomicBertConfig& c) {
    qkv.Declare(list, at + "attn.Wqkv", 3 * c.hidden, c.hidden, c.attention_bias);
    attn.o_proj.Declare(list, at + "attn.out_proj", c.hidden, c.hidden, c.attention_bias);
    attn.spec.heads = attn.spec.kv_heads = c.heads;
    const int64_t head_dim = c.hidden / c.heads;
    attn.spec.scale = 1 / std::sqrt(static_cast<float>(head_dim));
    norm1.epsilon = norm2.epsilon = c.epsilon;
    norm1.Declare(list, at + "norm1", c.hidden);
    mlp.up.Declare(list, at + "mlp.fc11", c.intermediate, c.hidden, c.in_bias);
    mlp.gate.Declare(list, at + "mlp.fc12", c.intermediate, c.hidden, c.in_bias);
    mlp.down.Declare(list, at + "mlp.fc2", c.hidden, c.intermediate, c.out_bias);
    mlp.activation = c.activation;
    norm2.Declare(list, at + "norm2", c.hidden);
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, const nn::RotaryTables& turn,
                    int index) const {
    const std::vector<Tensor> parts = Split(ctx, qkv(ctx, x), 3);
    const Tensor a = attn(ctx, parts[0], parts[1], parts[2], s.key_mask, &turn, nullptr, index);
    const Tensor h = norm1(ctx, Add(ctx, x, Dropout(ctx, a)));
    return norm2(ctx, Add(ctx, h, Dropout(ctx, mlp(ctx, h))));
  }
};

class NomicBert final : public Model {
 public:
  NomicBert(const NomicBertConfig& c, Head head, int64_t labels)
      : layers_(c.layers), rotary_(c.rotary), activation_(c.activation) {
    head_ = head;
    base_prefix_ = "nomic_bert.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    max_positions_ = c.positions;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    word_embeddings_.Declare(parameters_, at + "embeddings.word_embeddings", c.vocab, c.hidden);
    token_type_embeddings_.Declare(parameters_, at + "embeddings.token_type_embeddings", c.types,
                                   c.hidden);
    emb_ln_.epsilon = transform_norm_.epsilon = c.epsilon;
    emb_ln_.Declare(parameters_, at + "emb_ln", c.hidden);
    for (int64_t i = 0; i < c.layers; ++i)
      layers_[i].Declare(parameters_, StrCat(at, "encoder.layers.", i, "."), c);
    if (head == Head::kMaskedLM) {
      transform_.Declare(parameters_, "cls.predictions.transform.dense", c.hidden, c.hidden);
      transform_norm_.Declare(parameters_, "cls.predictions.transform.layer_norm", c.hidden);
      parameters_.Bias("cls.predictions.bias", prediction_bias_, c.vocab);
    }
    if (head == Head::kSequenceClassification)
      transform_.Declare(parameters_, at + "pooler.dense", c.hidden, c.hidden);
    if (head == Head::kSequenceClassification || head == Head::kTokenClassification)
      classifier_.Declare(parameters_, "classifier", labels, c.hidden);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    if (cache != nullptr) ctx.Fail(InvalidArgument("a bidirectional encoder has no past to cache"));
    const Sequence s =
        ReadSequence(ctx, input, nullptr, max_positions_, /*counted_positions=*/false);
    if (!ctx.ok()) return out;
    const nn::RotaryTables turn = rotary_.Tables(ctx, s);
    const Tensor types =
        input.token_type_ids ? input.token_type_ids : ctx.NewZeros(input.ids.shape(), DType::kI32);
    Tensor x = Add(ctx, word_embeddings_(ctx, input.ids), token_type_embeddings_(ctx, types));
    x = Dropout(ctx, emb_ln_(ctx, x));
    nn::Observe(ctx, x);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, turn, static_cast<int>(i));
      nn::Observe(ctx, x);
    }
    out.last_hidden_state = x;
    switch (head_) {
      case Head::kMaskedLM: {
        const Tensor h = Activate(ctx, transform_(ctx, AtRows(ctx, x, input.rows)), activation_);
        out.logits =
            Linear(ctx, transform_norm_(ctx, h), word_embeddings_.weight, prediction_bias_);
        break;
      }
      case Head::kSequenceClassification:
        out.pooler_output = Activate(ctx, transform_(ctx, FirstTokens(ctx, x)), Activation::kTanh);
        out.logits = classifier_(ctx, Dropout(ctx, out.pooler_output));
        break;
      case Head::kTokenClassification:
        out.logits = classifier_(ctx, Dropout(ctx, x));
        break;
      default:
        break;
    }
    return out;
  }

  bool Ignores(std::string_view name) const override {
    // Buffers, ties, and the pre-training head that a fine-tuned or bare model leaves behind.
    return name.ends_with("inv_freq") || name == "cls.predictions.decoder.weight" ||
           name == "cls.predictions.decoder.bias" ||
           (head_ != Head::kMaskedLM && name.starts_with("cls."));
  }

 private:
  // [batch, tokens, hidden] -> [batch, hidden]: the [CLS] token of each sequence.
  static Tensor FirstTokens(Context& ctx, const Tensor& x) {
    if (!ctx.ok()) return {};
    Tensor rows = ctx.New({x.dim(0)}, DType::kI32);
    for (int64_t b = 0; rows && b < x.dim(0); ++b)
      rows.i32()[b] = static_cast<int32_t>(b * x.dim(1));
    return SelectRows(ctx, x, rows);
  }

  nn::Embedding word_embeddings_, token_type_embeddings_;
  nn::LayerNorm emb_ln_, transform_norm_;
  std::vector<NomicBertLayer> layers_;
  RotaryPositions rotary_;
  nn::Linear transform_, classifier_;
  Tensor prediction_bias_;
  Activation activation_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  SOTTO_ASSIGN_OR_RETURN(const NomicBertConfig config, NomicBertConfig::Read(json));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  if (head != Head::kNone && head != Head::kMaskedLM && head != Head::kSequenceClassification &&
      head != Head::kTokenClassification) {
    return Unsupported(
        "NomicBERT is implemented bare, as a masked language model and for classification");
  }
  SOTTO_RETURN_IF_ERROR(RequireConfig(json, "tie_word_embeddings", Json::Bool(true)));
  return std::unique_ptr<Model>(new NomicBert(config, head, static_cast<int64_t>(labels.size())));
}

}  // namespace

const Architecture kNomicBert{"nomic_bert", "NomicBert", Create};

}  // namespace sotto
