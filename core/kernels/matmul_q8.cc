// y = x W^T with W in the 8-bit layout of tensor/quant.h. Rows of x are rounded to int8 once a
// product; every inner product is exact in int32, and the few float operations around it are
//   y = (scale_x * scale_w) * float(acc - 64 * sum_x) + bias
// in this order and without contraction, so that the result is the same on every target, bit by
// bit.
#include "core/kernels/matmul.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "core/kernels/row_tiles.h"
#include "core/kernels/scratch.h"
#include "core/kernels/targets.h"
#include "core/tensor/quant.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/matmul_q8.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/kernels/int8_rows-inl.h"

#ifndef SOTTO_CORE_KERNELS_MATMUL_Q8_ONCE_
#define SOTTO_CORE_KERNELS_MATMUL_Q8_ONCE_
namespace sotto {
namespace {

// A product on its way. The rows of x lie quantized in tiles (RowTiles) of some R rows, one behind
// the other: [k_padded / 4][R][4].
struct Q8Product {
  const float* x;
  int64_t m, k;
  const uint8_t* weights;
  int64_t n, k_padded, panel_bytes;
  const float* scales;  // of W's rows, in W's memory: maybe not aligned
  const float* bias;    // or null
  float* y;
  Activation8* rows;
  float* row_scales;
  int32_t* row_offsets;  // what the sums of a row are too large by
};

}  // namespace
}  // namespace sotto
#endif

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kTileRows = 14;
#else
constexpr int kTileRows = 6;
#endif
#if SOTTO_Q8_WIDE
// Up to so many rows are a tile that widens weights itself; with more, they are widened first.
constexpr int kDirectRows = 4;
#else
constexpr int kDirectRows = kTileRows;
#endif
// Vectors of columns in a tile of so many rows: as many sums as registers hold, and in the case of
// one row enough independent chains to hide the latency of a sum.
constexpr int Vectors(int rows) {
#if SOTTO_Q8_WIDE
  return rows <= 2 ? 2 : 1;
#else
  return rows <= 2 && kLanes == 4 ? 4 : 2;
#endif
}
constexpr int64_t kColumns = kLanes <= 8 ? 16 : 32;  // what a task takes: whole tiles for any rows

// ---- Activations

void QuantizeRowTarget(const float* x, int64_t k, int8_t* q, float* scale, int32_t* sum) {
  float inverse;
  *scale = RowScale(x, k, &inverse);
  *sum = 0;
  if (inverse == 0) {
    if (k > 0) std::memset(q, 0, static_cast<size_t>(k));
  } else {
    *sum = RoundAll(x, k, inverse, q);
  }
}

// Tiles first..last-1.
void QuantizeTiles(const Q8Product& p, int64_t first, int64_t last) {
  const RowTiles tiles(p.m, kTileRows);
  for (int64_t tile = first; tile < last; ++tile) {
    const int64_t row = tiles.Begin(tile), rows = tiles.Begin(tile + 1) - row;
    for (int64_t i = 0; i < rows; ++i) {
      p.row_scales[row + i] = QuantizeIntoTile(
          p.x + (row + i) * p.k, p.k, p.k_padded, i, rows, p.rows + row * p.k_padded, p.k_padded,
          [&](int64_t, int32_t sum) {
            p.row_offsets[row + i] = static_cast<int32_t>(static_cast<uint32_t>(sum) * kQ8Offset);
          });
    }
  }
}

// ---- The product

// What a tile reads and writes: kLanes columns for each of its vectors.
struct TileArgs {
  const Activation8* a;  // [groups][rows][4]
  const float* row_scales;
  const int32_t* row_offsets;
  const uint8_t* w[8];  // where each 8 columns (4 in vectors of 4) begin; 32 bytes a group
  int64_t groups;
  const float* scales;
  const float* bias;
  float* y;
  int64_t stride;
};

