// What a ternary product leaves for the kernels behind it: its exact sums in 16 bits. A sum of codes is a
// whole number, mostly of 13 bits; as fp16 it would be rounded, and quantisers behind it make much of
// that (matrix.hpp, Activation). The scales, a float for each row and for each weight, are there anyway.
#pragma once
#include "vectors.cuh"

namespace magnet::gpu {

/** A sum, exact up to SUM_KNEE; beyond it, which takes a row of activations much like a row of weights,
 * in steps that let all sums of k products fit. Up to k = 2193 none is rounded more than fp16 would. */
struct sum16 {
  int16_t code;
};
constexpr float SUM_KNEE = 16384.0f;
/** The steps behind the knee: a power of two. */
inline float sum_step(int64_t k) {
  float step = 1.0f;
  while (SUM_KNEE + step * (32767.0f - SUM_KNEE) < 128.0f * static_cast<float>(k)) step *= 2.0f;
  return step;
}
/** Of a whole number; 1 / step is exact. */
__device__ __forceinline__ int to_sum_code(float x, float inverse_step) {
  const float over = fmaxf(fabsf(x) - SUM_KNEE, 0.0f);
  const float code = fminf(fabsf(x) - over + rintf(over * inverse_step), 32767.0f);
  return static_cast<int>(copysignf(code, x));
}
__device__ __forceinline__ float from_sum_code(int code, float step) {
  const auto x = static_cast<float>(code);
  return x + copysignf(fmaxf(fabsf(x) - SUM_KNEE, 0.0f) * (step - 1.0f), x);
}

/** Two codes in a register. */
__device__ __forceinline__ uint32_t pack_sums(float low, float high, float inverse_step) {
  return (static_cast<uint32_t>(to_sum_code(low, inverse_step)) & 0xffffu) |
         static_cast<uint32_t>(to_sum_code(high, inverse_step)) << 16;
}
__device__ __forceinline__ float2 unpack_sums(uint32_t two, float step) {
  return {from_sum_code(static_cast<int16_t>(two), step),
          from_sum_code(static_cast<int16_t>(two >> 16), step)};
}

/** Columns of a layer's product. Of quantised models that store T as bf16 they hold sums, and a value is
 * sum * row_scale[row] * *scale, rounded as in float32. Else they hold values; row_scale is null. */
template <class T>
struct Product {
  Matrix<const Activation<T>> of;
  const float* row_scale = nullptr;
  const float* scale = nullptr;
  float step = 1.0f;

  __device__ __forceinline__ float scaled(float sum, int64_t row) const {
    return __fmul_rn(__fmul_rn(sum, row_scale[row]), *scale);
  }
  __device__ __forceinline__ float4 at(int64_t row, int64_t c) const {
    if constexpr (!std::is_same_v<T, float>) {
      if (row_scale != nullptr) {
        const uint2 codes = *reinterpret_cast<const uint2*>(of.row(row) + c);
        const float2 low = unpack_sums(codes.x, step);
        const float2 high = unpack_sums(codes.y, step);
        return map4(make_float4(low.x, low.y, high.x, high.y),
                    [&](float sum) { return scaled(sum, row); });
      }
    }
    return load4(of.row(row) + c);
  }
};

}  // namespace magnet::gpu
