// Fragments of the packed weights and of activations for the tensor cores, see infer_product.hpp.
#pragma once
#include "../platform/tensor_core.hpp"
#include "infer_product.hpp"

namespace magnet::gpu {

constexpr int STEPS = 4;      // of a chunk
constexpr int TILE_ROWS = 8;  // rows of activations of one instruction

/** Step `step` of a lane's codes, as 0, 1, 2 in int8. */
__device__ __forceinline__ void ternary_fragment(uint32_t (&a)[4], const uint4& codes, int step) {
  const uint32_t word = step == 0 ? codes.x : step == 1 ? codes.y : step == 2 ? codes.z : codes.w;
#pragma unroll
  for (int i = 0; i < 4; i++) a[i] = word >> (2 * i) & 0x03030303u;
}

/** The operands of steps 2h and 2h + 1 in a lane's 16 bytes. */
__device__ __forceinline__ void activation_fragment(uint32_t (&b)[2], const uint4& x, int step) {
  b[0] = step % 2 == 0 ? x.x : x.z;
  b[1] = step % 2 == 0 ? x.y : x.w;
}

__device__ __forceinline__ uint4 load16(const void* p) {
  return *static_cast<const uint4*>(p);
}
/** Weights: read once, not worth a place in the first-level cache. */
__device__ __forceinline__ uint4 load_weights(const uint4* p) {
#if defined(__CUDA_ARCH__)
  uint4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
#else
  return *p;
#endif
}

/** Places in a fragment of results: row of the panel, row of activations. */
__device__ __forceinline__ int result_row(int i) {
  return static_cast<int>(threadIdx.x) % LANES / 4 + i / 2 * 8;
}
__device__ __forceinline__ int result_column(int i) {
  return static_cast<int>(threadIdx.x) % 4 * 2 + i % 2;
}

/** In this order of operations, as on the CPU. */
__device__ __forceinline__ float dequantised(int32_t code_sum, int32_t row_sum, float inverse,
                                             float scale) {
  return __fmul_rn(static_cast<float>(code_sum - row_sum), __fmul_rn(inverse, scale));
}

__device__ __forceinline__ float gated(GateFunction activation, float gate, float up) {
  if (activation == GateFunction::relu_squared) {
    const float g = fmaxf(gate, 0.0f);
    return __fmul_rn(__fmul_rn(g, g), up);
  }
  return __fmul_rn(__fdiv_rn(gate, __fadd_rn(1.0f, expf(-gate))), up);
}

}  // namespace magnet::gpu
