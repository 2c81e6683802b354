// What a kernel may use: CUDA's own names where nvcc compiles it, the emulation's (emulation.hpp)
// where a C++ compiler does. Kernels are written in the common part: full warps in collectives, no
// float atomics (sums must not depend on who comes first), 16-byte vectors, and the functions below.
#pragma once
#include <cstdint>
#include <type_traits>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define MG_EMULATED 0
#else
#include "emulation.hpp"
#define MG_EMULATED 1
#endif

namespace magnet::gpu {

constexpr unsigned FULL_WARP = 0xffffffffu;
constexpr int LANES = 32;

/** The block's dynamic shared memory, at least 128-byte aligned. */
template <class T>
__device__ __forceinline__ T* dynamic_shared() {
#if MG_EMULATED
  return reinterpret_cast<T*>(::magnet::emulation::dynamic_shared());
#else
  extern __shared__ __align__(1024) unsigned char magnet_dynamic_shared[];
  return reinterpret_cast<T*>(magnet_dynamic_shared);
#endif
}

/** bfloat16: the upper half of a float32. */
struct bf16 {
  uint16_t bits;
};

__host__ __device__ __forceinline__ float to_float(bf16 x) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(static_cast<unsigned>(x.bits) << 16);
#else
  return __builtin_bit_cast(float, static_cast<uint32_t>(x.bits) << 16);
#endif
}

/** To nearest, ties to even; NaN stays NaN. */
__host__ __device__ __forceinline__ bf16 to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  return {__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const auto bits = __builtin_bit_cast(uint32_t, x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>(0x7fff)};
  return {static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16)};
#endif
}

/** Two in a register, `low` in the lower half: the order of memory. */
__host__ __device__ __forceinline__ uint32_t pack_bf16(float low, float high) {
#if defined(__CUDA_ARCH__)
  const __nv_bfloat162 two = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&two);
#else
  return to_bf16(low).bits | static_cast<uint32_t>(to_bf16(high).bits) << 16;
#endif
}
__host__ __device__ __forceinline__ float low_bf16(uint32_t two) {
  return to_float(bf16{static_cast<uint16_t>(two)});
}
__host__ __device__ __forceinline__ float high_bf16(uint32_t two) {
  return to_float(bf16{static_cast<uint16_t>(two >> 16)});
}

/** 2^x within 2 units of the last place; what is below 2^-126 becomes 0. */
__device__ __forceinline__ float exp2_approximate(float x) {
#if MG_EMULATED
  return std::exp2(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

/** IEEE half precision, as caches of keys and values keep it. */
struct fp16 {
  uint16_t bits;
};

__host__ __device__ __forceinline__ float to_float(fp16 x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = static_cast<uint32_t>(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = x.bits & 0x7fffu;
  if (magnitude >= 0x7c00u)
    return __builtin_bit_cast(float, sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
  // Exponents move by a product, which makes subnormal numbers normal.
  const float scaled = __builtin_bit_cast(float, magnitude << 13) * 0x1p112f;
  return __builtin_bit_cast(float, sign | __builtin_bit_cast(uint32_t, scaled));
#endif
}

/** To nearest, ties to even; beyond the largest: infinity. */
__host__ __device__ __forceinline__ fp16 to_fp16(float x) {
#if defined(__CUDA_ARCH__)
  return {__half_as_ushort(__float2half_rn(x))};
#else
  const auto bits = __builtin_bit_cast(uint32_t, x);
  const uint32_t sign = bits >> 16 & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  uint32_t out;
  if (magnitude > 0x7f800000u)
    out = 0x7fffu;
  else if (magnitude >= 0x477ff000u)  // rounds to 65536 or more
    out = 0x7c00u;
  else if (magnitude >= 0x38800000u)  // normal
    out = (magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u)) >> 13;
  else  // the sum rounds to whole steps of 2^-24
    out = __builtin_bit_cast(uint32_t, __builtin_bit_cast(float, magnitude) + 0.5f) - 0x3f000000u;
  return {static_cast<uint16_t>(sign | out)};
#endif
}

__host__ __device__ __forceinline__ uint32_t pack_fp16(float low, float high) {
#if defined(__CUDA_ARCH__)
  const __half2 two = __floats2half2_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&two);
#else
  return to_fp16(low).bits | static_cast<uint32_t>(to_fp16(high).bits) << 16;
#endif
}

__host__ __device__ __forceinline__ float2 unpack_fp16(uint32_t two) {
#if defined(__CUDA_ARCH__)
  return __half22float2(*reinterpret_cast<const __half2*>(&two));
#else
  return make_float2(to_float(fp16{static_cast<uint16_t>(two)}),
                     to_float(fp16{static_cast<uint16_t>(two >> 16)}));
#endif
}

/** In kernels whose launches overlap (Geometry, runtime.hpp): until the kernel before has ended and what
 * it wrote is there; and that the next one may start now, and wait in its turn. From compute capability
 * 9.0 on; nothing where kernels follow each other anyway. */
__device__ __forceinline__ void wait_for_previous() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#elif MG_EMULATED
  ::magnet::emulation::watch::previous_done();
#endif
}
__device__ __forceinline__ void let_next_start() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n");
#endif
}

/** Sum over the lanes by one fixed tree; every lane has it. */
template <class T>
__device__ __forceinline__ T warp_sum(T x) {
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) x += __shfl_xor_sync(FULL_WARP, x, step);
  return x;
}
template <class T>
__device__ __forceinline__ T warp_max(T x) {
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) {
    const T other = __shfl_xor_sync(FULL_WARP, x, step);
    x = other > x ? other : x;
  }
  return x;
}

/** As warp_sum and warp_max over a block of up to 1024 threads (whole warps); every thread has it.
 * `scratch`: LANES values of shared memory that nobody uses meanwhile. */
template <class T, class Combine>
__device__ __forceinline__ T block_combine(T x, T* scratch, T neutral, Combine combine) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  const int warps = static_cast<int>(blockDim.x) / LANES;
  x = combine(x);
  __syncthreads();  // of a use before this one
  if (lane == 0) scratch[warp] = x;
  __syncthreads();
  return combine(lane < warps ? scratch[lane] : neutral);
}
template <class T>
__device__ __forceinline__ T block_sum(T x, T* scratch) {
  return block_combine(x, scratch, T{0}, [](T y) { return warp_sum(y); });
}
/** Of values >= 0. */
template <class T>
__device__ __forceinline__ T block_max(T x, T* scratch) {
  return block_combine(x, scratch, T{0}, [](T y) { return warp_max(y); });
}

}  // namespace magnet::gpu
