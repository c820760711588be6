// What the products with quantized weights share: rows of x rounded to int8 with one scale each,
// laid out in tiles for the inner loops, the dot product of bytes, and weights spread for tiles of
// many rows. Included once a target.
#ifndef SOTTO_CORE_KERNELS_INT8_ROWS_ONCE_
#define SOTTO_CORE_KERNELS_INT8_ROWS_ONCE_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

#include "core/kernels/byte_dots.h"
#include "core/kernels/constant.h"
#include "hwy/highway.h"

// WebAssembly without relaxed SIMD has no product of bytes, but one of int16 pairs: activations are
// kept as int16 there, and weights are widened in the tile.
#if HWY_ARCH_WASM && !SOTTO_RELAXED_SIMD
#define SOTTO_Q8_WIDE 1
#else
#define SOTTO_Q8_WIDE 0
#endif

namespace sotto {
#if SOTTO_Q8_WIDE
using Activation8 = int16_t;
using Weight8 = int16_t;
#else
using Activation8 = int8_t;
using Weight8 = uint8_t;
#endif

namespace {

// Panels (8 columns) whose weights the product with one row reads in turns: memory answers several
// runs of addresses at a time, and one alone gets half of its bandwidth.
constexpr int kMaxStreams = 8;

// Calls multiply(panels, count) with up to `streams` panels at a time, count of them, each from
// another part of first..last-1.
template <class Multiply>
void InStreams(int64_t first, int64_t last, int64_t streams, const Multiply& multiply) {
  const int64_t part = (last - first + streams - 1) / streams;
  for (int64_t i = first; i < first + part; ++i) {
    int64_t panels[kMaxStreams];
    int64_t count = 0;
    for (int64_t panel = i; panel < last; panel += part) panels[count++] = panel;
    multiply(panels, count);
  }
}

}  // namespace
}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_INT8_ROWS_ONCE_

#if defined(SOTTO_CORE_KERNELS_INT8_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_INT8_ROWS_INL_H_
#undef SOTTO_CORE_KERNELS_INT8_ROWS_INL_H_
#else
#define SOTTO_CORE_KERNELS_INT8_ROWS_INL_H_
#endif

#include "core/kernels/relaxed_simd.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using DU8 = hn::ScalableTag<uint8_t>;
using DI8 = hn::RebindToSigned<DU8>;
using DI16 = hn::Repartition<int16_t, DU8>;
using DI32 = hn::Repartition<int32_t, DU8>;
using DF = hn::RebindToFloat<DI32>;
using VI32 = hn::Vec<DI32>;
using VF = hn::Vec<DF>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(DF()));  // columns of y in a vector
constexpr int kStreams = SOTTO_Q8_WIDE ? 2 : kLanes == 4 ? 4 : kMaxStreams;

// max |x| as the bits of a float, so that NaN and infinity compare above every number.
int32_t MaxMagnitudeBits(const float* HWY_RESTRICT x, int64_t k) {
  const DF df;
  const DI32 di;
  const VI32 magnitude = hn::Set(di, 0x7FFFFFFF);
  const auto bits = [&](int64_t at) {
    return hn::And(hn::BitCast(di, hn::LoadU(df, x + at)), magnitude);
  };
  VI32 peak = hn::Zero(di), other = peak;
  int64_t i = 0;
  for (; i + 4 * kLanes <= k; i += 4 * kLanes) {
    peak = hn::Max(peak, hn::Max(bits(i), bits(i + kLanes)));
    other = hn::Max(other, hn::Max(bits(i + 2 * kLanes), bits(i + 3 * kLanes)));
  }
  for (; i + kLanes <= k; i += kLanes) peak = hn::Max(peak, bits(i));
  int32_t most = hn::ReduceMax(di, hn::Max(peak, other));
  for (; i < k; ++i) {
    int32_t one;
    std::memcpy(&one, x + i, 4);
    most = std::max(most, one & 0x7FFFFFFF);
  }
  return most;
}

// round(x * factor) for results below 2^22, to the nearest, ties to even.
HWY_INLINE VI32 Rounded(const float* x, VF factor) {
  const DF df;
  const VF product = hn::Mul(hn::LoadU(df, x), factor);
#if HWY_ARCH_WASM
  // Its conversions saturate, which takes many instructions; 1.5 * 2^23 + i has i in its low bits.
  const VF magic = hn::Set(df, kConstant<12582912.0f>);
  return hn::Sub(hn::BitCast(DI32(), hn::Add(product, magic)), hn::BitCast(DI32(), magic));
#else
  return hn::NearestInt(product);
#endif
}

// The four bytes at `from` in every lane.
HWY_INLINE VI32 SetFour(const void* from) {
  int32_t four;
  std::memcpy(&four, from, 4);
  return hn::Set(DI32(), four);
}

// Writes fours of values, `step` values apart.
template <class D, class T = hn::TFromD<D>>
HWY_INLINE void StoreFours(hn::Vec<D> v, D d, T* q, size_t step) {
  alignas(64) T fours[hn::MaxLanes(d)];
  hn::StoreU(v, d, fours);
  HWY_UNROLL(16)
  for (size_t i = 0; i < hn::MaxLanes(d); i += 4) {
    std::memcpy(q, fours + i, 4 * sizeof(T));
    q += step;
  }
}

