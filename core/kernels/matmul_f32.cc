// C = op(A) op(B): packed panels and a register tile (Goto & van de Geijn, "Anatomy of
// high-performance matrix multiplication", 2008), or streaming loops where C has few rows.
//
// Every element of C sums over k in the same order whatever the number of threads: K is cut into
// equal blocks; within a block one chain of multiply-adds from zero; the blocks are added in order.
#include "core/kernels/matmul.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/kernels/row_tiles.h"
#include "core/kernels/targets.h"
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/kernels/matmul_f32.cc"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"

#include "core/kernels/relaxed_simd.h"
#include "core/kernels/turn-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sotto {
namespace HWY_NAMESPACE {
namespace {

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::ScalableTag<float>;
using D4 = hn::CappedTag<float, 4>;
using V = hn::Vec<D>;

constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D()));
// The register tile is kTileRows x (2 vectors): 12 sums in machines of 16 registers, 28 in those of
// 32 (two vectors of B and one broadcast of A beside them).
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int kTileRows = 14;
#else
constexpr int kTileRows = 6;
#endif
constexpr int64_t kTileColumns = 2 * kLanes;
// The most k of a block. A panel of A stays in the first-level cache while B's panels stream by;
// the stack of a page's worker is small.
constexpr int64_t kDepth = HWY_ARCH_WASM ? 256 : 384;
constexpr int64_t kWidth = 1024;  // columns of B packed at once: kDepth * kWidth floats = 1.5 MiB
// Up to this many rows it is the columns that threads share.
constexpr int64_t kColumnRows = (HWY_ARCH_WASM ? 2 : 4) * kTileRows;

// The k of a block where K is cut into as few as kDepth allows: a function of K alone.
int64_t BlockDepth(int64_t k) {
  const int64_t blocks = (k + kDepth - 1) / kDepth;
  return ((k + blocks - 1) / blocks + 3) / 4 * 4;
}

// `out` [depth, width] from `in` with in[i, k] at in[k * stride + i]; the columns beyond `count`
// are 0.
void PackAlong(const float* HWY_RESTRICT in, int64_t stride, int64_t count, int64_t depth,
               int64_t width, float* HWY_RESTRICT out) {
  const D d;
  const D4 d4;
  if (count < width) std::memset(out, 0, static_cast<size_t>(depth * width) * sizeof(float));
  for (int64_t k = 0; k < depth; ++k, in += stride, out += width) {
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) hn::StoreU(hn::LoadU(d, in + i), d, out + i);
    for (; i < count; i += 4) {
      if (count < 4) {
        for (; i < count; ++i) out[i] = in[i];
      } else {  // the last four may overlap those before
        const int64_t at = std::min(i, count - 4);
        hn::StoreU(hn::LoadU(d4, in + at), d4, out + at);
      }
    }
  }
}

// `out` [depth, width] from `in` with in[i, k] at in[i * stride + k]; the columns beyond `count`
// are 0.
void PackAcross(const float* HWY_RESTRICT in, int64_t stride, int64_t count, int64_t depth,
                int64_t width, float* HWY_RESTRICT out) {
  if (count < width) std::memset(out, 0, static_cast<size_t>(depth * width) * sizeof(float));
  const int64_t whole = count < 4 ? 0 : depth / 4 * 4;
  for (int64_t k = 0; k < whole; k += 4) {
    for (int64_t i = 0; i < count; i += 4) {
      const int64_t row = std::min(i, count - 4);  // the last four may overlap those before
      Turn4x4(in + row * stride + k, stride, out + k * width + row, width);
    }
  }
  for (int64_t k = whole; k < depth; ++k) {
    for (int64_t i = 0; i < count; ++i) out[k * width + i] = in[i * stride + k];
  }
}

// A panel of `rows` rows of op(A): out [depth, rows].
void PackA(const GemmArgs& g, int64_t row, int64_t rows, int64_t k, int64_t depth, float* out) {
  if (g.trans_a) {
    PackAlong(g.a + k * g.lda + row, g.lda, rows, depth, rows, out);
  } else {
    PackAcross(g.a + row * g.lda + k, g.lda, rows, depth, rows, out);
  }
}

