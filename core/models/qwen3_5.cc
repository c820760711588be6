// Qwen3.5 (2026): of four layers, three keep a matrix a head that the gated delta rule updates
// (Yang et al. 2024), and one attends to all that came before, with a gate on what it gives. Of the
// multimodal checkpoints the text model is read; what they hold to see images is left out.
#include <array>
#include <cmath>

#include "core/models/decoder.h"
#include "core/ops/recurrent.h"

namespace sotto {
namespace {

// What a linear layer keeps, by slot of the cache.
enum : int { kConvolution, kMatrices };

constexpr int64_t kMaxTaps = 16;

struct Qwen35Config : DecoderConfig {
  int64_t taps, key_heads, value_heads, key_dim, value_dim;  // of linear layers
  bool bias;
  std::vector<bool> linear;  // by layer
  RotaryPositions rotary;

  Status Read(const Json& json) {
    vocab = 248320;
    intermediate = 12288;
    heads = 16;
    kv_heads = 4;
    head_dim = 256;
    SOTTO_RETURN_IF_ERROR(DecoderConfig::Read(json));
    SOTTO_RETURN_IF_ERROR(RequireConfig(json, "attn_output_gate", Json::Bool(true)));
    SOTTO_ASSIGN_OR_RETURN(bias, json.BoolOr("attention_bias", false));
    SOTTO_ASSIGN_OR_RETURN(taps, json.IntOr("linear_conv_kernel_dim", 4, 1, kMaxTaps));
    SOTTO_ASSIGN_OR_RETURN(key_dim, json.IntOr("linear_key_head_dim", 128, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(value_dim, json.IntOr("linear_value_head_dim", 128, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(key_heads, json.IntOr("linear_num_key_heads", 16, 1, kMaxHeads));
    SOTTO_ASSIGN_OR_RETURN(value_heads, json.IntOr("linear_num_value_heads", 32, 1, kMaxHeads));
    if (value_heads % key_heads != 0)
      return InvalidFile("config.json: 'linear_num_key_heads' does not divide the value heads");
    RotaryNames names;
    names.fraction = 0.25;
    names.fraction_key = "partial_rotary_factor";
    SOTTO_ASSIGN_OR_RETURN(rotary, RotaryPositions::Read(json, head_dim, names));
    return ReadLayerTypes(json);
  }

  Status ReadLayerTypes(const Json& json) {
    SOTTO_ASSIGN_OR_RETURN(const int64_t interval,
                           json.IntOr("full_attention_interval", 4, 1, kMaxLayers));
    const Json& types = json["layer_types"];
    if (!types.is_null() && static_cast<int64_t>(types.items().size()) != layers)
      return InvalidFile(StrCat("config.json: 'layer_types' must name ", layers, " layers"));
    for (int64_t i = 0; i < layers; ++i) {
      if (types.is_null()) {
        linear.push_back((i + 1) % interval != 0);
        continue;
      }
      const std::string& type = types.items()[static_cast<size_t>(i)].as_string();
      linear.push_back(type == "linear_attention");
      if (!linear.back() && type != "full_attention")
        return Unsupported(StrCat("config.json: the layer type '", type, "' is not implemented"));
    }
    return OkStatus();
  }
};

struct GatedDeltaNet {
  nn::Linear in_proj_qkv, in_proj_z, in_proj_b, in_proj_a, out_proj;
  Tensor conv_weight, dt_bias, a_log;
  nn::RmsNorm norm;
  int64_t key_heads = 1, key_dim = 1;
  std::array<int64_t, 3> widths;  // of q, k and v

  void Declare(ParameterList& list, const std::string& at, const Qwen35Config& c) {
    key_heads = c.key_heads;
    key_dim = c.key_dim;
    const int64_t keys = c.key_heads * c.key_dim, values = c.value_heads * c.value_dim;
    widths = {keys, keys, values};
    list.Other(at + "dt_bias", dt_bias, {c.value_heads});
    list.BeginsAs([](int64_t, Random&) { return 1.0f; });
    list.Other(at + "A_log", a_log, {c.value_heads});
    list.BeginsAs(
        [](int64_t, Random& random) { return std::log(16 * random.NextFloat() + 1e-3f); });
    list.Convolution(at + "conv1d.weight", conv_weight, 2 * keys + values, 1, c.taps);
    norm.epsilon = c.epsilon;
    norm.Declare(list, at + "norm", c.value_dim);
    out_proj.Declare(list, at + "out_proj", c.hidden, values, false);
    in_proj_qkv.Declare(list, at + "in_proj_qkv", 2 * keys + values, c.hidden, false);
    in_proj_z.Declare(list, at + "in_proj_z", values, c.hidden, false);
    in_proj_b.Declare(list, at + "in_proj_b", c.value_heads, c.hidden, false);
    in_proj_a.Declare(list, at + "in_proj_a", c.value_heads, c.hidden, false);
  }

  // Heads of x to the length `length`. x / sqrt(sum x^2 + e) is a root mean square norm with the
  // epsilon e / n and the weight 1 / sqrt(n), here as the offset of a weight of zeros.
  Tensor ToLength(Context& ctx, const Tensor& x, float length) const {
    const auto n = static_cast<float>(key_dim);
    const Tensor zeros = ctx.NewZeros({key_dim});
    return RmsNorm(ctx, x, zeros, 1e-6f / n, length / std::sqrt(n));
  }

  Tensor operator()(Context& ctx, const Tensor& in, const Tensor& mask, KvCache* cache,
                    int layer) const {
    const auto state = [&](int slot) {
      return cache != nullptr ? &cache->State(layer, slot) : nullptr;
    };
    const Tensor x = MaskTokens(ctx, in, mask);  // padding leaves no trace in the state
    const Tensor conv = CausalConv(ctx, in_proj_qkv(ctx, x), conv_weight, {}, state(kConvolution));
    const std::vector<Tensor> qkv = Split(ctx, Activate(ctx, conv, Activation::kSilu), widths);
    const Tensor q = ToLength(ctx, qkv[0], 1 / std::sqrt(static_cast<float>(key_dim)));
    const Tensor k = ToLength(ctx, qkv[1], 1);
    const Tensor step = Activate(ctx, Add(ctx, in_proj_a(ctx, x), dt_bias), Activation::kSoftplus);
    const Tensor beta = Activate(ctx, in_proj_b(ctx, x), Activation::kSigmoid);
    const Tensor y = GatedDeltaRule(ctx, q, k, qkv[2], DecayBy(ctx, step, a_log), beta, key_heads,
                                    state(kMatrices));
    const Tensor gate = Activate(ctx, in_proj_z(ctx, x), Activation::kSilu);
    return out_proj(ctx, Mul(ctx, norm(ctx, y), gate));
  }
};

struct GatedAttention {
  nn::Linear q_proj, k_proj, v_proj, o_proj;
  nn::RmsNorm q_norm, k_norm;
  AttentionSpec spec;
  std::array<int64_t, 2> parts;  // of each head that q_proj gives: query, gate

  void Declare(ParameterList& list, const std::string& at, const Qwen35Config& c) {
    q_norm.epsilon = k_norm.epsilon = c.epsilon;
    q_norm.offset = k_norm.offset = 1;
    q_proj.Declare(list, at + "q_proj", 2 * c.heads * c.head_dim, c.hidden, c.bias);
    k_proj.Declare(list, at + "k_proj", c.kv_heads * c.head_dim, c.hidden, c.bias);
    v_proj.Declare(list, at + "v_proj", c.kv_heads * c.head_dim, c.hidden, c.bias);
    o_proj.Declare(list, at + "o_proj", c.hidden, c.heads * c.head_dim, c.bias);
    q_norm.Declare(list, at + "q_norm", c.head_dim);
    k_norm.Declare(list, at + "k_norm", c.head_dim);
    spec.heads = c.heads;
    spec.kv_heads = c.kv_heads;
    spec.scale = 1 / std::sqrt(static_cast<float>(c.head_dim));
    spec.causal = true;
    parts = {c.head_dim, c.head_dim};
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Tensor& mask, const nn::RotaryTables& turn,
                    KvCache* cache, int layer) const {
    const std::vector<Tensor> halves = Split(ctx, q_proj(ctx, x), parts, spec.heads);
    const Tensor q = Rotary(ctx, q_norm(ctx, halves[0]), turn.cos, turn.sin, spec.heads);
    const Tensor k = Rotary(ctx, k_norm(ctx, k_proj(ctx, x)), turn.cos, turn.sin, spec.kv_heads);
    AttentionSpec masked = spec;
    masked.key_mask = mask;
    const Tensor y = nn::Attend(ctx, q, k, v_proj(ctx, x), masked, cache, layer);
    return o_proj(ctx, Mul(ctx, y, Activate(ctx, halves[1], Activation::kSigmoid)));
  }
};

struct Qwen35Layer {
  nn::RmsNorm input_layernorm, post_attention_layernorm;
  bool linear = false;
  GatedDeltaNet linear_attn;  // one of these two
  GatedAttention self_attn;
  nn::GatedFeedForward mlp;

  void Declare(ParameterList& list, const std::string& at, const Qwen35Config& c, size_t index) {
    linear = c.linear[index];
    if (linear) {
      linear_attn.Declare(list, at + "linear_attn.", c);
    } else {
      self_attn.Declare(list, at + "self_attn.", c);
    }
    mlp.activation = c.activation;
    mlp.Declare(list, at + "mlp.", c.hidden, c.intermediate);
    for (nn::RmsNorm* norm : {&input_layernorm, &post_attention_layernorm}) {
      norm->epsilon = c.epsilon;
      norm->offset = 1;
    }
    input_layernorm.Declare(list, at + "input_layernorm", c.hidden);
    post_attention_layernorm.Declare(list, at + "post_attention_layernorm", c.hidden);
  }
};

class Qwen35 final : public Decoder {
 public:
  Qwen35(const Qwen35Config& c, std::string_view prefix, Head head)
      : Decoder(c, {.prefix = prefix, .norm_offset = 1}, head),
        layers_(static_cast<size_t>(c.layers)) {
    AddRotary(c.rotary);
    for (size_t i = 0; i < layers_.size(); ++i) layers_[i].Declare(parameters_, LayerName(i), c, i);
  }
  bool Ignores(std::string_view name) const override {
    // What sees images, and what guesses several tokens at a time.
    return name.starts_with("model.visual.") || name.starts_with("mtp.") || Decoder::Ignores(name);
  }

 private:
  Tensor Layer(Context& ctx, const Tensor& x, const Call& call, int index) const override {
    const Qwen35Layer& l = layers_[static_cast<size_t>(index)];
    const Tensor n = l.input_layernorm(ctx, x);
    const Tensor& mask = call.sequence.key_mask;
    const Tensor a = l.linear ? l.linear_attn(ctx, n, mask, call.cache, index)
                              : l.self_attn(ctx, n, mask, call.turns[0], call.cache, index);
    const Tensor h = Add(ctx, x, Dropout(ctx, a));
    return Add(ctx, h, Dropout(ctx, l.mlp(ctx, l.post_attention_layernorm(ctx, h))));
  }

  std::vector<Qwen35Layer> layers_;
};

Result<std::unique_ptr<Model>> CreateText(const Json& json, Head head) {
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  Qwen35Config config;
  SOTTO_RETURN_IF_ERROR(config.Read(json));
  return std::unique_ptr<Model>(new Qwen35(config, "model.", head));
}

// The text model inside, by its own part of the config: in ForConditionalGeneration it writes.
Result<std::unique_ptr<Model>> CreateMultimodal(const Json& json, Head head) {
  if (head == Head::kNone)
    return Unsupported("a multimodal Qwen3.5 is implemented with a head, of text, and not bare");
  if (head == Head::kSeq2SeqLM) head = Head::kCausalLM;
  SOTTO_RETURN_IF_ERROR(CheckDecoderHead(head));
  if (!json["text_config"].is_object())
    return InvalidFile("config.json: 'text_config' must describe the text model");
  Qwen35Config config;
  SOTTO_RETURN_IF_ERROR(config.Read(json["text_config"]));
  SOTTO_ASSIGN_OR_RETURN(config.tied, json.BoolOr("tie_word_embeddings", config.tied));
  SOTTO_ASSIGN_OR_RETURN(const std::vector<std::string> labels, ReadLabels(json));
  config.labels = static_cast<int64_t>(labels.size());
  return std::unique_ptr<Model>(new Qwen35(config, "model.language_model.", head));
}

}  // namespace

const Architecture kQwen35{"qwen3_5", "Qwen3_5", CreateMultimodal};
const Architecture kQwen35Text{"qwen3_5_text", "Qwen3_5", CreateText};

}  // namespace sotto
