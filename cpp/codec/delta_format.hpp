// The compressed pseudo-gradient's layout (magnet_codec.h), what makes one refused,
// and the conversions of single values.
#pragma once
#include "elementwise.hpp"

namespace magnet::codec {

struct DeltaHeader {
  uint32_t magic;
  uint32_t kind;
  uint64_t n;
  uint32_t block;
  uint32_t reserved;
};
static_assert(sizeof(DeltaHeader) == MG_DELTA_HEADER_BYTES);

constexpr uint32_t DELTA_MAGIC = 0x3144474Du;
constexpr uint64_t DELTA_ELEMENTS_MAX = uint64_t{1} << 40;
/** Above it 127 * scale could round to infinity. */
constexpr float INT_MAGNITUDE_MAX = 0x1p120f;
constexpr float HALF_MAGNITUDE_MAX = 65504.0f;

inline bool is_blocked(uint32_t kind) { return kind == MG_DELTA_INT8 || kind == MG_DELTA_INT4; }
inline uint64_t block_count(uint64_t n) { return (n + MG_DELTA_BLOCK - 1) / MG_DELTA_BLOCK; }

/** Bytes of n values without header and scales. */
inline uint64_t value_bytes(uint32_t kind, uint64_t n) {
  switch (kind) {
    case MG_DELTA_FP32: return n * 4;
    case MG_DELTA_FP16: return n * 2;
    case MG_DELTA_INT8: return n;
    case MG_DELTA_INT4: return (n + 1) / 2;
    default: fail(MG_E_INVALID, "pseudo-gradient: unknown kind %u", kind);
  }
}

inline uint64_t delta_bytes(uint32_t kind, uint64_t n) {
  require(n >= 1 && n <= DELTA_ELEMENTS_MAX, MG_E_INVALID,
          "pseudo-gradient: between 1 and 2^40 elements");
  const uint64_t scales = is_blocked(kind) ? block_count(n) * 4 : 0;
  return MG_DELTA_HEADER_BYTES + scales + value_bytes(kind, n);
}

template <class T>
MG_INLINE T load_as(const uint8_t* p) {
  T value;
  std::memcpy(&value, p, sizeof value);
  return value;
}
template <class T>
MG_INLINE void store_as(uint8_t* p, T value) {
  std::memcpy(p, &value, sizeof value);
}

/** A compressed pseudo-gradient whose header and length are right. */
struct DeltaPayload {
  uint32_t kind;
  uint64_t n;
  const uint8_t* scales;
  const uint8_t* values;
};

inline DeltaPayload parse_delta(const uint8_t* bytes, uint64_t length, uint64_t n) {
  require(length >= MG_DELTA_HEADER_BYTES, MG_E_FORMAT, "pseudo-gradient: shorter than its header");
  const auto header = load_as<DeltaHeader>(bytes);
  require(header.magic == DELTA_MAGIC, MG_E_FORMAT, "pseudo-gradient: wrong magic number");
  if (header.kind > MG_DELTA_INT4)
    fail(MG_E_FORMAT, "pseudo-gradient: unknown kind %u", header.kind);
  if (header.n != n)
    fail(MG_E_FORMAT, "pseudo-gradient: %llu elements, expected %llu",
         static_cast<unsigned long long>(header.n), static_cast<unsigned long long>(n));
  const uint32_t block = is_blocked(header.kind) ? MG_DELTA_BLOCK : 0;
  require(header.block == block && header.reserved == 0, MG_E_FORMAT,
          "pseudo-gradient: wrong block size or reserved field");
  const uint64_t expected = delta_bytes(header.kind, n);
  if (length != expected)
    fail(MG_E_FORMAT, "pseudo-gradient: %llu bytes, expected %llu",
         static_cast<unsigned long long>(length), static_cast<unsigned long long>(expected));
  const uint8_t* values = bytes + length - value_bytes(header.kind, n);
  return {header.kind, n, bytes + MG_DELTA_HEADER_BYTES, values};
}
constexpr const char* BAD_DELTA =
    "pseudo-gradient: a scale or value is NaN, infinite or out of range";

/** Refuses what a kind cannot hold; `worst`: magnitude_bits of the largest value. */
inline void check_magnitude(uint32_t kind, uint32_t worst) {
  if (worst >= INFINITY_BITS) fail(MG_E_NUMERIC, "pseudo-gradient: a value is NaN or infinite");
  const float limit = kind == MG_DELTA_FP16 ? HALF_MAGNITUDE_MAX : INT_MAGNITUDE_MAX;
  if (kind != MG_DELTA_FP32 && worst > magnitude_bits(limit))
    fail(MG_E_NUMERIC, "pseudo-gradient: a magnitude is above %g", static_cast<double>(limit));
}

/** float32 -> binary16, half to even; |x| <= 65504. */
MG_INLINE uint16_t to_half(float x) {
  const auto bits = load_as<uint32_t>(reinterpret_cast<const uint8_t*>(&x));
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7FFF'FFFFu;
  if (magnitude < 0x3880'0000u) {  // below 2^-14: adding 0.5 leaves the multiple of 2^-24
    float shifted;
    std::memcpy(&shifted, &magnitude, sizeof shifted);
    shifted += 0.5f;
    uint32_t out;
    std::memcpy(&out, &shifted, sizeof out);
    return static_cast<uint16_t>(sign | (out - 0x3F00'0000u));
  }
  const uint32_t rounded = magnitude + 0x0FFFu + ((magnitude >> 13) & 1u);
  return static_cast<uint16_t>(sign | ((rounded - 0x3800'0000u) >> 13));
}

/** binary16 -> float32, exactly; the argument is finite. */
MG_INLINE float from_half(uint16_t half) {
  const uint32_t sign = (static_cast<uint32_t>(half) & 0x8000u) << 16;
  const uint32_t magnitude = half & 0x7FFFu;
  // A multiple of 2^-24 below 2^-14, or the exponent moved by 127 - 15.
  const float tiny = static_cast<float>(static_cast<int32_t>(magnitude)) * 0x1p-24f;
  uint32_t tiny_bits;
  std::memcpy(&tiny_bits, &tiny, sizeof tiny_bits);
  const uint32_t bits = magnitude < 0x0400u ? tiny_bits : (magnitude << 13) + 0x3800'0000u;
  const uint32_t out = bits | sign;
  float value;
  std::memcpy(&value, &out, sizeof value);
  return value;
}

/** Rounds half to even for |x| < 2^22, in a form that vectorises everywhere. */
MG_INLINE float round_even(float x) {
  constexpr float MAGIC = 12582912.0f;  // 1.5 * 2^23
  return (x + MAGIC) - MAGIC;
}

/** q = x / scale, rounded and clamped to +-limit; 0 for scale 0. */
MG_INLINE int32_t quantise(float x, float scale, float limit) {
  const float ratio = scale > 0.0f ? x / scale : 0.0f;
  const float clamped = ratio > limit ? limit : (ratio < -limit ? -limit : ratio);
  return static_cast<int32_t>(round_even(clamped));
}

}  // namespace magnet::codec
