// A layer's backward pass.
#pragma once

#include "cell.h"
#include "panels.h"
#include "products.h"
#include "scratch.h"
#include "threads.h"
#include "weight_gradients.h"

namespace jaxmusic {

template <bool bf16, typename Kept>
struct Backward {
  Sizes s;
  const float *x, *kernel, *recurrent, *h_before, *c_before, *masks;
  const float* h;
  const Kept* gates;
  const float *c, *dh, *dh_after, *dc_after;  // dh: of h at every step, null when of none
  float *dx, *d_kernel, *d_recurrent, *d_bias, *dh_before, *dc_before;

  // The gates' gradients, a row for each step and row of the batch: four times these lanes.
  int64_t gate_lanes() const { return lanes_of<bf16>(s.hidden); }

  void run(xla::ffi::ThreadPool& pool) const {
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
    const WeightGradients<bf16> weight_gradients = {
        s, x, h_before, masks, h, dz.floats(), d_kernel, d_recurrent};
    const int64_t shares = std::min(panels, divided_up(threads_of(pool), 4));
    run_tasks(pool, 4 * shares, [&](int64_t task) {
      const int64_t gate = task % 4, share = task / 4;
      weight_gradients.compute(gate, share * panels / shares * kPanel,
                               std::min((share + 1) * panels / shares * kPanel, hidden));
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
          through_masks(first + r, panel * kPanel, columns, product_of + r * kPanel,
                        rows * kPanel, dh_now + r * wide);
      }
    }
    for (int64_t r = 0; r < rows; r++) {
      std::memcpy(dh_before + (first + r) * hidden, dh_now + r * wide, hidden * sizeof(float));
      std::memcpy(dc_before + (first + r) * hidden, dc_now + r * wide, hidden * sizeof(float));
    }
  }

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
      const Kept* kept = gates + at * 4 * hidden + n;
      const Floats i = load_some(kept, some), f = load_some(kept + hidden, some),
                   g = load_some(kept + 2 * hidden, some),
                   o = load_some(kept + 3 * hidden, some);
      const Floats tanh_c = tanh(load_some(c + at * hidden + n, some));
      const Floats dc = load(dc_now + n) + d * o * (1.0f - tanh_c * tanh_c);
      const Floats d_gates[4] = {dc * g * i * (1.0f - i),
                                 dc * load_some(c_old + n, some) * f * (1.0f - f),
                                 dc * i * (1.0f - g * g), d * tanh_c * o * (1.0f - o)};
      store(dc_now + n, dc * f);
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

  void through_masks(int64_t row, int64_t unit, int64_t wide, const float* products,
                     int64_t gate_stride, float* dh_now) const {
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
};

}  // namespace jaxmusic
