// Mamba (Gu & Dao 2023): a language model of selective state spaces. Each layer keeps the last
// inputs of a short convolution and a few states for each channel, so that its state does not grow
// with the context.
#include <array>
#include <cmath>

#include "core/models/architecture.h"
#include "core/ops/recurrent.h"

namespace sotto {
namespace {

// What a layer keeps, by slot of the cache.
enum : int { kConvolution, kStates };

constexpr int64_t kMaxTaps = 16, kMaxStates = 256;

struct MambaConfig {
  int64_t vocab, hidden, inner, layers, states, rank, taps;
  Activation activation;
  float epsilon;
  bool bias, conv_bias, tied;
  double step_min, step_max, step_floor;  // of a fresh model's time steps

  static Result<MambaConfig> Read(const Json& json) {
    MambaConfig c;
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 50280, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("hidden_size", 768, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_hidden_layers", 32, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.states, json.IntOr("state_size", 16, 1, kMaxStates));
    SOTTO_ASSIGN_OR_RETURN(const double expand, json.NumberOr("expand", 2));
    if (!(expand > 0) || !(expand * static_cast<double>(c.hidden) < 4.0 * kMaxWidth))
      return InvalidFile("config.json: 'expand' makes no sense");
    c.inner = static_cast<int64_t>(expand * static_cast<double>(c.hidden));
    if (c.inner < 1) return InvalidFile("config.json: 'expand' makes no sense");
    SOTTO_ASSIGN_OR_RETURN(c.taps, json.IntOr("conv_kernel", 4, 1, kMaxTaps));
    c.rank = (c.hidden + 15) / 16;
    if (json["time_step_rank"].as_string() != "auto") {
      SOTTO_ASSIGN_OR_RETURN(c.rank, json.IntOr("time_step_rank", c.rank, 1, kMaxWidth));
    }
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("layer_norm_epsilon", 1e-5));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(const std::string act, json.StringOr("hidden_act", "silu"));
    SOTTO_ASSIGN_OR_RETURN(c.activation, ActivationByName(act));
    SOTTO_ASSIGN_OR_RETURN(c.bias, json.BoolOr("use_bias", false));
    SOTTO_ASSIGN_OR_RETURN(c.conv_bias, json.BoolOr("use_conv_bias", true));
    SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", true));
    SOTTO_ASSIGN_OR_RETURN(c.step_min, json.NumberOr("time_step_min", 0.001));
    SOTTO_ASSIGN_OR_RETURN(c.step_max, json.NumberOr("time_step_max", 0.1));
    SOTTO_ASSIGN_OR_RETURN(c.step_floor, json.NumberOr("time_step_floor", 1e-4));
    if (!(c.step_min > 0) || !(c.step_max >= c.step_min) || !(c.step_floor >= 0))
      return InvalidFile("config.json: the time steps make no sense");
    return c;
  }
};

struct MambaMixer {
  nn::Linear in_proj, x_proj, dt_proj, out_proj;
  Tensor conv_weight, conv_bias, a_log, skip;
  std::array<int64_t, 3> selection;  // the widths of the step's rank, B and C
  Activation activation;

  void Declare(ParameterList& list, const std::string& at, const MambaConfig& c) {
    list.Other(at + "A_log", a_log, {c.inner, c.states});
    list.BeginsAs([states = c.states](int64_t i, Random&) {
      return static_cast<float>(std::log(static_cast<double>(i % states + 1)));
    });
    list.Norm(at + "D", skip, c.inner);
    in_proj.Declare(list, at + "in_proj", 2 * c.inner, c.hidden, c.bias);
    list.Convolution(at + "conv1d.weight", conv_weight, c.inner, 1, c.taps);
    list.BeginsAs([bound = 1 / std::sqrt(static_cast<float>(c.taps))](int64_t, Random& random) {
      return bound * (2 * random.NextFloat() - 1);
    });
    if (c.conv_bias) list.Bias(at + "conv1d.bias", conv_bias, c.inner);
    x_proj.Declare(list, at + "x_proj", c.rank + 2 * c.states, c.inner, false);
    dt_proj.Declare(list, at + "dt_proj", c.inner, c.rank);
    // Steps spread evenly on a logarithmic scale, by the inverse of softplus.
    list.BeginsAs([c](int64_t, Random& random) {
      const double step = std::max(
          c.step_floor,
          c.step_min * std::pow(c.step_max / c.step_min, static_cast<double>(random.NextFloat())));
      return static_cast<float>(step + std::log(-std::expm1(-step)));
    });
    out_proj.Declare(list, at + "out_proj", c.hidden, c.inner, c.bias);
    selection = {c.rank, c.states, c.states};
    activation = c.activation;
  }

