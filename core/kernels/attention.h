// Scaled dot-product attention (Vaswani et al. 2017) in blocks with an online softmax (Dao et al.
// 2022): scores are never held whole unless they are asked for. Self, causal, windowed, masked,
// biased, grouped-query and cross attention are one kernel with different arguments.
#ifndef SOTTO_CORE_KERNELS_ATTENTION_H_
#define SOTTO_CORE_KERNELS_ATTENTION_H_

#include <cstdint>

#include "core/base/parallel.h"

namespace sotto {

// A [batch, tokens, heads, dim] array with free strides, in elements; `dim` is contiguous.
struct HeadsView {
  float* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;
};

struct AttentionArgs {
  int64_t batch = 0, heads = 0,
          kv_heads = 0;  // heads is a multiple of kv_heads: head h reads h / (heads / kv_heads)
  int64_t queries = 0, keys = 0, dim = 0;
  HeadsView q, k, v, out;  // out is written
  float scale = 1;         // 1 / sqrt(dim) by custom
  // Query i stands at p = i + (keys - queries). Causal: it sees key j only where j <= p. With
  // window > 0 only where |p - j| < window, on both sides unless the attention is causal.
  bool causal = false;
  int64_t window = 0;
  const uint8_t* key_mask = nullptr;  // [batch, keys], nonzero where a key may be seen; null: all.
                                      // A query that sees nothing gives 0.
  // Added to the scaled scores: [heads, queries, keys] for all sequences (stride 0), or [batch,
  // heads, queries, keys]; null: none.
  const float* bias = nullptr;
  int64_t bias_batch_stride = 0;  // in elements
  // > 0: this share of the probabilities is dropped, the rest grows by 1 / (1 - dropout), as
  // KeptFactor says for the element's index in [batch, heads, queries, keys]. `probabilities` shows
  // them before.
  float dropout = 0;
  uint64_t dropout_seed = 0;
  float softcap = 0;     // > 0: score = softcap * tanh(score / softcap), before bias and mask
  float* lse = nullptr;  // [batch, heads, queries]: log-sum-exp of each row, for the backward pass;
                         // may be null
  float* probabilities = nullptr;  // [batch, heads, queries, keys]: written when not null
};
void Attention(const AttentionArgs& args, ThreadPool* pool);

// Gradients by recomputation from q, k, v, out and lse. d_out is read; dq, dk, dv accumulate, as
// does d_bias, of the bias's layout, when not null. The same result for any number of threads.
struct AttentionBackwardArgs {
  AttentionArgs forward;
  HeadsView d_out, dq, dk, dv;
  float* d_bias = nullptr;
};
void AttentionBackward(const AttentionBackwardArgs& args, ThreadPool* pool);

namespace scalar {
void Attention(const AttentionArgs& args);  // in double inside
}

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_ATTENTION_H_
