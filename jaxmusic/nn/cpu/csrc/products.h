// Matrix products: vectors, packing, and the innermost loop.
//
// Operands are laid out in 32-bit lanes: a float, or in bf16 a pair of bfloat16 that follow each
// other along the summed axis. The right operand is packed in panels of at most kPanel columns,
// lane after lane; the left one is read where it stands, a lane broadcast at a time.
#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace jaxmusic {

#if defined(__AVX512F__)
constexpr int kWidth = 16, kTileRows = 8;
#elif defined(__AVX__)
constexpr int kWidth = 8, kTileRows = 4;
#else
constexpr int kWidth = 4, kTileRows = 8;
#endif
constexpr int kPanelVectors = 3;
constexpr int kPanel = kPanelVectors * kWidth;  // columns that the innermost loop sums at once

typedef float Floats __attribute__((vector_size(4 * kWidth), aligned(4)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth), aligned(4)));
typedef uint32_t Bits __attribute__((vector_size(4 * kWidth), aligned(4)));

inline Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
inline void store(float* to, Floats value) { *reinterpret_cast<Floats*>(to) = value; }
inline Floats all(float value) { return Floats{} + value; }

inline int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t padded(int64_t columns) { return divided_up(columns, kWidth) * kWidth; }

// The nearest bfloat16, ties to even, in the upper half of the lane.
inline Bits rounded(Floats value) {
  Bits bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
}

inline uint32_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return (bits + 0x7fff + ((bits >> 16) & 1)) & 0xffff0000u;
}

inline uint32_t pair(float first, float second) { return rounded(first) >> 16 | rounded(second); }

inline Bits pairs(Floats first, Floats second) {
#if defined(__AVX512BF16__)
  const auto shorts = [](Floats value) {
    return (Bits)_mm512_cvtepu16_epi32((__m256i)_mm512_cvtneps_pbh((__m512)value));
  };
  return shorts(first) | shorts(second) << 16;
#else
  return rounded(first) >> 16 | rounded(second);
#endif
}

inline void store_rounded(uint16_t* to, Floats value) {
#if defined(__AVX512BF16__)
  const auto shorts = _mm512_cvtneps_pbh((__m512)value);
#else
  typedef uint16_t Shorts __attribute__((vector_size(2 * kWidth)));
  const Shorts shorts = __builtin_convertvector(rounded(value) >> 16, Shorts);
#endif
  std::memcpy(to, &shorts, 2 * kWidth);
}

// Lanes that `count` elements of the summed axis take.
template <bool bf16>
inline int64_t lanes_of(int64_t count) {
  return bf16 ? (count + 1) / 2 : count;
}

template <bool bf16>
inline Floats multiply_add(Floats sum, uint32_t left, Floats right) {
  if constexpr (!bf16) {
    float value;
    std::memcpy(&value, &left, sizeof value);
    return sum + value * right;
  } else {
#if defined(__AVX512BF16__)
    return (Floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(left),
                                    (__m512bh)right);
#else
    const uint32_t first = left << 16, second = left & 0xffff0000u;
    float a, b;
    std::memcpy(&a, &first, sizeof a);
    std::memcpy(&b, &second, sizeof b);
    Bits bits;
    std::memcpy(&bits, &right, sizeof bits);
    const Bits low = bits << 16, high = bits & 0xffff0000u;
    return sum + a * (Floats)low + b * (Floats)high;
#endif
  }
}

// A left operand and a packed right one, with the lanes they are summed over.
struct Factors {
  const float* left;
  int64_t row_stride, lane_stride;  // of `left`, in lanes
  const float* right;               // [lane][panel's columns]
  int64_t lanes;
  // Fetched into the cache meanwhile, so many bytes with each lane of each tile: what comes next.
  const void* ahead;
  int64_t ahead_step;
};

// Bytes that each lane of each tile must fetch ahead to have a panel ready after `rows` rows.
inline int64_t panel_ahead(int64_t rows) {
  return divided_up(kPanel * sizeof(float), divided_up(rows, kTileRows));
}

