// The integer product of BitLinear's forward pass: int8 rows times ternary weights, exact in int32.
#pragma once
#include <cmath>
#include <cstdint>

#include "bitlinear.hpp"

namespace magnet {

/** y (rows, n) = x w^T, scaled back [+ residual]. */
struct TernaryProduct {
  QuantizedRows x;
  TernaryWeights w;
  int64_t rows;
  int64_t n;
  int64_t k;
  const float* residual;
  float* y;
};

void ternary_product(uint32_t threads, const TernaryProduct& p);

/** The one place where the integer sum becomes a float: every path ends here or in the same two
 * steps. */
inline float finish(int32_t sum, float scale, const float* residual) {
  const auto exact = static_cast<float>(sum);
  return residual == nullptr ? exact * scale : std::fma(exact, scale, *residual);
}

/**
 * What a SIMD path gives. Weights are packed in panels of `columns` rows of w: for every 4 k, 4
 * codes of each column, of which those past the end of k meet zeros in q. x86 paths pack unsigned
 * codes t + 1, so that a sum is too large by the sum of the row's q. `rows` rows of x make a
 * register tile.
 */
struct TernaryKernels {
  int64_t columns;
  int64_t rows;
  /** Panels of columns [n0, n0 + n), one after the other. */
  void (*pack)(const TernaryWeights& w, int64_t n0, int64_t n, int64_t k, uint8_t* out);
  /** Rows [begin, end) of y. */
  void (*product)(const TernaryProduct& p, const uint8_t* packed, int64_t begin, int64_t end);
};

#if defined(__x86_64__)
namespace avx512 {
extern const TernaryKernels TERNARY_KERNELS;
}
namespace avx2 {
extern const TernaryKernels TERNARY_KERNELS;
}
#elif defined(__aarch64__)
namespace neon {
extern const TernaryKernels TERNARY_KERNELS;
extern const TernaryKernels TERNARY_DOT_KERNELS;  // where cpu_has_dot_products()
}
#endif

}  // namespace magnet
