// A layer's forward pass.
#pragma once

#include "cell.h"
#include "panels.h"
#include "products.h"
#include "scratch.h"
#include "threads.h"

namespace jaxmusic {

template <bool bf16, typename Kept>
struct Forward {
  Sizes s;
  const float *x, *kernel, *recurrent, *bias, *h_before, *c_before, *masks;
  float *h, *c_after;
  Kept* gates;  // null when no backward pass follows, as is c
  float* c;

  void run(xla::ffi::ThreadPool& pool) const {
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
               rows * kPanel, c_now + r * wide);
      }
    }
    for (int64_t r = 0; r < rows; r++)
      std::memcpy(c_after + (first + r) * hidden, c_now + r * wide, hidden * sizeof(float));
  }

  const float* mask(int64_t row, int64_t gate) const {
    return masks == nullptr ? nullptr : masks + (row * 4 + gate) * s.hidden;
  }

  void cell(int64_t t, int64_t row, int64_t unit, int64_t wide, const float* z, int64_t gate_stride,
            float* c_now) const {
    const int64_t hidden = s.hidden, at = t * s.batch + row;
    for (int64_t v = 0; v < wide; v += kWidth) {
      const int64_t n = unit + v, some = hidden - n;
      const auto z_of = [&](int gate) {
        return load(z + gate * gate_stride + v) + load_some(bias + gate * hidden + n, some);
      };
      const Floats i = sigmoid(z_of(0)), f = sigmoid(z_of(1)), g = tanh(z_of(2)),
                   o = sigmoid(z_of(3));
      // The order decides which of the products the compiler fuses with the sum, so the bits.
      const Floats c_new = i * g + f * load(c_now + n);
      const Floats h_new = o * tanh(c_new);
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

}  // namespace jaxmusic
