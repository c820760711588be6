// How products cut many rows into tiles of a few.
#ifndef SOTTO_CORE_KERNELS_ROW_TILES_H_
#define SOTTO_CORE_KERNELS_ROW_TILES_H_

#include <algorithm>
#include <cstdint>

namespace sotto {

// Tiles of nearly equal sizes, `most` rows at most: one of few rows beside full ones would idle.
struct RowTiles {
  int64_t tiles, rows, longer;  // each has so many rows, and the first `longer` ones one more
  // `all` is not 0.
  RowTiles(int64_t all, int64_t most)
      : tiles((all + most - 1) / most), rows(all / tiles), longer(all % tiles) {}
  int64_t Begin(int64_t tile) const { return tile * rows + std::min(tile, longer); }
};

}  // namespace sotto

#endif  // SOTTO_CORE_KERNELS_ROW_TILES_H_
