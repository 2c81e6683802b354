// Elementary functions of the inference path: own polynomials in fused arithmetic, so that every host gets
// the same bits. The float exp is written without branches, so that loops over it vectorise.
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
  float r = std::fma(-n, 0x1.62e4p-1f, t);         // ln 2, upper 15 bits: the product is exact
  r = std::fma(-n, 0x1.7f7d1cp-20f, r);            // and the rest
  float p = 1.0f / 5040.0f;                        // Taylor: |r| <= 0.347, remainder below 6e-9
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

/** e^x in double for |x| < 700. */
inline double exp_f64(double x) {
  const double n = std::rint(x * 1.4426950408889634074);
  double r = std::fma(-n, 6.93147180369123816490e-01, x);
  r = std::fma(-n, 1.90821492927058770002e-10, r);
  double p = 1.0;
  for (int k = 16; k >= 1; k--) p = std::fma(p, r / k, 1.0);
  return std::ldexp(p, static_cast<int>(n));
}

/** ln x in double for normal x > 0: ln x = e ln 2 + 2 atanh((m - 1) / (m + 1)). */
inline double log_f64(double x) {
  int e = 0;
  double m = std::frexp(x, &e);
  if (m < 0.70710678118654752) {
    m *= 2;
    e--;
  }
  const double s = (m - 1) / (m + 1);
  const double z = s * s;
  double p = 0;
  for (int k = 23; k >= 1; k -= 2) p = std::fma(p, z, 1.0 / k);
  return std::fma(static_cast<double>(e), 6.93147180559945309417e-01, 2 * s * p);
}

/** Sine and cosine in double for |x| < 2^30. */
inline void sincos_f64(double x, double* sine, double* cosine) {
  const double n = std::rint(x * 6.36619772367581343e-01);
  double r = std::fma(-n, 1.57079632679489655800e+00, x);
  r = std::fma(-n, 6.12323399573676603587e-17, r);
  const double z = r * r;
  double s = 1.0;
  double c = 1.0;
  for (int k = 9; k >= 1; k--) {
    s = std::fma(s, -z / ((2 * k) * (2 * k + 1)), 1.0);
    c = std::fma(c, -z / ((2 * k - 1) * (2 * k)), 1.0);
  }
  s *= r;
  switch (static_cast<int64_t>(n) & 3) {
    case 0: *sine = s; *cosine = c; break;
    case 1: *sine = c; *cosine = -s; break;
    case 2: *sine = -s; *cosine = -c; break;
    default: *sine = -c; *cosine = s; break;
  }
}

}  // namespace magnet
