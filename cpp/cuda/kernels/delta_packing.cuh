// How four elements of a compressed pseudo-gradient lie in memory: one word of a type of its own for
// each kind, so that the lanes of a warp read and write one block of quantisation side by side.
#pragma once
#include "vectors.cuh"

namespace magnet::gpu {

__device__ __forceinline__ uint32_t magnitude_of(float x) {
  return __float_as_uint(x) & 0x7fffffffu;
}
/** Bits of infinity, and of 2^120, above which 127 * scale could round to it. */
constexpr uint32_t INFINITE = 0x7f800000u;
constexpr uint32_t SCALE_MAX = 0x7b800000u;

/** An element as a kind stores it: `raw` holds its bits, and `lost` is what storing it loses. */
struct Stored {
  uint32_t raw;
  float lost;
};

/** q = x / scale, rounded half to even and clamped; 0 for scale 0. As cpp/codec/delta_format.hpp. */
__device__ __forceinline__ int quantise(float x, float scale, float limit) {
  const float ratio = scale > 0.0f ? __fdiv_rn(x, scale) : 0.0f;
  const float clamped = ratio > limit ? limit : (ratio < -limit ? -limit : ratio);
  return __float2int_rn(clamped);
}

template <uint32_t KIND>
struct Packing;

template <>
struct Packing<MG_DELTA_FP32> {
  using Word = uint4;
  static constexpr float LIMIT = 0.0f;  // of the integers; 0: there are none and no scales
  static __device__ __forceinline__ Word join(const uint32_t (&raw)[4]) {
    return make_uint4(raw[0], raw[1], raw[2], raw[3]);
  }
  static __device__ __forceinline__ void split(Word w, uint32_t (&raw)[4]) {
    raw[0] = w.x, raw[1] = w.y, raw[2] = w.z, raw[3] = w.w;
  }
  static __device__ __forceinline__ bool is_bad(uint32_t raw) {
    return (raw & 0x7fffffffu) >= INFINITE;
  }
  static __device__ __forceinline__ float decode(uint32_t raw, float) {
    return __uint_as_float(raw);
  }
  static __device__ __forceinline__ Stored encode(float x, float) {
    return {__float_as_uint(x), 0.0f};
  }
};

template <>
struct Packing<MG_DELTA_FP16> {
  using Word = uint2;
  static constexpr float LIMIT = 0.0f;
  static __device__ __forceinline__ Word join(const uint32_t (&raw)[4]) {
    return make_uint2(raw[0] | raw[1] << 16, raw[2] | raw[3] << 16);
  }
  static __device__ __forceinline__ void split(Word w, uint32_t (&raw)[4]) {
    raw[0] = w.x & 0xffffu, raw[1] = w.x >> 16, raw[2] = w.y & 0xffffu, raw[3] = w.y >> 16;
  }
  static __device__ __forceinline__ bool is_bad(uint32_t raw) {
    return (raw & 0x7c00u) == 0x7c00u;
  }
  static __device__ __forceinline__ float decode(uint32_t raw, float) {
    return to_float(fp16{static_cast<uint16_t>(raw)});
  }
  static __device__ __forceinline__ Stored encode(float x, float) {
    const fp16 half = to_fp16(x);
    return {half.bits, x - to_float(half)};
  }
};

/** int8 and int4, as two's complement without the least number. */
template <int BITS, class W>
struct IntegerPacking {
  using Word = W;
  static constexpr uint32_t MASK = (1u << BITS) - 1;
  static constexpr uint32_t SIGN = 1u << (BITS - 1);
  static constexpr float LIMIT = static_cast<float>(SIGN - 1);
  static __device__ __forceinline__ Word join(const uint32_t (&raw)[4]) {
    return static_cast<Word>(raw[0] | raw[1] << BITS | raw[2] << 2 * BITS | raw[3] << 3 * BITS);
  }
  static __device__ __forceinline__ void split(Word w, uint32_t (&raw)[4]) {
#pragma unroll
    for (int i = 0; i < 4; i++) raw[i] = static_cast<uint32_t>(w) >> i * BITS & MASK;
  }
  static __device__ __forceinline__ bool is_bad(uint32_t raw) { return raw == SIGN; }
  static __device__ __forceinline__ float decode(uint32_t raw, float scale) {
    return static_cast<float>(static_cast<int>(raw ^ SIGN) - static_cast<int>(SIGN)) * scale;
  }
  static __device__ __forceinline__ Stored encode(float x, float scale) {
    const int q = quantise(x, scale, LIMIT);
    return {static_cast<uint32_t>(q) & MASK, x - static_cast<float>(q) * scale};
  }
};
template <>
struct Packing<MG_DELTA_INT8> : IntegerPacking<8, uint32_t> {};
template <>
struct Packing<MG_DELTA_INT4> : IntegerPacking<4, uint16_t> {};

}  // namespace magnet::gpu