// q[i] = round(x[i] * inverse), to the nearest, ties to even, in fours that begin `step` apart;
// returns their sum, which may wrap as the sums of the products do.
template <class T>
int32_t RoundAll(const float* HWY_RESTRICT x, int64_t count, float inverse, T* HWY_RESTRICT q,
                 size_t step = 4) {
  const DF df;
  const DI32 di;
  const VF factor = hn::Set(df, inverse);
  VI32 sum = hn::Zero(di);
  const DI16 di16;
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    const VI32 v0 = Rounded(x + i, factor), v1 = Rounded(x + i + kLanes, factor);
    const VI32 v2 = Rounded(x + i + 2 * kLanes, factor);
    const VI32 v3 = Rounded(x + i + 3 * kLanes, factor);
    sum = hn::Add(sum, hn::Add(hn::Add(v0, v1), hn::Add(v2, v3)));
    const auto low = hn::OrderedDemote2To(di16, v0, v1);
    const auto high = hn::OrderedDemote2To(di16, v2, v3);
    if constexpr (sizeof(T) == 1) {
      StoreFours(hn::OrderedDemote2To(DI8(), low, high), DI8(), q, step);
    } else {
      StoreFours(low, di16, q, step);
      StoreFours(high, di16, q + kLanes / 2 * step, step);
    }
    q += kLanes * step;
  }
  const hn::Rebind<T, DF> dq;
  for (; i + kLanes <= count; i += kLanes) {
    const VI32 v = Rounded(x + i, factor);
    sum = hn::Add(sum, v);
    StoreFours(hn::DemoteTo(dq, v), dq, q, step);
    q += kLanes / 4 * step;
  }
  uint32_t total = static_cast<uint32_t>(hn::ReduceSum(di, sum));
  for (size_t j = 0; i < count; ++i, ++j) {
    const float product = x[i] * inverse;
    const int32_t v = hn::GetLane(hn::NearestInt(hn::Set(hn::CappedTag<float, 1>(), product)));
    total += static_cast<uint32_t>(v);
    q[j / 4 * step + j % 4] = static_cast<T>(v);
  }
  return static_cast<int32_t>(total);
}

// The scale of a row and what to multiply by; an inverse of 0 stands for a row of zeros. A row with
// a NaN or an infinity has scale NaN; one whose inverse would overflow counts as zero.
float RowScale(const float* x, int64_t k, float* inverse) {
  const int32_t bits = MaxMagnitudeBits(x, k);
  *inverse = 0;
  if (bits >= 0x7F800000) return std::numeric_limits<float>::quiet_NaN();
  float peak;
  std::memcpy(&peak, &bits, 4);
  if (peak < 1e-30f) return 0;
  *inverse = 127 / peak;
  return peak / 127;
}

// Rounds x[k] into place `i` of a tile of `rows` rows, [k_padded / 4][rows][4], and returns the
// row's scale. `sum_of(r, sum)` gets the sum of each run r of `run` rounded values.
template <class SumOf>
float QuantizeIntoTile(const float* x, int64_t k, int64_t k_padded, int64_t i, int64_t rows,
                       Activation8* tile, int64_t run, const SumOf& sum_of) {
  float inverse;
  const float scale = RowScale(x, k, &inverse);
  if (inverse == 0) k = 0;
  tile += i * 4;
  for (int64_t at = k / 4 * 4; at < k_padded; at += 4) {
    std::memset(tile + at * rows, 0, 4 * sizeof(Activation8));
  }
  for (int64_t at = 0; at < k_padded; at += run) {
    sum_of(at / run, RoundAll(x + at, std::clamp<int64_t>(k - at, 0, run), inverse,
                              tile + at * rows, static_cast<size_t>(rows) * 4));
  }
  return scale;
}

// ---- Spread weights: what a tile of many rows reads, of 2 vectors of columns and up to
// kSpreadDepth along K. Bytes are [K / 4][columns][4]; where they are widened, [K / 2][columns][2].

constexpr int64_t kSpreadColumns = 2 * kLanes;
constexpr int64_t kSpreadDepth = 1024;

// K in as few blocks as kSpreadDepth allows, multiples of `unit`.
inline int64_t SpreadBlock(int64_t k_padded, int64_t unit) {
  const int64_t blocks = (k_padded + kSpreadDepth - 1) / kSpreadDepth;
  return ((k_padded + blocks - 1) / blocks + unit - 1) / unit * unit;
}

using D16 = hn::CappedTag<uint8_t, 16>;

