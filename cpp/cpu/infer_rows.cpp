// Dispatch of the row kernels, and the sums that only matrices with a scale per block read.
#include "infer_rows.hpp"

#include <algorithm>
#include <cmath>

#include "simd.hpp"

#define MAGNET_KERNELS "infer_rows.inc"
#include "all_paths.inc"

namespace magnet {
namespace {

void sum_blocks(const Int8Rows& out, uint32_t t, float scale) {
  const int8_t* q = out.q + uint64_t{t} * out.stride;
  int16_t* const sums = out.sums16 + uint64_t{t} * (out.stride / 16);
  for (uint32_t g = 0; g < out.stride / 16; g++, q += 16) {
    int32_t sum = 0;
    for (uint32_t i = 0; i < 16; i++) sum += q[i];
    sums[g] = static_cast<int16_t>(sum);
  }
  std::fill_n(out.block_scale + uint64_t{t} * (out.stride / 128), out.stride / 128, scale);
}

}  // namespace

void norm_row_fused(const NormedRow& row) { MAGNET_DISPATCH(scale_row, row); }

void norm_and_quantize(const NormedRow& row, const Int8Rows& out, uint32_t t, bool block_sums) {
  const float scale = MAGNET_DISPATCH(quantize_row, row, out, t);
  // The last lanes may have been written beyond the row.
  std::fill_n(out.q + uint64_t{t} * out.stride + row.n, out.stride - row.n, int8_t{0});
  if (block_sums) sum_blocks(out, t, scale);
}

void add_row(float* x, const float* delta, uint32_t n) {
  MAGNET_DISPATCH(add_to_row, x, delta, n);
}

void silu_gate(float* gate, const float* up, uint32_t n) {
  MAGNET_DISPATCH(silu_gate_row, gate, up, n);
}

void relu_squared_gate(float* gate, const float* up, uint32_t n) {
  MAGNET_DISPATCH(relu_squared_row, gate, up, n);
}

}  // namespace magnet
