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
  Tensor weight, bias;  // bias may be empty
  float epsilon = 1e-5f;

  void Declare(ParameterList& list, const std::string& name, int64_t size, bool with_bias = true);
  Tensor operator()(Context& ctx, const Tensor& x) const {
    return sotto::LayerNorm(ctx, x, weight, bias, epsilon);
  }
};

// Of whole rows, or of each head where the weight is as wide as a head.
struct RmsNorm {
  Tensor weight;
  float epsilon = 1e-6f;
  float offset = 0;  // 1: the checkpoint holds the weight minus 1 (Gemma)

  void Declare(ParameterList& list, const std::string& name, int64_t size);
  Tensor operator()(Context& ctx, const Tensor& x) const {
    return sotto::RmsNorm(ctx, x, weight, epsilon, offset);
  }
};

// Feed-forward with a gate (Shazeer 2020): down(f(gate(x)) * up(x)); SwiGLU where f is SiLU.
struct GatedFeedForward {
  Linear gate, up, down;
  Activation activation = Activation::kSilu;

  // As Llama names them: gate_proj, up_proj, down_proj.
  void Declare(ParameterList& list, const std::string& at, int64_t width, int64_t inner,
               bool with_bias = false);
  Tensor operator()(Context& ctx, const Tensor& x) const {
    return down(ctx, Mul(ctx, Activate(ctx, gate(ctx, x), activation), up(ctx, x)));
  }
};

// cap * tanh(x / cap); x itself where cap is 0.
Tensor SoftCap(Context& ctx, const Tensor& x, float cap);

// Attention of one layer from projected q, k, v: appends to the cache when there is one, and shows
// the probabilities to the probe. The caller sets heads, scale and masks.
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

// Self-attention with rotary positions, grouped queries (Ainslie et al. 2023) and, where they are
// declared, norms of queries and keys, by head or across heads.
struct RotaryAttention {
  Linear q_proj, k_proj, v_proj, o_proj;
  RmsNorm q_norm, k_norm;
  AttentionSpec spec;

  // The spec: causal, scaled by 1 / sqrt(head_dim).
  void SetHeads(int64_t heads, int64_t kv_heads, int64_t head_dim);
  // The projections, and SetHeads.
  void Declare(ParameterList& list, const std::string& at, int64_t width, int64_t heads,
               int64_t kv_heads, int64_t head_dim, bool qkv_bias, bool out_bias);
  // Without `turn` positions are not seen.
  Tensor operator()(Context& ctx, const Tensor& x, const Tensor& key_mask, const RotaryTables* turn,
                    KvCache* cache, int layer) const;
  // The same from the projected q, k and v on.
  Tensor operator()(Context& ctx, Tensor q, Tensor k, const Tensor& v, const Tensor& key_mask,
                    const RotaryTables* turn, KvCache* cache, int layer) const;
};

}  // namespace sotto::nn

#endif  // SOTTO_CORE_NN_LAYERS_H_
