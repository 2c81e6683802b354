// Ternary formats and half floats, scalar and exact. Layouts are those of llama.cpp (TQ1_0, TQ2_0,
// Q6_K) and bitnet.cpp (I2_S, x86). A trit is -1, 0 or 1 in an int8.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

#include "common.hpp"

namespace magnet {

/** Nearest-even float32 to binary16; overflow gives infinity, NaN stays NaN. */
inline uint16_t to_half(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude >= 0x7f800000u)  // infinity or NaN (made quiet, top bits of the payload kept)
    return static_cast<uint16_t>(
        sign | 0x7c00u | (magnitude > 0x7f800000u ? 0x200u | ((magnitude >> 13) & 0x3ffu) : 0u));
  if (magnitude >= 0x477ff000u) return static_cast<uint16_t>(sign | 0x7c00u);
  if (magnitude < 0x38800000u) {  // subnormal half: adding 0.5 aligns the mantissa and rounds
    const float shifted = std::bit_cast<float>(magnitude) + 0.5f;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000u));
  }
  const uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000u) >> 13));
}

/** Binary16 to float32, exact. */
inline float from_half(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fu;
  const uint32_t mantissa = half & 0x3ffu;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent == 0) {
    const float value = static_cast<float>(mantissa) * 0x1p-24f;
    return std::bit_cast<float>(std::bit_cast<uint32_t>(value) | sign);
  }
  return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
}

/** Elements in a block of a type, and bytes of a block; I2_S has 32 more bytes per tensor. */
struct BlockLayout {
  uint32_t elements;
  uint32_t bytes;
};
/** Throws MG_E_UNSUPPORTED with the type's number (and name, where it has one). */
BlockLayout block_layout(uint32_t type);
const char* type_name(uint32_t type);
/** Bytes of a (rows, cols) tensor; throws MG_E_SHAPE where a row is no whole number of blocks. */
uint64_t packed_bytes(uint32_t type, uint64_t rows, uint64_t cols);

/** max(mean|w|, 1e-5) of a tensor: what a trit is worth. The sum runs in 8 double lanes, k % 8. */
float ternary_scale(const float* w, uint64_t n);
/** clamp(rint(w * (1 / scale)), -1, 1). */
void ternarize(const float* w, uint64_t n, float scale, int8_t* trits);

/** One block of 256 trits to 66 or 54 bytes; scale bits are 0 where every trit is 0. */
void pack_tq2_block(const int8_t* trits, uint16_t scale, uint8_t* out);
void pack_tq1_block(const int8_t* trits, uint16_t scale, uint8_t* out);
/** 128 trits to 32 bytes. */
void pack_i2s_block(const int8_t* trits, uint8_t* out);
/** 256 finite weights to 210 bytes of Q6_K, with the least squared error that a search finds. Their
 * magnitude is below 10^8 (a scale is an f16). */
void pack_q6k_block(const float* x, uint8_t* out);
/** The inverses. A two-bit code of 3 (never written) reads as +2 - 1 = 2: refused by returning
 * false. */
bool unpack_tq2_block(const uint8_t* in, int8_t* trits, uint16_t* scale);
bool unpack_tq1_block(const uint8_t* in, int8_t* trits, uint16_t* scale);
bool unpack_i2s_block(const uint8_t* in, int8_t* trits);

}  // namespace magnet
