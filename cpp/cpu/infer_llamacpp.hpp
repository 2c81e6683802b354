// The float arithmetic of llama.cpp's CPU library built for AVX2, FMA and F16C (ggml-cpu-haswell),
// operation by operation, as it evaluates one token at a time: the order of every sum, which
// products are fused, its exponential. A sum that differs in its last bit flips the rounding of an
// activation to int8 or f16 now and then, and one flip moves logits by some 0.01: so nothing less
// than equal bits keeps them together. Compiled into both kernel tables.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "infer_kernels.hpp"
#include "quants.hpp"

namespace magnet::llamacpp {

/** e^x with the split, the polynomial (Arm Optimized Routines) and the two-step scaling of results
 * near the ends of the range that llama.cpp uses. */
MG_INLINE float exp_f32(float x) {
  const float shift = 0x1.8p23f;
  const float z = std::fma(x, 0x1.715476p+0f, shift);
  const float n = z - shift;
  const float b = std::fma(-n, 0x1.7f7d1cp-20f, std::fma(-n, 0x1.62e4p-1f, x));
  const float u = b * b;
  const float high = std::fma(0x1.0e4020p-7f, b, 0x1.573e2ep-5f);
  const float low = std::fma(0x1.555e66p-3f, b, 0x1.fffdb6p-2f);
  const float p = std::fma(std::fma(high, u, low), u, 0x1.ffffecp-1f * b);
  const uint32_t exponent = std::bit_cast<uint32_t>(z) << 23;
  const float k = std::bit_cast<float>(exponent + 0x3f800000u);
  const uint32_t down = n <= 0.0f ? 0x82000000u : 0u;
  const float s1 = std::bit_cast<float>(down + 0x7f000000u);
  const float s2 = std::bit_cast<float>(exponent - down);
  const float size = std::fabs(n);
  const float near_end = size > 192.0f ? s1 * s1 : std::fma(s2, p, s2) * s1;
  return size > 126.0f ? near_end : std::fma(p, k, k);
}

/** The fold of a dot product's lanes (k % 32): those 16, 8 and 4 apart, then neighbours. */
MG_INLINE float fold32(const float* lanes) {
  float a[16], l[8];
  for (int i = 0; i < 16; i++) a[i] = lanes[i] + lanes[i + 16];
  for (int i = 0; i < 8; i++) l[i] = a[i] + a[i + 8];
  return ((l[0] + l[4]) + (l[1] + l[5])) + ((l[2] + l[6]) + (l[3] + l[7]));
}

/** What follows the whole lanes of a dot product: fused for float32 rows, summed in double for f16
 * ones. */
MG_INLINE float add_rest(float sum, const float* a, const float* b, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) sum = std::fma(a[i], b[i], sum);
  return sum;
}
MG_INLINE float add_rest(float sum, const uint16_t* a, const float* b, uint32_t n) {
  double wide = static_cast<double>(sum);
  for (uint32_t i = 0; i < n; i++) wide += static_cast<double>(from_half(a[i]) * b[i]);
  return static_cast<float>(wide);
}

/** gate = silu(gate) * up. Beyond the last 8 columns llama.cpp takes the C library's expf. */
MG_INLINE void swiglu(float* gate, const float* up, uint32_t n) {
  const uint32_t whole = n / 8 * 8;
  for (uint32_t i = 0; i < whole; i++) {
    const float g = gate[i];
    gate[i] = g / (1.0f + exp_f32(0.0f - g)) * up[i];
  }
  for (uint32_t i = whole; i < n; i++)
    gate[i] = gate[i] / (1.0f + std::exp(-gate[i])) * up[i];
}

/** x = softmax(x * scale). Sums of 8 in float32, those in double. llama.cpp's rows are longer: the
 * positions behind the last token are masked and add zeros. `x` has room up to a multiple of 8. */
MG_INLINE void softmax(float* x, float scale, uint32_t n) {
  const uint32_t padded = (n + 7) / 8 * 8;
  float m = x[0] * scale;
  for (uint32_t i = 0; i < n; i++) {
    x[i] *= scale;
    m = x[i] > m ? x[i] : m;
  }
  for (uint32_t i = 0; i < n; i++) x[i] = exp_f32(x[i] - m);
  for (uint32_t i = n; i < padded; i++) x[i] = 0;
  double sum = 0;
  for (const float* l = x; l < x + padded; l += 8)
    sum += static_cast<double>(((l[0] + l[4]) + (l[2] + l[6])) + ((l[1] + l[5]) + (l[3] + l[7])));
  const float inverse = static_cast<float>(1.0 / sum);
  for (uint32_t i = 0; i < n; i++) x[i] *= inverse;
}

/** Cosine and sine of one token's angles (n = head_dim / 2): the angle is multiplied up in float32,
 * the functions are the C library's, which llama.cpp calls too. */
inline void rotary(uint32_t position, float theta, uint32_t n, float* cosine, float* sine) {
  const float step = std::pow(theta, -2.0f / static_cast<float>(2 * n));
  float angle = static_cast<float>(position);
  for (uint32_t j = 0; j < n; j++, angle *= step) ::sincosf(angle, sine + j, cosine + j);
}

/** Rotates n pairs (x[j], x[j + n]) in place; `interleaved`: and leaves them as (x[2j], x[2j + 1]),
 * the order in which llama.cpp keeps the columns of a llama model's heads. */
inline void rotate(float* x, const float* cosine, const float* sine, uint32_t n, bool interleaved) {
  const std::vector<float> before(x, x + 2 * n);
  for (uint32_t j = 0; j < n; j++) {
    const float a = before[j];
    const float b = before[j + n];
    x[interleaved ? 2 * j : j] = std::fma(a, cosine[j], -(b * sine[j]));
    x[interleaved ? 2 * j + 1 : j + n] = std::fma(a, sine[j], b * cosine[j]);
  }
}

}  // namespace magnet::llamacpp