// Writes y for all sums of a tile.
template <int kRows, int kVectors>
HWY_INLINE void Finish(const TileArgs& t, const VI32 (&sum)[kRows][kVectors]) {
  const DF df;
  const DI32 di;
  const float *HWY_RESTRICT row_scales = t.row_scales, *HWY_RESTRICT scales = t.scales,
                            *HWY_RESTRICT bias = t.bias;
  const int32_t* HWY_RESTRICT row_offsets = t.row_offsets;
  float* HWY_RESTRICT y = t.y;
  const int64_t stride = t.stride;
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    const VI32 offset = hn::Set(di, row_offsets[i]);
    const VF row_scale = hn::Set(df, row_scales[i]);
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) {
      const VF exact = hn::ConvertTo(df, hn::Sub(sum[i][j], offset));
      const VF scale = hn::Mul(row_scale, hn::LoadU(df, scales + j * kLanes));
      const VF y_ij = hn::Add(hn::Mul(scale, exact), hn::LoadU(df, bias + j * kLanes));
      hn::StoreU(y_ij, df, y + j * kLanes);
    }
    y += stride;
  }
}

#if SOTTO_Q8_WIDE

// Sums stay apart by pairs of k until the end: [c0 k01, c0 k23, c1 k01, c1 k23] and so for c2, c3.
template <bool, int kRows, int kVectors>
HWY_NOINLINE void Tile(const TileArgs& t) {
  const DU8 du8;
  const DI16 di16;
  const DI32 di;
  const hn::Repartition<int64_t, DU8> di64;
  VI32 sum[kRows][kVectors][2];
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sum[i][j][0] = sum[i][j][1] = hn::Zero(di);
  }
  const int16_t* HWY_RESTRICT a = t.a;
  const uint8_t* HWY_RESTRICT w = t.w[0];
  const size_t groups = static_cast<size_t>(t.groups);
  for (size_t g = 0; g < groups; ++g) {
    hn::Vec<DI16> low[kVectors], high[kVectors];
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) {
      const auto bytes = hn::LoadU(du8, w + j * 16);
      low[j] = hn::PromoteLowerTo(di16, bytes);
      high[j] = hn::PromoteUpperTo(di16, bytes);
    }
    w += 32;
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      int64_t four;
      std::memcpy(&four, a + i * 4, 8);
      const auto ai = hn::BitCast(di16, hn::Set(di64, four));
      HWY_UNROLL(kVectors)
      for (int j = 0; j < kVectors; ++j) {
        sum[i][j][0] = hn::Add(sum[i][j][0], hn::WidenMulPairwiseAdd(di, ai, low[j]));
        sum[i][j][1] = hn::Add(sum[i][j][1], hn::WidenMulPairwiseAdd(di, ai, high[j]));
      }
    }
    a += kRows * 4;
  }
  VI32 all[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      all[i][j] = hn::Add(hn::ConcatEven(di, sum[i][j][1], sum[i][j][0]),
                          hn::ConcatOdd(di, sum[i][j][1], sum[i][j][0]));
    }
  }
  Finish(t, all);
}

#else

// The weights of one group for the columns of vector j.
HWY_INLINE hn::Vec<DU8> LoadWeights(const uint8_t* const* w, int j, size_t offset) {
  const DU8 d;
#if HWY_TARGET <= HWY_AVX3 && HWY_ARCH_X86
  const hn::Half<DU8> half;  // two panels side by side
  return hn::Combine(d, hn::LoadU(half, w[2 * j + 1] + offset), hn::LoadU(half, w[2 * j] + offset));
#else
  return hn::LoadU(d, w[j] + offset);
#endif
}

