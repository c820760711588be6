// Rows of keys or values as a cache keeps them (see PackedHeads): rounding them, their products
// with a query, their weighted sums, and back to f32. `rows` are `dim` values each, one behind the
// other, and are read up to a vector past their end. The loops are functions of their own, here and
// in attention.cc: V8 optimizes a small hot function within milliseconds, and a large one around it
// only after a second. Included once a target.
#if defined(SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#undef SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#else
#define SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/kernels/int8_rows-inl.h"
#include "core/kernels/relaxed_simd.h"
#include "core/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kDimBlock = 256;    // of a query that is prepared at a time
constexpr int64_t kMostWeights = 64;  // rows that one call sums

// ---- f16. Its bits moved to those of an f32 are the number times 2^-112, subnormal ones too. Half
// of that is made up for in the other factor, half in the sum: neither leaves the range of f32.

constexpr float kHalfWay = 0x1p56f;
constexpr float kF16Most = 65504.0f;

HWY_INLINE VF WidenF16(const uint16_t* p) {
  const DF df;
  const DI32 di;
  const hn::Rebind<int16_t, DF> dh;
  const VI32 wide = hn::PromoteTo(di, hn::LoadU(dh, reinterpret_cast<const int16_t*>(p)));
  return hn::BitCast(
      df, hn::And(hn::ShiftLeft<13>(wide), hn::Set(di, static_cast<int32_t>(0x8FFFE000u))));
}

void PackF16(const float* from, int64_t dim, uint16_t* to) {
  const DF df;
  const hn::Rebind<hwy::float16_t, DF> dh;
  const VF most = hn::Set(df, kF16Most);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const VF x = hn::Max(hn::Min(hn::LoadU(df, from + i), most), hn::Neg(most));
    hn::StoreU(hn::DemoteTo(dh, x), dh, reinterpret_cast<hwy::float16_t*>(to + i));
  }
  for (; i < dim; ++i) to[i] = F32ToF16(std::clamp(from[i], -kF16Most, kF16Most));
}

// dots[j] = factor * q . rows[j]
HWY_NOINLINE void DotsF16(const float* q, const uint16_t* rows, int64_t count, int64_t dim,
                          float factor, float* dots) {
  const DF df;
  HWY_ALIGN float part[kDimBlock + hn::MaxLanes(DF())];
  for (int64_t from = 0; from < dim; from += kDimBlock) {
    const int64_t width = std::min(kDimBlock, dim - from);
    for (int64_t i = 0; i < width; ++i) part[i] = q[from + i] * kHalfWay;
    std::fill_n(part + width, kLanes, 0.0f);
    const auto put = [=](int64_t j, VF sum) HWY_ATTR {
      const float dot = factor * kHalfWay * hn::ReduceSum(df, sum);
      dots[j] = from == 0 ? dot : dots[j] + dot;
    };
    const uint16_t* row = rows + from;
    int64_t j = 0;
    for (; j + 4 <= count; j += 4, row += 4 * dim) {
      VF s0 = hn::Zero(df), s1 = s0, s2 = s0, s3 = s0;
      for (int64_t i = 0; i < width; i += kLanes) {
        const VF x = hn::Load(df, part + i);
        s0 = FastMulAdd(x, WidenF16(row + i), s0);
        s1 = FastMulAdd(x, WidenF16(row + dim + i), s1);
        s2 = FastMulAdd(x, WidenF16(row + 2 * dim + i), s2);
        s3 = FastMulAdd(x, WidenF16(row + 3 * dim + i), s3);
      }
      put(j, s0), put(j + 1, s1), put(j + 2, s2), put(j + 3, s3);
    }
    for (; j < count; ++j, row += dim) {
      VF s = hn::Zero(df);
      for (int64_t i = 0; i < width; i += kLanes)
        s = FastMulAdd(hn::Load(df, part + i), WidenF16(row + i), s);
      put(j, s);
    }
  }
}