  // Padding leaves no trace in the states: its inputs are zeros.
  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, KvCache* cache,
                    int layer) const {
    const auto state = [&](int slot) {
      return cache != nullptr ? &cache->State(layer, slot) : nullptr;
    };
    const std::vector<Tensor> halves = Split(ctx, in_proj(ctx, x), 2);
    const Tensor conv = CausalConv(ctx, MaskTokens(ctx, halves[0], s.key_mask), conv_weight,
                                   conv_bias, state(kConvolution));
    const Tensor u = MaskTokens(ctx, Activate(ctx, conv, activation), s.key_mask);
    const std::vector<Tensor> selected = Split(ctx, x_proj(ctx, u), selection);
    const Tensor dt = Activate(ctx, dt_proj(ctx, selected[0]), Activation::kSoftplus);
    const Tensor y =
        SelectiveScan(ctx, u, dt, a_log, selected[1], selected[2], skip, state(kStates));
    return out_proj(ctx, Mul(ctx, y, Activate(ctx, halves[1], activation)));
  }
};

struct MambaBlock {
  nn::RmsNorm norm;
  MambaMixer mixer;

  void Declare(ParameterList& list, const std::string& at, const MambaConfig& c) {
    norm.epsilon = c.epsilon;
    norm.Declare(list, at + "norm", c.hidden);
    mixer.Declare(list, at + "mixer.", c);
  }

  Tensor operator()(Context& ctx, const Tensor& x, const Sequence& s, KvCache* cache,
                    int layer) const {
    return Add(ctx, x, Dropout(ctx, mixer(ctx, norm(ctx, x), s, cache, layer)));
  }
};

class Mamba final : public Model {
 public:
  Mamba(const MambaConfig& c, Head head) : layers_(c.layers), tied_(c.tied) {
    head_ = head;
    base_prefix_ = "backbone.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    embeddings_.Declare(parameters_, at + "embeddings", c.vocab, c.hidden);
    for (int64_t i = 0; i < c.layers; ++i)
      layers_[i].Declare(parameters_, StrCat(at, "layers.", i, "."), c);
    norm_f_.epsilon = c.epsilon;
    norm_f_.Declare(parameters_, at + "norm_f", c.hidden);
    if (head == Head::kCausalLM && !tied_)
      parameters_.Matrix("lm_head.weight", lm_head_, c.vocab, c.hidden);
  }

  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    const Sequence s = ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/true);
    Tensor x = embeddings_(ctx, input.ids);
    for (size_t i = 0; i < layers_.size(); ++i) {
      x = layers_[i](ctx, x, s, cache, static_cast<int>(i));
      nn::Observe(ctx, x);
    }
    x = norm_f_(ctx, x);
    nn::Observe(ctx, x);
    if (cache != nullptr && ctx.ok()) cache->Advance(s.tokens);
    out.last_hidden_state = x;
    if (head_ == Head::kCausalLM) {
      out.logits =
          Linear(ctx, AtRows(ctx, x, input.rows), tied_ ? embeddings_.weight : lm_head_, {});
    }
    return out;
  }

  bool Ignores(std::string_view name) const override {
    return name == "lm_head.weight" && (tied_ || head_ == Head::kNone);
  }

 private:
  nn::Embedding embeddings_;
  std::vector<MambaBlock> layers_;
  nn::RmsNorm norm_f_;
  Tensor lm_head_;
  bool tied_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  if (head != Head::kNone && head != Head::kCausalLM)
    return Unsupported("Mamba is implemented bare and with its language-model head");
  SOTTO_ASSIGN_OR_RETURN(const MambaConfig config, MambaConfig::Read(json));
  return std::unique_ptr<Model>(new Mamba(config, head));
}

}  // namespace

const Architecture kMamba{"mamba", "Mamba", Create};

}  // namespace sotto
