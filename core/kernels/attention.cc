#include "core/kernels/attention.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <vector>

#include "core/base/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/attention.cc"
#include "core/kernels/targets.h"

#include "hwy/foreach_target.h"  // IWYU pragma: keep

#include "hwy/highway.h"

#include "core/kernels/dropout-inl.h"
#include "core/kernels/math-inl.h"
#include "core/kernels/packed_rows-inl.h"
#include "core/kernels/relaxed_simd.h"
#include "core/kernels/rounded_tiles-inl.h"
#include "core/kernels/turn-inl.h"

// What the targets share.
#ifndef SOTTO_CORE_KERNELS_ATTENTION_ONCE_
#define SOTTO_CORE_KERNELS_ATTENTION_ONCE_
namespace sotto {
namespace {

constexpr int64_t kKeyBlock = kPackedRows;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The keys that query i sees, but for the key mask: [begin, end). Both grow with i.
struct Range {
  int64_t begin = 0, end = 0;
};
Range VisibleKeys(const AttentionArgs& a, int64_t i) {
  if (!a.causal && a.window <= 0) return {0, a.keys};
  const int64_t self = i + (a.keys - a.queries);
  const int64_t last = a.causal ? self : self + a.window - 1;
  const int64_t end = std::clamp<int64_t>(last + 1, 0, a.keys);
  const int64_t begin = a.window > 0 ? std::clamp<int64_t>(self - a.window + 1, 0, end) : 0;
  return {begin, end};
}

float* RowOf(const HeadsView& view, int64_t batch, int64_t head, int64_t token) {
  return view.data + batch * view.batch_stride + head * view.head_stride +
         token * view.token_stride;
}

// Row `token` of a head, or, of kI8, the 64 rows that begin with it; and its scale.
template <class T>
const T* PackedRow(const PackedHeads& packed, const AttentionArgs& a, int64_t batch, int64_t head,
                   int64_t token) {
  return static_cast<const T*>(packed.data) +
         ((batch * a.kv_heads + head) * packed.rows + token) * packed.width;
}
const float* PackedScale(const PackedHeads& packed, const AttentionArgs& a, int64_t batch,
                         int64_t head, int64_t token) {
  return packed.scales + (batch * a.kv_heads + head) * packed.rows + token;
}

int64_t KvHead(const AttentionArgs& a, int64_t head) { return head / (a.heads / a.kv_heads); }

bool Masked(const AttentionArgs& a, int64_t batch, int64_t key) {
  return a.key_mask != nullptr && a.key_mask[batch * a.keys + key] == 0;
}

// Row i of a [batch or 1, heads, queries, keys] array's part for one head.
template <class T>
T* ScoreRow(const AttentionArgs& a, T* data, int64_t batch, int64_t head, int64_t i) {
  return data + ((batch * a.heads + head) * a.queries + i) * a.keys;
}

// The index by which the dropout of key 0's probability is drawn.
int64_t DropIndex(const AttentionArgs& a, int64_t batch, int64_t head, int64_t i) {
  return ((batch * a.heads + head) * a.queries + i) * a.keys;
}

// The same of an array of the bias's layout.
template <class T>
T* BiasRow(const AttentionArgs& a, T* data, int64_t batch, int64_t head, int64_t i) {
  return data + batch * a.bias_batch_stride + (head * a.queries + i) * a.keys;
}

// Memory for one thread's tiles, aligned to a cache line; null when there is none.
class Scratch {
 public:
  explicit Scratch(int64_t floats) {
    if (floats < 0 || floats > (int64_t{1} << 28)) return;
    raw_ = std::malloc(static_cast<size_t>(floats) * sizeof(float) + 64);
  }
  ~Scratch() { std::free(raw_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  float* data() const {
    if (raw_ == nullptr) return nullptr;
    return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(raw_) + 63) & ~uintptr_t{63});
  }

 private:
  void* raw_ = nullptr;
};

}  // namespace
}  // namespace sotto
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

using D = hn::ScalableTag<float>;
using V = hn::Vec<D>;

// Blocks of kWidth queries lie across the lanes: a tile is transposed, [keys or dims, queries], so
// that the softmax over keys is vertical and keys and values are read where they are, one broadcast
// an element.

HWY_INLINE V Load(const float* p, size_t lanes) {
  const D d;
  return HWY_LIKELY(lanes == hn::Lanes(d)) ? hn::LoadU(d, p) : hn::LoadN(d, p, lanes);
}

HWY_INLINE void Store(V v, float* p, size_t lanes) {
  const D d;
  if (HWY_LIKELY(lanes == hn::Lanes(d))) {
    hn::StoreU(v, d, p);
  } else {
    hn::StoreN(v, d, p, lanes);
  }
}

// C[r, c] = or += sum_k A[r, k] B[k, c] for kR rows and kC vectors of columns, the last of `lanes`
// lanes if kPartial. A[r, k] is a[r + k stride_a] if kAdjacentRows, else a[r stride_a + k].
template <int kR, int kC, bool kAdjacentRows, bool kPartial>
HWY_NOINLINE void Tile(const float* HWY_RESTRICT a, int64_t stride_a, const float* HWY_RESTRICT b,
                       int64_t ldb, float* HWY_RESTRICT c, int64_t ldc, int64_t depth, bool add,
                       size_t lanes) {
  const D d;
  const size_t n = hn::Lanes(d);
  V sum[kR][kC];
  for (int r = 0; r < kR; ++r) {
    for (int j = 0; j < kC; ++j) sum[r][j] = hn::Zero(d);
  }
  for (int64_t k = 0; k < depth; ++k) {
    V row[kC];
    for (int j = 0; j < kC; ++j)
      row[j] = kPartial ? hn::LoadN(d, b + j * n, lanes) : hn::LoadU(d, b + j * n);
    for (int r = 0; r < kR; ++r) {
      const V s = hn::Set(d, kAdjacentRows ? a[r] : a[r * stride_a]);
      for (int j = 0; j < kC; ++j) sum[r][j] = FastMulAdd(s, row[j], sum[r][j]);
    }
    a += kAdjacentRows ? stride_a : 1;
    b += ldb;
  }
  for (int r = 0; r < kR; ++r) {
    for (int j = 0; j < kC; ++j) {
      float* to = c + r * ldc + j * n;
      if (kPartial) {
        hn::StoreN(add ? hn::Add(sum[r][j], hn::LoadN(d, to, lanes)) : sum[r][j], d, to, lanes);
      } else {
        hn::StoreU(add ? hn::Add(sum[r][j], hn::LoadU(d, to)) : sum[r][j], d, to);
      }
    }
  }
}

