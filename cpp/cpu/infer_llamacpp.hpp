// Attention sums in llama.cpp's order (its x86 kernels with AVX-512, prompts of two tokens and
// more): 16 float lanes, k % 16, folded 16 -> 8 -> 4 -> 2 -> 1. A sum that differs in its last bit
// flips the rounding of an attention weight to f16 now and then, and that moves logits by some
// 0.01: so the order matters. Plain code, for comparisons only.
#pragma once
#include <cmath>
#include <cstdint>

#include "quants.hpp"

namespace magnet::llamacpp {

inline float fold16(float* lanes) {
  for (int width = 8; width > 0; width /= 2)
    for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
  return lanes[0];
}

/** Sum over k < n of a[k * stride] * b[k]. */
inline float dot(const uint16_t* a, uint64_t stride, const float* b, uint32_t n) {
  float lanes[16] = {};
  for (uint32_t k = 0; k < n; k++)
    lanes[k % 16] = std::fma(from_half(a[k * stride]), b[k], lanes[k % 16]);
  return fold16(lanes);
}

}  // namespace magnet::llamacpp