// Rows x vectors of one panel: the sum of the products of both factors, or added to what `out` has.
template <int kRows, int kVectors, bool bf16, bool add>
inline __attribute__((always_inline)) void tile(const Factors* factors, int count, int64_t row,
                                                float* out, int64_t out_stride) {
  Floats sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; v++)
      sums[r][v] = add ? load(out + (row + r) * out_stride + v * kWidth) : all(0);
  for (int f = 0; f < count; f++) {
    const Factors& at = factors[f];
    const float* left = at.left + row * at.row_stride;
    const float* right = at.right;
    const int64_t row_stride = at.row_stride, lane_stride = at.lane_stride;
    const char* ahead = static_cast<const char*>(at.ahead) + row / kTileRows * at.lanes * at.ahead_step;
    for (int64_t lane = 0; lane < at.lanes; lane++) {
      Floats columns[kVectors];
#pragma GCC unroll 3
      for (int v = 0; v < kVectors; v++) columns[v] = load(right + v * kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; r++) {
        uint32_t value;
        std::memcpy(&value, left + r * row_stride, sizeof value);
#pragma GCC unroll 3
        for (int v = 0; v < kVectors; v++)
          sums[r][v] = multiply_add<bf16>(sums[r][v], value, columns[v]);
      }
      __builtin_prefetch(ahead, 0, 2);
      ahead += at.ahead_step;
      left += lane_stride;
      right += kVectors * kWidth;
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 3
    for (int v = 0; v < kVectors; v++) store(out + (row + r) * out_stride + v * kWidth, sums[r][v]);
}

template <int kVectors, bool bf16, bool add>
void panel_product(const Factors* factors, int count, int64_t rows, float* out,
                   int64_t out_stride) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows)
    tile<kTileRows, kVectors, bf16, add>(factors, count, row, out, out_stride);
  for (; row < rows; row++) tile<1, kVectors, bf16, add>(factors, count, row, out, out_stride);
}

// out[rows, columns] = (or +=) the factors' products summed; `columns` a multiple of kWidth, at
// most kPanel.
template <bool bf16, bool add>
inline void product(const Factors* factors, int count, int64_t rows, int64_t columns, float* out,
                    int64_t out_stride) {
  switch (columns / kWidth) {
    case 1: return panel_product<1, bf16, add>(factors, count, rows, out, out_stride);
    case 2: return panel_product<2, bf16, add>(factors, count, rows, out, out_stride);
    default: return panel_product<3, bf16, add>(factors, count, rows, out, out_stride);
  }
}

// A panel of a matrix whose element (k, n) is from[k * k_stride + n * n_stride]: [lane][columns],
// filled up with zeros to `wide` columns and a whole number of lanes.
template <bool bf16>
void pack_panel(const float* from, int64_t k_stride, int64_t n_stride, int64_t depth,
                int64_t columns, int64_t wide, float* to) {
  const int64_t step = bf16 ? 2 : 1;
  for (int64_t k = 0; k < depth; k += step, to += wide) {
    const float* row = from + k * k_stride;
    if constexpr (bf16) {
      const bool whole = k + 1 < depth;
      uint32_t* lanes = reinterpret_cast<uint32_t*>(to);
      for (int64_t n = 0; n < columns; n++)
        lanes[n] = pair(row[n * n_stride], whole ? row[k_stride + n * n_stride] : 0.0f);
    } else {
      for (int64_t n = 0; n < columns; n++) to[n] = row[n * n_stride];
    }
    for (int64_t n = columns; n < wide; n++) to[n] = 0;
  }
}

// A row of `count` floats as lanes, times a mask unless that is null.
template <bool bf16>
inline void to_lanes(const float* from, const float* mask, int64_t count, float* to) {
  if constexpr (!bf16) {
    if (mask == nullptr) {
      std::memcpy(to, from, count * sizeof(float));
    } else {
      for (int64_t n = 0; n < count; n++) to[n] = from[n] * mask[n];
    }
  } else {
    uint16_t* halves = reinterpret_cast<uint16_t*>(to);
    int64_t n = 0;
    for (; n + kWidth <= count; n += kWidth) {
      const Floats value = load(from + n);
      store_rounded(halves + n, mask == nullptr ? value : value * load(mask + n));
    }
    for (; n < count; n++)
      halves[n] = rounded(mask == nullptr ? from[n] : from[n] * mask[n]) >> 16;
    if (count % 2) halves[count] = 0;
  }
}

}  // namespace jaxmusic
