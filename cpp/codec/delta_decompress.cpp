// Decompression of pseudo-gradients that came from a peer. Everything is checked before the first
// element is written: header, exact length, every scale and every value.
#include "delta_format.hpp"

namespace magnet::codec {
namespace {

/** Whether a nibble holds -8, in each of the two: the only pattern that no compressor writes. */
MG_INLINE uint32_t has_minus_eight(uint32_t byte) {
  return static_cast<uint32_t>((byte & 0x0Fu) == 0x08u) |
         static_cast<uint32_t>((byte & 0xF0u) == 0x80u);
}

/** 1 if anything in the chunk is not what a compressor writes. */
MG_INLINE uint32_t is_bad(const DeltaPayload& p, uint64_t begin, uint64_t end) {
  uint32_t bad = 0;
  if (p.kind == MG_DELTA_FP32) {
    for (uint64_t i = begin; i < end; i++)
      bad |= magnitude_bits(load_as<float>(p.values + i * 4)) >= INFINITY_BITS ? 1u : 0u;
    return bad;
  }
  if (p.kind == MG_DELTA_FP16) {
    for (uint64_t i = begin; i < end; i++)
      bad |= (load_as<uint16_t>(p.values + i * 2) & 0x7C00u) == 0x7C00u ? 1u : 0u;
    return bad;
  }
  const uint32_t scale_bits_max = magnitude_bits(INT_MAGNITUDE_MAX);
  for (uint64_t b = begin / MG_DELTA_BLOCK; b < block_count(end); b++)
    bad |= load_as<uint32_t>(p.scales + b * 4) > scale_bits_max ? 1u : 0u;  // negative ones too
  if (p.kind == MG_DELTA_INT8) {
    for (uint64_t i = begin; i < end; i++) bad |= p.values[i] == 0x80 ? 1u : 0u;
    return bad;
  }
  for (uint64_t i = begin / 2; i < (end + 1) / 2; i++) bad |= has_minus_eight(p.values[i]);
  if (end == p.n && p.n % 2 == 1) bad |= p.values[p.n / 2] > 0x0F ? 1u : 0u;
  return bad;
}

MG_INLINE int32_t signed_nibble(uint32_t nibble) {
  return static_cast<int32_t>(nibble ^ 8u) - 8;
}

MG_INLINE void read_int4(const DeltaPayload& p, float* out, uint64_t begin, uint64_t end, float scale) {
  const uint64_t pairs = (end - begin) / 2;
  for (uint64_t i = 0; i < pairs; i++) {
    const uint32_t byte = p.values[begin / 2 + i];
    out[begin + 2 * i] = static_cast<float>(signed_nibble(byte & 0xFu)) * scale;
    out[begin + 2 * i + 1] = static_cast<float>(signed_nibble(byte >> 4)) * scale;
  }
  if ((end - begin) % 2 == 1) {
    const uint32_t byte = p.values[(end - 1) / 2];
    out[end - 1] = static_cast<float>(signed_nibble(byte & 0xFu)) * scale;
  }
}

MG_INLINE void read(const DeltaPayload& p, float* out, uint64_t begin, uint64_t end) {
  if (p.kind == MG_DELTA_FP32) {
    std::memcpy(out + begin, p.values + begin * 4, (end - begin) * 4);
    return;
  }
  if (p.kind == MG_DELTA_FP16) {
    for (uint64_t i = begin; i < end; i++) out[i] = from_half(load_as<uint16_t>(p.values + i * 2));
    return;
  }
  for (uint64_t b = begin; b < end; b += MG_DELTA_BLOCK) {
    const uint64_t last = std::min<uint64_t>(b + MG_DELTA_BLOCK, end);
    const auto scale = load_as<float>(p.scales + b / MG_DELTA_BLOCK * 4);
    if (p.kind == MG_DELTA_INT4) {
      read_int4(p, out, b, last, scale);
    } else {
      for (uint64_t i = b; i < last; i++)
        out[i] = static_cast<float>(static_cast<int8_t>(p.values[i])) * scale;
    }
  }
}

uint32_t is_bad_scalar(const DeltaPayload& p, uint64_t begin, uint64_t end) {
  return is_bad(p, begin, end);
}
MG_TARGET_AVX2 uint32_t is_bad_avx2(const DeltaPayload& p, uint64_t begin, uint64_t end) {
  return is_bad(p, begin, end);
}
void read_scalar(const DeltaPayload& p, float* out, uint64_t begin, uint64_t end) {
  read(p, out, begin, end);
}
MG_TARGET_AVX2 void read_avx2(const DeltaPayload& p, float* out, uint64_t begin, uint64_t end) {
  read(p, out, begin, end);
}

}  // namespace
}  // namespace magnet::codec

using namespace magnet;
using namespace magnet::codec;

extern "C" int32_t mg_delta_decompress(const uint8_t* bytes, uint64_t length, float* out,
                                       uint64_t n, uint32_t* out_kind, uint32_t threads,
                                       const int32_t* cancel) {
  return guard([&] {
    require((bytes != nullptr || length == 0) && out != nullptr && n > 0, MG_E_INVALID,
            "mg_delta_decompress: an array is null or empty");
    const DeltaPayload payload = parse_delta(bytes, length, n);
    const bool wide = runs_avx2();
    const uint32_t bad = max_over_chunks(n, threads, cancel, [&](uint64_t b, uint64_t e) {
      return wide ? is_bad_avx2(payload, b, e) : is_bad_scalar(payload, b, e);
    });
    require(bad == 0, MG_E_FORMAT, BAD_DELTA);
    for_chunks(n, threads, nullptr, [&](uint64_t b, uint64_t e) {
      wide ? read_avx2(payload, out, b, e) : read_scalar(payload, out, b, e);
    });
    if (out_kind != nullptr) *out_kind = payload.kind;
    return int32_t{MG_OK};
  });
}