template <bool kPairs, int kRows, int kVectors>
HWY_NOINLINE void Tile(const TileArgs& t) {
  const DI8 di8;
  const DI32 di;
  constexpr int kPointers = kVectors * (kLanes == 16 ? 2 : 1);
  VI32 sum[kRows][kVectors];
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(di);
  }
  const int8_t* HWY_RESTRICT a = t.a;
  const uint8_t* w[kPointers];
  for (int j = 0; j < kPointers; ++j) w[j] = t.w[j];
  const size_t end = static_cast<size_t>(t.groups) * 32;
  for (size_t offset = 0; offset < end; offset += 32) {
    hn::Vec<DU8> wj[kVectors];
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) wj[j] = LoadWeights(w, j, offset);
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      const auto ai = hn::BitCast(di8, SetFour(a + i * 4));
      HWY_UNROLL(kVectors)
      for (int j = 0; j < kVectors; ++j) sum[i][j] = Dot<kPairs>(wj[j], ai, sum[i][j]);
    }
    a += kRows * 4;
  }
  Finish(t, sum);
}

#endif  // SOTTO_Q8_WIDE

template <bool kPairs, int kRows>
constexpr void (*kTile)(const TileArgs&) = Tile<kPairs, kRows, Vectors(kRows)>;
template <bool kPairs>
constexpr void (*kTiles[])(const TileArgs&) = {
    nullptr,           kTile<kPairs, 1>,  kTile<kPairs, 2>,  kTile<kPairs, 3>,  kTile<kPairs, 4>,
#if !SOTTO_Q8_WIDE
    kTile<kPairs, 5>,  kTile<kPairs, 6>,
#endif
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
    kTile<kPairs, 7>,  kTile<kPairs, 8>,  kTile<kPairs, 9>,  kTile<kPairs, 10>, kTile<kPairs, 11>,
    kTile<kPairs, 12>, kTile<kPairs, 13>, kTile<kPairs, 14>,
#endif
};

// The columns column..column+Vectors*kLanes-1 of all rows. Where some lie beyond n a tile works on
// copies of scales and bias, and into a buffer.
void MultiplyColumns(const Q8Product& p, int64_t column) {
  const RowTiles tiles(p.m, kTileRows);
  const int64_t columns = Vectors(static_cast<int>(std::min<int64_t>(p.m, kTileRows))) * kLanes;
  const int64_t inside = std::min(columns, p.n - column), last = (p.n + 7) / 8 - 1;
  const bool whole = inside == columns;
  alignas(64) float scales[kColumns] = {}, bias[kColumns] = {}, y[kDirectRows * kColumns];
  constexpr int64_t kStep = kLanes == 4 ? 4 : 8;
  TileArgs t;
  t.groups = p.k_padded / kQ8Group;
  for (int64_t j = 0; j * kStep < columns; ++j) {
    const int64_t c = column + j * kStep;
    t.w[j] = p.weights + std::min(c / 8, last) * p.panel_bytes + c % 8 * 4;
  }
  t.scales = p.scales + column;
  t.bias = p.bias == nullptr ? bias : p.bias + column;
  t.stride = whole ? p.n : columns;
  if (!whole) {
    std::memcpy(scales, t.scales, static_cast<size_t>(inside) * sizeof(float));
    t.scales = scales;
    if (p.bias != nullptr) {
      std::memcpy(bias, t.bias, static_cast<size_t>(inside) * sizeof(float));
      t.bias = bias;
    }
  }
  for (int64_t tile = 0, row = 0; tile < tiles.tiles; ++tile) {
    const int64_t rows = tiles.Begin(tile + 1) - row;
    t.a = p.rows + row * p.k_padded;
    t.row_scales = p.row_scales + row;
    t.row_offsets = p.row_offsets + row;
    t.y = whole ? p.y + row * p.n + column : y;
    WithDots([&](auto pairs) { kTiles<pairs>[rows](t); });
    for (int64_t i = 0; i < rows && !whole; ++i) {
      std::memcpy(p.y + (row + i) * p.n + column, y + i * columns,
                  static_cast<size_t>(inside) * sizeof(float));
    }
    row += rows;
  }
}

// ---- One row, its weights read in streams.

struct StreamArgs {
  const Activation8* a;        // [groups][4]
  const uint8_t* w[kStreams];  // panels
  int64_t groups;
  int32_t* sums;  // [kStreams][8]
};

