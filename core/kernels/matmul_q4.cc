// y = x W^T with W in the 4-bit layout of tensor/quant.h. Rows of x are rounded to int8 once a
// product; the sum over a group of 32 is exact in int32, and the float operations around it are
//   total += scale_w[group] * float(sum),   y = scale_x * total + bias
// in the order of the groups and without contraction, so that the result is the same on every
// target, bit by bit.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "core/kernels/matmul.h"
#include "core/kernels/row_tiles.h"
#include "core/kernels/scratch.h"
#include "core/kernels/targets.h"
#include "core/tensor/quant.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/matmul_q4.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/kernels/int8_rows-inl.h"

#ifndef SOTTO_CORE_KERNELS_MATMUL_Q4_ONCE_
#define SOTTO_CORE_KERNELS_MATMUL_Q4_ONCE_
namespace sotto {
namespace {

// A product on its way. The rows of x lie quantized in tiles (RowTiles) of some R rows, one behind
// the other: [k_padded / 4][R][4], and their sums by group [groups][R], times -8, which takes the
// offset of the weights back.
struct Q4Product {
  const float* x;
  int64_t m, k;
  const uint8_t* weights;
  int64_t n, k_padded, panel_bytes;
  const float* bias;  // or null
  float* y;
  Activation8* rows;
  int32_t* sums;
  float* row_scales;
};

}  // namespace
}  // namespace sotto
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

using DU16 = hn::Repartition<uint16_t, DU8>;
using DU32 = hn::Repartition<uint32_t, DU8>;

#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kTileRows = 14;
#else
constexpr int kTileRows = 6;
#endif
// Up to so many rows are a tile that takes weights apart itself; with more, they are spread first.
constexpr int kDirectRows = 4;
constexpr int Vectors(int rows) {
#if SOTTO_Q8_WIDE
  return 1;
#else
  return rows <= 2 || kLanes != 8 ? 2 : 1;
#endif
}
constexpr int64_t kColumns = kLanes <= 8 ? 16 : 32;  // what a task takes: whole tiles for any rows

// Tiles first..last-1.
void QuantizeTiles(const Q4Product& p, int64_t first, int64_t last) {
  const RowTiles tiles(p.m, kTileRows);
  const int64_t groups = p.k_padded / kQ4Group;
  for (int64_t tile = first; tile < last; ++tile) {
    const int64_t row = tiles.Begin(tile), rows = tiles.Begin(tile + 1) - row;
    int32_t* sums = p.sums + row * groups;
    for (int64_t i = 0; i < rows; ++i) {
      p.row_scales[row + i] = QuantizeIntoTile(
          p.x + (row + i) * p.k, p.k, p.k_padded, i, rows, p.rows + row * p.k_padded, kQ4Group,
          [&](int64_t group, int32_t sum) { sums[group * rows + i] = -kQ4Offset * sum; });
    }
  }
}

// What a tile reads and writes: kLanes columns for each of its vectors.
struct TileArgs {
  const Activation8* a;  // [groups * 8][rows][4]
  const int32_t* sums;   // [groups][rows]
  const float* row_scales;
  const uint8_t* w[8];   // where each 8 columns (4 in vectors of 4) begin in their panel
  int64_t scales_at[8];  // and how far behind that the first group's scales are
  size_t bytes;          // of a panel
  const float* bias;     // or null
  float* y;
  int64_t stride;
  // The low half of every byte. Not a constant of the code: V8 builds those anew at each use, from
  // three instructions.
  uint8_t low_half[16];
};

// The weights of 8 along K for the columns of vector j, low and high nibbles together.
HWY_INLINE hn::Vec<DU8> LoadNibbles(const TileArgs& t, int j, size_t offset) {
  const DU8 d;
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  const hn::Half<DU8> half;  // two panels side by side
  return hn::Combine(d, hn::LoadU(half, t.w[2 * j + 1] + offset),
                     hn::LoadU(half, t.w[2 * j] + offset));
#else
  return hn::LoadU(d, t.w[j] + offset);
#endif
}

HWY_INLINE hn::Vec<DU8> LowHalf(const TileArgs& t) {
#if HWY_ARCH_WASM
  return hn::LoadU(DU8(), t.low_half);
#else
  return hn::Set(DU8(), uint8_t{15});
#endif
}

