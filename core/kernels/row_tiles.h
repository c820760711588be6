// How products cut many rows into tiles of a few.
#ifndef SOTTO_CORE_KERNELS_ROW_TILES_H_
#define SOTTO_CORE_KERNELS_ROW_TILES_H_

#include <cstdint>

namespace sotto {

// Tiles of nearly equal sizes, `most` rows at most: one of few rows beside full ones would idle.
struct RowTiles {
  int64_t rows, tiles;
  RowTiles(int64_t all, int64_t most) : rows(all), tiles((all + most - 1) / most) {}
  int64_t Begin(int64_t tile) const { return rows * tile / tiles; }
};

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_ROW_TILES_H_
