// What attention over cached keys and values adds to the sixteen lanes of simd.hpp, once per CPU
// path: loads (from float32 plain, from binary16 exact), and the register tile of its products
// (CHAIN_ROWS x CHAIN_BLOCKS chains of fused multiply-adds at once).
#pragma once
#include "quants.hpp"
#include "simd.hpp"

namespace magnet::scalar {
inline constexpr int CHAIN_ROWS = 4;
inline constexpr int CHAIN_BLOCKS = 1;
inline F16 load_lanes(const float* p) { return load(p); }
inline F16 load_lanes(const uint16_t* p) {
  return map16([&](int i) { return from_half(p[i]); });
}
}  // namespace magnet::scalar

#if defined(__x86_64__)
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
inline constexpr int CHAIN_ROWS = 4;
inline constexpr int CHAIN_BLOCKS = 1;
inline F16 load_lanes(const float* p) { return load(p); }
inline F16 load_lanes(const uint16_t* p) {
  const auto* eight = reinterpret_cast<const __m128i*>(p);
  return {_mm256_cvtph_ps(_mm_loadu_si128(eight)), _mm256_cvtph_ps(_mm_loadu_si128(eight + 1))};
}
}  // namespace magnet::avx2
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
inline constexpr int CHAIN_ROWS = 8;
inline constexpr int CHAIN_BLOCKS = 2;
inline F16 load_lanes(const float* p) { return load(p); }
inline F16 load_lanes(const uint16_t* p) {
  return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
}  // namespace magnet::avx512
#pragma GCC pop_options
#elif defined(__aarch64__)
namespace magnet::neon {
inline constexpr int CHAIN_ROWS = 4;
inline constexpr int CHAIN_BLOCKS = 1;
inline F16 load_lanes(const float* p) { return load(p); }
inline F16 load_lanes(const uint16_t* p) {
  return parts([&](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
}  // namespace magnet::neon
#endif
