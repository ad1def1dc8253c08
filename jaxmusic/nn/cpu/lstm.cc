// One LSTM layer over time on CPUs, forward and backward: what lstm_cpu.py calls through XLA's
// foreign function interface. lstm.py has the formulas and the meaning of the arrays.
//
// A thread takes some rows of the batch through all steps, so that threads never wait for each
// other in the loop. At each step, for one panel of hidden units after another, the products of
// the four gates are summed in registers, the inputs' and the recurrent one in one go, and the
// cell is computed while they are in the cache. Weights are first packed into panels, which the
// innermost loop reads from end to end. The gradients of the weights are products over all steps
// and rows, made after the loop, by each thread for columns of its own.
//
// Every sum is taken in the same order whatever the number of threads: a run gives the same bits
// on any number of cores.

#include "cell.h"
#include "memory.h"
#include "products.h"

namespace ffi = xla::ffi;

namespace jaxmusic {
namespace {

struct Sizes {
  int64_t steps, batch, features, hidden;
};

// Rows of the batch that a task takes: a whole number of tiles, the same for all tasks.
int64_t rows_a_task(const Sizes& s, int64_t threads) {
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

template <bool bf16, typename Kept>
struct Forward {
  Sizes s;
  const float *x, *kernel, *recurrent, *bias, *h_before, *c_before, *masks;
  const bool* present;
  float *h, *c_after;
  Kept* gates;  // null when no backward pass follows, as is c
  float* c;

  void run(ffi::ThreadPool& pool) const {
    const int64_t hidden = s.hidden;
    using Matrix = Packed<bf16>;
    const int64_t kernel_floats = Matrix::floats(s.features, hidden);
    const int64_t recurrent_floats = Matrix::floats(hidden, hidden);
    const Scratch weights(4 * (kernel_floats + recurrent_floats));
    Matrix kernels[4], recurrents[4];
    for (int gate = 0; gate < 4; gate++) {
      float* start = weights.floats() + gate * (kernel_floats + recurrent_floats);
      kernels[gate] = {s.features, hidden, start};
      recurrents[gate] = {hidden, hidden, start + kernel_floats};
    }
    const int64_t panels = recurrents[0].panels();
    run_tasks(pool, 4 * panels, [&](int64_t task) {
      const int64_t gate = task % 4, panel = task / 4;
      kernels[gate].pack(panel, kernel + gate * hidden, 4 * hidden, 1);
      recurrents[gate].pack(panel, recurrent + gate * hidden, 4 * hidden, 1);
    });
    const int64_t rows = rows_a_task(s, threads_of(pool));
    run_tasks(pool, divided_up(s.batch, rows), [&](int64_t task) {
      const int64_t first = task * rows;
      loop(kernels, recurrents, first, std::min(rows, s.batch - first));
    });
  }

  void loop(const Packed<bf16>* kernels, const Packed<bf16>* recurrents, int64_t first,
            int64_t rows) const {
    const int64_t hidden = s.hidden, wide = padded(hidden);
    const int64_t x_lanes = lanes_of<bf16>(s.features), h_lanes = lanes_of<bf16>(hidden);
    const int64_t panels = recurrents[0].panels(), ahead = panel_ahead(rows);
    const int64_t copies = masks == nullptr ? 1 : 4;
    const int64_t z_floats = 4 * rows * kPanel, x_floats = bf16 ? rows * x_lanes : 0;
    const Scratch scratch(z_floats + x_floats + rows * wide + copies * rows * h_lanes);
    float* z = scratch.floats();
    float* x_now = z + z_floats;
    float* c_now = x_now + x_floats;
    float* h_now = c_now + rows * wide;  // masked for each gate
    for (int64_t r = 0; r < rows; r++)
      std::memcpy(c_now + r * wide, c_before + (first + r) * hidden, hidden * sizeof(float));
    for (int64_t t = 0; t < s.steps; t++) {
      const float* x_t = x + (t * s.batch + first) * s.features;
      const float* h_t = t == 0 ? h_before + first * hidden
                                : h + ((t - 1) * s.batch + first) * hidden;
      for (int64_t copy = 0; copy < copies; copy++)
        for (int64_t r = 0; r < rows; r++)
          to_lanes<bf16>(h_t + r * hidden, mask(first + r, copy), hidden,
                         h_now + (copy * rows + r) * h_lanes);
      if (bf16)
        for (int64_t r = 0; r < rows; r++)
          to_lanes<bf16>(x_t + r * s.features, nullptr, s.features, x_now + r * x_lanes);
      for (int64_t panel = 0; panel < panels; panel++) {
        for (int64_t gate = 0; gate < 4; gate++) {
          const int64_t next = gate < 3 ? panel : (panel + 1) % panels, to = (gate + 1) % 4;
          const Factors factors[2] = {
              {bf16 ? x_now : x_t, x_lanes, 1, kernels[gate].panel(panel), x_lanes,
               kernels[to].panel(next), ahead},
              {h_now + gate % copies * rows * h_lanes, h_lanes, 1, recurrents[gate].panel(panel),
               h_lanes, recurrents[to].panel(next), ahead}};
          product<bf16, false>(factors, 2, rows, recurrents[gate].wide(panel),
                               z + gate * rows * kPanel, kPanel);
        }
        for (int64_t r = 0; r < rows; r++)
          cell(t, first + r, panel * kPanel, recurrents[0].wide(panel), z + r * kPanel,
               rows * kPanel, h_t + r * hidden, c_now + r * wide);
      }
    }
    for (int64_t r = 0; r < rows; r++)
      std::memcpy(c_after + (first + r) * hidden, c_now + r * wide, hidden * sizeof(float));
  }

  const float* mask(int64_t row, int64_t gate) const {
    return masks == nullptr ? nullptr : masks + (row * 4 + gate) * s.hidden;
  }

  void cell(int64_t t, int64_t row, int64_t unit, int64_t wide, const float* z, int64_t gate_stride,
            const float* h_old, float* c_now) const {
    const int64_t hidden = s.hidden, at = t * s.batch + row;
    const bool stays = present != nullptr && !present[at];
    for (int64_t v = 0; v < wide; v += kWidth) {
      const int64_t n = unit + v, some = hidden - n;
      const auto z_of = [&](int gate) {
        return load(z + gate * gate_stride + v) + load_some(bias + gate * hidden + n, some);
      };
      const Floats i = sigmoid(z_of(0)), f = sigmoid(z_of(1)), g = tanh(z_of(2)),
                   o = sigmoid(z_of(3));
      Floats c_new = f * load(c_now + n) + i * g;
      Floats h_new = o * tanh(c_new);
      if (stays) {
        c_new = load(c_now + n);
        h_new = load_some(h_old + n, some);
      }
      store(c_now + n, c_new);
      store_some(h + at * hidden + n, h_new, some);
      if (gates != nullptr) {
        Kept* kept = gates + at * 4 * hidden + n;
        store_some(kept, i, some);
        store_some(kept + hidden, f, some);
        store_some(kept + 2 * hidden, g, some);
        store_some(kept + 3 * hidden, o, some);
        store_some(c + at * hidden + n, c_new, some);
      }
    }
  }
};

template <bool bf16, typename Kept>
struct Backward {
  Sizes s;
  const float *x, *kernel, *recurrent, *h_before, *c_before, *masks;
  const bool* present;
  const float* h;
  const Kept* gates;
  const float *c, *dh, *dh_after, *dc_after;  // dh: of h at every step, null when of none
  float *dx, *d_kernel, *d_recurrent, *d_bias, *dh_before, *dc_before;

  // The gates' gradients, a row for each step and row of the batch: four times these lanes.
  int64_t gate_lanes() const { return lanes_of<bf16>(s.hidden); }

  void run(ffi::ThreadPool& pool) const {
    const int64_t hidden = s.hidden;
    const int64_t kernel_floats = Packed<bf16>::floats(hidden, s.features);
    const int64_t recurrent_floats = Packed<bf16>::floats(hidden, hidden);
    const int64_t tiles = divided_up(s.batch, kTileRows);
    const Scratch weights(4 * (kernel_floats + recurrent_floats));
    const Scratch dz(s.steps * s.batch * 4 * gate_lanes());
    const Scratch bias_parts(tiles * 4 * hidden);
    Packed<bf16> kernels[4], recurrents[4];  // transposed
    for (int gate = 0; gate < 4; gate++) {
      float* start = weights.floats() + gate * (kernel_floats + recurrent_floats);
      kernels[gate] = {hidden, s.features, start};
      recurrents[gate] = {hidden, hidden, start + kernel_floats};
    }
    const int64_t kernel_panels = kernels[0].panels(), panels = recurrents[0].panels();
    run_tasks(pool, 4 * (kernel_panels + panels), [&](int64_t task) {
      const int64_t gate = task % 4, panel = task / 4;
      if (panel < panels) {
        recurrents[gate].pack(panel, recurrent + gate * hidden, 1, 4 * hidden);
      } else {
        kernels[gate].pack(panel - panels, kernel + gate * hidden, 1, 4 * hidden);
      }
    });
    const int64_t rows = rows_a_task(s, threads_of(pool));
    run_tasks(pool, divided_up(s.batch, rows), [&](int64_t task) {
      const int64_t first = task * rows;
      loop(kernels, recurrents, first, std::min(rows, s.batch - first), dz.floats(),
           bias_parts.floats());
    });
    for (int64_t n = 0; n < 4 * hidden; n++) {
      d_bias[n] = 0;
      for (int64_t tile = 0; tile < tiles; tile++)
        d_bias[n] += bias_parts.floats()[tile * 4 * hidden + n];
    }
    const int64_t shares = std::min(panels, divided_up(threads_of(pool), 4));
    run_tasks(pool, 4 * shares, [&](int64_t task) {
      const int64_t gate = task % 4, share = task / 4;
      weights_of(gate, share * panels / shares * kPanel,
                 std::min((share + 1) * panels / shares * kPanel, hidden), dz.floats());
    });
  }

  void loop(const Packed<bf16>* kernels, const Packed<bf16>* recurrents, int64_t first,
            int64_t rows, float* dz, float* bias_parts) const {
    const int64_t hidden = s.hidden, wide = padded(hidden), lanes = gate_lanes();
    const int64_t panels = recurrents[0].panels(), ahead = panel_ahead(rows);
    const Scratch scratch(2 * rows * wide + 4 * rows * kPanel);
    float* dh_now = scratch.floats();
    float* dc_now = dh_now + rows * wide;
    float* product_of = dc_now + rows * wide;  // a panel for each gate
    // Zeros behind the last unit: what a former call left there may be no number.
    std::memset(dh_now, 0, 2 * rows * wide * sizeof(float));
    for (int64_t r = 0; r < rows; r++) {
      std::memcpy(dh_now + r * wide, dh_after + (first + r) * hidden, hidden * sizeof(float));
      std::memcpy(dc_now + r * wide, dc_after + (first + r) * hidden, hidden * sizeof(float));
    }
    std::memset(bias_parts + first / kTileRows * 4 * hidden, 0,
                divided_up(rows, kTileRows) * 4 * hidden * sizeof(float));
    for (int64_t t = s.steps - 1; t >= 0; t--) {
      float* dz_t = dz + (t * s.batch + first) * 4 * lanes;
      for (int64_t r = 0; r < rows; r++)
        cell(t, first + r, dh_now + r * wide, dc_now + r * wide, dz_t + r * 4 * lanes,
             bias_parts + (first + r) / kTileRows * 4 * hidden);
      Factors factors[4];
      for (int64_t panel = 0; panel < kernels[0].panels(); panel++) {
        for (int64_t gate = 0; gate < 4; gate++)
          factors[gate] = {dz_t + gate * lanes, 4 * lanes, 1, kernels[gate].panel(panel), lanes,
                           kernels[gate].panel(panel + 1), ahead};
        product<bf16, false>(factors, 4, rows, kernels[0].wide(panel), product_of, kPanel);
        const int64_t n = panel * kPanel, some = std::min<int64_t>(kPanel, s.features - n);
        for (int64_t r = 0; r < rows; r++)
          std::memcpy(dx + (t * s.batch + first + r) * s.features + n, product_of + r * kPanel,
                      some * sizeof(float));
      }
      for (int64_t panel = 0; panel < panels; panel++) {
        const int64_t columns = recurrents[0].wide(panel);
        for (int64_t gate = 0; gate < 4; gate++) {
          factors[gate] = {dz_t + gate * lanes, 4 * lanes, 1, recurrents[gate].panel(panel), lanes,
                           recurrents[gate].panel((panel + 1) % panels), ahead};
          if (masks != nullptr)
            product<bf16, false>(factors + gate, 1, rows, columns,
                                 product_of + gate * rows * kPanel, kPanel);
        }
        if (masks == nullptr) product<bf16, false>(factors, 4, rows, columns, product_of, kPanel);
        for (int64_t r = 0; r < rows; r++)
          through_masks(t, first + r, panel * kPanel, columns, product_of + r * kPanel,
                        rows * kPanel, dh_now + r * wide);
      }
    }
    for (int64_t r = 0; r < rows; r++) {
      std::memcpy(dh_before + (first + r) * hidden, dh_now + r * wide, hidden * sizeof(float));
      std::memcpy(dc_before + (first + r) * hidden, dc_now + r * wide, hidden * sizeof(float));
    }
  }

  bool stays(int64_t at) const { return present != nullptr && !present[at]; }

  // From the gradients of h and c after a step to those of the gates, and of c before it.
  void cell(int64_t t, int64_t row, float* dh_now, float* dc_now, float* dz,
            float* bias_part) const {
    const int64_t hidden = s.hidden, at = t * s.batch + row;
    const float* c_old = t == 0 ? c_before + row * hidden : c + (at - s.batch) * hidden;
    for (int64_t n = 0; n < hidden; n += kWidth) {
      const int64_t some = hidden - n;
      Floats d = load(dh_now + n);
      if (dh != nullptr) d += load_some(dh + at * hidden + n, some);
      store(dh_now + n, d);
      Floats d_gates[4] = {};
      if (!stays(at)) {
        const Kept* kept = gates + at * 4 * hidden + n;
        const Floats i = load_some(kept, some), f = load_some(kept + hidden, some),
                     g = load_some(kept + 2 * hidden, some),
                     o = load_some(kept + 3 * hidden, some);
        const Floats tanh_c = tanh(load_some(c + at * hidden + n, some));
        const Floats dc = load(dc_now + n) + d * o * (1.0f - tanh_c * tanh_c);
        d_gates[0] = dc * g * i * (1.0f - i);
        d_gates[1] = dc * load_some(c_old + n, some) * f * (1.0f - f);
        d_gates[2] = dc * i * (1.0f - g * g);
        d_gates[3] = d * tanh_c * o * (1.0f - o);
        store(dc_now + n, dc * f);
      }
      for (int gate = 0; gate < 4; gate++) {
        float* sum = bias_part + gate * hidden + n;
        store_some(sum, load_some(sum, some) + d_gates[gate], some);
        store_lanes(dz + gate * gate_lanes(), n, d_gates[gate], some);
      }
    }
  }

  static void store_lanes(float* to, int64_t n, Floats value, int64_t some) {
    if constexpr (!bf16) {
      store_some(to + n, value, some);
    } else {
      // The last lane is filled up with a zero, which `value` has behind its last element.
      uint16_t shorts[kWidth];
      store_rounded(shorts, value);
      std::memcpy(reinterpret_cast<uint16_t*>(to) + n, shorts,
                  std::min<int64_t>(kWidth, some + some % 2) * sizeof(uint16_t));
    }
  }

  void through_masks(int64_t t, int64_t row, int64_t unit, int64_t wide, const float* products,
                     int64_t gate_stride, float* dh_now) const {
    if (stays(t * s.batch + row)) return;
    for (int64_t v = 0; v < wide; v += kWidth) {
      Floats d = load(products + v);
      if (masks != nullptr) {
        d = all(0);
        for (int64_t gate = 0; gate < 4; gate++)
          d += load(products + gate * gate_stride + v) *
               load_some(masks + (row * 4 + gate) * s.hidden + unit + v, s.hidden - unit - v);
      }
      store(dh_now + unit + v, d);
    }
  }

  // The weights' gradients for columns `from` to `to` of a gate: products over steps and rows.
  void weights_of(int64_t gate, int64_t from, int64_t to, const float* dz) const {
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
        pack_dz(dz, gate, k, depth, from + n, std::min<int64_t>(kPanel, columns - n),
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

  void pack_dz(const float* dz, int64_t gate, int64_t k, int64_t depth, int64_t column,
               int64_t columns, int64_t wide, float* to) const {
    const int64_t row_lanes = 4 * gate_lanes();
    const float* rows = dz + k * row_lanes + gate * gate_lanes();
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

// Empty arrays stand for what is not there.
template <typename Buffer>
auto* if_any(const Buffer& buffer) {
  return buffer.element_count() == 0 ? nullptr : buffer.typed_data();
}

using Array = ffi::Buffer<ffi::F32>;
using Flags = ffi::Buffer<ffi::PRED>;
using Result = ffi::Result<Array>;

Sizes sizes_of(const Array& x, const Array& recurrent) {
  return {x.dimensions()[0], x.dimensions()[1], x.dimensions()[2], recurrent.dimensions()[0]};
}

// XLA is compiled without exceptions: none may leave a handler.
template <typename Task>
ffi::Error run_or_say_why_not(const Task& task, ffi::ThreadPool& pool) {
  try {
    task.run(pool);
  } catch (const std::bad_alloc&) {
    return ffi::Error(ffi::ErrorCode::kResourceExhausted, "no memory for an LSTM layer on the CPU");
  } catch (const std::exception& error) {
    return ffi::Error(ffi::ErrorCode::kInternal, error.what());
  }
  return ffi::Error::Success();
}

template <bool bf16, ffi::DataType type, typename Kept>
ffi::Error forward(ffi::ThreadPool pool, Array x, Array kernel, Array recurrent, Array h_before,
                   Array c_before, Array masks, Flags present, Array bias, Result h, Result c_after,
                   ffi::Result<ffi::Buffer<type>> gates, Result c) {
  use_large_pages(h->untyped_data(), h->size_bytes());
  use_large_pages(gates->untyped_data(), gates->size_bytes());
  use_large_pages(c->untyped_data(), c->size_bytes());
  const Forward<bf16, Kept> task = {
      sizes_of(x, recurrent), x.typed_data(),        kernel.typed_data(),
      recurrent.typed_data(), bias.typed_data(),     h_before.typed_data(),
      c_before.typed_data(),  if_any(masks),         if_any(present),
      h->typed_data(),        c_after->typed_data(), reinterpret_cast<Kept*>(if_any(*gates)),
      if_any(*c)};
  return run_or_say_why_not(task, pool);
}

template <bool bf16, ffi::DataType type, typename Kept>
ffi::Error backward(ffi::ThreadPool pool, Array x, Array kernel, Array recurrent, Array h_before,
                    Array c_before, Array masks, Flags present, Array h, ffi::Buffer<type> gates,
                    Array c, Array dh, Array dh_after, Array dc_after, Result dx, Result d_kernel,
                    Result d_recurrent, Result d_bias, Result dh_before, Result dc_before) {
  use_large_pages(dx->untyped_data(), dx->size_bytes());
  const Backward<bf16, Kept> task = {sizes_of(x, recurrent),
                                     x.typed_data(),
                                     kernel.typed_data(),
                                     recurrent.typed_data(),
                                     h_before.typed_data(),
                                     c_before.typed_data(),
                                     if_any(masks),
                                     if_any(present),
                                     h.typed_data(),
                                     reinterpret_cast<const Kept*>(gates.typed_data()),
                                     c.typed_data(),
                                     if_any(dh),
                                     dh_after.typed_data(),
                                     dc_after.typed_data(),
                                     dx->typed_data(),
                                     d_kernel->typed_data(),
                                     d_recurrent->typed_data(),
                                     d_bias->typed_data(),
                                     dh_before->typed_data(),
                                     dc_before->typed_data()};
  return run_or_say_why_not(task, pool);
}

}  // namespace
}  // namespace jaxmusic

#define JAXMUSIC_HANDLER(name, bf16, type, Kept)                                     \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmusic_lstm_forward_##name,                        \
                                (jaxmusic::forward<bf16, type, Kept>),               \
                                ffi::Ffi::Bind()                                     \
                                    .Ctx<ffi::ThreadPool>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Flags>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<ffi::Buffer<type>>()                        \
                                    .Ret<jaxmusic::Array>());                        \
  XLA_FFI_DEFINE_HANDLER_SYMBOL(jaxmusic_lstm_backward_##name,                       \
                                (jaxmusic::backward<bf16, type, Kept>),              \
                                ffi::Ffi::Bind()                                     \
                                    .Ctx<ffi::ThreadPool>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Flags>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<ffi::Buffer<type>>()                        \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Arg<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>()                          \
                                    .Ret<jaxmusic::Array>())

JAXMUSIC_HANDLER(f32, false, ffi::F32, float);
JAXMUSIC_HANDLER(bf16, true, ffi::F16, jaxmusic::Half);