template <int kC, bool kAdjacentRows, bool kPartial>
HWY_INLINE void Panel(const float* a, int64_t stride_a, const float* b, int64_t ldb, float* c,
                      int64_t ldc, int64_t rows, int64_t depth, bool add, size_t lanes) {
  // Sums in as many registers as leave room for what is multiplied, of 32 or of 16; and, where that
  // leaves some rows over, tiles of four.
  constexpr int kR = HWY_MAX_BYTES >= 64 ? 8 : kC == 2 ? 6 : 4;
  const int64_t step = kAdjacentRows ? 1 : stride_a;
  int64_t whole = rows / kR, r = 0;
  if (whole > 0 && rows % 2 == 0 && (rows - whole * kR) % 4 != 0) --whole;
  const auto tiles = [&]<int kRows>(int64_t end) {
    for (; r + kRows <= end; r += kRows) {
      Tile<kRows, kC, kAdjacentRows, kPartial>(a + r * step, stride_a, b, ldb, c + r * ldc, ldc,
                                               depth, add, lanes);
    }
  };
  tiles.template operator()<kR>(whole * kR);
  if constexpr (kR > 4) tiles.template operator()<4>(rows);
  tiles.template operator()<1>(rows);
}

// With blocks for columns.
template <bool kAdjacentRows>
HWY_NOINLINE void Multiply(const float* a, int64_t stride_a, const float* b, float* c, int64_t rows,
                           int64_t depth, bool add) {
  Panel<2, kAdjacentRows, false>(a, stride_a, b, kWidth, c, kWidth, rows, depth, add, kLanes);
}

// Gradients have columns of any number.
HWY_NOINLINE void MultiplyGradient(const float* a, int64_t stride_a, const float* b, int64_t ldb,
                                   float* c, int64_t ldc, int64_t rows, int64_t columns,
                                   int64_t depth) {
  int64_t j = 0;
  for (; j + kWidth <= columns; j += kWidth)
    Panel<2, false, false>(a, stride_a, b + j, ldb, c + j, ldc, rows, depth, true, kLanes);
  for (; j < columns; j += kLanes) {
    Panel<1, false, true>(a, stride_a, b + j, ldb, c + j, ldc, rows, depth, true,
                          static_cast<size_t>(std::min<int64_t>(kLanes, columns - j)));
  }
}

// Keys and values of one head that are int8, in tiles, for products with blocks of queries: those
// from key `first` on, where a block of keys begins.
struct RoundedHead {
  int64_t first;
  const Activation8 *keys, *values;
  const float *key_scales, *value_scales;  // from key 0 on
};

// A block of queries of one head. Its keys begin with a block of keys.
struct Block {
  int64_t batch, head, first, count;  // queries [first, first + count); the other lanes are padding
  int64_t key_begin, key_end;         // the keys that any of the queries sees
};

Block MakeBlock(const AttentionArgs& a, int64_t batch, int64_t head, int64_t first, int64_t count) {
  return {batch,
          head,
          first,
          count,
          VisibleKeys(a, first).begin / kKeyBlock * kKeyBlock,
          VisibleKeys(a, first + count - 1).end};
}

// What a block works with.
struct Tiles {
  float *q, *out, *s;  // [dim, kWidth], [dim, kWidth], [kKeyBlock, kWidth]
  // With a RoundedHead: rounded queries, in place of q, and weights, and what one of each is worth.
  int32_t *rounded, *weights;
  float* units;  // [dim / kQueryPart, kWidth]

  static int64_t Floats(int64_t dim) {
    return (2 * dim + 3 + kKeyBlock + kKeyBlock / 2 + (dim + kQueryPart - 1) / kQueryPart) * kWidth;
  }
  Tiles(float* scratch, int64_t dim)
      : q(scratch),
        out(q + (dim + 3) * kWidth),
        s(out + dim * kWidth),
        rounded(reinterpret_cast<int32_t*>(q)),
        weights(reinterpret_cast<int32_t*>(s + kKeyBlock * kWidth)),
        units(s + kKeyBlock * kWidth + kKeyBlock / 2 * kWidth) {}
};

// to[d, i] = factor * row(first + i)[d]; padding becomes 0.
void PackTransposed(const HeadsView& view, const Block& block, int64_t dim, float factor,
                    float* to) {
  const float* rows = RowOf(view, block.batch, block.head, block.first);
  const int64_t fours = block.count / 4 * 4, turned = dim / 4 * 4;
  for (int64_t i = 0; i < fours; i += 4) {
    for (int64_t x = 0; x < turned; x += 4) {
      Turn4x4(rows + i * view.token_stride + x, view.token_stride, to + x * kWidth + i, kWidth);
    }
  }
  HWY_UNROLL(1)
  for (int64_t i = 0; i < kWidth; ++i) {
    const float* row = i < block.count ? rows + i * view.token_stride : nullptr;
    HWY_UNROLL(1)
    for (int64_t x = i < fours ? turned : 0; x < dim; ++x)
      to[x * kWidth + i] = row != nullptr ? row[x] : 0.0f;
  }
  const D d;
  const V f = hn::Set(d, factor);
  HWY_UNROLL(1)
  for (int64_t x = 0; x < dim * kWidth; x += kLanes)
    hn::Store(hn::Mul(f, hn::Load(d, to + x)), d, to + x);
}

// row(first + i)[d] = from[d, i].
void UnpackTransposed(const float* from, const Block& block, int64_t dim, const HeadsView& view) {
  float* rows = RowOf(view, block.batch, block.head, block.first);
  const int64_t fours = block.count / 4 * 4, turned = dim / 4 * 4;
  for (int64_t i = 0; i < fours; i += 4) {
    for (int64_t x = 0; x < turned; x += 4) {
      Turn4x4(from + x * kWidth + i, kWidth, rows + i * view.token_stride + x, view.token_stride);
    }
  }
  HWY_UNROLL(1)
  for (int64_t i = 0; i < block.count; ++i) {
    HWY_UNROLL(1)
    for (int64_t x = i < fours ? turned : 0; x < dim; ++x)
      rows[i * view.token_stride + x] = from[x * kWidth + i];
  }
}

HWY_NOINLINE void CapScores(const AttentionArgs& a, float* scores, int64_t count) {
  const D d;
  const V cap = hn::Set(d, a.softcap), inverse = hn::Set(d, 1.0f / a.softcap);
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t x = 0; x < count; x += n)
    hn::Store(hn::Mul(cap, Tanh(d, hn::Mul(hn::Load(d, scores + x), inverse))), d, scores + x);
}

