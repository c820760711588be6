// The layers of the papers, as structs of weights with a call operator. No architecture lives here.
#ifndef SOTTO_CORE_NN_LAYERS_H_
#define SOTTO_CORE_NN_LAYERS_H_

#include <string>
#include <string_view>

#include "core/nn/kv_cache.h"
#include "core/nn/parameters.h"
#include "core/nn/probe.h"
#include "core/ops/ops.h"

namespace sotto::nn {

struct Linear {
  Tensor weight;  // [out, in], any layout that sotto::Linear takes
  Tensor bias;    // [out], or empty

  void Declare(ParameterList& list, const std::string& name, int64_t out, int64_t in,
               bool with_bias = true);
  // A weight that the checkpoint stores [in, out].
  void DeclareTransposed(ParameterList& list, const std::string& name, int64_t out, int64_t in);
  Tensor operator()(Context& ctx, const Tensor& x) const {
    return sotto::Linear(ctx, x, weight, bias);
  }
};

struct Embedding {
  Tensor weight;  // [entries, columns]

  void Declare(ParameterList& list, const std::string& name, int64_t entries, int64_t columns);
  Tensor operator()(Context& ctx, const Tensor& ids) const {
    return sotto::Embedding(ctx, ids, weight);
  }
};

struct LayerNorm {
  Tensor weight, bias;
  float epsilon = 1e-5f;

  void Declare(ParameterList& list, const std::string& name, int64_t size);
  Tensor operator()(Context& ctx, const Tensor& x) const {
    return sotto::LayerNorm(ctx, x, weight, bias, epsilon);
  }
};

struct RmsNorm {
  Tensor weight;
  float epsilon = 1e-6f;

  void Declare(ParameterList& list, const std::string& name, int64_t size);
  Tensor operator()(Context& ctx, const Tensor& x) const {
    return sotto::RmsNorm(ctx, x, weight, epsilon);
  }
};

// Attention of one layer from projected q, k, v: appends to the cache when there is one, and shows
// the probabilities to the probe. Sets the spec's key range; the caller sets heads, scale and
// masks.
Tensor Attend(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v, AttentionSpec spec,
              KvCache* cache, int layer);

// Shows a hidden state to the probe.
void Observe(Context& ctx, const Tensor& hidden);

// The tables of rotary angles for positions int32 [batch, tokens]: cos and sin [batch * tokens,
// rotary / 2], of angle position * frequency[i]; both times `magnitude`.
struct RotaryTables {
  Tensor cos, sin;
};
RotaryTables RotaryAngles(Context& ctx, const Tensor& positions,
                          const std::vector<float>& frequencies, float magnitude = 1);

}  // namespace sotto::nn

#endif  // SOTTO_CORE_NN_LAYERS_H_