HWY_INLINE hn::Vec<DU8> High(hn::Vec<DU8> bytes, hn::Vec<DU8> low_half) {
  const hn::Vec<DU16> pairs = hn::ShiftRight<4>(hn::BitCast(DU16(), bytes));
  return hn::And(hn::BitCast(DU8(), pairs), low_half);
}

// The scales of the columns of vector j in the group at `offset`, from bf16.
HWY_INLINE VF LoadScales(const TileArgs& t, int j, size_t offset) {
  const DU32 du32;
  const hn::Rebind<uint16_t, DU32> du16;
  const auto at = [&](int pointer) {
    return reinterpret_cast<const uint16_t*>(t.w[pointer] + t.scales_at[pointer] + offset);
  };
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  const hn::Half<decltype(du16)> half;
  const auto bits = hn::Combine(du16, hn::LoadU(half, at(2 * j + 1)), hn::LoadU(half, at(2 * j)));
#else
  const auto bits = hn::LoadU(du16, at(j));
#endif
  return hn::BitCast(DF(), hn::ShiftLeft<16>(hn::PromoteTo(du32, bits)));
}

template <int kRows, int kVectors>
HWY_INLINE void Finish(const TileArgs& t, const VF (&total)[kRows][kVectors]) {
  const DF df;
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      VF y = hn::Mul(hn::Set(df, t.row_scales[i]), total[i][j]);
      if (t.bias != nullptr) y = hn::Add(y, hn::LoadU(df, t.bias + j * kLanes));
      hn::StoreU(y, df, t.y + i * t.stride + j * kLanes);
    }
  }
}

#if SOTTO_Q8_WIDE

// Four of K for the four columns of a vector: [c0 k01, c0 k23, c1 k01, c1 k23] and so for c2, c3.
template <int kRows>
HWY_INLINE void AddWide(hn::Vec<DU8> bytes, const int16_t* HWY_RESTRICT a, VI32 (&sum)[kRows][2]) {
  const DI16 di16;
  const DI32 di;
  const hn::Repartition<int64_t, DU8> di64;
  const auto low = hn::PromoteLowerTo(di16, bytes), high = hn::PromoteUpperTo(di16, bytes);
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    int64_t four;
    std::memcpy(&four, a + i * 4, 8);
    const auto ai = hn::BitCast(di16, hn::Set(di64, four));
    sum[i][0] = hn::Add(sum[i][0], hn::WidenMulPairwiseAdd(di, ai, low));
    sum[i][1] = hn::Add(sum[i][1], hn::WidenMulPairwiseAdd(di, ai, high));
  }
}

template <bool, int kRows, int kVectors>
HWY_NOINLINE void Tile(const TileArgs& t) {
  static_assert(kVectors == 1);
  const hn::Vec<DU8> low_half = LowHalf(t);
  const DI32 di;
  const DF df;
  VF total[kRows][1];
  for (int i = 0; i < kRows; ++i) total[i][0] = hn::Zero(df);
  const int16_t* HWY_RESTRICT a = t.a;
  const int32_t* HWY_RESTRICT sums = t.sums;
  for (size_t offset = 0; offset < t.bytes; offset += kQ4GroupBytes) {
    VI32 sum[kRows][2];
    for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = hn::Zero(di);
    for (size_t octet = 0; octet < 128; octet += 32) {
      const auto bytes = LoadNibbles(t, 0, offset + octet);
      AddWide<kRows>(hn::And(bytes, low_half), a, sum);
      AddWide<kRows>(High(bytes, low_half), a + kRows * 4, sum);
      a += kRows * 8;
    }
    const VF scale = LoadScales(t, 0, offset);
    for (int i = 0; i < kRows; ++i) {
      const VI32 both = hn::Add(hn::ConcatEven(di, sum[i][1], sum[i][0]),
                                hn::ConcatOdd(di, sum[i][1], sum[i][0]));
      const VI32 exact = hn::Add(both, hn::Set(di, sums[i]));
      total[i][0] = hn::Add(total[i][0], hn::Mul(scale, hn::ConvertTo(df, exact)));
    }
    sums += kRows;
  }
  Finish<kRows, 1>(t, total);
}

#else

