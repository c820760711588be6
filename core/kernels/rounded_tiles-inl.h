// Tiles of queries against int8 keys and values, in whole numbers. Both products of attention are
//   c[r, i] = or += sum_k a[r, k] b[k, i] for queries i across the lanes,
// a being keys times rounded queries, or values times rounded weights, in the tiles that
// PackedHeads tells of, whose lanes are the rows here. Depth goes by fours: a has four adjacent
// values for a row, and b two 32-bit lanes a query, [depth / 4][2][width]. Bytes are multiplied by
// fours of 7 bits, the two being the factors that packed_rows-inl.h tells of; where there are but
// products of int16 pairs, the first two of the four and the others. Included once a target.
#if defined(SOTTO_CORE_KERNELS_ROUNDED_TILES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SOTTO_CORE_KERNELS_ROUNDED_TILES_INL_H_
#undef SOTTO_CORE_KERNELS_ROUNDED_TILES_INL_H_
#else
#define SOTTO_CORE_KERNELS_ROUNDED_TILES_INL_H_
#endif

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "core/kernels/packed_rows-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

constexpr int64_t kWidth = 2 * kLanes;  // of a tile

// The lanes that hold `depth` values of each query.
HWY_INLINE int64_t RoundedLanes(int64_t depth) { return (depth + 3) / 4 * 2 * kWidth; }

struct RoundedProduct {
  const Activation8* a;
  int64_t tile, rows;  // the values from one tile to the next, and the rows of all
  const int32_t* b;
  int64_t fours;
  bool weights;                // whether b holds weights, or queries
  const float* row_scales;     // [rows]; null: 1
  const float* column_scales;  // [width]
  float* c;                    // [rows, width]
  bool add;
};

// Rows [r, r + kR).
template <int kR, bool kPairs>
HWY_NOINLINE void RoundedTile(const RoundedProduct& p, int64_t r) {
  const DF df;
  const DI32 di;
  const Activation8* a = p.a + r / kPackedLanes * p.tile + r % kPackedLanes * 4;
  const int32_t* b = p.b;
  VI32 first[kR][2], second[kR][2];
  HWY_UNROLL(kR)
  for (int i = 0; i < kR; ++i) {
    first[i][0] = first[i][1] = second[i][0] = second[i][1] = hn::Zero(di);
  }
  for (int64_t k = p.fours; k > 0; --k, a += kTileFour, b += 2 * kWidth) {
    const VI32 b00 = hn::LoadU(di, b), b01 = hn::LoadU(di, b + kLanes);
    const VI32 b10 = hn::LoadU(di, b + 2 * kLanes), b11 = hn::LoadU(di, b + 3 * kLanes);
    HWY_UNROLL(kR)
    for (int i = 0; i < kR; ++i) {
      const Activation8* ai = a + i * 4;
#if SOTTO_Q8_WIDE
      const DI16 d16;
      const auto add = [=](const Activation8* from, VI32 b, VI32& sum) HWY_ATTR {
        const auto pair = hn::BitCast(d16, SetFour(from));
        sum = hn::Add(sum, hn::WidenMulPairwiseAdd(di, pair, hn::BitCast(d16, b)));
      };
      add(ai, b00, first[i][0]), add(ai, b01, first[i][1]);
      add(ai + 2, b10, first[i][0]), add(ai + 2, b11, first[i][1]);
#else
      const auto bytes = hn::BitCast(DI8(), SetFour(ai));
      first[i][0] = Dot<kPairs>(hn::BitCast(DU8(), b00), bytes, first[i][0]);
      first[i][1] = Dot<kPairs>(hn::BitCast(DU8(), b01), bytes, first[i][1]);
      second[i][0] = Dot<kPairs>(hn::BitCast(DU8(), b10), bytes, second[i][0]);
      second[i][1] = Dot<kPairs>(hn::BitCast(DU8(), b11), bytes, second[i][1]);
#endif
    }
  }
  HWY_UNROLL(kR)
  for (int i = 0; i < kR; ++i) {
    const VF scale = hn::Set(df, p.row_scales != nullptr ? p.row_scales[r + i] : 1.0f);
    HWY_UNROLL(2)
    for (int j = 0; j < 2; ++j) {
      VI32 sum = first[i][j];
#if !SOTTO_Q8_WIDE
      sum = p.weights ? hn::Add(hn::ShiftLeft<kWeightBits / 2>(sum), second[i][j])
                      : hn::Sub(sum, second[i][j]);
#endif
      float* to = p.c + (r + i) * kWidth + j * kLanes;
      const VF unit = hn::Mul(scale, hn::LoadU(df, p.column_scales + j * kLanes));
      VF y = hn::Mul(hn::ConvertTo(df, sum), unit);
      if (p.add) y = hn::Add(y, hn::LoadU(df, to));
      hn::StoreU(y, df, to);
    }
  }
}