// scores[j, i] of the keys from `key`, before bias and mask. `q` is packed and scaled.
void RawScores(const AttentionArgs& a, const Block& block, int64_t key, int64_t keys,
               const float* q, float* scores) {
  const float* k = RowOf(a.k, block.batch, KvHead(a, block.head), key);
  Multiply<false>(k, a.k.token_stride, q, scores, keys, a.dim, false);
  if (a.softcap > 0) CapScores(a, scores, keys * kWidth);
}

// The same from rounded queries.
void RoundedScores(const AttentionArgs& a, const RoundedHead& head, int64_t key, int64_t keys,
                   const Tiles& t) {
  for (int64_t from = 0; from < a.dim; from += kQueryPart) {
    MultiplyRounded({.a = head.keys + (key - head.first) * a.packed_k.width + from / 4 * kTileFour,
                     .tile = kPackedLanes * a.packed_k.width,
                     .rows = keys,
                     .b = t.rounded + RoundedLanes(from),
                     .fours = (std::min(kQueryPart, a.dim - from) + 3) / 4,
                     .weights = false,
                     .row_scales = head.key_scales + key,
                     .column_scales = t.units + from / kQueryPart * kWidth,
                     .c = t.s,
                     .add = from > 0});
  }
  if (a.softcap > 0) CapScores(a, t.s, keys * kWidth);
}

// Adds the values from `key` on to t.out, weighted by t.s.
void MixRounded(const AttentionArgs& a, const RoundedHead& head, int64_t key, int64_t keys,
                const Tiles& t) {
  HWY_ALIGN float units[kWidth];
  std::fill_n(units, kWidth, RoundWeights(t.s, head.value_scales + key, keys, t.weights));
  MultiplyRounded({.a = head.values + (key - head.first) * a.packed_v.width,
                   .tile = kPackedLanes * kPackedRows,
                   .rows = a.dim,
                   .b = t.weights,
                   .fours = (keys + 3) / 4,
                   .weights = true,
                   .row_scales = nullptr,
                   .column_scales = units,
                   .c = t.out,
                   .add = true});
}

// Adds the bias and sets what may not be seen to -inf.
void BiasAndMask(const AttentionArgs& a, const Block& block, int64_t key, int64_t keys,
                 float* scores) {
  for (int64_t i = 0; a.bias != nullptr && i < block.count; ++i) {
    const float* bias = BiasRow(a, a.bias, block.batch, block.head, block.first + i) + key;
    for (int64_t j = 0; j < keys; ++j) scores[j * kWidth + i] += bias[j];
  }
  for (int64_t j = 0; a.key_mask != nullptr && j < keys; ++j) {
    if (Masked(a, block.batch, key + j)) std::fill_n(scores + j * kWidth, kWidth, -kInfinity);
  }
  for (int64_t i = 0; (a.causal || a.window > 0) && i < block.count; ++i) {
    const Range range = VisibleKeys(a, block.first + i);
    const int64_t low = std::clamp<int64_t>(range.begin - key, 0, keys),
                  high = std::clamp<int64_t>(range.end - key, 0, keys);
    for (int64_t j = 0; j < low; ++j) scores[j * kWidth + i] = -kInfinity;
    for (int64_t j = high; j < keys; ++j) scores[j * kWidth + i] = -kInfinity;
  }
}

// Drops among values[0, keys) of one query, `first` being the index of the first.
void DropRow(const AttentionArgs& a, int64_t first, int64_t keys, float* values) {
  WithKept(a.dropout, a.dropout_seed, first, first + keys,
           [=](int64_t at, int64_t count, V kept) HWY_ATTR {
             float* x = values + (at - first);
             const size_t lanes = static_cast<size_t>(count);
             Store(hn::Mul(Load(x, lanes), kept), x, lanes);
           });
}

// The same in a tile [keys, queries].
void DropTile(const AttentionArgs& a, const Block& block, int64_t key, int64_t keys, float* tile) {
  HWY_ALIGN float row[kKeyBlock];
  for (int64_t i = 0; i < block.count; ++i) {
    std::fill_n(row, keys, 1.0f);
    DropRow(a, DropIndex(a, block.batch, block.head, block.first + i) + key, keys, row);
    for (int64_t j = 0; j < keys; ++j) tile[j * kWidth + i] *= row[j];
  }
}

// From raw scores kept in the rows of `probabilities` to exp(score - lse); -inf becomes 0.
HWY_NOINLINE void FinishProbabilities(float* row, int64_t keys, float lse) {
  const D d;
  const V shift = hn::Set(d, lse == -kInfinity ? kInfinity : lse);
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t j = 0; j < keys; j += n) {
    const size_t lanes = static_cast<size_t>(std::min(n, keys - j));
    Store(ExpOfNegative(d, hn::Sub(Load(row + j, lanes), shift)), row + j, lanes);
  }
}