// Four of K for all rows and columns of a tile.
template <bool kPairs, int kRows, int kVectors>
HWY_INLINE void AddDots(const hn::Vec<DU8> (&w)[kVectors], const int8_t* HWY_RESTRICT a,
                        VI32 (&sum)[kRows][kVectors]) {
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    const auto ai = hn::BitCast(DI8(), SetFour(a + i * 4));
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) sum[i][j] = AddToGroup<kPairs>(w[j], ai, sum[i][j]);
  }
}

template <bool kPairs, int kRows, int kVectors>
HWY_NOINLINE void Tile(const TileArgs& t) {
  const hn::Vec<DU8> low_half = LowHalf(t);
  const DI32 di;
  const DF df;
  VF total[kRows][kVectors];
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) total[i][j] = hn::Zero(df);
  }
  const int8_t* HWY_RESTRICT a = t.a;
  const int32_t* HWY_RESTRICT sums = t.sums;
  for (size_t offset = 0; offset < t.bytes; offset += kQ4GroupBytes) {
    VI32 sum[kRows][kVectors];
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      for (int j = 0; j < kVectors; ++j) sum[i][j] = BeginGroup<kPairs>(hn::Set(di, sums[i]));
    }
    // Not unrolled: else all weights of the group are kept at once, and the totals leave the
    // registers.
#pragma clang loop unroll(disable)
    for (size_t octet = 0; octet < 128; octet += 32) {
      hn::Vec<DU8> low[kVectors], high[kVectors];
      HWY_UNROLL(kVectors)
      for (int j = 0; j < kVectors; ++j) {
        const auto bytes = LoadNibbles(t, j, offset + octet);
        low[j] = hn::And(bytes, low_half);
        high[j] = High(bytes, low_half);
      }
      AddDots<kPairs>(low, a, sum);
      AddDots<kPairs>(high, a + kRows * 4, sum);
      a += kRows * 8;
    }
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) {
      const VF scale = LoadScales(t, j, offset);
      HWY_UNROLL(kRows)
      for (int i = 0; i < kRows; ++i) {
        const VI32 exact = EndGroup<kPairs>(sum[i][j], hn::Set(di, sums[i]));
        total[i][j] = hn::Add(total[i][j], hn::Mul(scale, hn::ConvertTo(df, exact)));
      }
    }
    sums += kRows;
  }
  Finish<kRows, kVectors>(t, total);
}

#endif  // SOTTO_Q8_WIDE

template <bool kPairs, int kRows>
constexpr void (*kTile)(const TileArgs&) = Tile<kPairs, kRows, Vectors(kRows)>;
template <bool kPairs>
constexpr void (*kTiles[])(const TileArgs&) = {nullptr, kTile<kPairs, 1>, kTile<kPairs, 2>,
                                               kTile<kPairs, 3>, kTile<kPairs, 4>};

// The columns column..column+Vectors*kLanes-1 of one tile of rows. Where some lie beyond n the tile
// works on a copy of the bias, and into a buffer.
void MultiplyTile(const Q4Product& p, int64_t row, int64_t rows, int64_t column) {
  const int64_t columns = Vectors(static_cast<int>(rows)) * kLanes;
  constexpr int64_t kStep = kLanes == 4 ? 4 : 8;
  TileArgs t;
  t.a = p.rows + row * p.k_padded;
  t.sums = p.sums + row * (p.k_padded / kQ4Group);
  t.row_scales = p.row_scales + row;
  t.bytes = static_cast<size_t>(p.panel_bytes);
  const int64_t last = (p.n + 7) / 8 - 1;
  for (int64_t j = 0; j * kStep < columns; ++j) {
    const int64_t c = column + j * kStep;
    t.w[j] = p.weights + std::min(c / 8, last) * p.panel_bytes + c % 8 * 4;
    t.scales_at[j] = 128 - c % 8 * 4 + c % 8 * 2;
  }
  t.bias = p.bias == nullptr ? nullptr : p.bias + column;
  t.y = p.y + row * p.n + column;
  t.stride = p.n;
  std::memset(t.low_half, 15, sizeof(t.low_half));
  const auto multiply = [&] { WithDots([&](auto pairs) { kTiles<pairs>[rows](t); }); };
  const int64_t inside = std::min(columns, p.n - column);
  if (inside == columns) return multiply();

  alignas(64) float bias[kColumns] = {}, y[kDirectRows * kColumns];
  if (p.bias != nullptr) {
    std::memcpy(bias, p.bias + column, static_cast<size_t>(inside) * sizeof(float));
    t.bias = bias;
  }
  t.y = y;
  t.stride = columns;
  multiply();
  for (int64_t i = 0; i < rows; ++i) {
    std::memcpy(p.y + (row + i) * p.n + column, y + i * columns,
                static_cast<size_t>(inside) * sizeof(float));
  }
}

