// Four elements at a time, as float: rows of a Matrix are padded with zeros to a multiple of 16.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

__device__ __forceinline__ float4 load4(const float* p) {
  return *reinterpret_cast<const float4*>(p);
}
__device__ __forceinline__ float4 load4(const bf16* p) {
  const uint2 two = *reinterpret_cast<const uint2*>(p);
  return make_float4(low_bf16(two.x), high_bf16(two.x), low_bf16(two.y), high_bf16(two.y));
}
__device__ __forceinline__ float4 load4(const fp16* p) {
  const uint2 two = *reinterpret_cast<const uint2*>(p);
  const float2 low = unpack_fp16(two.x);
  const float2 high = unpack_fp16(two.y);
  return make_float4(low.x, low.y, high.x, high.y);
}
__device__ __forceinline__ void store4(float* p, float4 v) { *reinterpret_cast<float4*>(p) = v; }
__device__ __forceinline__ void store4(bf16* p, float4 v) {
  *reinterpret_cast<uint2*>(p) = make_uint2(pack_bf16(v.x, v.y), pack_bf16(v.z, v.w));
}
/** From a vector whose length and alignment are free; zeros behind its end. */
__device__ __forceinline__ float4 load4_within(const float* p, int64_t at, int64_t length) {
  return make_float4(at < length ? p[at] : 0.0f, at + 1 < length ? p[at + 1] : 0.0f,
                     at + 2 < length ? p[at + 2] : 0.0f, at + 3 < length ? p[at + 3] : 0.0f);
}

/** What fp16 holds; NaN stays NaN. */
__device__ __forceinline__ float saturated(float x) {
  constexpr float MOST = 65504.0f;
  return fabsf(x) > MOST ? copysignf(MOST, x) : x;
}

template <class F>
__device__ __forceinline__ float4 map4(float4 a, F f) {
  return make_float4(f(a.x), f(a.y), f(a.z), f(a.w));
}
template <class F>
__device__ __forceinline__ float4 map4(float4 a, float4 b, F f) {
  return make_float4(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w));
}
template <class F>
__device__ __forceinline__ float4 map4(float4 a, float4 b, float4 c, F f) {
  return make_float4(f(a.x, b.x, c.x), f(a.y, b.y, c.y), f(a.z, b.z, c.z), f(a.w, b.w, c.w));
}
__device__ __forceinline__ float sum4(float4 a) { return (a.x + a.y) + (a.z + a.w); }

}  // namespace magnet::gpu