// The online softmax: with a running maximum m and sum l by query, a block of scores s gives
//   m' = max(m, max s), p = exp(s - m'), l' = l exp(m - m') + sum p, O' = O exp(m - m') + V^T p.
HWY_NOINLINE void AttendBlock(const AttentionArgs& a, const Block& block,
                              const RoundedHead* rounded, float* scratch) {
  const D d;
  constexpr int kC = 2;
  constexpr int64_t n = kLanes;
  const Tiles t(scratch, a.dim);
  float *out = t.out, *s = t.s;
  if (rounded != nullptr) {
    RoundQueries(RowOf(a.q, block.batch, block.head, block.first), a.q.token_stride, block.count,
                 a.dim, a.scale, t.rounded, t.units);
  } else {
    PackTransposed(a.q, block, a.dim, a.scale, t.q);
  }
  std::fill_n(out, a.dim * kWidth, 0.0f);
  if (a.probabilities != nullptr) {
    std::fill_n(ScoreRow(a, a.probabilities, block.batch, block.head, block.first),
                block.count * a.keys, -kInfinity);
  }
  const V lowest = hn::Set(d, -kInfinity), zero = hn::Zero(d);
  V max[kC], sum[kC];
  for (int c = 0; c < kC; ++c) max[c] = lowest, sum[c] = zero;
  for (int64_t key = block.key_begin; key < block.key_end; key += kKeyBlock) {
    const int64_t keys = std::min(kKeyBlock, block.key_end - key);
    if (rounded != nullptr) {
      RoundedScores(a, *rounded, key, keys, t);
    } else {
      RawScores(a, block, key, keys, t.q, s);
    }
    BiasAndMask(a, block, key, keys, s);
    for (int64_t i = 0; a.probabilities != nullptr && i < block.count; ++i) {
      float* row = ScoreRow(a, a.probabilities, block.batch, block.head, block.first + i) + key;
      HWY_UNROLL(1)
      for (int64_t j = 0; j < keys; ++j) row[j] = s[j * kWidth + i];
    }
    V shift[kC], factor[kC], most[kC];
    for (int c = 0; c < kC; ++c) most[c] = max[c];
    for (int64_t j = 0; j < keys; ++j) {
      for (int c = 0; c < kC; ++c) most[c] = hn::Max(most[c], hn::Load(d, s + j * kWidth + c * n));
    }
    for (int c = 0; c < kC; ++c) {
      const V m = most[c];
      shift[c] = hn::IfThenZeroElse(hn::Eq(m, lowest), m);  // nothing seen yet: exp(-inf - 0) = 0
      factor[c] = ExpOfNegative(d, hn::Sub(max[c], shift[c]));
      max[c] = m;
      sum[c] = hn::Mul(sum[c], factor[c]);
    }
    for (int64_t j = 0; j < keys; ++j) {
      for (int c = 0; c < kC; ++c) {
        const V p = ExpOfNegative(d, hn::Sub(hn::Load(d, s + j * kWidth + c * n), shift[c]));
        sum[c] = hn::Add(sum[c], p);
        hn::Store(p, d, s + j * kWidth + c * n);
      }
    }
    if (a.dropout > 0) DropTile(a, block, key, keys, s);
    HWY_UNROLL(1)
    for (int64_t x = 0; key > block.key_begin && x < a.dim; ++x) {
      for (int c = 0; c < kC; ++c) {
        float* p = out + x * kWidth + c * n;
        hn::Store(hn::Mul(hn::Load(d, p), factor[c]), d, p);
      }
    }
    if (rounded != nullptr) {
      MixRounded(a, *rounded, key, keys, t);
    } else {
      const float* v = RowOf(a.v, block.batch, KvHead(a, block.head), key);
      Multiply<true>(v, a.v.token_stride, s, out, a.dim, keys, true);
    }
  }
  HWY_ALIGN float maxima[kC * hn::MaxLanes(D())];
  HWY_ALIGN float sums[kC * hn::MaxLanes(D())];
  for (int c = 0; c < kC; ++c) {
    hn::Store(max[c], d, maxima + c * n), hn::Store(sum[c], d, sums + c * n);
    const V inverse = hn::IfThenElseZero(hn::Ne(sum[c], zero), hn::Div(hn::Set(d, 1.0f), sum[c]));
    HWY_UNROLL(1)
    for (int64_t x = 0; x < a.dim; ++x) {
      float* p = out + x * kWidth + c * n;
      hn::Store(hn::Mul(hn::Load(d, p), inverse), d, p);
    }
  }
  UnpackTransposed(out, block, a.dim, a.out);
  for (int64_t i = 0; i < block.count; ++i) {
    const float lse = sums[i] != 0 ? maxima[i] + std::log(sums[i]) : -kInfinity;
    if (a.lse != nullptr)
      a.lse[(block.batch * a.heads + block.head) * a.queries + block.first + i] = lse;
    if (a.probabilities != nullptr) {
      FinishProbabilities(ScoreRow(a, a.probabilities, block.batch, block.head, block.first + i),
                          a.keys, lse);
    }
  }
}

HWY_INLINE float Dot(const float* a, const float* b, int64_t count) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  V sum = hn::Zero(d);
  for (int64_t i = 0; i < count; i += n) {
    const size_t lanes = static_cast<size_t>(std::min(n, count - i));
    sum = FastMulAdd(Load(a + i, lanes), Load(b + i, lanes), sum);
  }
  return hn::ReduceSum(d, sum);
}

// dots[j] = a . rows[j] for `count` rows: four at a time share the loads of `a`.
HWY_NOINLINE void Dots(const float* a, const float* rows, int64_t stride, int64_t count,
                       int64_t dim, float factor, float* dots) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  int64_t j = 0;
  for (; j + 4 <= count; j += 4) {
    const float *r0 = rows + j * stride, *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
    V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t i = 0; i < dim; i += n) {
      const size_t lanes = static_cast<size_t>(std::min(n, dim - i));
      const V x = Load(a + i, lanes);
      s0 = FastMulAdd(x, Load(r0 + i, lanes), s0);
      s1 = FastMulAdd(x, Load(r1 + i, lanes), s1);
      s2 = FastMulAdd(x, Load(r2 + i, lanes), s2);
      s3 = FastMulAdd(x, Load(r3 + i, lanes), s3);
    }
    dots[j] = factor * hn::ReduceSum(d, s0);
    dots[j + 1] = factor * hn::ReduceSum(d, s1);
    dots[j + 2] = factor * hn::ReduceSum(d, s2);
    dots[j + 3] = factor * hn::ReduceSum(d, s3);
  }
  for (; j < count; ++j) dots[j] = factor * Dot(a, rows + j * stride, dim);
}

// out = factor out + sum_j p[j] rows[j], in four sums of a vector each.
HWY_NOINLINE void Mix(const float* p, const float* rows, int64_t stride, int64_t count, int64_t dim,
                      float factor, float* out) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  const V f = hn::Set(d, factor);
  int64_t x = 0;
  for (; x + 4 * n <= dim; x += 4 * n) {
    V s[4];
    for (int c = 0; c < 4; ++c) s[c] = hn::Mul(f, hn::LoadU(d, out + x + c * n));
    for (int64_t j = 0; j < count; ++j) {
      const V w = hn::Set(d, p[j]);
      for (int c = 0; c < 4; ++c)
        s[c] = FastMulAdd(w, hn::LoadU(d, rows + j * stride + x + c * n), s[c]);
    }
    for (int c = 0; c < 4; ++c) hn::StoreU(s[c], d, out + x + c * n);
  }
  for (; x < dim; x += n) {
    const size_t lanes = static_cast<size_t>(std::min(n, dim - x));
    V s = hn::Mul(f, Load(out + x, lanes));
    for (int64_t j = 0; j < count; ++j)
      s = FastMulAdd(hn::Set(d, p[j]), Load(rows + j * stride + x, lanes), s);
    Store(s, out + x, lanes);
  }
}

// Scores of `keys` keys from `key` on, before all but the scale. `s` has room for a block of them.
void KeyDots(const AttentionArgs& a, int64_t batch, int64_t kv, int64_t key, int64_t keys,
             const float* q, RoundedFactor& rounded, float* s) {
  const PackedHeads& k = a.packed_k;
  if (k.data == nullptr) {
    Dots(q, RowOf(a.k, batch, kv, key), a.k.token_stride, keys, a.dim, a.scale, s);
  } else if (k.dtype == DType::kF16) {
    DotsF16(q, PackedRow<uint16_t>(k, a, batch, kv, key), keys, a.dim, a.scale, s);
  } else {
    DotsI8(q, PackedRow<int8_t>(k, a, batch, kv, key), PackedScale(k, a, batch, kv, key), keys,
           a.dim, k.width, a.scale, rounded, s);
  }
}

