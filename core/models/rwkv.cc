// RWKV-4 (Peng et al. 2023): a language model without attention over positions. Each layer keeps
// one token and three sums for each channel, so that its state does not grow with the context.
#include <cmath>

#include "core/models/architecture.h"
#include "core/ops/recurrent.h"

namespace sotto {
namespace {

// What a layer keeps, by slot of the cache.
enum : int { kAttentionToken, kFeedForwardToken, kSums };

struct RwkvConfig {
  int64_t vocab, hidden, attention, intermediate, layers, rescale_every;
  float epsilon;
  bool tied;

  static Result<RwkvConfig> Read(const Json& json) {
    RwkvConfig c;
    SOTTO_ASSIGN_OR_RETURN(c.vocab, json.IntOr("vocab_size", 50277, 1, kMaxVocab));
    SOTTO_ASSIGN_OR_RETURN(c.hidden, json.IntOr("hidden_size", 4096, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.layers, json.IntOr("num_hidden_layers", 32, 1, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(c.attention,
                           json.IntOr("attention_hidden_size", c.hidden, 1, kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.intermediate,
                           json.IntOr("intermediate_size", 4 * c.hidden, 1, 4 * kMaxWidth));
    SOTTO_ASSIGN_OR_RETURN(c.rescale_every,
                           json.IntOr("rescale_every", 6, -kMaxLayers, kMaxLayers));
    SOTTO_ASSIGN_OR_RETURN(const double epsilon, json.NumberOr("layer_norm_epsilon", 1e-5));
    c.epsilon = static_cast<float>(epsilon);
    SOTTO_ASSIGN_OR_RETURN(c.tied, json.BoolOr("tie_word_embeddings", false));
    return c;
  }

  // How often the hidden state has been halved before a layer.
  int64_t Halvings(int64_t layer) const { return rescale_every > 0 ? layer / rescale_every : 0; }
};

// A fresh mix: channels at the front look more at the token before, the later ones more at the
// token itself, and the more so the lower the layer.
void DeclareMix(ParameterList& list, const std::string& name, Tensor& mix, int64_t size,
                double power, double offset = 0) {
  list.Other(name, mix, {1, 1, size});
  list.BeginsAs([=](int64_t i, Random&) {
    const double at = static_cast<double>(i) / static_cast<double>(size);
    return static_cast<float>(std::pow(at, power) + offset);
  });
}

struct RwkvAttention {
  Tensor time_decay, time_first, mix_key, mix_value, mix_receptance;
  nn::Linear key, value, receptance, output;

  void Declare(ParameterList& list, const std::string& at, const RwkvConfig& c, int64_t layer) {
    const double depth =
        c.layers > 1 ? static_cast<double>(layer) / static_cast<double>(c.layers - 1) : 0;
    const double rest = 1 - static_cast<double>(layer) / static_cast<double>(c.layers);
    list.Other(at + "time_decay", time_decay, {c.attention});
    list.BeginsAs([depth, width = c.attention](int64_t i, Random&) {
      const double share =
          static_cast<double>(i) / static_cast<double>(std::max<int64_t>(1, width - 1));
      return static_cast<float>(-5 + 8 * std::pow(share, 0.7 + 1.3 * depth));
    });
    list.Other(at + "time_first", time_first, {c.attention});
    list.BeginsAs([](int64_t i, Random&) {
      return static_cast<float>(std::log(0.3) + 0.5 * static_cast<double>((i + 1) % 3 - 1));
    });
    DeclareMix(list, at + "time_mix_key", mix_key, c.hidden, rest);
    DeclareMix(list, at + "time_mix_value", mix_value, c.hidden, rest, 0.3 * depth);
    DeclareMix(list, at + "time_mix_receptance", mix_receptance, c.hidden, 0.5 * rest);
    key.Declare(list, at + "key", c.attention, c.hidden, false);
    value.Declare(list, at + "value", c.attention, c.hidden, false);
    receptance.Declare(list, at + "receptance", c.attention, c.hidden, false);
    output.Declare(list, at + "output", c.hidden, c.attention, false);
  }

  Tensor operator()(Context& ctx, const Tensor& x, KvCache* cache, int layer) const {
    const Tensor before = cache != nullptr ? cache->State(layer, kAttentionToken) : Tensor();
    const Tensor k = key(ctx, TokenMix(ctx, x, before, mix_key));
    const Tensor v = value(ctx, TokenMix(ctx, x, before, mix_value));
    const Tensor r = Activate(ctx, receptance(ctx, TokenMix(ctx, x, before, mix_receptance)),
                              Activation::kSigmoid);
    if (cache != nullptr) KeepLastToken(ctx, x, &cache->State(layer, kAttentionToken));
    Tensor* sums = cache != nullptr ? &cache->State(layer, kSums) : nullptr;
    return output(ctx, Mul(ctx, r, Wkv(ctx, k, v, time_decay, time_first, sums)));
  }
};

struct RwkvFeedForward {
  Tensor mix_key, mix_receptance;
  nn::Linear key, receptance, value;

  void Declare(ParameterList& list, const std::string& at, const RwkvConfig& c, int64_t layer) {
    const double rest = 1 - static_cast<double>(layer) / static_cast<double>(c.layers);
    DeclareMix(list, at + "time_mix_key", mix_key, c.hidden, rest);
    DeclareMix(list, at + "time_mix_receptance", mix_receptance, c.hidden, rest);
    key.Declare(list, at + "key", c.intermediate, c.hidden, false);
    receptance.Declare(list, at + "receptance", c.hidden, c.hidden, false);
    value.Declare(list, at + "value", c.hidden, c.intermediate, false);
  }

  Tensor operator()(Context& ctx, const Tensor& x, KvCache* cache, int layer) const {
    const Tensor before = cache != nullptr ? cache->State(layer, kFeedForwardToken) : Tensor();
    const Tensor k = Activate(ctx, key(ctx, TokenMix(ctx, x, before, mix_key)), Activation::kRelu);
    const Tensor r = Activate(ctx, receptance(ctx, TokenMix(ctx, x, before, mix_receptance)),
                              Activation::kSigmoid);
    if (cache != nullptr) KeepLastToken(ctx, x, &cache->State(layer, kFeedForwardToken));
    return Mul(ctx, r, value(ctx, Mul(ctx, k, k)));
  }
};

struct RwkvBlock {
  nn::LayerNorm pre_ln, ln1, ln2;  // the first only in the first block
  RwkvAttention attention;
  RwkvFeedForward feed_forward;
  float share;  // of what a layer adds, as often halved as the hidden state
  bool halves;  // what it passes on

  void Declare(ParameterList& list, const std::string& at, const RwkvConfig& c, int64_t layer) {
    pre_ln.epsilon = ln1.epsilon = ln2.epsilon = c.epsilon;
    if (layer == 0) pre_ln.Declare(list, at + "pre_ln", c.hidden);
    ln1.Declare(list, at + "ln1", c.hidden);
    ln2.Declare(list, at + "ln2", c.hidden);
    attention.Declare(list, at + "attention.", c, layer);
    feed_forward.Declare(list, at + "feed_forward.", c, layer);
    share = std::ldexp(1.0f, -static_cast<int>(c.Halvings(layer)));
    halves = c.Halvings(layer + 1) > c.Halvings(layer);
  }

  Tensor operator()(Context& ctx, const Tensor& x, KvCache* cache, int layer) const {
    const auto part = [&](const Tensor& y) {
      return Dropout(ctx, share < 1 ? Scale(ctx, y, share) : y);
    };
    const Tensor in = layer == 0 ? pre_ln(ctx, x) : x;
    const Tensor h = Add(ctx, in, part(attention(ctx, ln1(ctx, in), cache, layer)));
    const Tensor out = Add(ctx, h, part(feed_forward(ctx, ln2(ctx, h), cache, layer)));
    return halves ? Scale(ctx, out, 0.5f) : out;
  }
};

class Rwkv final : public Model {
 public:
  Rwkv(const RwkvConfig& c, Head head) : blocks_(c.layers), tied_(c.tied) {
    head_ = head;
    base_prefix_ = "rwkv.";
    vocab_size_ = c.vocab;
    hidden_size_ = c.hidden;
    const std::string at = head == Head::kNone ? "" : base_prefix_;
    embeddings_.Declare(parameters_, at + "embeddings", c.vocab, c.hidden);
    for (int64_t i = 0; i < c.layers; ++i)
      blocks_[i].Declare(parameters_, StrCat(at, "blocks.", i, "."), c, i);
    ln_out_.Declare(parameters_, at + "ln_out", c.hidden);  // its epsilon is not the config's
    if (head == Head::kCausalLM && !tied_)
      parameters_.Matrix("head.weight", lm_head_, c.vocab, c.hidden);
  }

  // The reference reads no attention mask, and neither does this: padding is best on the right.
  ModelOutput Forward(Context& ctx, const ModelInput& input, KvCache* cache) const override {
    ModelOutput out;
    const Sequence s = ReadSequence(ctx, input, cache, max_positions_, /*counted_positions=*/true);
    Tensor x = embeddings_(ctx, input.ids);
    for (size_t i = 0; i < blocks_.size(); ++i) {
      x = blocks_[i](ctx, x, cache, static_cast<int>(i));
      nn::Observe(ctx, x);
    }
    x = ln_out_(ctx, x);
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
    return name == "head.weight" && (tied_ || head_ == Head::kNone);
  }

 private:
  nn::Embedding embeddings_;
  std::vector<RwkvBlock> blocks_;
  nn::LayerNorm ln_out_;
  Tensor lm_head_;
  bool tied_;
};

Result<std::unique_ptr<Model>> Create(const Json& json, Head head) {
  if (head != Head::kNone && head != Head::kCausalLM)
    return Unsupported("RWKV is implemented bare and with its language-model head");
  SOTTO_ASSIGN_OR_RETURN(const RwkvConfig config, RwkvConfig::Read(json));
  return std::unique_ptr<Model>(new Rwkv(config, head));
}

}  // namespace

const Architecture kRwkv{"rwkv", "Rwkv", Create};

}  // namespace sotto
