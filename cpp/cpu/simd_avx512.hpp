// Sixteen lanes as one __m512. Operations are documented in simd_scalar.hpp; the last folds of a
// reduction are those of AVX2.
#pragma once
#include <cstdint>

#include "simd_avx2.hpp"
#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {

struct F16 {
  __m512 v;
};
inline F16 set1(float x) { return {_mm512_set1_ps(x)}; }
inline F16 load(const float* p) { return {_mm512_loadu_ps(p)}; }
inline void store(float* p, F16 a) { _mm512_storeu_ps(p, a.v); }
inline __mmask16 first_lanes(int n) { return static_cast<__mmask16>((1u << n) - 1u); }
inline F16 load_n(const float* p, int n) { return {_mm512_maskz_loadu_ps(first_lanes(n), p)}; }
inline void store_n(float* p, F16 a, int n) { _mm512_mask_storeu_ps(p, first_lanes(n), a.v); }
inline F16 first_of(int n, F16 a, F16 b) {
  return {_mm512_mask_blend_ps(first_lanes(n), b.v, a.v)};
}
inline F16 add(F16 a, F16 b) { return {_mm512_add_ps(a.v, b.v)}; }
inline F16 sub(F16 a, F16 b) { return {_mm512_sub_ps(a.v, b.v)}; }
inline F16 mul(F16 a, F16 b) { return {_mm512_mul_ps(a.v, b.v)}; }
inline F16 div(F16 a, F16 b) { return {_mm512_div_ps(a.v, b.v)}; }
inline F16 sqrt16(F16 a) { return {_mm512_sqrt_ps(a.v)}; }
inline F16 fma16(F16 a, F16 b, F16 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
inline F16 fnma16(F16 a, F16 b, F16 c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
inline F16 max16(F16 a, F16 b) { return {_mm512_max_ps(a.v, b.v)}; }
inline F16 min16(F16 a, F16 b) { return {_mm512_min_ps(a.v, b.v)}; }
inline F16 abs_max(F16 a, F16 b) {
  const __m512i magnitude =
      _mm512_and_si512(_mm512_castps_si512(b.v), _mm512_set1_epi32(0x7FFF'FFFF));
  return {_mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a.v), magnitude))};
}
inline F16 round16(F16 a) {
  return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
inline F16 exp2_integral(F16 n) {
  const __m512i biased = _mm512_add_epi32(_mm512_cvtps_epi32(n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(biased, 23))};
}
inline F16 zero_below(F16 a, F16 limit, F16 value) {
  const __mmask16 below = _mm512_cmp_ps_mask(a.v, limit.v, _CMP_LT_OQ);
  return {_mm512_maskz_mov_ps(static_cast<__mmask16>(~below), value.v)};
}
inline void store_int8(int8_t* p, F16 a) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                   _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.v)));
}
inline __m256 low_half(F16 a) { return _mm512_castps512_ps256(a.v); }
inline __m256 high_half(F16 a) { return _mm512_extractf32x8_ps(a.v, 1); }
inline float sum_lanes(F16 a) {
  return avx2::sum_lanes8(_mm256_add_ps(low_half(a), high_half(a)));
}
inline float max_lanes(F16 a) {
  return avx2::max_lanes8(_mm256_max_ps(low_half(a), high_half(a)));
}
inline float abs_max_lanes(F16 a) {
  return avx2::abs_max_lanes8(avx2::abs_max8(low_half(a), high_half(a)));
}

struct D16 {
  __m512d low;
  __m512d high;
};
inline D16 zero_d16() { return {_mm512_setzero_pd(), _mm512_setzero_pd()}; }
inline D16 add_wide(D16 sum, F16 a) {
  return {_mm512_add_pd(sum.low, _mm512_cvtps_pd(low_half(a))),
          _mm512_add_pd(sum.high, _mm512_cvtps_pd(high_half(a)))};
}
inline D16 add_square(D16 sum, F16 a) {
  const __m512d x = _mm512_cvtps_pd(low_half(a));
  const __m512d y = _mm512_cvtps_pd(high_half(a));
  return {_mm512_fmadd_pd(x, x, sum.low), _mm512_fmadd_pd(y, y, sum.high)};
}
inline double sum_lanes(D16 a) {
  const __m512d s = _mm512_add_pd(a.low, a.high);
  const __m256d t = _mm256_add_pd(_mm512_castpd512_pd256(s), _mm512_extractf64x4_pd(s, 1));
  const __m128d u = _mm_add_pd(_mm256_castpd256_pd128(t), _mm256_extractf128_pd(t, 1));
  return _mm_cvtsd_f64(_mm_add_sd(u, _mm_unpackhi_pd(u, u)));
}

}  // namespace magnet::avx512
#pragma GCC pop_options