// out = factor out + sum_j p[j] rows[j]
HWY_NOINLINE void MixF16(const float* p, const uint16_t* rows, int64_t count, int64_t dim,
                         float factor, float* out) {
  const DF df;
  const VF f = hn::Set(df, factor), up = hn::Set(df, kHalfWay);
  const auto put = [=](VF sum, int64_t x) HWY_ATTR {
    const size_t lanes = static_cast<size_t>(std::min<int64_t>(kLanes, dim - x));
    const VF before = hn::Mul(f, hn::LoadN(df, out + x, lanes));
    hn::StoreN(hn::MulAdd(sum, up, before), df, out + x, lanes);
  };
  int64_t x = 0;
  for (; x + 4 * kLanes <= dim; x += 4 * kLanes) {
    VF s0 = hn::Zero(df), s1 = s0, s2 = s0, s3 = s0;
    const uint16_t* row = rows + x;
    for (int64_t j = 0; j < count; ++j, row += dim) {
      const VF w = hn::Set(df, p[j] * kHalfWay);
      s0 = FastMulAdd(w, WidenF16(row), s0);
      s1 = FastMulAdd(w, WidenF16(row + kLanes), s1);
      s2 = FastMulAdd(w, WidenF16(row + 2 * kLanes), s2);
      s3 = FastMulAdd(w, WidenF16(row + 3 * kLanes), s3);
    }
    put(s0, x), put(s1, x + kLanes), put(s2, x + 2 * kLanes), put(s3, x + 3 * kLanes);
  }
  for (; x < dim; x += kLanes) {
    VF s = hn::Zero(df);
    for (int64_t j = 0; j < count; ++j)
      s = FastMulAdd(hn::Set(df, p[j] * kHalfWay), WidenF16(rows + j * dim + x), s);
    put(s, x);
  }
}

void UnpackF16(const uint16_t* from, int64_t dim, float* to) {
  const DF df;
  const VF up = hn::Set(df, 0x1p112f);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) hn::StoreU(hn::Mul(WidenF16(from + i), up), df, to + i);
  for (; i < dim; ++i) to[i] = F16ToF32(from[i]);
}

// ---- int8. The other factor is rounded to int16, so that the sums are exact and cost one
// instruction for a pair: at most kDimBlock * 127 * 32767 < 2^31 in the first, less in the second.

// Rounds to -32767..32767 and returns what one is worth; NaN where x is not finite.
float RoundTo16(const float* x, int64_t count, int16_t* q) {
  float inverse;
  const float scale = RowScale(x, count, &inverse) * (127.0f / 32767.0f);
  if (inverse == 0) {
    std::fill_n(q, count, int16_t{0});
  } else {
    RoundAll(x, count, inverse * (32767.0f / 127.0f), q);
  }
  return scale;
}

HWY_INLINE VI32 DotI16(const int16_t* q, const int8_t* row, VI32 sum) {
  const DI16 d16;
  const hn::Rebind<int8_t, DI16> d8;
  return hn::Add(sum, hn::WidenMulPairwiseAdd(DI32(), hn::Load(d16, q),
                                              hn::PromoteTo(d16, hn::LoadU(d8, row))));
}

