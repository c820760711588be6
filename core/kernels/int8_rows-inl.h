// What the products with quantized weights share: rows of x rounded to int8 with one scale each,
// laid out in tiles for the inner loops, and the dot product of bytes. Included once a target.
#ifndef SOTTO_CORE_KERNELS_INT8_ROWS_ONCE_
#define SOTTO_CORE_KERNELS_INT8_ROWS_ONCE_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

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
#else
using Activation8 = int8_t;
#endif
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

// max |x| as the bits of a float, so that NaN and infinity compare above every number.
int32_t MaxMagnitudeBits(const float* HWY_RESTRICT x, int64_t k) {
  const DF df;
  const DI32 di;
  VI32 peak = hn::Zero(di);
  const VI32 magnitude = hn::Set(di, 0x7FFFFFFF);
  int64_t i = 0;
  for (; i + kLanes <= k; i += kLanes) {
    peak = hn::Max(peak, hn::And(hn::BitCast(di, hn::LoadU(df, x + i)), magnitude));
  }
  int32_t most = hn::ReduceMax(di, peak);
  for (; i < k; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, 4);
    most = std::max(most, bits & 0x7FFFFFFF);
  }
  return most;
}

// q[i] = round(x[i] * inverse), to the nearest, ties to even; returns their sum.
template <class T>
int32_t RoundAll(const float* HWY_RESTRICT x, int64_t count, float inverse, T* HWY_RESTRICT q) {
  const DF df;
  const DI32 di;
  const hn::Rebind<T, DF> dq;
  const VF factor = hn::Set(df, inverse);
  VI32 sum = hn::Zero(di);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const VI32 v = hn::NearestInt(hn::Mul(hn::LoadU(df, x + i), factor));
    sum = hn::Add(sum, v);
    hn::StoreU(hn::DemoteTo(dq, v), dq, q + i);
  }
  int32_t total = hn::ReduceSum(di, sum);
  for (; i < count; ++i) {
    const float product = x[i] * inverse;
    const int32_t v = hn::GetLane(hn::NearestInt(hn::Set(hn::CappedTag<float, 1>(), product)));
    total += v;
    q[i] = static_cast<T>(v);
  }
  return total;
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
// row's scale. `sum_of(r, sum)` gets the sum of each run r of kRun rounded values.
template <int64_t kRun, class SumOf>
float QuantizeIntoTile(const float* x, int64_t k, int64_t k_padded, int64_t i, int64_t rows,
                       Activation8* tile, const SumOf& sum_of) {
  float inverse;
  const float scale = RowScale(x, k, &inverse);
  for (int64_t at = 0; at < k_padded; at += kRun) {
    Activation8 q[kRun] = {};
    const int64_t count = std::clamp<int64_t>(k - at, 0, kRun);
    sum_of(at / kRun, inverse == 0 ? 0 : RoundAll(x + at, count, inverse, q));
    const int64_t groups = std::min(kRun, k_padded - at) / 4;
    Activation8* out = tile + (at * rows + i * 4);
    for (int64_t g = 0; g < groups; ++g) {
      std::memcpy(out + g * rows * 4, q + g * 4, 4 * sizeof(Activation8));
    }
  }
  return scale;
}

#if !SOTTO_Q8_WIDE

// sums[c] += the 4 products of column c. Weights are in 0..127 and activations in -127..127: pairs
// of products fit int16, so that no form of this saturates.
HWY_INLINE VI32 Dot(hn::Vec<DU8> w, hn::Vec<DI8> a, VI32 sums) {
  [[maybe_unused]] const DI32 di;
#if SOTTO_RELAXED_SIMD
  return DotI8I7(a, w, sums);
#elif HWY_ARCH_X86 && HWY_TARGET > HWY_AVX3_DL
  const DI16 di16;
  const auto pairs = hn::SatWidenMulPairwiseAdd(di16, w, a);
  return hn::Add(sums, hn::WidenMulPairwiseAdd(di, pairs, hn::Set(di16, int16_t{1})));
#elif HWY_ARCH_X86
  return hn::SumOfMulQuadAccumulate(di, w, a, sums);
#else
  return hn::SumOfMulQuadAccumulate(di, hn::BitCast(DI8(), w), a, sums);
#endif
}

#endif  // !SOTTO_Q8_WIDE

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
