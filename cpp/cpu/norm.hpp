// RMSNorm, forward and backward. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include <cstdint>

namespace magnet {

/** out = x * r * w with r = 1 / sqrt(mean(x^2) + eps), which is returned. One row of n; out may be
 * x. */
float rmsnorm_row(const float* x, const float* w, int64_t n, float eps, float* out);

/** out (rows, n) and r (rows) of x (rows, n). */
void rmsnorm(uint32_t threads, const float* x, const float* w, int64_t rows, int64_t n, float eps,
             float* out, float* r);

/**
 * dx = (or +=, if accumulate) r * (g - x * r^2 * mean(g * x)) with g = dy * w; dw += sum of rows of
 * dy * x * r. dx may be dy unless accumulating.
 */
void rmsnorm_backward(uint32_t threads, const float* x, const float* w, const float* dy,
                      const float* r, int64_t rows, int64_t n, bool accumulate, float* dx,
                      float* dw);

}  // namespace magnet