template <bool kPairs>
HWY_NOINLINE void MultiplyStreams(const StreamArgs& t) {
  constexpr int kVectors = kLanes >= 8 ? 1 : 2;  // of a panel
  const DU8 du8;
  const DI32 di;
  const Activation8* HWY_RESTRICT a = t.a;
  const uint8_t* w[kStreams];
  for (int s = 0; s < kStreams; ++s) w[s] = t.w[s];
  const size_t end = static_cast<size_t>(t.groups) * 32;
#if SOTTO_Q8_WIDE
  const DI16 di16;
  const hn::Repartition<int64_t, DU8> di64;
  VI32 sum[kStreams][kVectors][2];
  for (int s = 0; s < kStreams; ++s) {
    for (int j = 0; j < kVectors; ++j) sum[s][j][0] = sum[s][j][1] = hn::Zero(di);
  }
  for (size_t offset = 0; offset < end; offset += 32) {
    int64_t four;
    std::memcpy(&four, a, 8);
    a += 4;
    const auto ai = hn::BitCast(di16, hn::Set(di64, four));
    HWY_UNROLL(kStreams)
    for (int s = 0; s < kStreams; ++s) {
      HWY_UNROLL(kVectors)
      for (int j = 0; j < kVectors; ++j) {
        const auto bytes = hn::LoadU(du8, w[s] + offset + j * 16);
        const auto low = hn::PromoteLowerTo(di16, bytes), high = hn::PromoteUpperTo(di16, bytes);
        sum[s][j][0] = hn::Add(sum[s][j][0], hn::WidenMulPairwiseAdd(di, ai, low));
        sum[s][j][1] = hn::Add(sum[s][j][1], hn::WidenMulPairwiseAdd(di, ai, high));
      }
    }
  }
#else
  VI32 sum[kStreams][kVectors];
  for (int s = 0; s < kStreams; ++s) {
    for (int j = 0; j < kVectors; ++j) sum[s][j] = hn::Zero(di);
  }
  for (size_t offset = 0; offset < end; offset += 32) {
    const auto ai = hn::BitCast(DI8(), SetFour(a));
    a += 4;
    HWY_UNROLL(kStreams)
    for (int s = 0; s < kStreams; ++s) {
      HWY_UNROLL(kVectors)
      for (int j = 0; j < kVectors; ++j) {
        sum[s][j] = Dot<kPairs>(hn::LoadU(du8, w[s] + offset + j * 16), ai, sum[s][j]);
      }
    }
  }
#endif
  HWY_UNROLL(kStreams)
  for (int s = 0; s < kStreams; ++s) {
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) {
#if SOTTO_Q8_WIDE
      const VI32 all = hn::Add(hn::ConcatEven(di, sum[s][j][1], sum[s][j][0]),
                               hn::ConcatOdd(di, sum[s][j][1], sum[s][j][0]));
#else
      const VI32 all = sum[s][j];
#endif
      hn::StoreU(all, di, t.sums + s * 8 + j * kLanes);
    }
  }
}

// The panels first..last-1 for the one row that there is.
void MultiplyRow(const Q8Product& p, int64_t first, int64_t last) {
  alignas(64) int32_t sums[kStreams * 8];
  StreamArgs t;
  t.a = p.rows;
  t.groups = p.k_padded / kQ8Group;
  t.sums = sums;
  const uint32_t offset = static_cast<uint32_t>(p.row_offsets[0]);
  InStreams(first, last, kStreams, [&](const int64_t* panels, int64_t count) {
    for (int64_t s = 0; s < kStreams; ++s)
      t.w[s] = p.weights + panels[s < count ? s : 0] * p.panel_bytes;
    WithDots([&](auto pairs) { MultiplyStreams<pairs>(t); });
    for (int64_t s = 0; s < count; ++s) {
      const int64_t column = panels[s] * 8, columns = std::min<int64_t>(8, p.n - column);
      for (int64_t j = 0; j < columns; ++j) {
        const uint32_t sum = static_cast<uint32_t>(sums[s * 8 + j]) - offset;
        const float y =
            p.row_scales[0] * p.scales[column + j] * static_cast<float>(static_cast<int32_t>(sum));
        p.y[column + j] = p.bias == nullptr ? y : y + p.bias[column + j];
      }
    }
  });
}

