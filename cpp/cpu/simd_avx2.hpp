// Sixteen lanes as two __m256. Operations are documented in simd_scalar.hpp.
#pragma once
#include <cstdint>

#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {

struct F16 {
  __m256 low;
  __m256 high;
};
inline F16 set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
inline void store(float* p, F16 a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
/** All ones in the first n of 8 lanes; n may be negative or above 8. */
inline __m256i first_lanes(int n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline F16 load_n(const float* p, int n) {
  return {_mm256_maskload_ps(p, first_lanes(n)), _mm256_maskload_ps(p + 8, first_lanes(n - 8))};
}
inline void store_n(float* p, F16 a, int n) {
  _mm256_maskstore_ps(p, first_lanes(n), a.low);
  _mm256_maskstore_ps(p + 8, first_lanes(n - 8), a.high);
}
inline F16 first_of(int n, F16 a, F16 b) {
  return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(first_lanes(n))),
          _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(first_lanes(n - 8)))};
}
inline F16 add(F16 a, F16 b) {
  return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)};
}
inline F16 sub(F16 a, F16 b) {
  return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)};
}
inline F16 mul(F16 a, F16 b) {
  return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)};
}
inline F16 div(F16 a, F16 b) {
  return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)};
}
inline F16 sqrt16(F16 a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
inline F16 fma16(F16 a, F16 b, F16 c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
inline F16 fnma16(F16 a, F16 b, F16 c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
inline F16 max16(F16 a, F16 b) {
  return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)};
}
inline F16 min16(F16 a, F16 b) {
  return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)};
}
inline __m256 abs_max8(__m256 a, __m256 b) {
  const __m256i magnitude =
      _mm256_and_si256(_mm256_castps_si256(b), _mm256_set1_epi32(0x7FFF'FFFF));
  return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), magnitude));
}
inline F16 abs_max(F16 a, F16 b) { return {abs_max8(a.low, b.low), abs_max8(a.high, b.high)}; }
inline __m256 round8(__m256 a) {
  return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
inline F16 round16(F16 a) { return {round8(a.low), round8(a.high)}; }
inline __m256 exp2_integral8(__m256 n) {
  const __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
  return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}
inline F16 exp2_integral(F16 n) { return {exp2_integral8(n.low), exp2_integral8(n.high)}; }
inline F16 zero_below(F16 a, F16 limit, F16 value) {
  return {_mm256_andnot_ps(_mm256_cmp_ps(a.low, limit.low, _CMP_LT_OQ), value.low),
          _mm256_andnot_ps(_mm256_cmp_ps(a.high, limit.high, _CMP_LT_OQ), value.high)};
}
inline void store_int8(int8_t* p, F16 a) {
  // packs interleaves 128-bit halves: 0..3 8..11 4..7 12..15 before the permutation.
  const __m256i words =
      _mm256_packs_epi32(_mm256_cvtps_epi32(a.low), _mm256_cvtps_epi32(a.high));
  const __m256i ordered = _mm256_permute4x64_epi64(words, 0xD8);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm_packs_epi16(_mm256_castsi256_si128(ordered),
                                   _mm256_extracti128_si256(ordered, 1)));
}
inline float sum_lanes8(__m256 a) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
inline float max_lanes8(__m256 a) {
  __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  s = _mm_max_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}
inline float abs_max_lanes8(__m256 a) {
  const __m256i x = _mm256_castps_si256(a);
  __m128i s = _mm_max_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0x4E));
  s = _mm_max_epi32(s, _mm_shuffle_epi32(s, 0xB1));
  return _mm_cvtss_f32(_mm_castsi128_ps(s));
}
inline float sum_lanes(F16 a) { return sum_lanes8(_mm256_add_ps(a.low, a.high)); }
inline float max_lanes(F16 a) { return max_lanes8(_mm256_max_ps(a.low, a.high)); }
inline float abs_max_lanes(F16 a) { return abs_max_lanes8(abs_max8(a.low, a.high)); }

struct D16 {
  __m256d part[4];  // four lanes each
};
inline D16 zero_d16() {
  const __m256d zero = _mm256_setzero_pd();
  return {{zero, zero, zero, zero}};
}
inline D16 widen(F16 a) {
  return {{_mm256_cvtps_pd(_mm256_castps256_ps128(a.low)),
           _mm256_cvtps_pd(_mm256_extractf128_ps(a.low, 1)),
           _mm256_cvtps_pd(_mm256_castps256_ps128(a.high)),
           _mm256_cvtps_pd(_mm256_extractf128_ps(a.high, 1))}};
}
inline D16 add_wide(D16 sum, F16 a) {
  const D16 x = widen(a);
  for (int i = 0; i < 4; i++) sum.part[i] = _mm256_add_pd(sum.part[i], x.part[i]);
  return sum;
}
inline D16 add_square(D16 sum, F16 a) {
  const D16 x = widen(a);
  for (int i = 0; i < 4; i++) sum.part[i] = _mm256_fmadd_pd(x.part[i], x.part[i], sum.part[i]);
  return sum;
}
inline double sum_lanes(D16 a) {
  const __m256d s0 = _mm256_add_pd(a.part[0], a.part[2]);
  const __m256d s1 = _mm256_add_pd(a.part[1], a.part[3]);
  const __m256d s = _mm256_add_pd(s0, s1);
  const __m128d t = _mm_add_pd(_mm256_castpd256_pd128(s), _mm256_extractf128_pd(s, 1));
  return _mm_cvtsd_f64(_mm_add_sd(t, _mm_unpackhi_pd(t, t)));
}

}  // namespace magnet::avx2
#pragma GCC pop_options
