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

void LayerNorm::Declare(ParameterList& list, const std::string& name, int64_t size) {
  list.Norm(name + ".weight", weight, size);
  list.Bias(name + ".bias", bias, size);
}

void RmsNorm::Declare(ParameterList& list, const std::string& name, int64_t size) {
  list.Norm(name + ".weight", weight, size);
}

Tensor Attend(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, AttentionSpec spec,
              KvCache* cache, int layer) {
  Probe* probe = ctx.probe();
  Tensor probabilities;
  if (probe != nullptr && probe->want_attentions) spec.probabilities = &probabilities;
  Tensor y;
  if (cache != nullptr && ctx.ok()) {
    const KvCache::View held = cache->Append(ctx, layer, k, v);
    spec.keys = cache->length() + k.dim(1);
    y = Attention(ctx, q, held.keys, held.values, spec);
  } else {
    y = Attention(ctx, q, k, v, spec);
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

}  // namespace sotto::nn
