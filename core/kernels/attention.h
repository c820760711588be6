// Scaled dot-product attention (Vaswani et al. 2017) in blocks with an online softmax (Dao et al.
// 2022): scores are never held whole unless they are asked for. Self, causal, windowed, masked,
// biased, grouped-query and cross attention are one kernel with different arguments.
#ifndef SOTTO_CORE_KERNELS_ATTENTION_H_
#define SOTTO_CORE_KERNELS_ATTENTION_H_

#include <cstdint>

#include "core/base/parallel.h"
#include "core/tensor/dtype.h"

namespace sotto {

// A [batch, tokens, heads, dim] array with free strides, in elements; `dim` is contiguous.
struct HeadsView {
  float* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;
};

// Keys or values as a cache keeps them, [batch, kv_heads, rows, width]:
//   kF16  the nearest, and beyond its range the farthest, of its numbers; width is dim
//   kI8   round(x / scale), scale = max |x| / 127 of a row; one that is not finite has scale NaN
// Those of kI8 lie in tiles of 16 lanes, four along their depth side by side, [lanes / 16,
// depth / 4, 16, 4]. The lanes of keys are rows, their depth is dims. The lanes of values are dims,
// their depth 64 rows, and the next 64 follow. So `rows` is a multiple of 64 and `width` is dim
// rounded up to 16. Queries that meet keys of kI8 are rounded likewise, with a scale for each
// kQueryPart of their values. `data` null: they are not packed.
constexpr int64_t kPackedLanes = 16, kPackedRows = 64, kQueryPart = 256;
struct PackedHeads {
  DType dtype = DType::kF16;
  const void* data = nullptr;
  const float* scales = nullptr;  // of kI8: [batch, kv_heads, rows]
  int64_t rows = 0;               // of which the first `keys` are filled
  int64_t width = 0;
};
// How many rows there must be for `rows` of them, and how wide they are for `dim` values.
constexpr int64_t PackedRowsFor(DType dtype, int64_t rows) {
  return dtype == DType::kI8 ? (rows + kPackedRows - 1) / kPackedRows * kPackedRows : rows;
}
constexpr int64_t PackedWidthFor(DType dtype, int64_t dim) {
  return dtype == DType::kI8 ? (dim + kPackedLanes - 1) / kPackedLanes * kPackedLanes : dim;
}
// Where value x of a row of a head of kI8 is.
constexpr int64_t PackedIndex(bool values, int64_t width, int64_t row, int64_t x) {
  const int64_t lane = values ? x : row % kPackedRows, depth = values ? row % kPackedRows : x;
  return row / kPackedRows * kPackedRows * width +
         lane / kPackedLanes * kPackedLanes * (values ? kPackedRows : width) +
         depth / 4 * 4 * kPackedLanes + lane % kPackedLanes * 4 + depth % 4;
}

// Writes `count` rows of `dim` values, `stride` apart, one behind the other.
void PackRowsF16(const float* from, int64_t stride, int64_t count, int64_t dim, uint16_t* to);
// The same to rows [first, first + count) of a head of keys or values, which begins at `head`, and
// to its scales.
void PackRowsI8(const float* from, int64_t stride, int64_t first, int64_t count, int64_t dim,
                bool values, int8_t* head, float* scales);

struct AttentionArgs {
  int64_t batch = 0, heads = 0,
          kv_heads = 0;  // heads is a multiple of kv_heads: head h reads h / (heads / kv_heads)
  int64_t queries = 0, keys = 0, dim = 0;
  HeadsView q, k, v, out;          // out is written
  PackedHeads packed_k, packed_v;  // in place of k and v where they are packed; not with dropout
  float scale = 1;                 // 1 / sqrt(dim) by custom
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
void PackRowsF16(const float* from, int64_t stride, int64_t count, int64_t dim, uint16_t* to);
void PackRowsI8(const float* from, int64_t stride, int64_t first, int64_t count, int64_t dim,
                bool values, int8_t* head, float* scales);
}  // namespace scalar

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_ATTENTION_H_
