// Own double-precision exp, log, sin, cos: the same bits on every machine and C library. Plain
// polynomials in fused arithmetic, relative error below 4e-16 for |x| <= 1e6. For tables,
// schedules, initialisation and the loss; the vector exponential of the kernels is in
// simd_math.inc. A GPU's code computes the first four too.
#pragma once
#include <cmath>
#include <cstdint>

#if defined(__CUDACC__)
#define MG_ALSO_ON_GPU __host__ __device__
#else
#define MG_ALSO_ON_GPU
#endif

namespace magnet {

/** e^x; 0 below -708, infinity above 709. */
MG_ALSO_ON_GPU inline double exp_fixed(double x) {
  if (std::isnan(x)) return x;
  if (x < -708.0) return 0.0;
  if (x > 709.0) return HUGE_VAL;
  constexpr double LOG2_E = 1.4426950408889634;
  constexpr double LN2_HIGH = 0x1.62e42fefa39efp-1;
  constexpr double LN2_LOW = 0x1.abc9e3b39803fp-56;
  const double k = std::nearbyint(x * LOG2_E);
  double r = std::fma(-k, LN2_HIGH, x);
  r = std::fma(-k, LN2_LOW, r);
  double sum = 1.0 / 87178291200.0;  // 1/14!
  constexpr double INVERSE_FACTORIALS[] = {1.0 / 6227020800.0,
                                           1.0 / 479001600.0,
                                           1.0 / 39916800.0,
                                           1.0 / 3628800.0,
                                           1.0 / 362880.0,
                                           1.0 / 40320.0,
                                           1.0 / 5040.0,
                                           1.0 / 720.0,
                                           1.0 / 120.0,
                                           1.0 / 24.0,
                                           1.0 / 6.0,
                                           0.5,
                                           1.0,
                                           1.0};
  for (const double c : INVERSE_FACTORIALS) sum = std::fma(sum, r, c);
  const auto exponent = static_cast<uint64_t>(static_cast<int64_t>(k) + 1023) << 52;
  return k > 1023.0 ? HUGE_VAL : sum * __builtin_bit_cast(double, exponent);
}

/** Natural logarithm of a positive normal number; -infinity of 0, NaN below. */
MG_ALSO_ON_GPU inline double log_fixed(double x) {
  if (!(x > 0.0)) return x == 0.0 ? -HUGE_VAL : __builtin_nan("");
  if (std::isinf(x)) return x;
  const auto bits = __builtin_bit_cast(uint64_t, x);
  auto exponent = static_cast<int64_t>(bits >> 52) - 1023;
  const uint64_t mantissa = bits & 0x000F'FFFF'FFFF'FFFFull;
  double m = __builtin_bit_cast(double, mantissa | 0x3FF0'0000'0000'0000ull);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    exponent++;
  }
  // log m = 2 artanh(s), s = (m - 1) / (m + 1), |s| < 0.172
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double sum = 1.0 / 25.0;
  for (int k = 23; k >= 3; k -= 2) sum = std::fma(sum, z, 1.0 / k);
  const double tail = 2.0 * s * z * sum;
  constexpr double LN2_HIGH = 0x1.62e42fefa3800p-1;
  constexpr double LN2_LOW = 0x1.ef35793c76730p-45;
  const auto e = static_cast<double>(exponent);
  return std::fma(e, LN2_HIGH, 2.0 * s + std::fma(e, LN2_LOW, tail));
}

/** e^x - 1, exact to the last bits also where e^x is close to 1. */
MG_ALSO_ON_GPU inline double expm1_fixed(double x) {
  if (!(std::fabs(x) < 0.7)) return exp_fixed(x) - 1.0;
  double sum = 1.0;  // x (1 + x/2 (1 + x/3 (...)))
  for (int k = 20; k >= 2; k--) sum = std::fma(sum, x / k, 1.0);
  return x * sum;
}

/** log(1 + x) for x in [-0.5, 1], exact to the last bits also where x is close to 0. */
MG_ALSO_ON_GPU inline double log1p_fixed(double x) {
  const double u = 1.0 + x;
  // What rounding 1 + x has lost is put back at first order.
  return log_fixed(u) + (x - (u - 1.0)) / u;
}

struct SinCos {
  double sin;
  double cos;
};

/** Sine and cosine of an angle in radians, |x| <= 1e6. */
inline SinCos sincos_fixed(double x) {
  constexpr double TWO_OVER_PI = 0.63661977236758138;
  constexpr double HALF_PI_HIGH = 0x1.921fb54442d18p+0;
  constexpr double HALF_PI_LOW = 0x1.1a62633145c07p-54;
  const double n = std::nearbyint(x * TWO_OVER_PI);
  double r = std::fma(-n, HALF_PI_HIGH, x);
  r = std::fma(-n, HALF_PI_LOW, r);
  const double z = r * r;
  double s = 0.0;
  double c = 0.0;
  constexpr double SIN[] = {
      -1.0 / 1307674368000.0, 1.0 / 6227020800.0, -1.0 / 39916800.0, 1.0 / 362880.0,
      -1.0 / 5040.0,          1.0 / 120.0,        -1.0 / 6.0,        1.0};
  constexpr double COS[] = {1.0 / 20922789888000.0,
                            -1.0 / 87178291200.0,
                            1.0 / 479001600.0,
                            -1.0 / 3628800.0,
                            1.0 / 40320.0,
                            -1.0 / 720.0,
                            1.0 / 24.0,
                            -0.5,
                            1.0};
  for (const double k : SIN) s = std::fma(s, z, k);
  for (const double k : COS) c = std::fma(c, z, k);
  s *= r;
  switch (static_cast<int64_t>(n) & 3) {
    case 0:
      return {s, c};
    case 1:
      return {c, -s};
    case 2:
      return {-s, -c};
    default:
      return {-c, s};
  }
}

}  // namespace magnet