// A panel of kTileColumns columns of op(B): out [depth, kTileColumns], zero beyond n.
void PackB(const GemmArgs& g, int64_t column, int64_t k, int64_t depth, float* out) {
  const int64_t columns = std::min(kTileColumns, g.n - column);
  if (g.trans_b) {
    PackAcross(g.b + column * g.ldb + k, g.ldb, columns, depth, kTileColumns, out);
  } else {
    PackAlong(g.b + k * g.ldb + column, g.ldb, columns, depth, kTileColumns, out);
  }
}

// c [kRows, kTileColumns] = base + a b, a packed [depth, kRows], b packed [depth, kTileColumns];
// rows of c are ldc apart, those of base base_stride, which may be 0, and base may be c.
template <int kRows>
HWY_NOINLINE void Tile(const float* HWY_RESTRICT a, const float* HWY_RESTRICT b, size_t depth,
                       const float* base, size_t base_stride, float* c, size_t ldc) {
  const D d;
  V sum[kRows][2];
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) sum[i][0] = sum[i][1] = hn::Zero(d);
  for (size_t k = 0; k < depth; ++k) {
    const V b0 = hn::Load(d, b), b1 = hn::Load(d, b + kLanes);
    b += kTileColumns;
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      const V ai = hn::Set(d, a[i]);
      sum[i][0] = FastMulAdd(ai, b0, sum[i][0]);
      sum[i][1] = FastMulAdd(ai, b1, sum[i][1]);
    }
    a += kRows;
  }
  HWY_UNROLL(kRows)
  for (int i = 0; i < kRows; ++i) {
    hn::StoreU(hn::Add(hn::LoadU(d, base), sum[i][0]), d, c);
    hn::StoreU(hn::Add(hn::LoadU(d, base + kLanes), sum[i][1]), d, c + kLanes);
    base += base_stride;
    c += ldc;
  }
}

using TileFunction = void (*)(const float*, const float*, size_t, const float*, size_t, float*,
                              size_t);
constexpr TileFunction kTiles[] = {
    nullptr, Tile<1>, Tile<2>, Tile<3>,  Tile<4>,  Tile<5>,  Tile<6>,
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
    Tile<7>, Tile<8>, Tile<9>, Tile<10>, Tile<11>, Tile<12>, Tile<13>, Tile<14>,
#endif
};

// One tile of C from packed panels, where K's block begins at `k`. At the right edge the tile goes
// through a buffer. The bias is what C begins with, unless that is C.
void Multiply(const GemmArgs& g, const float* a, const float* b, int64_t row, int64_t rows,
              int64_t column, int64_t k, int64_t depth) {
  alignas(64) static constexpr float kZeros[kTileColumns] = {};
  const int64_t columns = std::min(kTileColumns, g.n - column);
  const float* bias = g.bias == nullptr ? kZeros : g.bias + column;
  const bool add = k > 0 || g.beta != 0;
  float* c = g.c + row * g.ldc + column;
  const size_t ldc = static_cast<size_t>(g.ldc);
  if (columns == kTileColumns) {
    kTiles[rows](a, b, static_cast<size_t>(depth), add ? c : bias, add ? ldc : 0, c, ldc);
  } else {
    alignas(64) float edge[kTileRows * kTileColumns];
    kTiles[rows](a, b, static_cast<size_t>(depth), kZeros, 0, edge, kTileColumns);
    for (int64_t i = 0; i < rows; ++i) {
      const float* from = edge + i * kTileColumns;
      float* to = c + i * g.ldc;
      for (int64_t j = 0; j < columns; ++j) to[j] = (add ? to[j] : bias[j]) + from[j];
    }
  }
  if (g.beta == 0 || g.bias == nullptr || k > 0) return;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) c[i * g.ldc + j] += bias[j];
  }
}

