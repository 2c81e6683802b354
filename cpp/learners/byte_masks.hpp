// Bit i of the answer is p[i] <= limit, for 64 bytes at once: which rows of a node go left. Once
// per CPU path, as simd.hpp.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include "../cpu/x86_intrinsics.hpp"
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace magnet::scalar {
inline uint64_t at_most_mask(const uint8_t* p, uint8_t limit) {
  uint64_t mask = 0;
  for (int i = 0; i < 64; i++) mask |= static_cast<uint64_t>(p[i] <= limit) << i;
  return mask;
}
}  // namespace magnet::scalar

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
inline uint64_t at_most_mask(const uint8_t* p, uint8_t limit) {
  const __m256i most = _mm256_set1_epi8(static_cast<char>(limit));
  const auto half = [&](const uint8_t* q) {
    const __m256i x = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
    const __m256i below = _mm256_cmpeq_epi8(_mm256_min_epu8(x, most), x);
    return static_cast<uint64_t>(static_cast<uint32_t>(_mm256_movemask_epi8(below)));
  };
  return half(p) | half(p + 32) << 32;
}
}  // namespace magnet::avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
inline uint64_t at_most_mask(const uint8_t* p, uint8_t limit) {
  const __m512i x = _mm512_loadu_si512(p);
  return _mm512_cmple_epu8_mask(x, _mm512_set1_epi8(static_cast<char>(limit)));
}
}  // namespace magnet::avx512
#pragma GCC pop_options
#elif defined(__aarch64__)
namespace magnet::neon {
inline uint64_t at_most_mask(const uint8_t* p, uint8_t limit) {
  const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
  const uint8x16_t most = vdupq_n_u8(limit);
  const auto part = [&](int i) { return vandq_u8(vcleq_u8(vld1q_u8(p + 16 * i), most), bit); };
  const uint8x16_t low = vpaddq_u8(part(0), part(1));
  const uint8x16_t high = vpaddq_u8(part(2), part(3));
  const uint8x16_t folded = vpaddq_u8(low, high);
  return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(folded, folded)), 0);
}
}  // namespace magnet::neon
#endif
