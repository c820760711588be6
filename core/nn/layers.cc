#include "core/nn/layers.h"

#include <cmath>

namespace sotto::nn {

void Linear::Declare(ParameterList& list, const std::string& name, int64_t out, int64_t in,
                     bool with_bias) {
  list.Matrix(name + ".weight", weight, out, in);
  if (with_bias) list.Bias(name + ".bias", bias, out);
}

void Linear::DeclareTransposed(ParameterList& list, const std::string& name, int64_t out,
                               int64_t in) {
  list.TransposedMatrix(name + ".weight", weight, out, in);
  list.Bias(name + ".bias", bias, out);
}

void Embedding::Declare(ParameterList& list, const std::string& name, int64_t entries,
                        int64_t columns) {
  list.Embedding(name + ".weight", weight, entries, columns);
}

void LayerNorm::Declare(ParameterList& list, const std::string& name, int64_t size,
                        bool with_bias) {
  list.Norm(name + ".weight", weight, size);
  if (with_bias) list.Bias(name + ".bias", bias, size);
}

void RmsNorm::Declare(ParameterList& list, const std::string& name, int64_t size) {
  // What is added to 1 begins at 0.
  if (offset == 0) {
    list.Norm(name + ".weight", weight, size);
  } else {
    list.Bias(name + ".weight", weight, size);
  }
}

void GatedFeedForward::Declare(ParameterList& list, const std::string& at, int64_t width,
                               int64_t inner, bool with_bias) {
  gate.Declare(list, at + "gate_proj", inner, width, with_bias);
  up.Declare(list, at + "up_proj", inner, width, with_bias);
  down.Declare(list, at + "down_proj", width, inner, with_bias);
}

Tensor SoftCap(Context& ctx, const Tensor& x, float cap) {
  if (cap <= 0 || !ctx.ok()) return x;
  return Scale(ctx, Activate(ctx, Scale(ctx, x, 1 / cap), Activation::kTanh), cap);
}

// Fewer keys are attended to in less time than rounding them takes.
constexpr int64_t kKeysToRound = 48;

Tensor Attend(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, AttentionSpec spec,
              KvCache* cache, int layer) {
  Probe* probe = ctx.probe();
  Tensor probabilities;
  if (probe != nullptr && probe->want_attentions) spec.probabilities = &probabilities;
  Tensor y;
  if (cache != nullptr && ctx.ok()) {
    y = Attention(ctx, q, cache->Append(ctx, layer, k, v, spec.kv_heads), spec);
  } else if (spec.rounds && ctx.ok() && ctx.tape() == nullptr && k.dim(1) >= kKeysToRound) {
    y = Attention(ctx, q, PackKeysValues(ctx, {k, v}, spec.kv_heads, DType::kI8), spec);
  } else {
    y = Attention(ctx, q, {k, v}, spec);
  }
  if (probabilities) probe->attentions.push_back(std::move(probabilities));
  return y;
}

void Observe(Context& ctx, const Tensor& hidden) {
  if (ctx.probe() != nullptr && ctx.probe()->want_hidden_states && hidden)
    ctx.probe()->hidden_states.push_back(hidden);
}

RotaryTables RotaryAngles(Context& ctx, const Tensor& positions,
                          const std::vector<float>& frequencies, float magnitude) {
  const int64_t tokens = positions.elements(), half = static_cast<int64_t>(frequencies.size());
  RotaryTables tables{ctx.New({tokens, half}), ctx.New({tokens, half})};
  if (!ctx.ok()) return tables;
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t i = 0; i < half; ++i) {
      // The product is taken in f32, as Hugging Face takes it, so that long positions agree.
      const float angle = static_cast<float>(positions.i32()[t]) * frequencies[i];
      tables.cos.f32()[t * half + i] = std::cos(angle) * magnitude;
      tables.sin.f32()[t * half + i] = std::sin(angle) * magnitude;
    }
  }
  return tables;
}

void RotaryAttention::Declare(ParameterList& list, const std::string& at, int64_t width,
                              int64_t heads, int64_t kv_heads, int64_t head_dim, bool qkv_bias,
                              bool out_bias) {
  q_proj.Declare(list, at + "q_proj", heads * head_dim, width, qkv_bias);
  k_proj.Declare(list, at + "k_proj", kv_heads * head_dim, width, qkv_bias);
  v_proj.Declare(list, at + "v_proj", kv_heads * head_dim, width, qkv_bias);
  o_proj.Declare(list, at + "o_proj", width, heads * head_dim, out_bias);
  SetHeads(heads, kv_heads, head_dim);
}

void RotaryAttention::SetHeads(int64_t heads, int64_t kv_heads, int64_t head_dim) {
  spec.heads = heads;
  spec.kv_heads = kv_heads;
  spec.scale = 1 / std::sqrt(static_cast<float>(head_dim));
  spec.causal = true;
}

Tensor RotaryAttention::operator()(Context& ctx, const Tensor& x, const Tensor& key_mask,
                                   const RotaryTables* turn, KvCache* cache, int layer) const {
  return (*this)(ctx, q_proj(ctx, x), k_proj(ctx, x), v_proj(ctx, x), key_mask, turn, cache, layer);
}

Tensor RotaryAttention::operator()(Context& ctx, Tensor q, Tensor k, const Tensor& v,
                                   const Tensor& key_mask, const RotaryTables* turn, KvCache* cache,
                                   int layer) const {
  if (q_norm.weight) q = q_norm(ctx, q);
  if (k_norm.weight) k = k_norm(ctx, k);
  if (turn != nullptr) {
    q = Rotary(ctx, q, turn->cos, turn->sin, spec.heads);
    k = Rotary(ctx, k, turn->cos, turn->sin, spec.kv_heads);
  }
  AttentionSpec masked = spec;
  masked.key_mask = key_mask;
  return o_proj(ctx, Attend(ctx, q, k, v, masked, cache, layer));
}

}  // namespace sotto::nn
