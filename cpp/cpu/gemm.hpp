// Matrix products of training. Every element of C is one chain of fused multiply-adds along k in
// order, starting from 0 or from C: blocking and threads change nothing in the bits.
#pragma once
#include <cstdint>

namespace magnet {

/** Left operand: A(m, k) = data[m * row + k * col]. */
struct GemmLeft {
  const float* data;
  int64_t row;
  int64_t col;
};

/**
 * Right operand: B(k, n) = data[k * row + n * col]; or, where `codes` is set, int8 codes that are
 * scaled while they are packed: codes[k * row + n * col] * scale, times row_scale[k] if that is
 * set.
 */
struct GemmRight {
  const float* data;
  int64_t row;
  int64_t col;
  const int8_t* codes = nullptr;
  float scale = 1.0f;
  const float* row_scale = nullptr;
};

struct GemmShape {
  int64_t m;
  int64_t n;
  int64_t k;
};

/** C (m, n; row stride ldc) = A B, or += where `accumulate`. On the caller's thread. */
void gemm_serial(GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c, int64_t ldc,
                 bool accumulate);
/** The same, C split among threads. */
void gemm(uint32_t threads, GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c,
          int64_t ldc, bool accumulate);

}  // namespace magnet
