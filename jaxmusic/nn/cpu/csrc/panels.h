// A layer's sizes, how its rows are divided among tasks, and matrices packed in panels.
#pragma once

#include <algorithm>
#include <cstdint>

#include "products.h"

namespace jaxmusic {

struct Sizes {
  int64_t steps, batch, features, hidden;
};

// Rows of the batch that a task takes: a whole number of tiles, the same for all tasks.
inline int64_t rows_a_task(const Sizes& s, int64_t threads) {
  const int64_t tiles = std::max<int64_t>(1, divided_up(s.batch, kTileRows));
  return divided_up(tiles, std::min(tiles, threads)) * kTileRows;
}

// A matrix (depth, columns) packed in panels, one after another.
template <bool bf16>
struct Packed {
  int64_t depth, columns;
  float* start;
  static int64_t floats(int64_t depth, int64_t columns) {
    return lanes_of<bf16>(depth) * padded(columns);
  }
  int64_t panels() const { return divided_up(columns, kPanel); }
  int64_t wide(int64_t panel) const {
    return std::min<int64_t>(kPanel, padded(columns) - panel * kPanel);
  }
  float* panel(int64_t number) const { return start + number * kPanel * lanes_of<bf16>(depth); }
  void pack(int64_t number, const float* from, int64_t k_stride, int64_t n_stride) const {
    const int64_t first = number * kPanel;
    pack_panel<bf16>(from + first * n_stride, k_stride, n_stride, depth,
                     std::min<int64_t>(kPanel, columns - first), wide(number), panel(number));
  }
};

}  // namespace jaxmusic
