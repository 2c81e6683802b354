// Kernels of inference, one table per CPU path. Both tables give the same bits: integer sums are
// exact, float sums run in fixed lanes (k % 32, folded 32 -> 16 -> 8 -> 4 -> 2 -> 1; k % 8 where
// that is said).
#pragma once
#include <cstdint>

#include "infer_model.hpp"

#define MG_INLINE inline __attribute__((always_inline))

namespace magnet {

struct Kernels {
  float (*dot)(const float* a, const float* b, uint32_t n);
  float (*dot_half)(const uint16_t* a, const float* b, uint32_t n);
  /** q = rint(x * 127/max(max|x|, 1e-5)) for row t of `out`. */
  void (*quantize)(const float* x, uint32_t n, const Int8Rows& out, uint32_t t);
  /** Q8_K: one signed scale per 256 columns; n is a multiple of 256. */
  void (*quantize_blocks)(const float* x, uint32_t n, const Int8Rows& out, uint32_t t);
  /** y = x * (1/sqrt(mean_square + eps)) * w */
  void (*norm_apply)(const float* x, const float* w, float r, uint32_t n, float* y);
  /** Rounds to binary16 and back. */
  void (*round_half)(float* x, uint32_t n);
  void (*to_half_row)(const float* x, uint32_t n, uint16_t* out);
  void (*from_half_row)(const uint16_t* x, uint32_t n, float* out);
  /** llama.cpp's sums and functions (infer_llamacpp.hpp); `softmax` needs room up to a multiple of
   * 8 and zeroes it. */
  struct {
    float (*dot)(const float* a, const float* b, uint32_t n);
    float (*dot_half)(const uint16_t* a, const float* b, uint32_t n);
    void (*swiglu)(float* gate, const float* up, uint32_t n);
    void (*softmax)(float* x, float scale, uint32_t n);
  } llamacpp;
};

extern const Kernels scalar_kernels;
#if defined(__x86_64__)
extern const Kernels avx2_kernels;
#endif
/** The table of cpu_path(). */
const Kernels& kernels();

}  // namespace magnet
