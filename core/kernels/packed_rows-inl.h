// Rows of keys or values as a cache keeps them (see PackedHeads): rounding them, their products
// with a query, their weighted sums, and back to f32. Rows of f16 are read up to a vector past
// their end. The loops are functions of their own, here and in attention.cc: V8 optimizes a small
// hot function within milliseconds, and a large one around it only after a second. Included once a
// target.
#if defined(SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#undef SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#else
#define SOTTO_CORE_KERNELS_PACKED_ROWS_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/kernels/attention.h"
#include "core/kernels/constant.h"
#include "core/kernels/int8_rows-inl.h"
#include "core/kernels/relaxed_simd.h"
#include "core/tensor/dtype.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

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
// 127 or kPackedRows * 16383 * 127 < 2^31. As bytes are multiplied by 7 bits (see Pairs), a query
// is the difference of two such factors, and a weight 128 times one and another.

constexpr int kWeightBits = 14;
constexpr float kMostWeight = (1 << kWeightBits) - 1;
constexpr int64_t kTileFour = 4 * kPackedLanes;  // bytes of a tile for four of its depth

// Rounds a row of keys to where its dim 0 belongs; returns its scale.
HWY_NOINLINE float PackKey(const float* from, int64_t dim, int8_t* to) {
  float inverse;
  const float scale = RowScale(from, dim, &inverse);
  if (inverse != 0) {
    RoundAll(from, dim, inverse, to, kTileFour);
  } else {
    for (int64_t x = 0; x < dim; ++x) to[PackedIndex(false, 0, 0, x)] = 0;
  }
  return scale;
}

// The same of values.
HWY_NOINLINE float PackValue(const float* from, int64_t dim, int8_t* to) {
  HWY_ALIGN int8_t part[kQueryPart] = {};
  float inverse;
  const float scale = RowScale(from, dim, &inverse);
  for (int64_t x = 0; x < dim; x += kQueryPart) {
    const int64_t count = std::min(kQueryPart, dim - x);
    if (inverse != 0) RoundAll(from + x, count, inverse, part);
    for (int64_t i = 0; i < count; ++i) to[PackedIndex(true, 0, 0, x + i)] = part[i];
  }
  return scale;
}

// The same of four rows at once, where it can.
HWY_NOINLINE bool PackFourValues(const float* from, int64_t stride, int64_t dim, int8_t* to,
                                 float* scales) {
  const DF df;
  const DI32 di;
  if (dim % kLanes != 0) return false;
  float inverse[4];
  for (int i = 0; i < 4; ++i) {
    scales[i] = RowScale(from + i * stride, dim, inverse + i);
    if (inverse[i] == 0) return false;
  }
  const VI32 byte = hn::Set(di, 255);
  for (int64_t x = 0; x < dim; x += kLanes) {
    const auto rounded = [=](int64_t i) HWY_ATTR {
      return Rounded(from + i * stride + x, hn::Set(df, inverse[i]));
    };
    const VI32 low = hn::Or(hn::And(rounded(0), byte), hn::ShiftLeft<8>(hn::And(rounded(1), byte)));
    const VI32 high = hn::Or(hn::And(rounded(2), byte), hn::ShiftLeft<8>(rounded(3)));
    hn::StoreU(hn::BitCast(DI8(), hn::Or(low, hn::ShiftLeft<16>(high))), DI8(),
               to + PackedIndex(true, 0, 0, x));
  }
  return true;
}

#if !SOTTO_Q8_WIDE
// The two factors of a query's bytes.
HWY_INLINE void StoreSigns(hn::Vec<DI8> v, void* positive, void* negative) {
  const DI8 d;
  hn::StoreU(hn::Max(v, hn::Zero(d)), d, static_cast<int8_t*>(positive));
  hn::StoreU(hn::Max(hn::Neg(v), hn::Zero(d)), d, static_cast<int8_t*>(negative));
}
#endif

