// Rows of keys or values as a cache keeps them (see PackedHeads): rounding them, their products
// with a query, their weighted sums, and back to f32. `rows` are `dim` values each, one behind the
// other, or fours of them side by side, and are read up to a vector past their end. The loops are
// functions of their own, here and in attention.cc: V8 optimizes a small hot function within
// milliseconds, and a large one around it only after a second. Included once a target.
#if defined(SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#undef SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#else
#define SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <iterator>

#include "core/kernels/attention.h"
#include "core/kernels/constant.h"
#include "core/kernels/int8_rows-inl.h"
#include "core/kernels/relaxed_simd.h"
#include "core/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

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

HWY_NOINLINE void PackF16(const float* from, int64_t dim, uint16_t* to) {
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
  HWY_ALIGN float part[kQueryPart + hn::MaxLanes(DF())];
  for (int64_t from = 0; from < dim; from += kQueryPart) {
    const int64_t width = std::min(kQueryPart, dim - from);
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

HWY_NOINLINE void UnpackF16(const uint16_t* from, int64_t dim, float* to) {
  const DF df;
  const VF up = hn::Set(df, 0x1p112f);
  int64_t i = 0;
  for (; i + kLanes <= dim; i += kLanes) hn::StoreU(hn::Mul(WidenF16(from + i), up), df, to + i);
  for (; i < dim; ++i) to[i] = F16ToF32(from[i]);
}

// ---- int8. The other factor is rounded too: queries to int8, the weights of values, which are not
// negative, to 14 bits. Sums are exact, and the same on every machine: at most kQueryPart * 127 *
// 127 or kMostWeights * 16383 * 127 < 2^31. As bytes are multiplied by 7 bits (see Pairs), a query
// is the difference of two such factors, and a weight 128 times one and another.

constexpr int kWeightBits = 14;

// Rounds x to q, or to zeros where `inverse` is 0: see RowScale.
HWY_NOINLINE void RoundBytes(const float* x, int64_t count, float inverse, int8_t* q) {
  if (inverse == 0) return std::fill_n(q, count, int8_t{0}), void();
  RoundAll(x, count, inverse, q);
}

#if SOTTO_Q8_WIDE

constexpr int64_t kQueryStep = 2 * kLanes;

struct RoundedQuery {
  HWY_ALIGN int16_t values[kQueryPart + kQueryStep];

  float Round(const float* q, int64_t count) {
    float inverse;
    const float scale = RowScale(q, count, &inverse);
    if (inverse == 0) {
      std::fill_n(values, count + kQueryStep, int16_t{0});
    } else {
      std::fill_n(values + count, kQueryStep, int16_t{0});
      RoundAll(q, count, inverse, values);
    }
    return scale;
  }
  // The products with `row` from i on are plus - minus.
  template <bool kPairs>
  HWY_INLINE void AddProducts(int64_t i, const int8_t* row, VI32& plus, VI32& minus) const {
    const DI16 d16;
    const hn::Rebind<int8_t, DI16> d8;
    const auto k = hn::PromoteTo(d16, hn::LoadU(d8, row + i));
    plus = hn::Add(plus, hn::WidenMulPairwiseAdd(DI32(), hn::Load(d16, values + i), k));
  }
};

#else

constexpr int64_t kQueryStep = 4 * kLanes;

struct RoundedQuery {
  HWY_ALIGN uint8_t positive[kQueryPart + kQueryStep];
  HWY_ALIGN uint8_t negative[kQueryPart + kQueryStep];

  float Round(const float* q, int64_t count) {
    const DI8 d;
    const DU8 du;
    HWY_ALIGN int8_t values[kQueryPart + kQueryStep];
    std::fill_n(values + count, kQueryStep, int8_t{0});
    float inverse;
    const float scale = RowScale(q, count, &inverse);
    RoundBytes(q, count, inverse, values);
    for (int64_t i = 0; i < count; i += kQueryStep) {
      const auto v = hn::Load(d, values + i);
      hn::Store(hn::BitCast(du, hn::Max(v, hn::Zero(d))), du, positive + i);
      hn::Store(hn::BitCast(du, hn::Max(hn::Neg(v), hn::Zero(d))), du, negative + i);
    }
    return scale;
  }
  // The products with `row` from i on are plus - minus.
  template <bool kPairs>
  HWY_INLINE void AddProducts(int64_t i, const int8_t* row, VI32& plus, VI32& minus) const {
    const auto k = hn::LoadU(DI8(), row + i);
    const auto p = hn::Load(DU8(), positive + i), m = hn::Load(DU8(), negative + i);
    if constexpr (kPairs) {  // of each two one is zero, so that pairs stay int16
      plus = hn::Add(plus, AddNeighbours(hn::Sub(Pairs(p, k), Pairs(m, k))));
    } else {
      plus = Dot<false>(p, k, plus);
      minus = Dot<false>(m, k, minus);
    }
  }
};

#endif

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

// dots[j] = or += unit * scales[j] * q . rows[j], over `width` values of rows of `dim`.
template <bool kPairs>
HWY_NOINLINE void DotRows(const RoundedQuery& q, const int8_t* row, int64_t dim, int64_t width,
                          const float* scales, int64_t count, float unit, bool add, float* dots) {
  const DI32 di;
  const hn::FixedTag<float, 4> df4;
  int64_t j = 0;
  for (; j + 4 <= count; j += 4, row += 4 * dim) {
    VI32 p0 = hn::Zero(di), p1 = p0, p2 = p0, p3 = p0, m0 = p0, m1 = p0, m2 = p0, m3 = p0;
    for (int64_t i = 0; i < width; i += kQueryStep) {
      q.AddProducts<kPairs>(i, row, p0, m0);
      q.AddProducts<kPairs>(i, row + dim, p1, m1);
      q.AddProducts<kPairs>(i, row + 2 * dim, p2, m2);
      q.AddProducts<kPairs>(i, row + 3 * dim, p3, m3);
    }
    const auto sums = FourSums(hn::Sub(p0, m0), hn::Sub(p1, m1), hn::Sub(p2, m2), hn::Sub(p3, m3));
    const auto scale = hn::Mul(hn::Set(df4, unit), hn::LoadU(df4, scales + j));
    auto dot = hn::Mul(scale, hn::ConvertTo(df4, sums));
    if (add) dot = hn::Add(dot, hn::LoadU(df4, dots + j));
    hn::StoreU(dot, df4, dots + j);
  }
  for (; j < count; ++j, row += dim) {
    VI32 p = hn::Zero(di), m = p;
    HWY_UNROLL(1)
    for (int64_t i = 0; i < width; i += kQueryStep) q.AddProducts<kPairs>(i, row, p, m);
    const float dot = unit * scales[j] * static_cast<float>(hn::ReduceSum(di, hn::Sub(p, m)));
    dots[j] = add ? dots[j] + dot : dot;
  }
}

// dots[j] = factor * scales[j] * q . rows[j]
void DotsI8(const float* q, const int8_t* rows, const float* scales, int64_t count, int64_t dim,
            float factor, float* dots) {
  RoundedQuery part;
  for (int64_t from = 0; from < dim; from += kQueryPart) {
    const int64_t width = std::min(kQueryPart, dim - from);
    const float unit = factor * part.Round(q + from, width);
    WithDots([&](auto pairs) HWY_ATTR {
      DotRows<pairs>(part, rows + from, dim, width, scales, count, unit, from > 0, dots);
    });
  }
}

// The weights of up to kMostWeights rows; of those that are missing, 0.
struct RoundedWeights {
#if SOTTO_Q8_WIDE
  HWY_ALIGN int16_t values[kMostWeights];
#else
  HWY_ALIGN uint8_t high[kMostWeights];
  HWY_ALIGN uint8_t low[kMostWeights];
#endif

  // Returns what one is worth.
  float Round(const float* weights, int64_t count) {
    constexpr float kMost = (1 << kWeightBits) - 1;
#if SOTTO_Q8_WIDE
    auto& rounded = values;
#else
    HWY_ALIGN int16_t rounded[kMostWeights];
#endif
    float inverse;
    const float unit = RowScale(weights, count, &inverse) * (127 / kMost);
    std::fill(rounded + (inverse == 0 ? 0 : count), std::end(rounded), int16_t{0});
    if (inverse != 0) RoundAll(weights, count, inverse * (kMost / 127), rounded);
#if !SOTTO_Q8_WIDE
    const DI16 d16;
    const hn::Rebind<uint8_t, DI16> d8;
    for (int64_t j = 0; j < count; j += 2 * kLanes) {
      const auto w = hn::Load(d16, rounded + j);
      hn::Store(hn::DemoteTo(d8, hn::ShiftRight<kWeightBits / 2>(w)), d8, high + j);
      hn::Store(hn::DemoteTo(d8, hn::And(w, hn::Set(d16, kConstant<int16_t{127}>))), d8, low + j);
    }
#endif
    return unit;
  }
};

// kN vectors of columns of out = factor out + unit sum_j weights[j] rows[j], `fours` and `out`
// being those of the first column, and `left` the columns from it on.
template <bool kPairs, int kN>
HWY_NOINLINE void MixFours(const RoundedWeights& weights, const int8_t* fours, int64_t count,
                           int64_t dim, float unit, float factor, float* out, int64_t left) {
  const DF df;
  const DI32 di;
  VI32 first[kN], second[kN];
  HWY_UNROLL(kN)
  for (int c = 0; c < kN; ++c) first[c] = second[c] = hn::Zero(di);
  for (int64_t j = 0; j < count; j += 4, fours += 4 * dim) {
#if SOTTO_Q8_WIDE
    const DI16 d16;
    const hn::Half<DI8> half;
    int64_t four;
    std::memcpy(&four, weights.values + j, 8);
    const auto w = hn::BitCast(d16, hn::Set(hn::Repartition<int64_t, DI16>(), four));
    HWY_UNROLL(kN)
    for (int c = 0; c < kN; ++c) {
      const int8_t* v = fours + c * 4 * kLanes;
      const auto low = hn::PromoteTo(d16, hn::LoadU(half, v));
      const auto high = hn::PromoteTo(d16, hn::LoadU(half, v + 2 * kLanes));
      first[c] = hn::Add(first[c], hn::WidenMulPairwiseAdd(di, w, low));
      second[c] = hn::Add(second[c], hn::WidenMulPairwiseAdd(di, w, high));
    }
#else
    const auto h = hn::BitCast(DU8(), SetFour(weights.high + j));
    const auto l = hn::BitCast(DU8(), SetFour(weights.low + j));
    HWY_UNROLL(kN)
    for (int c = 0; c < kN; ++c) {
      const auto v = hn::LoadU(DI8(), fours + c * 4 * kLanes);
      first[c] = Dot<kPairs>(h, v, first[c]);
      second[c] = Dot<kPairs>(l, v, second[c]);
    }
#endif
  }
  const VF u = hn::Set(df, unit), f = hn::Set(df, factor);
  HWY_UNROLL(kN)
  for (int c = 0; c < kN; ++c, out += kLanes, left -= kLanes) {
#if SOTTO_Q8_WIDE
    const VI32 sum =
        hn::Add(hn::ConcatEven(di, second[c], first[c]), hn::ConcatOdd(di, second[c], first[c]));
#else
    const VI32 sum = hn::Add(hn::ShiftLeft<kWeightBits / 2>(first[c]), second[c]);
#endif
    const size_t lanes = static_cast<size_t>(std::min<int64_t>(kLanes, left));
    const VF before = hn::Mul(f, hn::LoadN(df, out, lanes));
    hn::StoreN(hn::MulAdd(u, hn::ConvertTo(df, sum), before), df, out, lanes);
  }
}

// out = factor out + sum_j p[j] scales[j] rows[j], for at most kMostWeights rows and p >= 0.
void MixI8(const float* p, const int8_t* fours, const float* scales, int64_t count, int64_t dim,
           float factor, float* out) {
  HWY_ALIGN float products[kMostWeights];
  for (int64_t j = 0; j < count; ++j) products[j] = p[j] * scales[j];
  RoundedWeights weights;
  const float unit = weights.Round(products, count);
  WithDots([&](auto pairs) HWY_ATTR {
    int64_t x = 0;
    const auto mix = [&]<int kN>() HWY_ATTR {
      for (; x + (kN - 1) * kLanes < dim; x += kN * kLanes)
        MixFours<pairs, kN>(weights, fours + x * 4, count, dim, unit, factor, out + x, dim - x);
    };
    mix.template operator()<4>();
    mix.template operator()<1>();
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
