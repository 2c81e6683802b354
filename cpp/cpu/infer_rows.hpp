// What a forward pass does to single rows between its products, in bitnet rounding: residual, norm,
// quantisation and the gate, each in as few passes over the row as its sums allow.
#pragma once
#include <cstdint>

#include "int8_rows.hpp"

namespace magnet {

/** y = x / sqrt(mean(x^2) + eps) * w of a row; x itself where w is null. y may be x. */
struct NormedRow {
  const float* x;
  const float* w;
  uint32_t n;
  float eps;
  float* y;
};
void norm_row_fused(const NormedRow& row);
/** And as row t of `out`: rint(y * 127 / max(max|y|, 1e-5)). `block_sums`: with what products of
 * matrices with a scale per block read. */
void norm_and_quantize(const NormedRow& row, const Int8Rows& out, uint32_t t, bool block_sums);

/** x += delta. */
void add_row(float* x, const float* delta, uint32_t n);
/** gate = gate / (1 + e^-gate) * up */
void silu_gate(float* gate, const float* up, uint32_t n);
/** gate = max(gate, 0)^2 * up */
void relu_squared_gate(float* gate, const float* up, uint32_t n);

}  // namespace magnet