// out = factor out + the values from `key` on, weighted.
void MixValues(const AttentionArgs& a, int64_t batch, int64_t kv, int64_t key, int64_t keys,
               const float* p, float factor, float* out) {
  const PackedHeads& v = a.packed_v;
  if (v.data == nullptr) {
    Mix(p, RowOf(a.v, batch, kv, key), a.v.token_stride, keys, a.dim, factor, out);
  } else if (v.dtype == DType::kF16) {
    MixF16(p, PackedRow<uint16_t>(v, a, batch, kv, key), keys, a.dim, factor, out);
  } else {
    MixI8(p, PackedRow<int8_t>(v, a, batch, kv, key), PackedScale(v, a, batch, kv, key), keys,
          a.dim, factor, out);
  }
}

HWY_INLINE void AddScaled(const float* x, float factor, float* y, int64_t count) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d));
  for (int64_t i = 0; i < count; i += n) {
    const size_t lanes = static_cast<size_t>(std::min(n, count - i));
    Store(FastMulAdd(hn::Set(d, factor), Load(x + i, lanes), Load(y + i, lanes)), y + i, lanes);
  }
}

// One query with vectors along the dimension, for decoding: the keys and values are read once. It
// needs no memory of its own.
void AttendOne(const AttentionArgs& a, int64_t batch, int64_t head, int64_t i) {
  const D d;
  const int64_t n = static_cast<int64_t>(hn::Lanes(d)), kv = KvHead(a, head);
  HWY_ALIGN float s[kKeyBlock];
  RoundedFactor rounded;
  const float* q = RowOf(a.q, batch, head, i);
  float* out = RowOf(a.out, batch, head, i);
  float* row = a.probabilities != nullptr ? ScoreRow(a, a.probabilities, batch, head, i) : nullptr;
  if (row != nullptr) std::fill_n(row, a.keys, -kInfinity);
  std::fill_n(out, a.dim, 0.0f);
  float max = -kInfinity, sum = 0;
  const Range range = VisibleKeys(a, i);
  for (int64_t key = range.begin / kKeyBlock * kKeyBlock; key < range.end; key += kKeyBlock) {
    const int64_t keys = std::min(kKeyBlock, range.end - key);
    KeyDots(a, batch, kv, key, keys, q, rounded, s);
    if (a.softcap > 0) CapScores(a, s, keys);
    for (int64_t j = keys; j < kKeyBlock && j % n != 0; ++j) s[j] = -kInfinity;
    if (a.bias != nullptr) AddScaled(BiasRow(a, a.bias, batch, head, i) + key, 1.0f, s, keys);
    for (int64_t j = 0; a.key_mask != nullptr && j < keys; ++j) {
      if (Masked(a, batch, key + j)) s[j] = -kInfinity;
    }
    for (int64_t j = key; j < range.begin; ++j) s[j - key] = -kInfinity;
    if (row != nullptr) std::copy_n(s, keys, row + key);
    V m = hn::Set(d, max);
    for (int64_t j = 0; j < keys; j += n) m = hn::Max(m, hn::Load(d, s + j));
    const float grown = hn::ReduceMax(d, m), shift = grown == -kInfinity ? 0.0f : grown;
    const float factor = std::exp(max - shift);
    max = grown;
    V total = hn::Zero(d);
    for (int64_t j = 0; j < keys; j += n) {
      const V p = ExpOfNegative(d, hn::Sub(hn::Load(d, s + j), hn::Set(d, shift)));
      total = hn::Add(total, p);
      hn::Store(p, d, s + j);
    }
    sum = sum * factor + hn::ReduceSum(d, total);
    if (a.dropout > 0) DropRow(a, DropIndex(a, batch, head, i) + key, keys, s);
    MixValues(a, batch, kv, key, keys, s, factor, out);
  }
  const float inverse = sum != 0 ? 1.0f / sum : 0.0f;
  for (int64_t x = 0; x < a.dim; ++x) out[x] *= inverse;
  const float lse = sum != 0 ? max + std::log(sum) : -kInfinity;
  if (a.lse != nullptr) a.lse[(batch * a.heads + head) * a.queries + i] = lse;
  if (row != nullptr) FinishProbabilities(row, a.keys, lse);
}

// Below this many queries the lanes of a block would lie idle.
HWY_INLINE bool FewQueries(int64_t queries) {
  return 2 * queries <= static_cast<int64_t>(hn::Lanes(D()));
}

// Queries [first, first + count) of one head, at most kWidth of them.
void AttendQueries(const AttentionArgs& a, int64_t batch, int64_t head, int64_t first,
                   int64_t count, const RoundedHead* rounded, float* scratch) {
  if (scratch == nullptr || FewQueries(count)) {
    for (int64_t i = first; i < first + count; ++i) AttendOne(a, batch, head, i);
  } else {
    AttendBlock(a, MakeBlock(a, batch, head, first, count), rounded, scratch);
  }
}

// Many queries over packed keys and values: those of a head are prepared once for a part of the
// queries of all heads that read it.
constexpr int64_t kPartQueries = 64;

// What the preparation takes, in floats.
int64_t PreparedFloats(const AttentionArgs& a) {
  if (a.packed_k.dtype == DType::kF16) return 2 * a.keys * a.dim;
  return SOTTO_Q8_WIDE ? PackedRowsFor(DType::kI8, a.keys) * a.packed_k.width : 0;
}

// Keys of f16, and values, in `to` [2, keys, dim]: those that `block` sees.
HWY_NOINLINE void UnpackHead(const AttentionArgs& a, const Block& block, int64_t kv, float* to) {
  for (const PackedHeads* packed : {&a.packed_k, &a.packed_v}) {
    for (int64_t j = block.key_begin; j < block.key_end; ++j)
      UnpackF16(PackedRow<uint16_t>(*packed, a, block.batch, kv, j), a.dim, to + j * a.dim);
    to += a.keys * a.dim;
  }
}

// The same of int8: as they are, or where products want them wider in `to`.
RoundedHead RoundHead(const AttentionArgs& a, const Block& block, int64_t kv, float* to) {
#if SOTTO_Q8_WIDE
  const int64_t begin = block.key_begin,
                count = PackedRowsFor(DType::kI8, block.key_end - begin) * a.packed_k.width;
  auto *keys = reinterpret_cast<int16_t*>(to), *values = keys + count;
  Widen(PackedRow<int8_t>(a.packed_k, a, block.batch, kv, begin), count, keys);
  Widen(PackedRow<int8_t>(a.packed_v, a, block.batch, kv, begin), count, values);
#else
  const int64_t begin = 0;
  const auto *keys = PackedRow<int8_t>(a.packed_k, a, block.batch, kv, begin),
             *values = PackedRow<int8_t>(a.packed_v, a, block.batch, kv, begin);
#endif
  return {begin, keys, values, PackedScale(a.packed_k, a, block.batch, kv, 0),
          PackedScale(a.packed_v, a, block.batch, kv, 0)};
}