// ---- One row, its weights read in streams.

struct StreamArgs {
  const Activation8* a;        // [groups * 8][4]
  const int32_t* sums;         // [groups]
  const uint8_t* w[kStreams];  // panels
  size_t bytes;                // of a panel
  float* totals;               // [kStreams][8]
  uint8_t low_half[16];
};

template <bool kPairs>
HWY_NOINLINE void MultiplyStreams(const StreamArgs& t) {
  constexpr int kVectors = kLanes >= 8 ? 1 : 2;  // of a panel
  const DU8 du8;
  const DI32 di;
  const DF df;
  const hn::Rebind<uint16_t, DU32> du16;
  const DU32 du32;
#if HWY_ARCH_WASM
  const hn::Vec<DU8> low_half = hn::LoadU(du8, t.low_half);
#else
  const hn::Vec<DU8> low_half = hn::Set(du8, uint8_t{15});
#endif
  const Activation8* HWY_RESTRICT a = t.a;
  const int32_t* HWY_RESTRICT sums = t.sums;
  const uint8_t* w[kStreams];
  for (int s = 0; s < kStreams; ++s) w[s] = t.w[s];
  std::memset(t.totals, 0, kStreams * 8 * sizeof(float));
  for (size_t offset = 0; offset < t.bytes; offset += kQ4GroupBytes) {
#if SOTTO_Q8_WIDE
    VI32 sum[kStreams][kVectors][1][2];
    for (int s = 0; s < kStreams; ++s) {
      for (int j = 0; j < kVectors; ++j) sum[s][j][0][0] = sum[s][j][0][1] = hn::Zero(di);
    }
#else
    VI32 sum[kStreams][kVectors];
    const VI32 start = BeginGroup<kPairs>(hn::Set(di, *sums));
    for (int s = 0; s < kStreams; ++s) {
      for (int j = 0; j < kVectors; ++j) sum[s][j] = start;
    }
#endif
#pragma clang loop unroll(disable)
    for (size_t octet = 0; octet < 128; octet += 32) {
#if !SOTTO_Q8_WIDE
      int32_t four[2];
      std::memcpy(four, a, 8);
      const auto first = hn::BitCast(DI8(), hn::Set(di, four[0]));
      const auto second = hn::BitCast(DI8(), hn::Set(di, four[1]));
#endif
      HWY_UNROLL(kStreams)
      for (int s = 0; s < kStreams; ++s) {
        HWY_UNROLL(kVectors)
        for (int j = 0; j < kVectors; ++j) {
          const auto bytes = hn::LoadU(du8, w[s] + offset + octet + j * 16);
#if SOTTO_Q8_WIDE
          AddWide<1>(hn::And(bytes, low_half), a, sum[s][j]);
          AddWide<1>(High(bytes, low_half), a + 4, sum[s][j]);
#else
          sum[s][j] = AddToGroup<kPairs>(hn::And(bytes, low_half), first, sum[s][j]);
          sum[s][j] = AddToGroup<kPairs>(High(bytes, low_half), second, sum[s][j]);
#endif
        }
      }
      a += 8;
    }
    HWY_UNROLL(kStreams)
    for (int s = 0; s < kStreams; ++s) {
      HWY_UNROLL(kVectors)
      for (int j = 0; j < kVectors; ++j) {
        const auto* bits = reinterpret_cast<const uint16_t*>(w[s] + offset + 128) + j * kLanes;
        const VF scale =
            hn::BitCast(df, hn::ShiftLeft<16>(hn::PromoteTo(du32, hn::LoadU(du16, bits))));
#if SOTTO_Q8_WIDE
        const VI32 both = hn::Add(hn::ConcatEven(di, sum[s][j][0][1], sum[s][j][0][0]),
                                  hn::ConcatOdd(di, sum[s][j][0][1], sum[s][j][0][0]));
        const VI32 exact = hn::Add(both, hn::Set(di, *sums));
#else
        const VI32 exact = EndGroup<kPairs>(sum[s][j], hn::Set(di, *sums));
#endif
        float* total = t.totals + s * 8 + j * kLanes;
        hn::StoreU(hn::Add(hn::LoadU(df, total), hn::Mul(scale, hn::ConvertTo(df, exact))), df,
                   total);
      }
    }
    ++sums;
    std::atomic_signal_fence(std::memory_order_seq_cst);  // totals stay in memory
  }
}