void MultiplyRounded(const RoundedProduct& p) {
  constexpr int kR = SOTTO_Q8_WIDE ? 4 : 2;  // eight sums: bytes have two for each vector of c
  WithDots([&](auto pairs) HWY_ATTR {
    int64_t r = 0;
    for (; r + kR <= p.rows; r += kR) RoundedTile<kR, pairs>(p, r);
    for (; r < p.rows; ++r) RoundedTile<1, pairs>(p, r);
  });
}

// Rounds `count` queries of `dim` values to `to` [dim / 4][2][width]; `scales` [dim / kQueryPart]
// [width] get what one is worth, times `factor`.
void RoundQueries(const float* q, int64_t stride, int64_t count, int64_t dim, float factor,
                  int32_t* to, float* scales) {
  const DI32 di;
  const int64_t lanes = RoundedLanes(dim);
  std::memset(to, 0, static_cast<size_t>(lanes) * sizeof(int32_t));
  for (int64_t from = 0; from < dim; from += kQueryPart, scales += kWidth) {
    std::fill_n(scales, kWidth, 0.0f);
    const int64_t part = std::min(kQueryPart, dim - from);
    auto* fours = reinterpret_cast<Activation8*>(to + RoundedLanes(from));
    for (int64_t i = 0; i < count; ++i) {
      const float* x = q + i * stride + from;
      float inverse;
      scales[i] = factor * RowScale(x, part, &inverse);
      if (inverse != 0)
        RoundAll(x, part, inverse, fours + i * 4, 2 * kWidth * 4 / sizeof(Activation8));
    }
  }
  for (int32_t* lane = to; lane < to + lanes; lane += 2 * kWidth) {
#if SOTTO_Q8_WIDE
    VI32 first0, first1, second0, second1;
    hn::LoadInterleaved2(di, lane, first0, second0);
    hn::LoadInterleaved2(di, lane + 2 * kLanes, first1, second1);
    hn::StoreU(first0, di, lane), hn::StoreU(first1, di, lane + kLanes);
    hn::StoreU(second0, di, lane + 2 * kLanes), hn::StoreU(second1, di, lane + 3 * kLanes);
#else
    for (int64_t i = 0; i < kWidth; i += kLanes)
      StoreSigns(hn::BitCast(DI8(), hn::LoadU(di, lane + i)), lane + i, lane + kWidth + i);
#endif
  }
}

// Rounds the weights p [keys, width], in 0..1, times `scales` [keys], to `to` [keys / 4][2][width];
// returns what one is worth, NaN where a scale is not finite.
float RoundWeights(const float* p, const float* scales, int64_t keys, int32_t* to) {
  const DI32 di;
  const DF df;
  float inverse;
  const float unit = RowScale(scales, keys, &inverse) * (127 / kMostWeight);
  inverse *= kMostWeight / 127;
  for (int64_t j = 0; j < keys; j += 4, to += 2 * kWidth) {
    for (int64_t x = 0; x < kWidth; x += kLanes) {
      const auto weight = [=](int64_t key) HWY_ATTR {
        return key < keys ? Rounded(p + key * kWidth + x, hn::Set(df, scales[key] * inverse))
                          : hn::Zero(di);
      };
      const VI32 v0 = weight(j), v1 = weight(j + 1), v2 = weight(j + 2), v3 = weight(j + 3);
#if SOTTO_Q8_WIDE
      hn::StoreU(hn::Or(v0, hn::ShiftLeft<16>(v1)), di, to + x);
      hn::StoreU(hn::Or(v2, hn::ShiftLeft<16>(v3)), di, to + kWidth + x);
#else
      const VI32 even = hn::Or(v0, hn::ShiftLeft<16>(v2)), odd = hn::Or(v1, hn::ShiftLeft<16>(v3));
      const VI32 low = hn::Set(di, kConstant<int32_t{0x007F007F}>);
      const auto join = [=](VI32 a, VI32 b) HWY_ATTR {
        return hn::Or(hn::And(a, low), hn::ShiftLeft<8>(hn::And(b, low)));
      };
      constexpr int kHalf = kWeightBits / 2;
      hn::StoreU(join(hn::ShiftRight<kHalf>(even), hn::ShiftRight<kHalf>(odd)), di, to + x);
      hn::StoreU(join(even, odd), di, to + kWidth + x);
#endif
    }
  }
  return unit;
}

#if SOTTO_Q8_WIDE
// For a `count` of whole tiles.
void Widen(const int8_t* from, int64_t count, int16_t* to) {
  const DI16 d16;
  const hn::Rebind<int8_t, DI16> d8;
  for (int64_t i = 0; i < count; i += 2 * kLanes)
    hn::StoreU(hn::PromoteTo(d16, hn::LoadU(d8, from + i)), d16, to + i);
}
#endif

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