// Rows first..first+rows-1, at most kColumnRows: they are packed once, and each tile's worth of
// columns is packed by the thread that multiplies it.
void ShareColumns(const GemmArgs& g, int64_t first, int64_t rows, ThreadPool* pool) {
  alignas(64) float a[kColumnRows * kDepth];
  const RowTiles tiles(rows, kTileRows);
  const int64_t panels = (g.n + kTileColumns - 1) / kTileColumns, block = BlockDepth(g.k);
  for (int64_t k = 0; k < g.k; k += block) {
    const int64_t depth = std::min(block, g.k - k);
    for (int64_t tile = 0; tile < tiles.tiles; ++tile) {
      const int64_t i = tiles.Begin(tile);
      PackA(g, first + i, tiles.Begin(tile + 1) - i, k, depth, a + i * depth);
    }
    ParallelFor(pool, panels, 1, [&](int64_t begin, int64_t end) {
      alignas(64) float b[kTileColumns * kDepth];
      for (int64_t panel = begin; panel < end; ++panel) {
        const int64_t column = panel * kTileColumns;
        PackB(g, column, k, depth, b);
        for (int64_t tile = 0; tile < tiles.tiles; ++tile) {
          const int64_t i = tiles.Begin(tile);
          Multiply(g, a + i * depth, b, first + i, tiles.Begin(tile + 1) - i, column, k, depth);
        }
      }
    });
  }
}

// Many rows: kWidth columns of B are packed once for all threads, and each panel of A by the thread
// that multiplies it. `packed` holds kDepth * kWidth floats.
void ShareRows(const GemmArgs& g, float* packed, ThreadPool* pool) {
  const RowTiles tiles(g.m, kTileRows);
  const int64_t block = BlockDepth(g.k);
  for (int64_t left = 0; left < g.n; left += kWidth) {
    const int64_t right = std::min(left + kWidth, g.n);
    const int64_t panels = (right - left + kTileColumns - 1) / kTileColumns;
    for (int64_t k = 0; k < g.k; k += block) {
      const int64_t depth = std::min(block, g.k - k);
      ParallelFor(pool, panels, 1, [&](int64_t begin, int64_t end) {
        for (int64_t p = begin; p < end; ++p) {
          PackB(g, left + p * kTileColumns, k, depth, packed + p * kTileColumns * depth);
        }
      });
      ParallelFor(pool, tiles.tiles, 1, [&](int64_t begin, int64_t end) {
        alignas(64) float a[kTileRows * kDepth];
        for (int64_t tile = begin; tile < end; ++tile) {
          const int64_t row = tiles.Begin(tile), rows = tiles.Begin(tile + 1) - row;
          PackA(g, row, rows, k, depth, a);
          for (int64_t p = 0; p < panels; ++p) {
            Multiply(g, a, packed + p * kTileColumns * depth, row, rows, left + p * kTileColumns, k,
                     depth);
          }
        }
      });
    }
  }
}

// Inner products of kRows rows of A with kColumns rows of B (as stored), both contiguous along k.
template <int kRows, int kColumns>
HWY_NOINLINE void Inner(const GemmArgs& g, int64_t row, int64_t column) {
  const D d;
  V sum[kRows][kColumns];
  const float* a[kRows];
  const float* b[kColumns];
  for (int i = 0; i < kRows; ++i) a[i] = g.a + (row + i) * g.lda;
  for (int j = 0; j < kColumns; ++j) b[j] = g.b + (column + j) * g.ldb;
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kColumns; ++j) sum[i][j] = hn::Zero(d);
  }
  const size_t depth = static_cast<size_t>(g.k), whole = depth - depth % kLanes;
  for (size_t k = 0; k < whole; k += kLanes) {
    V bj[kColumns];
    HWY_UNROLL(kColumns)
    for (int j = 0; j < kColumns; ++j) bj[j] = hn::LoadU(d, b[j] + k);
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      const V ai = hn::LoadU(d, a[i] + k);
      for (int j = 0; j < kColumns; ++j) sum[i][j] = FastMulAdd(ai, bj[j], sum[i][j]);
    }
  }
  float totals[kRows * kColumns];
  for (int i = 0; i < kRows * kColumns; ++i) {
    totals[i] = hn::ReduceSum(d, sum[i / kColumns][i % kColumns]);
  }
  for (int i = 0; i < kRows * kColumns; ++i) {
    const float* ai = a[i / kColumns];
    const float* bj = b[i % kColumns];
    float total = totals[i];
    for (size_t k = whole; k < depth; ++k) total += ai[k] * bj[k];
    float* c = g.c + (row + i / kColumns) * g.ldc + column + i % kColumns;
    if (g.beta != 0) total += *c;
    *c = g.bias == nullptr ? total : total + g.bias[column + i % kColumns];
  }
}