// The panels first..last-1 for the one row that there is.
void MultiplyRow(const Q4Product& p, int64_t first, int64_t last) {
  alignas(64) float totals[kStreams * 8];
  StreamArgs t;
  t.a = p.rows;
  t.sums = p.sums;
  t.bytes = static_cast<size_t>(p.panel_bytes);
  t.totals = totals;
  std::memset(t.low_half, 15, sizeof(t.low_half));
  InStreams(first, last, kStreams, [&](const int64_t* panels, int64_t count) {
    for (int64_t s = 0; s < kStreams; ++s)
      t.w[s] = p.weights + panels[s < count ? s : 0] * p.panel_bytes;
    WithDots([&](auto pairs) { MultiplyStreams<pairs>(t); });
    for (int64_t s = 0; s < count; ++s) {
      const int64_t column = panels[s] * 8, columns = std::min<int64_t>(8, p.n - column);
      for (int64_t j = 0; j < columns; ++j) {
        const float y = p.row_scales[0] * totals[s * 8 + j];
        p.y[column + j] = p.bias == nullptr ? y : y + p.bias[column + j];
      }
    }
  });
}

// ---- Many rows: the weights of a few columns are spread once for all of them.

struct SpreadArgs {
  const Activation8* a;  // [groups * 8][rows][4]
  const int32_t* sums;   // [groups][rows]
  const Weight8* w;
  const float* scales;  // [groups][kSpreadColumns]
  int64_t groups;
  bool first, last;  // blocks of K; between them y holds the totals
  float* totals;     // [rows][kSpreadColumns]: registers hold the sums
  const float* row_scales;
  const float* bias;  // or null
  float* y;
  int64_t stride;
};

template <bool kPairs, int kRows>
HWY_NOINLINE void SpreadTile(const SpreadArgs& t) {
  const DI32 di;
  const DF df;
  float* const totals = t.totals;
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) {
      const VF begin = t.first ? hn::Zero(df) : hn::LoadU(df, t.y + i * t.stride + j * kLanes);
      hn::Store(begin, df, totals + i * kSpreadColumns + j * kLanes);
    }
  }
  const Activation8* HWY_RESTRICT a = t.a;
  const int32_t* HWY_RESTRICT sums = t.sums;
  const Weight8* HWY_RESTRICT w = t.w;
  const float* scales = t.scales;
  for (int64_t g = 0; g < t.groups; ++g) {
    VI32 sum[kRows][2];
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i)
      sum[i][0] = sum[i][1] = BeginGroup<kPairs>(hn::Set(di, sums[i]));
#pragma clang loop unroll_count(2)
    for (int step = 0; step < kQ4Group / 4; ++step) {
      AddSpread<kPairs, kRows>(w, a, sum);
      w += 4 * kSpreadColumns;
      a += kRows * 4;
    }
    const VF scale0 = hn::LoadU(df, scales), scale1 = hn::LoadU(df, scales + kLanes);
    scales += kSpreadColumns;
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      float* total = totals + i * kSpreadColumns;
      const VI32 start = hn::Set(di, sums[i]);
      const VF exact0 = hn::ConvertTo(df, EndGroup<kPairs>(sum[i][0], start));
      const VF exact1 = hn::ConvertTo(df, EndGroup<kPairs>(sum[i][1], start));
      hn::Store(hn::Add(hn::Load(df, total), hn::Mul(scale0, exact0)), df, total);
      total += kLanes;
      hn::Store(hn::Add(hn::Load(df, total), hn::Mul(scale1, exact1)), df, total);
    }
    sums += kRows;
    std::atomic_signal_fence(std::memory_order_seq_cst);  // totals stay in memory
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) {
      VF y = hn::Load(df, totals + i * kSpreadColumns + j * kLanes);
      if (t.last) {
        y = hn::Mul(hn::Set(df, t.row_scales[i]), y);
        if (t.bias != nullptr) y = hn::Add(y, hn::LoadU(df, t.bias + j * kLanes));
      }
      hn::StoreU(y, df, t.y + i * t.stride + j * kLanes);
    }
  }
}

