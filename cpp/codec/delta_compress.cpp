// Compression of pseudo-gradients with error feedback (paper 10; Seide et al. 2014): what a value
// loses stays in the caller's residual and is added the next time. A first pass only checks
// magnitudes, so a refused delta leaves residual and output alone.
#include <cmath>

#include "delta_format.hpp"

namespace magnet::codec {
namespace {

struct Source {
  const float* delta;
  float* residual;  // may be null
  uint64_t n;
  uint8_t* scales;  // int8, int4
  uint8_t* values;
};

MG_INLINE float value_at(const Source& s, uint64_t i) {
  return s.residual == nullptr ? s.delta[i] : s.delta[i] + s.residual[i];
}

MG_INLINE uint32_t worst_magnitude(const Source& s, uint64_t begin, uint64_t end) {
  uint32_t worst = 0;
  if (s.residual == nullptr) {
    for (uint64_t i = begin; i < end; i++) worst = std::max(worst, magnitude_bits(s.delta[i]));
  } else {
    for (uint64_t i = begin; i < end; i++)
      worst = std::max(worst, magnitude_bits(s.delta[i] + s.residual[i]));
  }
  return worst;
}

MG_INLINE void write_float(const Source& s, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin; i < end; i++) {
    store_as<float>(s.values + i * 4, value_at(s, i));
    if (s.residual != nullptr) s.residual[i] = 0.0f;
  }
}

MG_INLINE void write_half(const Source& s, uint64_t begin, uint64_t end) {
  for (uint64_t i = begin; i < end; i++) {
    const float x = value_at(s, i);
    const uint16_t half = to_half(x);
    store_as<uint16_t>(s.values + i * 2, half);
    if (s.residual != nullptr) s.residual[i] = x - from_half(half);
  }
}

/** One quantisation block of at most MG_DELTA_BLOCK elements; q receives the integers. */
MG_INLINE void quantise_block(const Source& s, uint64_t begin, uint64_t end, float limit,
                              int32_t* q) {
  const uint32_t worst = worst_magnitude(s, begin, end);
  float absmax;
  std::memcpy(&absmax, &worst, sizeof absmax);
  const float scale = absmax / limit;
  store_as<float>(s.scales + begin / MG_DELTA_BLOCK * 4, scale);
  for (uint64_t i = begin; i < end; i++) {
    const float x = value_at(s, i);
    const int32_t integer = quantise(x, scale, limit);
    q[i - begin] = integer;
    if (s.residual != nullptr) s.residual[i] = x - static_cast<float>(integer) * scale;
  }
}

MG_INLINE void write_int8(const Source& s, uint64_t begin, uint64_t end) {
  for (uint64_t b = begin; b < end; b += MG_DELTA_BLOCK) {
    const uint64_t last = std::min<uint64_t>(b + MG_DELTA_BLOCK, end);
    int32_t q[MG_DELTA_BLOCK];
    quantise_block(s, b, last, 127.0f, q);
    for (uint64_t i = b; i < last; i++) s.values[i] = static_cast<uint8_t>(q[i - b] & 0xFF);
  }
}

MG_INLINE void write_int4(const Source& s, uint64_t begin, uint64_t end) {
  for (uint64_t b = begin; b < end; b += MG_DELTA_BLOCK) {
    const uint64_t last = std::min<uint64_t>(b + MG_DELTA_BLOCK, end);
    int32_t q[MG_DELTA_BLOCK] = {};
    quantise_block(s, b, last, 7.0f, q);
    const uint64_t bytes = (last - b + 1) / 2;
    for (uint64_t i = 0; i < bytes; i++)
      s.values[b / 2 + i] = static_cast<uint8_t>((q[2 * i] & 0xF) | (q[2 * i + 1] & 0xF) << 4);
  }
}

MG_INLINE void write(uint32_t kind, const Source& s, uint64_t begin, uint64_t end) {
  switch (kind) {
    case MG_DELTA_FP32: write_float(s, begin, end); break;
    case MG_DELTA_FP16: write_half(s, begin, end); break;
    case MG_DELTA_INT8: write_int8(s, begin, end); break;
    default: write_int4(s, begin, end); break;
  }
}

uint32_t worst_scalar(const Source& s, uint64_t begin, uint64_t end) {
  return worst_magnitude(s, begin, end);
}
MG_TARGET_AVX2 uint32_t worst_avx2(const Source& s, uint64_t begin, uint64_t end) {
  return worst_magnitude(s, begin, end);
}
void write_scalar(uint32_t kind, const Source& s, uint64_t begin, uint64_t end) {
  write(kind, s, begin, end);
}
MG_TARGET_AVX2 void write_avx2(uint32_t kind, const Source& s, uint64_t begin, uint64_t end) {
  write(kind, s, begin, end);
}

}  // namespace
}  // namespace magnet::codec

using namespace magnet;
using namespace magnet::codec;

extern "C" {

int32_t mg_delta_bytes(uint32_t kind, uint64_t n, uint64_t* out_bytes) {
  return guard([&] {
    require(out_bytes != nullptr, MG_E_INVALID, "mg_delta_bytes: out is null");
    *out_bytes = delta_bytes(kind, n);
    return int32_t{MG_OK};
  });
}

int32_t mg_delta_compress(uint32_t kind, const float* delta, float* residual, uint64_t n,
                          uint8_t* out, uint64_t out_bytes, uint32_t threads,
                          const int32_t* cancel) {
  return guard([&] {
    require(delta != nullptr && out != nullptr && delta != residual, MG_E_INVALID,
            "mg_delta_compress: an array is null, or delta and residual are the same");
    require(out_bytes == delta_bytes(kind, n), MG_E_SHAPE,
            "mg_delta_compress: out_bytes is not what mg_delta_bytes says");
    uint8_t* const scales = out + MG_DELTA_HEADER_BYTES;
    uint8_t* const values = out + out_bytes - value_bytes(kind, n);
    const Source source{delta, residual, n, scales, values};
    const bool wide = runs_avx2();
    const uint32_t worst = max_over_chunks(n, threads, cancel, [&](uint64_t b, uint64_t e) {
      return wide ? worst_avx2(source, b, e) : worst_scalar(source, b, e);
    });
    check_magnitude(kind, worst);
    const uint32_t block = is_blocked(kind) ? MG_DELTA_BLOCK : 0;
    store_as(out, DeltaHeader{DELTA_MAGIC, kind, n, block, 0});
    for_chunks(n, threads, nullptr, [&](uint64_t b, uint64_t e) {
      wide ? write_avx2(kind, source, b, e) : write_scalar(kind, source, b, e);
    });
    return int32_t{MG_OK};
  });
}
}