template <int kRows>
void InnerRows(const GemmArgs& g, int64_t row, int64_t begin, int64_t end) {
  constexpr int kColumns = kRows <= 2 ? 4 : 2;
  int64_t j = begin;
  for (; j + kColumns <= end; j += kColumns) Inner<kRows, kColumns>(g, row, j);
  for (; j < end; ++j) Inner<kRows, 1>(g, row, j);
}

constexpr int kStreamRows = 5;  // up to this many rows of C, B is read once and never packed
// Where B is stored [n, k], packing it costs more than it brings up to so many.
constexpr int64_t kInnerRows = HWY_ARCH_WASM ? 16 : 8;

// Calls body.operator()<rows>(), for 1 to kStreamRows rows.
template <class Body>
HWY_INLINE void WithRows(int64_t rows, const Body& body) {
  switch (rows) {
    case 1:
      return body.template operator()<1>();
    case 2:
      return body.template operator()<2>();
    case 3:
      return body.template operator()<3>();
    case 4:
      return body.template operator()<4>();
    default:
      return body.template operator()<kStreamRows>();
  }
}

// A [m, k] by rows, B stored [n, k].
void StreamInner(const GemmArgs& g, ThreadPool* pool) {
  const int64_t grain = std::max<int64_t>(4, (16384 / std::max<int64_t>(1, g.k) + 3) / 4 * 4);
  const RowTiles tiles(g.m, kStreamRows);
  ParallelFor(pool, (g.n + 3) / 4, grain / 4, [&](int64_t first, int64_t last) {
    // Tiles of 4 columns in any split; all rows meet them while they are in the cache.
    const int64_t end = std::min(last * 4, g.n), step = tiles.tiles > 1 ? 4 : g.n;
    for (int64_t column = first * 4; column < end; column += step) {
      for (int64_t tile = 0; tile < tiles.tiles; ++tile) {
        const int64_t row = tiles.Begin(tile);
        WithRows(tiles.Begin(tile + 1) - row, [&]<int kRows>() {
          InnerRows<kRows>(g, row, column, std::min(column + step, end));
        });
      }
    }
  });
}

// kRows rows of C over kVectors vectors of columns where B is stored [k, n], down all of k.
template <int kRows, int kVectors>
HWY_NOINLINE void Outer(const GemmArgs& g, int64_t column) {
  const D d;
  const size_t a_row = static_cast<size_t>(g.trans_a ? 1 : g.lda);
  const size_t a_k = static_cast<size_t>(g.trans_a ? g.lda : 1);
  const size_t ldb = static_cast<size_t>(g.ldb), depth = static_cast<size_t>(g.k);
  V sum[kRows][kVectors];
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) sum[i][j] = hn::Zero(d);
  }
  const float* HWY_RESTRICT a = g.a;
  const float* HWY_RESTRICT b = g.b + column;
  for (size_t k = 0; k < depth; ++k, a += a_k, b += ldb) {
    V bj[kVectors];
    HWY_UNROLL(kVectors)
    for (int j = 0; j < kVectors; ++j) bj[j] = hn::LoadU(d, b + j * kLanes);
    HWY_UNROLL(kRows)
    for (int i = 0; i < kRows; ++i) {
      const V ai = hn::Set(d, a[static_cast<size_t>(i) * a_row]);
      for (int j = 0; j < kVectors; ++j) sum[i][j] = FastMulAdd(ai, bj[j], sum[i][j]);
    }
  }
  for (int i = 0; i < kRows; ++i) {
    for (int j = 0; j < kVectors; ++j) {
      const int64_t at = column + j * kLanes;
      float* c = g.c + i * g.ldc + at;
      V v = sum[i][j];
      if (g.beta != 0) v = hn::Add(v, hn::LoadU(d, c));
      if (g.bias != nullptr) v = hn::Add(v, hn::LoadU(d, g.bias + at));
      hn::StoreU(v, d, c);
    }
  }
}

// One element of C.
float OuterOne(const GemmArgs& g, int64_t i, int64_t j) {
  const int64_t a_row = g.trans_a ? 1 : g.lda, a_k = g.trans_a ? g.lda : 1;
  float total = 0;
  for (int64_t k = 0; k < g.k; ++k) total += g.a[i * a_row + k * a_k] * g.b[k * g.ldb + j];
  if (g.beta != 0) total += g.c[i * g.ldc + j];
  return g.bias == nullptr ? total : total + g.bias[j];
}