// What a tile is multiplied by along its depth: a query, or weights.
struct RoundedFactor {
#if SOTTO_Q8_WIDE
  HWY_ALIGN int16_t values[kQueryPart];
#else
  HWY_ALIGN uint8_t first[kQueryPart];
  HWY_ALIGN uint8_t second[kQueryPart];
#endif
  int64_t fours = 0;
  float unit = 0;  // what one is worth

  // At most kQueryPart values, times `factor`.
  void RoundQuery(const float* q, int64_t count, float factor) {
#if SOTTO_Q8_WIDE
    unit = factor * Round(q, count, 127, values);
#else
    HWY_ALIGN int8_t rounded[kQueryPart];
    unit = factor * Round(q, count, 127, rounded);
    for (int64_t i = 0; i < 4 * fours; i += 4 * kLanes)
      StoreSigns(hn::Load(DI8(), rounded + i), first + i, second + i);
#endif
  }

  // At most kPackedRows weights.
  void RoundWeights(const float* weights, int64_t count) {
#if SOTTO_Q8_WIDE
    unit = Round(weights, count, kMostWeight, values);
#else
    const DI16 d16;
    const hn::Rebind<uint8_t, DI16> d8;
    HWY_ALIGN int16_t rounded[kPackedRows];
    unit = Round(weights, count, kMostWeight, rounded);
    for (int64_t j = 0; j < 4 * fours; j += 2 * kLanes) {
      const auto w = hn::Load(d16, rounded + j);
      hn::Store(hn::DemoteTo(d8, hn::ShiftRight<kWeightBits / 2>(w)), d8, first + j);
      hn::Store(hn::DemoteTo(d8, hn::And(w, hn::Set(d16, kConstant<int16_t{127}>))), d8,
                second + j);
    }
#endif
  }

 private:
  // The largest becomes `most`; zeros fill the last four. Returns what one is worth.
  template <class T>
  float Round(const float* x, int64_t count, float most, T* to) {
    float inverse;
    const float scale = RowScale(x, count, &inverse);
    fours = (count + 3) / 4;
    std::fill(to + (inverse == 0 ? 0 : count), to + 4 * fours, T{0});
    if (inverse != 0) RoundAll(x, count, inverse * (most / 127), to);
    return scale * (127 / most);
  }
};