void AttendPacked(const AttentionArgs& args, ThreadPool* pool) {
  const AttentionArgs* a = &args;
  const int64_t parts = (args.queries + kPartQueries - 1) / kPartQueries,
                rows = args.batch * args.kv_heads;
  ParallelFor(pool, rows * parts, 1, [=](int64_t begin, int64_t end) HWY_ATTR {
    const int64_t group = a->heads / a->kv_heads, tiles = Tiles::Floats(a->dim);
    const Scratch scratch(tiles + PreparedFloats(*a));
    for (int64_t t = begin; t < end; ++t) {
      const int64_t first = (parts - 1 - t / rows) * kPartQueries, kv = t % rows % a->kv_heads,
                    batch = t % rows / a->kv_heads,
                    count = std::min(kPartQueries, a->queries - first);
      const Block part = MakeBlock(*a, batch, kv * group, first, count);
      AttentionArgs plain = *a;
      RoundedHead rounded{};
      if (float* prepared = scratch.data()) {
        prepared += tiles;
        if (a->packed_k.dtype == DType::kI8) {
          rounded = RoundHead(*a, part, kv, prepared);
        } else {
          UnpackHead(*a, part, kv, prepared);
          plain.k = {prepared, 0, a->dim, 0};
          plain.v = {prepared + a->keys * a->dim, 0, a->dim, 0};
          plain.packed_k = plain.packed_v = {};
        }
      }
      for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
        for (int64_t i = first; i < first + count; i += kWidth) {
          AttendQueries(plain, batch, head, i, std::min(kWidth, first + count - i),
                        rounded.keys != nullptr ? &rounded : nullptr, scratch.data());
        }
      }
    }
  });
}

// Where queries see only what is before them, the last have the most to do: they go first, so that
// threads end together.
void Attention(const AttentionArgs& args, ThreadPool* pool) {
  if (args.batch <= 0 || args.heads <= 0 || args.kv_heads <= 0 || args.queries <= 0) return;
  const AttentionArgs* a = &args;
  if (FewQueries(args.queries)) {
    ParallelFor(pool, args.batch * args.heads * args.queries, 1,
                [=](int64_t begin, int64_t end) HWY_ATTR {
                  for (int64_t t = begin; t < end; ++t) {
                    const int64_t row = t / a->queries;
                    AttendOne(*a, row / a->heads, row % a->heads, t % a->queries);
                  }
                });
    return;
  }
  if (args.packed_k.data != nullptr) return AttendPacked(args, pool);
  const int64_t blocks = (args.queries + kWidth - 1) / kWidth, rows = args.batch * args.heads;
  ParallelFor(pool, rows * blocks, 1, [=](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch scratch(Tiles::Floats(a->dim));
    for (int64_t t = begin; t < end; ++t) {
      const int64_t row = t % rows, first = (blocks - 1 - t / rows) * kWidth;
      AttendQueries(*a, row / a->heads, row % a->heads, first, std::min(kWidth, a->queries - first),
                    nullptr, scratch.data());
    }
  });
}

void PackRowsF16(const float* from, int64_t stride, int64_t count, int64_t dim, uint16_t* to) {
  for (int64_t r = 0; r < count; ++r) PackF16(from + r * stride, dim, to + r * dim);
}

void PackRowsI8(const float* from, int64_t stride, int64_t first, int64_t count, int64_t dim,
                bool values, int8_t* head, float* scales) {
  const int64_t width = PackedWidthFor(DType::kI8, dim), end = first + count;
  for (int64_t r = first; r < end;) {
    int8_t* to = head + PackedIndex(values, width, r, 0);
    int64_t rows = 1;
    if (!values) {
      scales[r] = PackKey(from, dim, to);
    } else if (r % 4 == 0 && r + 4 <= end && PackFourValues(from, stride, dim, to, scales + r)) {
      rows = 4;
    } else {
      scales[r] = PackValue(from, dim, to);
    }
    r += rows, from += rows * stride;
  }
}

