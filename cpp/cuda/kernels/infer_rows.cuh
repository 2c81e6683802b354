// Norm and quantiser of rows, by a block of 256 threads in one fixed tree, for kernels that only prepare
// rows and for products that prepare their own. Rounded as on the CPU but for the order of the sum.
#pragma once
#include "infer_product.hpp"
#include "vectors.cuh"

namespace magnet::gpu {

constexpr int ROW_THREADS = 256;
constexpr int ROW_WARPS = ROW_THREADS / LANES;

/** A row: its values times 1 / sqrt(mean square + eps) times w, or as they are where w is null. Whole
 * vectors of four: x is padded with zeros, w may end anywhere. */
struct RowNorm {
  const float* w;
  float eps;
  int64_t columns;

  __device__ __forceinline__ float4 of(float4 x, float root, int64_t column) const {
    if (w == nullptr) return x;
    return map4(x, load4_within(w, column, columns), [&](float v, float weight) {
      return __fmul_rn(__fmul_rn(v, root), weight);
    });
  }
};

__device__ __forceinline__ float squares_of(const float* row, int64_t stride) {
  float squares = 0.0f;
  for (int64_t i = threadIdx.x; i < stride / 4; i += ROW_THREADS) {
    const float4 v = load4(row + 4 * i);
    squares = __fmaf_rn(v.x, v.x,
                        __fmaf_rn(v.y, v.y, __fmaf_rn(v.z, v.z, __fmaf_rn(v.w, v.w, squares))));
  }
  return squares;
}
__device__ __forceinline__ float root_of(float squares, const RowNorm& norm) {
  return __fdiv_rn(1.0f,
                   sqrtf(__fadd_rn(__fdiv_rn(squares, static_cast<float>(norm.columns)), norm.eps)));
}

/** Order of the bits of |x|: that of the magnitudes, NaN above all. */
__device__ __forceinline__ unsigned magnitude(float x) {
  return __float_as_uint(x) & 0x7fffffffu;
}
__device__ __forceinline__ unsigned most_of(float4 y) {
  return max(max(magnitude(y.x), magnitude(y.y)), max(magnitude(y.z), magnitude(y.w)));
}
/** 127 / max(largest magnitude, 1e-5); NaN where the row is not finite. */
__device__ __forceinline__ float scale_of_row(unsigned most) {
  const float largest = __uint_as_float(most);
  return most >= 0x7f800000u ? __uint_as_float(0x7fc00000u)
                             : __fdiv_rn(127.0f, largest > 1e-5f ? largest : 1e-5f);
}
__device__ __forceinline__ int code_of(float y, float scale) {
  return static_cast<int>(fminf(fmaxf(rintf(__fmul_rn(y, scale)), -128.0f), 127.0f));
}
/** Four codes in a word. */
__device__ __forceinline__ uint32_t codes_of(float4 y, float scale, int32_t& sum) {
  const int a = code_of(y.x, scale);
  const int b = code_of(y.y, scale);
  const int c = code_of(y.z, scale);
  const int d = code_of(y.w, scale);
  sum += a + b + c + d;
  return (static_cast<uint32_t>(a) & 255u) | (static_cast<uint32_t>(b) & 255u) << 8 |
         (static_cast<uint32_t>(c) & 255u) << 16 | (static_cast<uint32_t>(d) & 255u) << 24;
}

}  // namespace magnet::gpu