// The sum of a vector's blocks of four.
template <class DI>
HWY_INLINE auto SumOfBlocks(DI di, hn::Vec<DI> v) {
  if constexpr (hn::MaxLanes(di) <= 4) {
    return v;
  } else {
    const hn::Half<DI> half;
    return SumOfBlocks(half, hn::Add(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

// The sums of the lanes of s0, s1, s2 and s3.
HWY_INLINE auto FourSums(VI32 s0, VI32 s1, VI32 s2, VI32 s3) {
  const DI32 di;
  const hn::Repartition<int64_t, DI32> pairs;
  const auto halve = [=](VI32 a, VI32 b) HWY_ATTR {
    return hn::BitCast(pairs, hn::Add(hn::InterleaveLower(a, b), hn::InterleaveUpper(di, a, b)));
  };
  const auto first = halve(s0, s1), last = halve(s2, s3);
  return SumOfBlocks(di, hn::Add(hn::BitCast(di, hn::InterleaveLower(first, last)),
                                 hn::BitCast(di, hn::InterleaveUpper(pairs, first, last))));
}

// dots[j] = factor * scales[j] * q . rows[j]
HWY_NOINLINE void DotsI8(const float* q, const int8_t* rows, const float* scales, int64_t count,
                         int64_t dim, float factor, float* dots) {
  const DI32 di;
  constexpr int64_t n = 2 * kLanes;
  HWY_ALIGN int16_t part[kDimBlock + 2 * hn::MaxLanes(DF())];
  for (int64_t from = 0; from < dim; from += kDimBlock) {
    const int64_t width = std::min(kDimBlock, dim - from);
    const float unit = factor * RoundTo16(q + from, width, part);
    std::fill_n(part + width, n, int16_t{0});
    const hn::FixedTag<float, 4> df4;
    const int8_t* row = rows + from;
    int64_t j = 0;
    for (; j + 4 <= count; j += 4, row += 4 * dim) {
      VI32 s0 = hn::Zero(di), s1 = s0, s2 = s0, s3 = s0;
      for (int64_t i = 0; i < width; i += n) {
        s0 = DotI16(part + i, row + i, s0);
        s1 = DotI16(part + i, row + dim + i, s1);
        s2 = DotI16(part + i, row + 2 * dim + i, s2);
        s3 = DotI16(part + i, row + 3 * dim + i, s3);
      }
      const auto scale = hn::Mul(hn::Set(df4, unit), hn::LoadU(df4, scales + j));
      auto dot = hn::Mul(scale, hn::ConvertTo(df4, FourSums(s0, s1, s2, s3)));
      if (from != 0) dot = hn::Add(dot, hn::LoadU(df4, dots + j));
      hn::StoreU(dot, df4, dots + j);
    }
    for (; j < count; ++j, row += dim) {
      VI32 s = hn::Zero(di);
      for (int64_t i = 0; i < width; i += n) s = DotI16(part + i, row + i, s);
      const float dot = unit * scales[j] * static_cast<float>(hn::ReduceSum(di, s));
      dots[j] = from == 0 ? dot : dots[j] + dot;
    }
  }
}

// out = factor out + sum_j p[j] scales[j] rows[j], for at most kMostWeights rows.
HWY_NOINLINE void MixI8(const float* p, const int8_t* rows, const float* scales, int64_t count,
                        int64_t dim, float factor, float* out) {
  const DF df;
  const DI16 d16;
  const DI32 di;
  const hn::Repartition<int8_t, DF> d8;
  HWY_ALIGN float weights[kMostWeights];
  HWY_ALIGN int16_t rounded[kMostWeights + 2];
  for (int64_t j = 0; j < count; ++j) weights[j] = p[j] * scales[j];
  const VF unit = hn::Set(df, RoundTo16(weights, count, rounded)), f = hn::Set(df, factor);
  rounded[count] = 0;
  for (int64_t x = 0; x < dim; x += 4 * kLanes) {
    VI32 s0 = hn::Zero(di), s1 = s0, s2 = s0, s3 = s0;
    for (int64_t j = 0; j < count; j += 2) {
      const int8_t* row = rows + j * dim + x;
      const auto even = hn::LoadU(d8, row), odd = hn::LoadU(d8, j + 1 < count ? row + dim : row);
      const auto lower = hn::InterleaveWholeLower(d8, even, odd),
                 upper = hn::InterleaveWholeUpper(d8, even, odd);
      int32_t pair;
      std::memcpy(&pair, rounded + j, 4);
      const auto w = hn::BitCast(d16, hn::Set(di, pair));
      s0 = hn::Add(s0, hn::WidenMulPairwiseAdd(di, w, hn::PromoteLowerTo(d16, lower)));
      s1 = hn::Add(s1, hn::WidenMulPairwiseAdd(di, w, hn::PromoteUpperTo(d16, lower)));
      s2 = hn::Add(s2, hn::WidenMulPairwiseAdd(di, w, hn::PromoteLowerTo(d16, upper)));
      s3 = hn::Add(s3, hn::WidenMulPairwiseAdd(di, w, hn::PromoteUpperTo(d16, upper)));
    }
    const auto put = [=](VI32 sum, int64_t at) HWY_ATTR {
      if (at >= dim) return;
      const size_t lanes = static_cast<size_t>(std::min<int64_t>(kLanes, dim - at));
      const VF before = hn::Mul(f, hn::LoadN(df, out + at, lanes));
      hn::StoreN(hn::MulAdd(unit, hn::ConvertTo(df, sum), before), df, out + at, lanes);
    };
    put(s0, x), put(s1, x + kLanes), put(s2, x + 2 * kLanes), put(s3, x + 3 * kLanes);
  }
}

void UnpackI8(const int8_t* from, float scale, int64_t dim, float* to) {
  const DF df;
  const hn::Rebind<int8_t, DF> d8;
  const VF s = hn::Set(df, scale);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) {
    const VI32 wide = hn::PromoteTo(DI32(), hn::LoadU(d8, from + i));
    hn::StoreU(hn::Mul(s, hn::ConvertTo(df, wide)), df, to + i);
  }
  for (; i < dim; ++i) to[i] = scale * static_cast<float>(from[i]);
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
