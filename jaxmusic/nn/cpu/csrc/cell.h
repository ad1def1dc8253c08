// The cell's functions on vectors, and vectors at the end of a row.
#pragma once

#include "products.h"

namespace jaxmusic {

// The limit stands first: what is not a number stays so.
inline Floats at_most(float limit, Floats x) { return all(limit) < x ? all(limit) : x; }
inline Floats at_least(float limit, Floats x) { return all(limit) > x ? all(limit) : x; }

// exp(x) - 1 for |x| <= 40, to a few units in the last place, near 0 too. With
// x = n ln 2 + r, |r| <= ln 2 / 2: exp(x) - 1 = 2^n (exp(r) - 1) + (2^n - 1), and exp(r) - 1 by
// Taylor's series to r^8.
inline Floats exp_minus_1(Floats x) {
  constexpr float kRounder = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504f + kRounder;
  const Floats n = shifted - kRounder;
  // ln 2 in two parts, the first with zeros at its end so that n times it is exact.
  const Floats r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
  Floats sum = r * (1.0f / 40320) + 1.0f / 5040;
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  sum = sum * r * r + r;
  Ints whole;
  std::memcpy(&whole, &shifted, sizeof whole);
  const Ints exponent = ((whole - 0x4b400000) + 127) << 23;
  Floats power;
  std::memcpy(&power, &exponent, sizeof power);
  return power * sum + (power - 1.0f);
}

inline Floats sigmoid(Floats x) {
  return 1.0f / (2.0f + exp_minus_1(-at_least(-40, at_most(40, x))));
}

// tanh |x| = (exp(2 |x|) - 1) / (exp(2 |x|) + 1), with the sign of x: exact near 0.
inline Floats tanh(Floats x) {
  const Floats size = x < 0 ? -x : x;
  const Floats e = exp_minus_1(at_most(20, size * 2.0f));
  const Floats result = e / (e + 2.0f);
  return x < 0 ? -result : result;
}

// The first `count` of a vector, where a row ends within it.
inline Floats load_some(const float* from, int64_t count) {
  if (count >= kWidth) return load(from);
  Floats value = all(0);
  std::memcpy(&value, from, count * sizeof(float));
  return value;
}

inline void store_some(float* to, Floats value, int64_t count) {
  if (count >= kWidth) return store(to, value);
  std::memcpy(to, &value, count * sizeof(float));
}

// In bf16 what the backward pass needs is kept in float16: gates lie in [-1, 1], where it is
// eight times as fine as bfloat16.
typedef _Float16 Half;
typedef Half Halves __attribute__((vector_size(2 * kWidth), aligned(2)));

inline Floats load_some(const Half* from, int64_t count) {
  Halves value = {};
  if (count >= kWidth) {
    value = *reinterpret_cast<const Halves*>(from);
  } else {
    std::memcpy(&value, from, count * sizeof(Half));
  }
#if defined(__AVX512F__)
  return (Floats)_mm512_cvtph_ps((__m256i)value);
#else
  return __builtin_convertvector(value, Floats);
#endif
}

inline void store_some(Half* to, Floats value, int64_t count) {
#if defined(__AVX512F__)
  const Halves halves = (Halves)_mm512_cvtps_ph((__m512)value, 0);  // 0: to the nearest
#else
  const Halves halves = __builtin_convertvector(value, Halves);
#endif
  if (count >= kWidth) {
    *reinterpret_cast<Halves*>(to) = halves;
  } else {
    std::memcpy(to, &halves, count * sizeof(Half));
  }
}

}  // namespace jaxmusic
