// Element-wise kernels, written once and compiled into both tables: always inlined into functions
// with and without the AVX2 target, so that the vector path is the compiler's, of the same
// operations. What the compiler must not do (reorder float sums, contract products) is switched off
// for the whole build.
#pragma once
#include <algorithm>
#include <cmath>

#include "infer_kernels.hpp"

namespace magnet::elementwise {

MG_INLINE float max_abs(const float* x, uint32_t n) {
  float m = 0;
  for (uint32_t i = 0; i < n; i++) {
    const float a = std::fabs(x[i]);
    m = a > m ? a : m;
  }
  return m;
}

/** Rounded and clamped; NaN becomes -128 instead of an undefined conversion. */
MG_INLINE int8_t to_int8(float x) {
  float v = std::rint(x);
  v = v < 127.0f ? v : 127.0f;
  v = v > -128.0f ? v : -128.0f;
  return static_cast<int8_t>(static_cast<int32_t>(v));
}

/** Sums of 16 and of the whole row. */
MG_INLINE int32_t sum_groups(const int8_t* q, uint32_t n, int16_t* sums16) {
  int32_t total = 0;
  for (uint32_t g = 0; g < n / 16; g++) {
    int32_t s = 0;
    for (uint32_t i = 0; i < 16; i++) s += q[16 * g + i];
    sums16[g] = static_cast<int16_t>(s);
    total += s;
  }
  return total;
}

MG_INLINE void quantize(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  const float m = max_abs(x, n);
  const float s = 127.0f / (m > 1e-5f ? m : 1e-5f);
  int8_t* q = out.q + static_cast<uint64_t>(t) * out.stride;
  for (uint32_t i = 0; i < n; i++) q[i] = to_int8(x[i] * s);
  for (uint32_t i = n; i < out.stride; i++) q[i] = 0;
  out.scale[t] = 1.0f / s;
  out.sum[t] = sum_groups(q, out.stride, out.sums16 + static_cast<uint64_t>(t) * (out.stride / 16));
  float* d = out.block_scale + static_cast<uint64_t>(t) * (out.stride / 128);
  for (uint32_t b = 0; b < out.stride / 128; b++) d[b] = 1.0f / s;
}

MG_INLINE void quantize_blocks(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  int8_t* q = out.q + static_cast<uint64_t>(t) * out.stride;
  float* d = out.block_scale + static_cast<uint64_t>(t) * (out.stride / 128);
  for (uint32_t b = 0; b < n / 256; b++, x += 256) {
    const float m = max_abs(x, 256);
    // The scale takes the sign of the first element of the largest magnitude.
    uint32_t at = 0;
    while (at < 255 && std::fabs(x[at]) != m) at++;
    const bool zero = m == 0.0f;
    const float s = zero ? 0.0f : -127.0f / x[at];
    for (uint32_t i = 0; i < 256; i++) q[256 * b + i] = to_int8(s * x[i]);
    d[b] = zero ? 0.0f : 1.0f / s;
  }
  out.scale[t] = 0;
  out.sum[t] = sum_groups(q, n, out.sums16 + static_cast<uint64_t>(t) * (out.stride / 16));
}

MG_INLINE void norm_apply(const float* x, const float* w, float r, uint32_t n, float* y) {
  for (uint32_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
}

/** 32 lanes to one float. */
MG_INLINE float fold32(const float* lanes) {
  float a[16], b[8];
  for (int i = 0; i < 16; i++) a[i] = lanes[i] + lanes[i + 16];
  for (int i = 0; i < 8; i++) b[i] = a[i] + a[i + 8];
  return ((b[0] + b[4]) + (b[2] + b[6])) + ((b[1] + b[5]) + (b[3] + b[7]));
}

}  // namespace magnet::elementwise