template <bool kPairs>
constexpr void (*kSpreadTiles[])(const SpreadArgs&) = {
    nullptr,
    SpreadTile<kPairs, 1>,
    SpreadTile<kPairs, 2>,
    SpreadTile<kPairs, 3>,
    SpreadTile<kPairs, 4>,
    SpreadTile<kPairs, 5>,
    SpreadTile<kPairs, 6>,
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
    SpreadTile<kPairs, 7>,
    SpreadTile<kPairs, 8>,
    SpreadTile<kPairs, 9>,
    SpreadTile<kPairs, 10>,
    SpreadTile<kPairs, 11>,
    SpreadTile<kPairs, 12>,
    SpreadTile<kPairs, 13>,
    SpreadTile<kPairs, 14>,
#endif
};

// Groups first..last-1 of the columns from `column` on. What lies beyond W's panels is of the last.
void SpreadWeights(const Q4Product& p, int64_t column, int64_t first, int64_t last, Weight8* w,
                   float* scales) {
  const D16 d;
  const auto low_half = hn::Set(d, uint8_t{15});
  const hn::Repartition<uint16_t, D16> d16;
  const int64_t last_panel = (p.n + 7) / 8 - 1;
  for (int64_t c = 0; c < kSpreadColumns; c += 8) {
    const uint8_t* from = p.weights + std::min((column + c) / 8, last_panel) * p.panel_bytes;
    for (int64_t g = first; g < last; ++g) {
      const uint8_t* group = from + g * kQ4GroupBytes;
      Weight8* to = w + (g - first) * kQ4Group * kSpreadColumns + c * (SOTTO_Q8_WIDE ? 2 : 4);
      for (int64_t octet = 0; octet < 4; ++octet) {
        const auto left = hn::LoadU(d, group + octet * 32);
        const auto right = hn::LoadU(d, group + octet * 32 + 16);
        const auto high = [&](hn::Vec<D16> bytes) {
          return hn::And(hn::BitCast(d, hn::ShiftRight<4>(hn::BitCast(d16, bytes))), low_half);
        };
        Spread(hn::And(left, low_half), hn::And(right, low_half), to);
        Spread(high(left), high(right), to + 4 * kSpreadColumns);
        to += 8 * kSpreadColumns;
      }
      for (int64_t j = 0; j < 8; ++j) {
        uint16_t half;
        std::memcpy(&half, group + 128 + j * 2, 2);
        const uint32_t bits = static_cast<uint32_t>(half) << 16;
        std::memcpy(scales + (g - first) * kSpreadColumns + c + j, &bits, 4);
      }
    }
  }
}

// The columns column..column+kSpreadColumns-1 of all rows. Where some lie beyond n each tile of
// rows goes through a buffer.
void MultiplySpread(const Q4Product& p, int64_t column) {
  alignas(64) Weight8 w[kSpreadDepth * kSpreadColumns];
  alignas(64) float scales[kSpreadDepth / kQ4Group * kSpreadColumns];
  alignas(64) float totals[kTileRows * kSpreadColumns], edge[kTileRows * kSpreadColumns];
  alignas(64) float bias[kSpreadColumns] = {};
  const int64_t groups = p.k_padded / kQ4Group;
  const int64_t block = SpreadBlock(p.k_padded, kQ4Group) / kQ4Group;
  const int64_t inside = std::min(kSpreadColumns, p.n - column);
  const bool whole = inside == kSpreadColumns;
  SpreadArgs t;
  t.w = w;
  t.scales = scales;
  t.totals = totals;
  t.stride = whole ? p.n : kSpreadColumns;
  t.bias = nullptr;
  if (p.bias != nullptr) {
    std::memcpy(bias, p.bias + column, static_cast<size_t>(inside) * sizeof(float));
    t.bias = bias;
  }
  const RowTiles tiles(p.m, kTileRows);
  const int64_t many = whole ? tiles.tiles : 1;  // tiles for which the weights are spread
  for (int64_t top = 0; top < tiles.tiles; top += many) {
    for (int64_t g = 0; g < groups; g += block) {
      t.groups = std::min(block, groups - g);
      t.first = g == 0;
      t.last = g + t.groups == groups;
      SpreadWeights(p, column, g, g + t.groups, w, scales);
      for (int64_t tile = top; tile < top + many; ++tile) {
        const int64_t row = tiles.Begin(tile), rows = tiles.Begin(tile + 1) - row;
        t.a = p.rows + row * p.k_padded + g * kQ4Group * rows;
        t.sums = p.sums + row * groups + g * rows;
        t.row_scales = p.row_scales + row;
        t.y = whole ? p.y + row * p.n + column : edge;
        WithDots([&](auto pairs) { kSpreadTiles<pairs>[rows](t); });
      }
    }
    const int64_t begin = tiles.Begin(top);
    for (int64_t i = begin; i < tiles.Begin(top + 1) && !whole; ++i) {
      std::memcpy(p.y + i * p.n + column, edge + (i - begin) * kSpreadColumns,
                  static_cast<size_t>(inside) * sizeof(float));
    }
  }
}