// Dao 2023: P = exp(S - lse), dP = M dO V^T, D = rowsum(dO O), dS = P (dP - D), where M is what
// dropout multiplied P by; then
//   dV += (M P)^T dO, dbias += dS, dQ += scale dS' K, dK += scale dS'^T Q, dS' = dS (1 - (S /
//   cap)^2).
void BackwardBlock(const AttentionBackwardArgs& g, const Block& block, float* scratch) {
  const AttentionArgs& a = g.forward;
  const D d;
  constexpr int kC = 2;
  constexpr int64_t n = kLanes;
  const int64_t kv = KvHead(a, block.head);
  float* q = scratch;                      // [dim, kWidth]
  float* d_out = q + a.dim * kWidth;       // [dim, kWidth]
  float* dq = d_out + a.dim * kWidth;      // [dim, kWidth]
  float* s = dq + a.dim * kWidth;          // [kKeyBlock, kWidth]: scores, then probabilities
  float* ds = s + kKeyBlock * kWidth;      // [kKeyBlock, kWidth]: dP, then dS
  float* slope = ds + kKeyBlock * kWidth;  // [kKeyBlock, kWidth]: the softcap's derivative
  PackTransposed(a.q, block, a.dim, a.scale, q);
  PackTransposed(g.d_out, block, a.dim, 1.0f, d_out);
  std::fill_n(dq, a.dim * kWidth, 0.0f);
  HWY_ALIGN float lses[kC * hn::MaxLanes(D())];
  HWY_ALIGN float dots[kC * hn::MaxLanes(D())];
  for (int64_t i = 0; i < kWidth; ++i)
    lses[i] = kInfinity, dots[i] = 0;  // padding and blind queries: P = 0
  for (int64_t i = 0; i < block.count; ++i) {
    const float lse = a.lse[(block.batch * a.heads + block.head) * a.queries + block.first + i];
    if (lse != -kInfinity) lses[i] = lse;
    dots[i] = Dot(RowOf(g.d_out, block.batch, block.head, block.first + i),
                  RowOf(a.out, block.batch, block.head, block.first + i), a.dim);
  }
  const V one = hn::Set(d, 1.0f), scale = hn::Set(d, a.scale);
  for (int64_t key = block.key_begin; key < block.key_end; key += kKeyBlock) {
    const int64_t keys = std::min(kKeyBlock, block.key_end - key), tile = keys * kWidth;
    RawScores(a, block, key, keys, q, s);
    if (a.softcap > 0) {
      const V inverse = hn::Set(d, 1.0f / a.softcap);
      for (int64_t x = 0; x < tile; x += n) {
        const V t = hn::Mul(hn::Load(d, s + x), inverse);
        hn::Store(hn::NegMulAdd(t, t, one), d, slope + x);
      }
    }
    BiasAndMask(a, block, key, keys, s);
    const float* k = RowOf(a.k, block.batch, kv, key);
    const float* v = RowOf(a.v, block.batch, kv, key);
    Multiply<false>(v, a.v.token_stride, d_out, ds, keys, a.dim, false);
    if (a.dropout > 0) DropTile(a, block, key, keys, ds);
    for (int64_t j = 0; j < keys; ++j) {
      for (int c = 0; c < kC; ++c) {
        const int64_t x = j * kWidth + c * n;
        const V p = ExpOfNegative(d, hn::Sub(hn::Load(d, s + x), hn::Load(d, lses + c * n)));
        hn::Store(p, d, s + x);
        hn::Store(hn::Mul(p, hn::Sub(hn::Load(d, ds + x), hn::Load(d, dots + c * n))), d, ds + x);
      }
    }
    if (a.dropout > 0) DropTile(a, block, key, keys, s);
    for (int64_t i = 0; g.d_bias != nullptr && i < block.count; ++i) {
      float* to = BiasRow(a, g.d_bias, block.batch, block.head, block.first + i) + key;
      for (int64_t j = 0; j < keys; ++j) to[j] += ds[j * kWidth + i];
    }
    for (int64_t x = 0; x < tile; x += n) {
      const V factor = a.softcap > 0 ? hn::Mul(scale, hn::Load(d, slope + x)) : scale;
      hn::Store(hn::Mul(hn::Load(d, ds + x), factor), d, ds + x);
    }
    MultiplyGradient(s, kWidth, RowOf(g.d_out, block.batch, block.head, block.first),
                     g.d_out.token_stride, RowOf(g.dv, block.batch, kv, key), g.dv.token_stride,
                     keys, a.dim, block.count);
    MultiplyGradient(ds, kWidth, RowOf(a.q, block.batch, block.head, block.first), a.q.token_stride,
                     RowOf(g.dk, block.batch, kv, key), g.dk.token_stride, keys, a.dim,
                     block.count);
    Multiply<true>(k, a.k.token_stride, ds, dq, a.dim, keys, true);
  }
  for (int64_t i = 0; i < block.count; ++i) {
    float* to = RowOf(g.dq, block.batch, block.head, block.first + i);
    for (int64_t x = 0; x < a.dim; ++x) to[x] += dq[x * kWidth + i];
  }
}

// The same for one query, without memory of its own.
void BackwardOne(const AttentionBackwardArgs& g, int64_t batch, int64_t head, int64_t i) {
  const AttentionArgs& a = g.forward;
  const int64_t kv = KvHead(a, head);
  const float* q = RowOf(a.q, batch, head, i);
  const float* d_out = RowOf(g.d_out, batch, head, i);
  float* dq = RowOf(g.dq, batch, head, i);
  const float dot = Dot(d_out, RowOf(a.out, batch, head, i), a.dim);
  const float lse = a.lse[(batch * a.heads + head) * a.queries + i];
  if (lse == -kInfinity) return;
  const Range range = VisibleKeys(a, i);
  for (int64_t j = range.begin; j < range.end; ++j) {
    if (Masked(a, batch, j)) continue;
    const float* k = RowOf(a.k, batch, kv, j);
    float s = a.scale * Dot(q, k, a.dim), slope = 1;
    if (a.softcap > 0) {
      const float t = std::tanh(s / a.softcap);
      s = a.softcap * t;
      slope = 1 - t * t;
    }
    if (a.bias != nullptr) s += BiasRow(a, a.bias, batch, head, i)[j];
    const float p = std::exp(s - lse);
    const float kept =
        a.dropout > 0 ? KeptFactor(a.dropout, a.dropout_seed, DropIndex(a, batch, head, i) + j) : 1;
    const float ds = p * (kept * Dot(d_out, RowOf(a.v, batch, kv, j), a.dim) - dot);
    if (g.d_bias != nullptr) BiasRow(a, g.d_bias, batch, head, i)[j] += ds;
    AddScaled(d_out, kept * p, RowOf(g.dv, batch, kv, j), a.dim);
    AddScaled(q, ds * slope * a.scale, RowOf(g.dk, batch, kv, j), a.dim);
    AddScaled(k, ds * slope * a.scale, dq, a.dim);
  }
}

// All queries that read one head of keys and values: what sums into dk and dv is one thread's, in
// order.
void BackwardHead(const AttentionBackwardArgs& g, int64_t batch, int64_t kv, float* scratch) {
  const AttentionArgs& a = g.forward;
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t head = kv * group; head < (kv + 1) * group; ++head) {
    for (int64_t first = 0; first < a.queries; first += kWidth) {
      const int64_t count = std::min(kWidth, a.queries - first);
      if (scratch == nullptr || FewQueries(count)) {
        for (int64_t i = first; i < first + count; ++i) BackwardOne(g, batch, head, i);
      } else {
        BackwardBlock(g, MakeBlock(a, batch, head, first, count), scratch);
      }
    }
  }
}

