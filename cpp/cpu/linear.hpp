// A linear layer of a block as the model's configuration has it: BitLinear (bitlinear.hpp), or, for
// quantization "none", a plain float32 product of the same weights (the twin to compare with).
#pragma once
#include "bitlinear.hpp"

namespace magnet {

/** Input of a layer: `values` (rows, k) in a plain model, `codes` in a ternary one. */
struct LinearInput {
  QuantizedRows codes;
  float* values;
};

/** Weights (n, k): the latent ones in a plain model, their codes in a ternary one (values null). */
struct LinearWeights {
  TernaryWeights ternary;
  const float* values;
};

/** y (rows, n) = x w^T [+ residual (rows, n), which may be y]; x has k columns. */
void linear_forward(uint32_t threads, const LinearInput& x, const LinearWeights& w, int64_t rows,
                    int64_t n, int64_t k, const float* residual, float* y);

/** dx (rows, k) = (or +=) dy w; dw (n, k) += dy^T x. */
void linear_backward(uint32_t threads, const LinearInput& x, const LinearWeights& w,
                     const float* dy, int64_t rows, int64_t n, int64_t k, bool accumulate_dx,
                     float* dx, float* dw);

}  // namespace magnet