constexpr int64_t kStripColumns = 8 * kLanes;  // what a thread takes at least

// The fewer the rows, the more columns at a time, for whole cache lines of B.
template <int kRows>
void OuterRows(const GemmArgs& g, int64_t begin, int64_t end) {
  constexpr int kVectors = kRows == 1 ? 8 : kRows == 2 ? 4 : 2;
  int64_t j = begin;
  for (; j + kVectors * kLanes <= end; j += kVectors * kLanes) Outer<kRows, kVectors>(g, j);
  for (; j + kLanes <= end; j += kLanes) Outer<kRows, 1>(g, j);
  for (; j < end; ++j) {
    for (int i = 0; i < kRows; ++i) g.c[i * g.ldc + j] = OuterOne(g, i, j);
  }
}

void StreamOuter(const GemmArgs& g, ThreadPool* pool) {
  const int64_t strips = (g.n + kStripColumns - 1) / kStripColumns;
  const int64_t grain = std::max<int64_t>(1, 16384 / (g.k * kStripColumns));
  ParallelFor(pool, strips, grain, [&](int64_t first, int64_t last) {
    WithRows(g.m, [&]<int kRows>() {
      OuterRows<kRows>(g, first * kStripColumns, std::min(last * kStripColumns, g.n));
    });
  });
}

void GemmTarget(const GemmArgs& g, float* packed, ThreadPool* pool) {
  if (g.m <= kInnerRows && g.trans_b && !g.trans_a) return StreamInner(g, pool);
  if (g.m <= kStreamRows && !g.trans_b) return StreamOuter(g, pool);
  if (g.m * g.n * g.k <= 48 * 48 * 48) pool = nullptr;  // sooner done than shared
  if (g.m > kColumnRows && packed != nullptr) return ShareRows(g, packed, pool);
  for (int64_t row = 0; row < g.m; row += kColumnRows) {
    ShareColumns(g, row, std::min(kColumnRows, g.m - row), pool);
  }
}

int64_t PackedFloats(int64_t m) { return m > kColumnRows ? kDepth * kWidth : 0; }

const char* TargetOfBuild() { return hwy::TargetName(HWY_TARGET); }

}  // namespace
}  // namespace HWY_NAMESPACE
}  // namespace sotto
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sotto {
namespace {

HWY_EXPORT(GemmTarget);
HWY_EXPORT(PackedFloats);
HWY_EXPORT(TargetOfBuild);

// Memory for the packed part of B, kept by the calling thread for its next product.
struct PackBuffer {
  float* data = nullptr;
  int64_t floats = 0;
  ~PackBuffer() { std::free(data); }
  float* Reserve(int64_t want) {
    if (want > floats) {
      std::free(data);
      data = static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>(want) * sizeof(float)));
      floats = data == nullptr ? 0 : want;
    }
    return data;
  }
};
thread_local PackBuffer pack_buffer;

void FinishEmptySum(const GemmArgs& g) {
  for (int64_t i = 0; i < g.m; ++i) {
    for (int64_t j = 0; j < g.n; ++j) {
      float& c = g.c[i * g.ldc + j];
      c = (g.beta != 0 ? c : 0) + (g.bias == nullptr ? 0 : g.bias[j]);
    }
  }
}

}  // namespace

void Gemm(const GemmArgs& args, ThreadPool* pool) {
  if (args.m <= 0 || args.n <= 0) return;
  if (args.k <= 0) return FinishEmptySum(args);
  // Without memory for packing (null) the product goes a few rows at a time.
  const int64_t floats = HWY_DYNAMIC_DISPATCH(PackedFloats)(args.m);
  HWY_DYNAMIC_DISPATCH(GemmTarget)(args, floats == 0 ? nullptr : pack_buffer.Reserve(floats), pool);
}

const char* KernelTarget() {
#if SOTTO_RELAXED_SIMD
  return "WASM relaxed";
#else
  return HWY_DYNAMIC_DISPATCH(TargetOfBuild)();
#endif
}

}  // namespace sotto
#endif  // HWY_ONCE