// to[i] = keep to[i] + unit scales[i] sum_d factor[d] tile[i, d] for the lanes i of a tile and as
// much of its depth as the factor has; `scales` null: 1.
template <bool kPairs, bool kWeights>
HWY_NOINLINE void MultiplyTile(const RoundedFactor& factor, const int8_t* tile, const float* scales,
                               float keep, float* to) {
  const DF df;
  const DI32 di;
  constexpr int kVectors = static_cast<int>(kPackedLanes) / kLanes;
  VI32 first[kVectors], second[kVectors];
  HWY_UNROLL(kVectors)
  for (int c = 0; c < kVectors; ++c) first[c] = second[c] = hn::Zero(di);
  for (int64_t k = 0; k < factor.fours; ++k, tile += kTileFour) {
#if SOTTO_Q8_WIDE
    const DI16 d16;
    const hn::Half<DI8> half;
    int64_t four;
    std::memcpy(&four, factor.values + 4 * k, 8);
    const auto f = hn::BitCast(d16, hn::Set(hn::Repartition<int64_t, DI16>(), four));
    HWY_UNROLL(kVectors)
    for (int c = 0; c < kVectors; ++c) {
      const int8_t* bytes = tile + c * 4 * kLanes;
      const auto low = hn::PromoteTo(d16, hn::LoadU(half, bytes));
      const auto high = hn::PromoteTo(d16, hn::LoadU(half, bytes + 2 * kLanes));
      first[c] = hn::Add(first[c], hn::WidenMulPairwiseAdd(di, f, low));
      second[c] = hn::Add(second[c], hn::WidenMulPairwiseAdd(di, f, high));
    }
#else
    const auto f = hn::BitCast(DU8(), SetFour(factor.first + 4 * k));
    const auto s = hn::BitCast(DU8(), SetFour(factor.second + 4 * k));
    HWY_UNROLL(kVectors)
    for (int c = 0; c < kVectors; ++c) {
      const auto bytes = hn::LoadU(DI8(), tile + c * 4 * kLanes);
      if constexpr (kPairs && !kWeights) {  // of each two one is zero, so that pairs stay int16
        first[c] = hn::Add(first[c], AddNeighbours(hn::Sub(Pairs(f, bytes), Pairs(s, bytes))));
      } else {
        first[c] = Dot<kPairs>(f, bytes, first[c]);
        second[c] = Dot<kPairs>(s, bytes, second[c]);
      }
    }
#endif
  }
  const VF unit = hn::Set(df, factor.unit), kept = hn::Set(df, keep);
  HWY_UNROLL(kVectors)
  for (int c = 0; c < kVectors; ++c, to += kLanes) {
#if SOTTO_Q8_WIDE
    const VI32 sum =
        hn::Add(hn::ConcatEven(di, second[c], first[c]), hn::ConcatOdd(di, second[c], first[c]));
#else
    const VI32 sum = kWeights ? hn::Add(hn::ShiftLeft<kWeightBits / 2>(first[c]), second[c])
                              : hn::Sub(first[c], second[c]);
#endif
    const VF scale = scales == nullptr ? unit : hn::Mul(unit, hn::LoadU(df, scales + c * kLanes));
    hn::StoreU(hn::MulAdd(scale, hn::ConvertTo(df, sum), hn::Mul(kept, hn::LoadU(df, to))), df, to);
  }
}

// dots[j] = factor * scales[j] * q . key j, for whole tiles that have `count` keys; `rounded` is
// kept from call to call with the same query and factor.
void DotsI8(const float* q, const int8_t* keys, const float* scales, int64_t count, int64_t dim,
            int64_t width, float factor, RoundedFactor& rounded, float* dots) {
  const int64_t lanes = (count + kPackedLanes - 1) / kPackedLanes * kPackedLanes;
  std::fill_n(dots, lanes, 0.0f);
  for (int64_t from = 0; from < dim; from += kQueryPart) {
    if (dim > kQueryPart || rounded.fours == 0)
      rounded.RoundQuery(q + from, std::min(kQueryPart, dim - from), factor);
    WithDots([&](auto pairs) HWY_ATTR {
      for (int64_t j = 0; j < lanes; j += kPackedLanes) {
        MultiplyTile<pairs, false>(rounded, keys + j * width + from / 4 * kTileFour, scales + j,
                                   1.0f, dots + j);
      }
    });
  }
}

// out = factor out + sum_j p[j] scales[j] (value j), for at most kPackedRows values and p >= 0.
void MixI8(const float* p, const int8_t* values, const float* scales, int64_t count, int64_t dim,
           float factor, float* out) {
  HWY_ALIGN float products[kPackedRows];
  for (int64_t j = 0; j < count; ++j) products[j] = p[j] * scales[j];
  RoundedFactor weights;
  weights.RoundWeights(products, count);
  WithDots([&](auto pairs) HWY_ATTR {
    for (int64_t x = 0; x < dim; x += kPackedLanes, values += kPackedRows * kPackedLanes) {
      const int64_t left = dim - x;
      if (HWY_LIKELY(left >= kPackedLanes)) {
        MultiplyTile<pairs, true>(weights, values, nullptr, factor, out + x);
      } else {
        HWY_ALIGN float last[kPackedLanes] = {};
        std::copy_n(out + x, left, last);
        MultiplyTile<pairs, true>(weights, values, nullptr, factor, last);
        std::copy_n(last, left, out + x);
      }
    }
  });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