#if SOTTO_Q8_WIDE

// ---- Many rows: the weights of a few columns are widened once for all of them.

struct SpreadArgs {
  const Activation8* a;  // [groups][rows][4]
  const Weight8* w;
  int64_t groups;
  bool first, last;  // blocks of K; between them y holds the sums, as integers
  TileArgs out;      // row_scales, row_offsets, scales, bias, y and stride
};

template <int kRows>
HWY_NOINLINE void SpreadTile(const SpreadArgs& t) {
  const DI32 di;
  const DF df;
  VI32 sum[kRows][2];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j) {
      sum[i][j] = t.first ? hn::Zero(di)
                          : hn::BitCast(di, hn::LoadU(df, t.out.y + i * t.out.stride + j * kLanes));
    }
  }
  const Activation8* HWY_RESTRICT a = t.a;
  const Weight8* HWY_RESTRICT w = t.w;
  for (int64_t g = 0; g < t.groups; ++g) {
    AddSpread<false, kRows>(w, a, sum);
    w += 4 * kSpreadColumns;
    a += kRows * 4;
  }
  if (t.last) return Finish(t.out, sum);
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < 2; ++j)
      hn::StoreU(hn::BitCast(df, sum[i][j]), df, t.out.y + i * t.out.stride + j * kLanes);
  }
}

constexpr void (*kSpreadTiles[])(const SpreadArgs&) = {
    nullptr,       SpreadTile<1>, SpreadTile<2>, SpreadTile<3>,
    SpreadTile<4>, SpreadTile<5>, SpreadTile<6>,
};

// The columns column..column+kSpreadColumns-1, a panel, of all rows. Where some lie beyond n each
// tile of rows goes through a buffer.
void MultiplySpread(const Q8Product& p, int64_t column) {
  alignas(64) Weight8 w[kSpreadDepth * kSpreadColumns];
  alignas(64) float scales[kSpreadColumns] = {}, bias[kSpreadColumns] = {};
  alignas(64) float edge[kTileRows * kSpreadColumns];
  const D16 d;
  const uint8_t* panel = p.weights + column / 8 * p.panel_bytes;
  const int64_t groups = p.k_padded / kQ8Group;
  const int64_t block = SpreadBlock(p.k_padded, kQ8Group) / kQ8Group;
  const int64_t inside = std::min(kSpreadColumns, p.n - column);
  const bool whole = inside == kSpreadColumns;
  std::memcpy(scales, p.scales + column, static_cast<size_t>(inside) * sizeof(float));
  SpreadArgs t;
  t.w = w;
  t.out.scales = scales;
  t.out.bias = bias;
  if (p.bias != nullptr) {
    std::memcpy(bias, p.bias + column, static_cast<size_t>(inside) * sizeof(float));
  }
  t.out.stride = whole ? p.n : kSpreadColumns;
  const RowTiles tiles(p.m, kTileRows);
  const int64_t many = whole ? tiles.tiles : 1;  // tiles for which the weights are spread
  for (int64_t top = 0; top < tiles.tiles; top += many) {
    for (int64_t g = 0; g < groups; g += block) {
      t.groups = std::min(block, groups - g);
      t.first = g == 0;
      t.last = g + t.groups == groups;
      for (int64_t i = 0; i < t.groups; ++i) {
        const uint8_t* from = panel + (g + i) * 32;
        Spread(hn::LoadU(d, from), hn::LoadU(d, from + 16), w + i * 4 * kSpreadColumns);
      }
      for (int64_t tile = top; tile < top + many; ++tile) {
        const int64_t row = tiles.Begin(tile), rows = tiles.Begin(tile + 1) - row;
        t.a = p.rows + row * p.k_padded + g * kQ8Group * rows;
        t.out.row_scales = p.row_scales + row;
        t.out.row_offsets = p.row_offsets + row;
        t.out.y = whole ? p.y + row * p.n + column : edge;
        kSpreadTiles[rows](t);
      }
    }
    const int64_t begin = tiles.Begin(top);
    for (int64_t i = begin; i < tiles.Begin(top + 1) && !whole; ++i) {
      std::memcpy(p.y + i * p.n + column, edge + (i - begin) * kSpreadColumns,
                  static_cast<size_t>(inside) * sizeof(float));
    }
  }
}

