// Float exponential of the inference path: an own polynomial in fused arithmetic, so that every
// host gets the same bits; written without branches, so that loops over it vectorise.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>

namespace magnet {

#define MG_INLINE inline __attribute__((always_inline))

/** e^x within 1 ulp for x <= 88; 0 below -87.3 (where float32 turns subnormal). */
MG_INLINE float exp_f32(float x) {
  float t = x < 88.0f ? x : 88.0f;
  t = t > -87.3f ? t : -87.3f;  // also NaN: its result is replaced below
  const float n = std::rint(t * 0x1.715476p+0f);
  float r = std::fma(-n, 0x1.62e4p-1f, t);  // ln 2, upper 15 bits: the product is exact
  r = std::fma(-n, 0x1.7f7d1cp-20f, r);     // and the rest
  float p = 1.0f / 5040.0f;                 // Taylor: |r| <= 0.347, remainder below 6e-9
  p = std::fma(p, r, 1.0f / 720.0f);
  p = std::fma(p, r, 1.0f / 120.0f);
  p = std::fma(p, r, 1.0f / 24.0f);
  p = std::fma(p, r, 1.0f / 6.0f);
  p = std::fma(p, r, 0.5f);
  p = std::fma(p * r, r, r);
  const float scale = std::bit_cast<float>((static_cast<int32_t>(n) + 127) << 23);
  const float y = std::fma(p, scale, scale);
  return x > -87.3f ? y : (x <= -87.3f ? 0.0f : x);
}

}  // namespace magnet
