// The gradients of a layer's kernels.
#pragma once

#include "cell.h"
#include "panels.h"
#include "products.h"
#include "scratch.h"

namespace jaxmusic {

// The gradients of both kernels from those of the gates: products over all steps and rows.
template <bool bf16>
struct WeightGradients {
  Sizes s;
  const float *x, *h_before, *masks, *h;
  const float* dz;  // of the gates: a row for each step and row of the batch, in lanes
  float *d_kernel, *d_recurrent;

  // For columns `from` to `to` of a gate.
  void compute(int64_t gate, int64_t from, int64_t to) const {
    constexpr int64_t kDepth = 128;  // lanes at a time: a panel of them fits the first cache
    constexpr int64_t kHeight = 256;
    const int64_t per_lane = bf16 ? 2 : 1, summed = s.steps * s.batch;
    const int64_t columns = to - from, wide = padded(columns);
    const int64_t height = s.features + s.hidden;
    const Scratch scratch(kDepth * (wide + kHeight + kTileRows) + height * wide);
    float* right = scratch.floats();
    float* left = right + kDepth * wide;
    float* sums = left + kDepth * (kHeight + kTileRows);  // panel by panel, (height, columns)
    if (summed == 0) std::memset(sums, 0, height * wide * sizeof(float));
    for (int64_t k = 0; k < summed; k += kDepth * per_lane) {
      const int64_t depth = std::min(kDepth * per_lane, summed - k);
      const int64_t lanes = lanes_of<bf16>(depth);
      for (int64_t n = 0; n < columns; n += kPanel)
        pack_dz(gate, k, depth, from + n, std::min<int64_t>(kPanel, columns - n),
                std::min<int64_t>(kPanel, wide - n), right + n * lanes);
      for (int64_t m = 0; m < height;) {
        const bool of_inputs = m < s.features;
        const int64_t end = std::min(m + kHeight, of_inputs ? s.features : height);
        pack_left(of_inputs, gate, k, depth, m - (of_inputs ? 0 : s.features), end - m, left);
        for (int64_t n = 0; n < columns; n += kPanel) {
          const int64_t panel = std::min<int64_t>(kPanel, wide - n);
          for (int64_t r = 0; r < end - m; r += kTileRows) {
            const int64_t rows = std::min<int64_t>(kTileRows, end - m - r);
            float* out = sums + n * height + (m + r) * panel;
            const Factors factors = {left + r * lanes,  1,     kTileRows,
                                     right + n * lanes, lanes, out + kTileRows * panel,
                                     divided_up(kTileRows * panel * sizeof(float), lanes)};
            if (k == 0) {
              product<bf16, false>(&factors, 1, rows, panel, out, panel);
            } else {
              product<bf16, true>(&factors, 1, rows, panel, out, panel);
            }
          }
        }
        m = end;
      }
    }
    for (int64_t m = 0; m < height; m++) {
      float* row = m < s.features ? d_kernel + m * 4 * s.hidden
                                  : d_recurrent + (m - s.features) * 4 * s.hidden;
      for (int64_t n = 0; n < columns; n += kPanel)
        std::memcpy(row + gate * s.hidden + from + n,
                    sums + n * height + m * std::min<int64_t>(kPanel, wide - n),
                    std::min<int64_t>(kPanel, columns - n) * sizeof(float));
    }
  }

