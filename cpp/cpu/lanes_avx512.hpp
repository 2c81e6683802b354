// What the packing of gemm_avx512.cpp and ternary_avx512.cpp share.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cstdint>

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {

/** Mask of the first n of 16 lanes; n may be negative or over 16. */
inline __mmask16 first_lanes(int64_t n) {
  return n >= 16 ? __mmask16{0xFFFF} : static_cast<__mmask16>((1u << std::max<int64_t>(n, 0)) - 1);
}

/** 16x16 transpose: rows in, columns out. */
inline void transpose16(__m512 (&r)[16]) {
  __m512 t[16];
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(r[i], r[i + 1]);
  }
#pragma GCC unroll 4
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm512_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm512_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  // r[4 q + s] now has, in 128-bit lane l, column 4 l + s of rows 4 q .. 4 q + 3.
#pragma GCC unroll 4
  for (int s = 0; s < 4; s++) {
    t[s] = _mm512_shuffle_f32x4(r[s], r[s + 4], 0x88);
    t[s + 4] = _mm512_shuffle_f32x4(r[s], r[s + 4], 0xDD);
    t[s + 8] = _mm512_shuffle_f32x4(r[s + 8], r[s + 12], 0x88);
    t[s + 12] = _mm512_shuffle_f32x4(r[s + 8], r[s + 12], 0xDD);
  }
#pragma GCC unroll 4
  for (int s = 0; s < 4; s++) {
    r[s] = _mm512_shuffle_f32x4(t[s], t[s + 8], 0x88);
    r[s + 8] = _mm512_shuffle_f32x4(t[s], t[s + 8], 0xDD);
    r[s + 4] = _mm512_shuffle_f32x4(t[s + 4], t[s + 12], 0x88);
    r[s + 12] = _mm512_shuffle_f32x4(t[s + 4], t[s + 12], 0xDD);
  }
}

}  // namespace magnet::avx512
#pragma GCC pop_options