// Four along K of 8 columns: `left` has those of the first four columns, `right` of the others.
HWY_INLINE void Spread(hn::Vec<D16> left, hn::Vec<D16> right, Weight8* HWY_RESTRICT out) {
#if SOTTO_Q8_WIDE
  const hn::Repartition<uint16_t, D16> pairs;
  const DI16 di16;
  const auto l = hn::BitCast(pairs, left), r = hn::BitCast(pairs, right);
  const auto first = hn::BitCast(D16(), hn::ConcatEven(pairs, r, l));
  const auto second = hn::BitCast(D16(), hn::ConcatOdd(pairs, r, l));
  hn::StoreU(hn::PromoteLowerTo(di16, first), di16, out);
  hn::StoreU(hn::PromoteUpperTo(di16, first), di16, out + 8);
  hn::StoreU(hn::PromoteLowerTo(di16, second), di16, out + 2 * kSpreadColumns);
  hn::StoreU(hn::PromoteUpperTo(di16, second), di16, out + 2 * kSpreadColumns + 8);
#else
  const D16 d;
  hn::StoreU(left, d, out);
  hn::StoreU(right, d, out + 16);
#endif
}

HWY_INLINE VI32 AddNeighbours(hn::Vec<DI16> pairs) {
  return hn::WidenMulPairwiseAdd(DI32(), pairs, hn::Set(DI16(), kConstant<int16_t{1}>));
}

// The sums of a group, up to 8 steps of AddToGroup, begun with `start`. Weights are in 0..15: as 8
// sums of two products are at most 8 * 2 * 15 * 127 < 2^15, pairs stay int16 until the end.
template <bool kPairs>
HWY_INLINE VI32 BeginGroup(VI32 start) {
  return kPairs ? hn::Zero(DI32()) : start;
}
template <bool kPairs>
HWY_INLINE VI32 EndGroup(VI32 sums, VI32 start) {
  return kPairs ? hn::Add(start, AddNeighbours(hn::BitCast(DI16(), sums))) : sums;
}

#if !SOTTO_Q8_WIDE

// Products of pairs, summed. Weights are in 0..127 and activations in -127..127: no pair saturates.
HWY_INLINE hn::Vec<DI16> Pairs(hn::Vec<DU8> w, hn::Vec<DI8> a) {
#if SOTTO_RELAXED_SIMD
  return PairsI8I7(DI16(), a, w);
#else
  return hn::SatWidenMulPairwiseAdd(DI16(), w, a);
#endif
}

// sums[c] += the 4 products of column c.
template <bool kPairs>
HWY_INLINE VI32 Dot(hn::Vec<DU8> w, hn::Vec<DI8> a, VI32 sums) {
  if constexpr (kPairs) return hn::Add(sums, AddNeighbours(Pairs(w, a)));
#if SOTTO_RELAXED_SIMD
  return DotI8I7(a, w, sums);
#elif HWY_ARCH_X86
  return hn::SumOfMulQuadAccumulate(DI32(), w, a, sums);
#else
  return hn::SumOfMulQuadAccumulate(DI32(), hn::BitCast(DI8(), w), a, sums);
#endif
}

// A step of the sums of a group, see above.
template <bool kPairs>
HWY_INLINE VI32 AddToGroup(hn::Vec<DU8> w, hn::Vec<DI8> a, VI32 sums) {
  if constexpr (!kPairs) return Dot<false>(w, a, sums);
  return hn::BitCast(DI32(), hn::Add(hn::BitCast(DI16(), sums), Pairs(w, a)));
}

#endif  // !SOTTO_Q8_WIDE

// Calls f with std::true_type where the processor multiplies bytes in pairs (see byte_dots.h).
template <class F>
void WithDots(const F& f) {
#if SOTTO_RELAXED_SIMD
  if (DotsInPairs()) return f(std::true_type());
#endif
  constexpr bool kPairs = HWY_ARCH_X86 && (HWY_TARGET > HWY_AVX3_DL);
  f(std::bool_constant<kPairs>());
}

// Four along K for all rows and columns of a tile of spread weights; where they are bytes, for the
// sums of a group.
template <bool kPairs, int kRows>
HWY_INLINE void AddSpread(const Weight8* HWY_RESTRICT w, const Activation8* HWY_RESTRICT a,
                          VI32 (&sum)[kRows][2]) {
#if SOTTO_Q8_WIDE
  static_assert(!kPairs);
  const DI32 di;
  const DI16 di16;
  HWY_UNROLL(2)
  for (int half = 0; half < 2; ++half) {
    const auto w0 = hn::LoadU(di16, w + half * 2 * kSpreadColumns);
    const auto w1 = hn::LoadU(di16, w + half * 2 * kSpreadColumns + 8);
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      const auto ai = hn::BitCast(di16, SetFour(a + i * 4 + half * 2));
      sum[i][0] = hn::Add(sum[i][0], hn::WidenMulPairwiseAdd(di, ai, w0));
      sum[i][1] = hn::Add(sum[i][1], hn::WidenMulPairwiseAdd(di, ai, w1));
    }
  }
#else
  const DU8 du8;
  const auto w0 = hn::LoadU(du8, w), w1 = hn::LoadU(du8, w + 4 * kLanes);
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    const auto ai = hn::BitCast(DI8(), SetFour(a + i * 4));
    sum[i][0] = AddToGroup<kPairs>(w0, ai, sum[i][0]);
    sum[i][1] = AddToGroup<kPairs>(w1, ai, sum[i][1]);
  }
#endif
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
