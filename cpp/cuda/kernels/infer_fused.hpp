// Norm, quantiser and ternary product in one call: in one kernel for the few rows of a decode step, whose
// cost is the start of kernels, else one after the other. The same bits either way.
#pragma once
#include "infer_rows.hpp"

namespace magnet::gpu {

/** Rows that are normed where `norm` is not null, and quantised. */
struct FloatRows {
  Matrix<const float> x;
  const float* norm;
  float eps;
};

/** As ternary_product and gated_product of the rows. scratch: room for their codes. */
void ternary_product_of(const Stream& stream, const FloatRows& rows, const CodeTarget& scratch,
                        const TernaryWeight& w, bool add, Matrix<float> y);
void gated_product_of(const Stream& stream, const FloatRows& rows, const CodeTarget& scratch,
                      const TernaryWeight& w, GateFunction activation, Matrix<float> h);

}  // namespace magnet::gpu