  void pack_dz(int64_t gate, int64_t k, int64_t depth, int64_t column, int64_t columns,
               int64_t wide, float* to) const {
    const int64_t row_lanes = 4 * lanes_of<bf16>(s.hidden);
    const float* rows = dz + k * row_lanes + gate * lanes_of<bf16>(s.hidden);
    if constexpr (!bf16) {
      pack_panel<false>(rows + column, row_lanes, 1, depth, columns, wide, to);
    } else {
      for (int64_t j = 0; j < depth; j += 2, rows += 2 * row_lanes, to += wide) {
        const uint16_t* one = reinterpret_cast<const uint16_t*>(rows) + column;
        const uint16_t* two = one + (j + 1 < depth ? 2 * row_lanes : 0);
        const uint32_t keep_two = j + 1 < depth ? ~0u : 0u;
        uint32_t* lane = reinterpret_cast<uint32_t*>(to);
        for (int64_t n = 0; n < columns; n++) lane[n] = one[n] | (uint32_t(two[n]) << 16 & keep_two);
        for (int64_t n = columns; n < wide; n++) lane[n] = 0;
      }
    }
  }

  // Units `unit` on of the inputs, or of h before each step under the gate's masks: in tiles,
  // [tile][lane][row of the tile].
  void pack_left(bool of_inputs, int64_t gate, int64_t k, int64_t depth, int64_t unit,
                 int64_t count, float* to) const {
    const int64_t lanes = lanes_of<bf16>(depth), size = of_inputs ? s.features : s.hidden;
    const auto row_of = [&](int64_t at) {
      if (of_inputs) return x + at * size + unit;
      return (at < s.batch ? h_before + at * size : h + (at - s.batch) * size) + unit;
    };
    const auto mask_of = [&](int64_t at) {
      const bool masked = !of_inputs && masks != nullptr;
      return masked ? masks + (at % s.batch * 4 + gate) * size + unit : nullptr;
    };
    for (int64_t lane = 0; lane < lanes; lane++, to += kTileRows) {
      if constexpr (!bf16) {
        pack_tiles<false>(row_of(k + lane), mask_of(k + lane), nullptr, nullptr, count,
                          lanes * kTileRows, to);
      } else {
        const int64_t at = k + 2 * lane;
        const bool whole = at + 1 < k + depth;
        pack_tiles<true>(row_of(at), mask_of(at), whole ? row_of(at + 1) : nullptr,
                         whole ? mask_of(at + 1) : nullptr, count, lanes * kTileRows, to);
      }
    }
  }

  // One lane of all tiles: a row under its mask, in bf16 paired with the row after it. Masks may
  // be null, and so may the second row, which then counts as zeros.
  template <bool in_pairs>
  static void pack_tiles(const float* row, const float* mask, const float* next,
                         const float* next_mask, int64_t count, int64_t tile_stride, float* to) {
    static_assert(kWidth % kTileRows == 0 || kTileRows % kWidth == 0);
    constexpr int64_t kOnce = std::max(kWidth, kTileRows);
    int64_t n = 0;
    for (; n + kOnce <= count; n += kOnce) {
      Floats values[kOnce / kWidth];
      for (int64_t v = 0; v < kOnce; v += kWidth) {
        const auto value = [&](const float* from, const float* factors) {
          const Floats it = load(from + n + v);
          return factors == nullptr ? it : it * load(factors + n + v);
        };
        values[v / kWidth] = value(row, mask);
        if constexpr (in_pairs) {
          const Bits lanes =
              pairs(values[v / kWidth], next == nullptr ? all(0) : value(next, next_mask));
          std::memcpy(&values[v / kWidth], &lanes, sizeof lanes);
        }
      }
      for (int64_t r = 0; r < kOnce; r += kTileRows, to += tile_stride)
        std::memcpy(to, reinterpret_cast<const float*>(values) + r, kTileRows * sizeof(float));
    }
    for (; n < count; n++) {
      const auto value = [n](const float* from, const float* factors) {
        return factors == nullptr ? from[n] : from[n] * factors[n];
      };
      float lane = value(row, mask);
      if constexpr (in_pairs) {
        const uint32_t both = pair(lane, next == nullptr ? 0.0f : value(next, next_mask));
        std::memcpy(&lane, &both, sizeof lane);
      }
      to[n % kTileRows] = lane;
      if (n % kTileRows == kTileRows - 1) to += tile_stride;
    }
  }
};

}  // namespace jaxmusic