#endif  // SOTTO_Q8_WIDE

// All quantized rows times the columns of tasks begin..end-1.
void MultiplyTasks(const Q8Product& p, int64_t begin, int64_t end) {
  const int64_t left = begin * kColumns, right = std::min(end * kColumns, p.n);
  if (p.m == 1 && kLanes <= 8) return MultiplyRow(p, left / 8, (right + 7) / 8);
#if SOTTO_Q8_WIDE
  if (p.m > kDirectRows) {
    for (int64_t column = left; column < right; column += kSpreadColumns) MultiplySpread(p, column);
    return;
  }
#endif
  const int64_t step = Vectors(static_cast<int>(std::min<int64_t>(p.m, kTileRows))) * kLanes;
  for (int64_t column = left; column < right; column += step) MultiplyColumns(p, column);
}

int64_t TileRows() { return kTileRows; }

void MatMulQ8Target(const Q8Product& p, ThreadPool* pool) {
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

HWY_EXPORT(QuantizeRowTarget);
HWY_EXPORT(MatMulQ8Target);
HWY_EXPORT(TileRows);

constexpr int64_t kScratchBytes = 256
                                  << 10;  // of quantized rows: what the second-level cache keeps

}  // namespace

void QuantizeRow(const float* x, int64_t k, int8_t* q, float* scale, int32_t* sum) {
  HWY_DYNAMIC_DISPATCH(QuantizeRowTarget)(x, k, q, scale, sum);
}

void MatMulQ8(const float* x, int64_t m, int64_t k, const void* packed, int64_t n,
              const float* bias, float* y, ThreadPool* pool) {
  if (m <= 0 || n <= 0) return;
  const Q8Layout layout = Q8Layout::For(n, k);
  const int64_t row_bytes = layout.k_padded * static_cast<int64_t>(sizeof(Activation8));
  const int64_t tile = HWY_DYNAMIC_DISPATCH(TileRows)();
  const int64_t tiles =
      std::clamp<int64_t>(kScratchBytes / (row_bytes * tile + 1), 1, (m + tile - 1) / tile);
  const int64_t block = std::min(m, tiles * tile);  // rows of x at a time
  char* memory = k <= 0 ? nullptr : KernelScratch(block * (row_bytes + 8));
  if (memory == nullptr) return scalar::MatMulQ8(x, m, k, packed, n, bias, y);

  Q8Product p;
  p.k = k;
  p.weights = static_cast<const uint8_t*>(packed);
  p.n = n;
  p.k_padded = layout.k_padded;
  p.panel_bytes = layout.panel_bytes();
  p.scales = reinterpret_cast<const float*>(p.weights + layout.scales_offset());
  p.bias = bias;
  p.row_scales = reinterpret_cast<float*>(memory);
  p.row_offsets = reinterpret_cast<int32_t*>(memory + block * 4);
  p.rows = reinterpret_cast<Activation8*>(memory + block * 8);
  for (int64_t row = 0; row < m; row += block) {
    p.x = x + row * k;
    p.y = y + row * n;
    p.m = std::min(block, m - row);
    HWY_DYNAMIC_DISPATCH(MatMulQ8Target)(p, pool);
  }
}

}  // namespace sotto
#endif  // HWY_ONCE
