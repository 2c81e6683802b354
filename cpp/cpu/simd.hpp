// Eight float32 lanes, twice: magnet::scalar::F8 in plain C++ and magnet::avx2::F8 on AVX2 + FMA.
// Kernels are written once in a .inc file against F8 and compiled for both (see all_paths.inc),
// so that every lane sees the same operations in the same order and both paths give the same bits.
// Where speed needs another structure (GEMM), the scalar twin is an independent naive loop.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "common.hpp"

namespace magnet::scalar {

struct F8 {
  float lane[8];
};
template <class F>
inline F8 map8(F&& f) {
  F8 r;
  for (int i = 0; i < 8; i++) r.lane[i] = f(i);
  return r;
}
inline F8 set1(float x) {
  return map8([&](int) { return x; });
}
inline F8 load(const float* p) {
  return map8([&](int i) { return p[i]; });
}
inline void store(float* p, F8 a) { std::memcpy(p, a.lane, sizeof a.lane); }
/** The first n lanes (0..8); the others read as 0 and are not written. */
inline F8 load_n(const float* p, int n) {
  return map8([&](int i) { return i < n ? p[i] : 0.0f; });
}
inline void store_n(float* p, F8 a, int n) {
  for (int i = 0; i < n; i++) p[i] = a.lane[i];
}
inline F8 add(F8 a, F8 b) {
  return map8([&](int i) { return a.lane[i] + b.lane[i]; });
}
inline F8 sub(F8 a, F8 b) {
  return map8([&](int i) { return a.lane[i] - b.lane[i]; });
}
inline F8 mul(F8 a, F8 b) {
  return map8([&](int i) { return a.lane[i] * b.lane[i]; });
}
inline F8 div(F8 a, F8 b) {
  return map8([&](int i) { return a.lane[i] / b.lane[i]; });
}
inline F8 sqrt8(F8 a) {
  return map8([&](int i) { return std::sqrt(a.lane[i]); });
}
/** a * b + c, rounded once. */
inline F8 fma8(F8 a, F8 b, F8 c) {
  return map8([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
}
/** c - a * b, rounded once. */
inline F8 fnma8(F8 a, F8 b, F8 c) {
  return map8([&](int i) { return std::fma(-a.lane[i], b.lane[i], c.lane[i]); });
}
/** a > b ? a : b, so b where either is NaN (the behaviour of maxps). */
inline F8 max8(F8 a, F8 b) {
  return map8([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
}
inline F8 min8(F8 a, F8 b) {
  return map8([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
}
/** |a| compared as integers: a NaN is larger than everything and stays. */
inline F8 abs_max(F8 a, F8 b) {
  return map8([&](int i) {
    const auto x = std::bit_cast<int32_t>(a.lane[i]);
    const auto y = std::bit_cast<int32_t>(b.lane[i]) & 0x7FFF'FFFF;
    return std::bit_cast<float>(x > y ? x : y);
  });
}
/** Half to even. */
inline F8 round8(F8 a) {
  return map8([&](int i) { return std::nearbyint(a.lane[i]); });
}
/** 2^n for an integral n in -126..127; anything for NaN. */
inline F8 exp2_integral(F8 n) {
  return map8([&](int i) {
    const int32_t exponent = n.lane[i] == n.lane[i] ? static_cast<int32_t>(n.lane[i]) : 0;
    return std::bit_cast<float>((exponent + 127) << 23);
  });
}
/** a < limit ? 0 : value. */
inline F8 zero_below(F8 a, F8 limit, F8 value) {
  return map8([&](int i) { return a.lane[i] < limit.lane[i] ? 0.0f : value.lane[i]; });
}
inline F8 from_int8(const int8_t* p) {
  return map8([&](int i) { return static_cast<float>(p[i]); });
}
inline F8 from_int32(const int32_t* p) {
  return map8([&](int i) { return static_cast<float>(p[i]); });
}
/** Integral values in -128..127. */
inline void store_int8(int8_t* p, F8 a) {
  for (int i = 0; i < 8; i++) p[i] = static_cast<int8_t>(a.lane[i]);
}
/** Lanes summed as ((0+4)+(2+6))+((1+5)+(3+7)). */
inline float sum_lanes(F8 a) {
  const float* l = a.lane;
  return ((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7]));
}
inline float abs_max_lanes(F8 a) {
  int32_t most = 0;
  for (const float x : a.lane) most = std::max(most, std::bit_cast<int32_t>(x) & 0x7FFF'FFFF);
  return std::bit_cast<float>(most);
}
inline float max_lanes(F8 a) {
  float most = a.lane[0];
  for (const float x : a.lane) most = x > most ? x : most;
  return most;
}

/** Four float64 lanes: for sums that must not lose bits. */
struct D4 {
  double lane[4];
};
inline D4 zero_d4() { return {{0.0, 0.0, 0.0, 0.0}}; }
/** sum + low or high half of a, widened. */
inline D4 add_low(D4 s, F8 a) {
  for (int i = 0; i < 4; i++) s.lane[i] += static_cast<double>(a.lane[i]);
  return s;
}
inline D4 add_high(D4 s, F8 a) {
  for (int i = 0; i < 4; i++) s.lane[i] += static_cast<double>(a.lane[4 + i]);
  return s;
}
inline D4 add_square_low(D4 s, F8 a) {
  for (int i = 0; i < 4; i++) {
    const auto x = static_cast<double>(a.lane[i]);
    s.lane[i] = std::fma(x, x, s.lane[i]);
  }
  return s;
}
inline D4 add_square_high(D4 s, F8 a) {
  for (int i = 0; i < 4; i++) {
    const auto x = static_cast<double>(a.lane[4 + i]);
    s.lane[i] = std::fma(x, x, s.lane[i]);
  }
  return s;
}
inline double sum_d4(D4 a, D4 b) {
  double l[4];
  for (int i = 0; i < 4; i++) l[i] = a.lane[i] + b.lane[i];
  return (l[0] + l[2]) + (l[1] + l[3]);
}

}  // namespace magnet::scalar

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
#include "simd_avx2.inc"
}  // namespace magnet::avx2
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
#include "simd_avx2.inc"
}  // namespace magnet::avx512
#pragma GCC pop_options

/** Calls f of the path in force: magnet::avx512::f, magnet::avx2::f or magnet::scalar::f. */
#define MAGNET_DISPATCH(f, ...)                                                           \
  (::magnet::cpu_path() == ::magnet::CpuPath::avx512 ? ::magnet::avx512::f(__VA_ARGS__)   \
   : ::magnet::cpu_path() == ::magnet::CpuPath::avx2 ? ::magnet::avx2::f(__VA_ARGS__)     \
                                                     : ::magnet::scalar::f(__VA_ARGS__))