// All quantized rows times the columns of tasks begin..end-1.
void MultiplyTasks(const Q4Product& p, int64_t begin, int64_t end) {
  const int64_t left = begin * kColumns, right = std::min(end * kColumns, p.n);
  if (p.m == 1 && kLanes <= 8) return MultiplyRow(p, left / 8, (right + 7) / 8);
  const bool spread = p.m > kDirectRows;
  const int64_t step = spread ? kSpreadColumns : Vectors(static_cast<int>(p.m)) * kLanes;
  for (int64_t column = left; column < right; column += step) {
    if (spread) {
      MultiplySpread(p, column);
    } else {
      MultiplyTile(p, 0, p.m, column);
    }
  }
}

int64_t Q4TileRows() { return kTileRows; }

void MatMulQ4Target(const Q4Product& p, ThreadPool* pool) {
  ParallelFor(pool, RowTiles(p.m, kTileRows).tiles, std::max<int64_t>(1, 16384 / (p.k * kTileRows)),
              [&](int64_t begin, int64_t end) { QuantizeTiles(p, begin, end); });
  const int64_t tasks = (p.n + kColumns - 1) / kColumns;
  ParallelFor(pool, tasks, std::max<int64_t>(1, 65536 / (p.k * kColumns)),
              [&](int64_t begin, int64_t end) { MultiplyTasks(p, begin, end); });
}

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {
namespace {

HWY_EXPORT(MatMulQ4Target);
HWY_EXPORT(Q4TileRows);

constexpr int64_t kScratchBytes = 256 << 10;  // of rounded rows: what the second-level cache keeps

}  // namespace

void MatMulQ4(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y, ThreadPool* pool) {
  if (m <= 0 || n <= 0) return;
  const Q4Layout layout = Q4Layout::For(n, k);
  const int64_t row_bytes = layout.k_padded * static_cast<int64_t>(sizeof(Activation8)) +
                            layout.groups() * static_cast<int64_t>(sizeof(int32_t));
  const int64_t tile = HWY_DYNAMIC_DISPATCH(Q4TileRows)();
  const int64_t tiles =
      std::clamp<int64_t>(kScratchBytes / (row_bytes * tile + 1), 1, (m + tile - 1) / tile);
  const int64_t block = std::min(m, tiles * tile);  // rows of x at a time
  char* memory = k <= 0 ? nullptr : KernelScratch(block * (row_bytes + 4));
  if (memory == nullptr) return scalar::MatMulQ4(x, m, k, packed, n, bias, y);

  Q4Product p;
  p.k = k;
  p.weights = static_cast<const uint8_t*>(packed);
  p.n = n;
  p.k_padded = layout.k_padded;
  p.panel_bytes = layout.panel_bytes();
  p.bias = bias;
  p.row_scales = reinterpret_cast<float*>(memory);
  p.sums = reinterpret_cast<int32_t*>(memory + block * 4);
  p.rows = reinterpret_cast<Activation8*>(memory + block * (4 + layout.groups() * 4));
  for (int64_t row = 0; row < m; row += block) {
    p.x = x + row * k;
    p.y = y + row * n;
    p.m = std::min(block, m - row);
    HWY_DYNAMIC_DISPATCH(MatMulQ4Target)(p, pool);
  }
}

}  // namespace sotto
#endif  // HWY_ONCE
