// Sixteen float32 lanes in plain C++: the definition that the other paths follow bit by bit.
// Reductions fold the upper half of the lanes onto the lower one until a single lane is left.
#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>

namespace magnet::scalar {

struct F16 {
  float lane[16];
};
template <class F>
inline F16 map16(F&& f) {
  F16 r;
  for (int i = 0; i < 16; i++) r.lane[i] = f(i);
  return r;
}
inline F16 set1(float x) {
  return map16([&](int) { return x; });
}
inline F16 load(const float* p) {
  return map16([&](int i) { return p[i]; });
}
inline void store(float* p, F16 a) {
  for (int i = 0; i < 16; i++) p[i] = a.lane[i];
}
/** The first n lanes (0..16); the others read as 0 and are not written. */
inline F16 load_n(const float* p, int n) {
  return map16([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store_n(float* p, F16 a, int n) {
  for (int i = 0; i < n; i++) p[i] = a.lane[i];
}
/** The first n lanes of a, the others of b. */
inline F16 first_of(int n, F16 a, F16 b) {
  return map16([&](int i) { return i < n ? a.lane[i] : b.lane[i]; });
}
inline F16 add(F16 a, F16 b) {
  return map16([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline F16 sub(F16 a, F16 b) {
  return map16([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline F16 mul(F16 a, F16 b) {
  return map16([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline F16 div(F16 a, F16 b) {
  return map16([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline F16 sqrt16(F16 a) {
  return map16([&](int i) { return std::sqrt(a.lane[i]); });
}
/** a * b + c, rounded once. */
inline F16 fma16(F16 a, F16 b, F16 c) {
  return map16([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
/** c - a * b, rounded once. */
inline F16 fnma16(F16 a, F16 b, F16 c) {
  return map16([&](int i) { return std::fma(-a.lane[i], b.lane[i], c.lane[i]); });
}
inline float larger(float a, float b) { return a > b ? a : b; }
/** a > b ? a : b, so b where either is NaN (the behaviour of maxps). */
inline F16 max16(F16 a, F16 b) {
  return map16([&](int i) { return larger(a.lane[i], b.lane[i]); });
}
/** a < b ? a : b. */
inline F16 min16(F16 a, F16 b) {
  return map16([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
/** The larger of a and |b|, compared as integers: a NaN is larger than everything and stays. */
inline F16 abs_max(F16 a, F16 b) {
  return map16([&](int i) {
    const auto x = std::bit_cast<int32_t>(a.lane[i]);
    const auto y = std::bit_cast<int32_t>(b.lane[i]) & 0x7FFF'FFFF;
    return std::bit_cast<float>(x > y ? x : y);
  });
}
/** Half to even. */
inline F16 round16(F16 a) {
  return map16([&](int i) { return std::nearbyint(a.lane[i]); });
}
/** 2^n for an integral n in -126..127; anything for NaN. */
inline F16 exp2_integral(F16 n) {
  return map16([&](int i) {
    const int32_t exponent = n.lane[i] == n.lane[i] ? static_cast<int32_t>(n.lane[i]) : 0;
    return std::bit_cast<float>((exponent + 127) << 23);
  });
}
/** a < limit ? 0 : value. */
inline F16 zero_below(F16 a, F16 limit, F16 value) {
  return map16([&](int i) { return a.lane[i] < limit.lane[i] ? 0.0f : value.lane[i]; });
}
/** Integral values in -128..127. */
inline void store_int8(int8_t* p, F16 a) {
  for (int i = 0; i < 16; i++) p[i] = static_cast<int8_t>(a.lane[i]);
}
inline float sum_lanes(F16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}
/** Folded with max16. */
inline float max_lanes(F16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a.lane[i] = larger(a.lane[i], a.lane[i + half]);
  return a.lane[0];
}
/** The largest lane, compared as integers; lanes are not negative. */
inline float abs_max_lanes(F16 a) {
  int32_t most = 0;
  for (const float x : a.lane) most = std::max(most, std::bit_cast<int32_t>(x));
  return std::bit_cast<float>(most);
}

/** Sixteen float64 lanes: for sums that must not lose bits. */
struct D16 {
  double lane[16];
};
inline D16 zero_d16() { return {}; }
/** sum + a, widened. */
inline D16 add_wide(D16 sum, F16 a) {
  for (int i = 0; i < 16; i++) sum.lane[i] += static_cast<double>(a.lane[i]);
  return sum;
}
/** sum + a^2, widened, rounded once. */
inline D16 add_square(D16 sum, F16 a) {
  for (int i = 0; i < 16; i++) {
    const auto x = static_cast<double>(a.lane[i]);
    sum.lane[i] = std::fma(x, x, sum.lane[i]);
  }
  return sum;
}
inline double sum_lanes(D16 a) {
  for (int half = 8; half > 0; half /= 2)
    for (int i = 0; i < half; i++) a.lane[i] += a.lane[i + half];
  return a.lane[0];
}

}  // namespace magnet::scalar
