// Attention with its four projections (Vaswani et al. 2017), over the sequence itself or over what
// an encoder gave. No architecture lives here.
#ifndef SOTTO_CORE_NN_MULTI_HEAD_ATTENTION_H_
#define SOTTO_CORE_NN_MULTI_HEAD_ATTENTION_H_

#include <string>
#include <string_view>

#include "core/nn/layers.h"

namespace sotto::nn {

// One look at a source: what a layer asked with, what it looked at, and what it got.
struct Looked {
  Tensor queries;      // [batch, tokens, heads * dim]
  Tensor keys;         // [batch, source, heads * dim]
  AttentionSpec spec;  // heads, scale and key mask
  Tensor out;          // [batch, tokens, width]
};

// What a decoder attends to.
struct Source {
  Tensor states;             // [batch, source, width]; empty: the cache holds their keys and values
  Tensor mask;               // u8 [batch, source], or empty
  Looked* looked = nullptr;  // receives the look of the last layer, when not null
};

struct MultiHeadAttention {
  Linear q, k, v, out;
  AttentionSpec spec;  // of each call: heads, scale, causal

  struct Names {
    std::string_view q = "q_proj", k = "k_proj", v = "v_proj", out = "out_proj";
  };
  // Sets the spec's heads and the custom scale 1 / sqrt(head_dim).
  void Declare(ParameterList& list, const std::string& at, int64_t width, int64_t heads,
               int64_t head_dim, bool with_bias, const Names& names);
  void Declare(ParameterList& list, const std::string& at, int64_t width, int64_t heads) {
    Declare(list, at, width, heads, width / heads, true, Names());
  }

  // Over x [batch, tokens, width] itself and what the cache holds. `bias` is AttentionSpec's.
  Tensor operator()(Context& ctx, const Tensor& x, const Tensor& key_mask, KvCache* cache,
                    int layer, const Tensor& bias = {}) const;
  // Over an encoder's states, whose keys and values the cache keeps.
  Tensor operator()(Context& ctx, const Tensor& x, const Source& source, KvCache* cache,
                    int layer) const;
};

}  // namespace sotto::nn

#endif  // SOTTO_CORE_NN_MULTI_HEAD_ATTENTION_H_