void AttentionBackward(const AttentionBackwardArgs& args, ThreadPool* pool) {
  const AttentionArgs& a = args.forward;
  if (a.batch <= 0 || a.heads <= 0 || a.kv_heads <= 0 || a.queries <= 0) return;
  const AttentionBackwardArgs* g = &args;
  const int64_t floats = (3 * a.dim + 3 * kKeyBlock) * kWidth;
  // A bias that the batch shares makes it go in order.
  const bool shared = args.d_bias != nullptr && a.bias_batch_stride == 0;
  const int64_t serial = shared ? a.batch : 1, parallel = a.batch / serial;
  ParallelFor(pool, parallel * a.kv_heads, 1, [=](int64_t begin, int64_t end) HWY_ATTR {
    const Scratch scratch(FewQueries(g->forward.queries) ? -1 : floats);
    for (int64_t t = begin; t < end; ++t) {
      const int64_t kv = t % g->forward.kv_heads, first = t / g->forward.kv_heads;
      for (int64_t b = first; b < first + serial; ++b) BackwardHead(*g, b, kv, scratch.data());
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {

HWY_EXPORT(Attention);
HWY_EXPORT(AttentionBackward);
HWY_EXPORT(PackRowsF16);
HWY_EXPORT(PackRowsI8);

// Where queries see only what is before them, the last have the most to do: they go first, so that
// threads end together.
void Attention(const AttentionArgs& args, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(Attention)(args, pool);
}
void AttentionBackward(const AttentionBackwardArgs& args, ThreadPool* pool) {
  HWY_DYNAMIC_DISPATCH(AttentionBackward)(args, pool);
}
void PackRowsF16(const float* from, int64_t stride, int64_t count, int64_t dim, uint16_t* to) {
  HWY_DYNAMIC_DISPATCH(PackRowsF16)(from, stride, count, dim, to);
}
void PackRowsI8(const float* from, int64_t stride, int64_t first, int64_t count, int64_t dim,
                bool values, int8_t* head, float* scales) {
  HWY_DYNAMIC_DISPATCH(PackRowsI8)(from, stride, first, count, dim, values, head, scales);
}

namespace scalar {

namespace {

// Rounds as PackedHeads tells; returns the scale.
float RoundRow(const float* x, int64_t count, int8_t* to) {
  float peak = 0;
  bool finite = true;
  for (int64_t i = 0; i < count; ++i) {
    finite = finite && std::isfinite(x[i]);
    peak = std::max(peak, std::fabs(x[i]));
  }
  const bool usable = finite && peak >= 1e-30f;
  for (int64_t i = 0; i < count; ++i)
    to[i] = usable ? static_cast<int8_t>(std::nearbyint(x[i] * (127 / peak))) : int8_t{0};
  return !finite ? std::numeric_limits<float>::quiet_NaN() : usable ? peak / 127 : 0;
}

// Value x of a row of keys, or of values.
double ValueAt(const AttentionArgs& a, const HeadsView& plain, const PackedHeads& packed,
               bool values, int64_t batch, int64_t kv, int64_t token, int64_t x) {
  if (packed.data == nullptr) return RowOf(plain, batch, kv, token)[x];
  if (packed.dtype == DType::kF16)
    return F16ToF32(PackedRow<uint16_t>(packed, a, batch, kv, token)[x]);
  const int8_t* head = PackedRow<int8_t>(packed, a, batch, kv, 0);
  return static_cast<double>(*PackedScale(packed, a, batch, kv, token)) *
         head[PackedIndex(values, packed.width, token, x)];
}

// Query i as it meets the keys: where those are kI8 it is rounded likewise.
std::vector<double> QueryAsUsed(const AttentionArgs& a, int64_t batch, int64_t head, int64_t i) {
  const float* q = RowOf(a.q, batch, head, i);
  std::vector<double> used(q, q + a.dim);
  if (a.packed_k.data == nullptr || a.packed_k.dtype != DType::kI8) return used;
  for (int64_t from = 0; from < a.dim; from += kQueryPart) {
    const int64_t count = std::min(kQueryPart, a.dim - from);
    int8_t rounded[kQueryPart];
    const float scale = RoundRow(q + from, count, rounded);
    for (int64_t x = 0; x < count; ++x)
      used[static_cast<size_t>(from + x)] = static_cast<double>(scale) * rounded[x];
  }
  return used;
}

// The score of query i, `q`, and key j; -inf where it may not be seen.
double Score(const AttentionArgs& a, int64_t batch, int64_t head, int64_t i, const double* q,
             int64_t j) {
  const Range range = VisibleKeys(a, i);
  if (j < range.begin || j >= range.end || Masked(a, batch, j))
    return -std::numeric_limits<double>::infinity();
  double s = 0;
  for (int64_t x = 0; x < a.dim; ++x)
    s += q[x] * ValueAt(a, a.k, a.packed_k, false, batch, KvHead(a, head), j, x);
  s *= a.scale;
  if (a.softcap > 0) s = a.softcap * std::tanh(s / a.softcap);
  return a.bias != nullptr ? s + BiasRow(a, a.bias, batch, head, i)[j] : s;
}

void AttendRow(const AttentionArgs& a, int64_t batch, int64_t head, int64_t i) {
  const std::vector<double> q = QueryAsUsed(a, batch, head, i);
  std::vector<double> scores(static_cast<size_t>(a.keys));
  double max = -std::numeric_limits<double>::infinity(), sum = 0;
  for (int64_t j = 0; j < a.keys; ++j) {
    scores[j] = Score(a, batch, head, i, q.data(), j);
    max = std::max(max, scores[j]);
  }
  const bool blind = std::isinf(max) && max < 0;
  for (int64_t j = 0; j < a.keys && !blind; ++j) sum += std::exp(scores[j] - max);
  float* out = RowOf(a.out, batch, head, i);
  for (int64_t x = 0; x < a.dim; ++x) {
    double total = 0;
    for (int64_t j = 0; j < a.keys && !blind; ++j) {
      const double kept =
          a.dropout > 0 ? KeptFactor(a.dropout, a.dropout_seed, DropIndex(a, batch, head, i) + j)
                        : 1;
      total += kept * std::exp(scores[j] - max) / sum *
               ValueAt(a, a.v, a.packed_v, true, batch, KvHead(a, head), j, x);
    }
    out[x] = static_cast<float>(total);
  }
  const double lse = blind ? max : max + std::log(sum);
  if (a.lse != nullptr) a.lse[(batch * a.heads + head) * a.queries + i] = static_cast<float>(lse);
  for (int64_t j = 0; a.probabilities != nullptr && j < a.keys; ++j) {
    ScoreRow(a, a.probabilities, batch, head, i)[j] =
        blind ? 0.0f : static_cast<float>(std::exp(scores[j] - lse));
  }
}

}  // namespace

void Attention(const AttentionArgs& args) {
  for (int64_t b = 0; b < args.batch; ++b) {
    for (int64_t h = 0; h < args.heads; ++h) {
      for (int64_t i = 0; i < args.queries; ++i) AttendRow(args, b, h, i);
    }
  }
}

void PackRowsF16(const float* from, int64_t stride, int64_t count, int64_t dim, uint16_t* to) {
  for (int64_t r = 0; r < count; ++r, from += stride) {
    for (int64_t x = 0; x < dim; ++x)
      to[r * dim + x] = F32ToF16(std::clamp(from[x], -65504.0f, 65504.0f));
  }
}

void PackRowsI8(const float* from, int64_t stride, int64_t first, int64_t count, int64_t dim,
                bool values, int8_t* head, float* scales) {
  const int64_t width = PackedWidthFor(DType::kI8, dim);
  std::vector<int8_t> row(static_cast<size_t>(dim));
  for (int64_t r = first; r < first + count; ++r, from += stride) {
    scales[r] = RoundRow(from, dim, row.data());
    for (int64_t x = 0; x < dim; ++x)
      head[PackedIndex(values, width, r, x)] = row[static_cast<size_t>(x)];
  }
}

}  // namespace scalar

}  // namespace sotto
#endif  // HWY_ONCE
