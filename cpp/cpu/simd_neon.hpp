// Sixteen lanes as four float32x4_t. Operations are documented in simd_scalar.hpp; every one is the
// IEEE operation, so this path gives the bits of the others.
#pragma once
#include <arm_neon.h>

#include <bit>
#include <cstdint>

namespace magnet::neon {

struct F16 {
  float32x4_t part[4];
};
/** f(i) of every part. */
template <class F>
inline F16 parts(F&& f) {
  return {{f(0), f(1), f(2), f(3)}};
}
inline F16 set1(float x) {
  return parts([&](int) { return vdupq_n_f32(x); });
}
inline F16 load(const float* p) {
  return parts([&](int i) { return vld1q_f32(p + 4 * i); });
}
inline void store(float* p, F16 a) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.part[i]);
}
/** All ones in the lanes of part i that are among the first n of the sixteen. */
inline uint32x4_t first_lanes(int n, int i) {
  alignas(16) static constexpr int32_t INDEX[4] = {0, 1, 2, 3};
  return vcltq_s32(vld1q_s32(INDEX), vdupq_n_s32(n - 4 * i));
}
// There are no masked loads: lanes pass through memory that is long enough.
inline F16 load_n(const float* p, int n) {
  float lanes[16] = {};
  for (int i = 0; i < n; i++) lanes[i] = p[i];
  return load(lanes);
}
inline void store_n(float* p, F16 a, int n) {
  float lanes[16];
  store(lanes, a);
  for (int i = 0; i < n; i++) p[i] = lanes[i];
}
inline F16 first_of(int n, F16 a, F16 b) {
  return parts([&](int i) { return vbslq_f32(first_lanes(n, i), a.part[i], b.part[i]); });
}
inline F16 add(F16 a, F16 b) {
  return parts([&](int i) { return vaddq_f32(a.part[i], b.part[i]); });
}
inline F16 sub(F16 a, F16 b) {
  return parts([&](int i) { return vsubq_f32(a.part[i], b.part[i]); });
}
inline F16 mul(F16 a, F16 b) {
  return parts([&](int i) { return vmulq_f32(a.part[i], b.part[i]); });
}
inline F16 div(F16 a, F16 b) {
  return parts([&](int i) { return vdivq_f32(a.part[i], b.part[i]); });
}
inline F16 sqrt16(F16 a) {
  return parts([&](int i) { return vsqrtq_f32(a.part[i]); });
}
inline F16 fma16(F16 a, F16 b, F16 c) {
  return parts([&](int i) { return vfmaq_f32(c.part[i], a.part[i], b.part[i]); });
}
inline F16 fnma16(F16 a, F16 b, F16 c) {
  return parts([&](int i) { return vfmsq_f32(c.part[i], a.part[i], b.part[i]); });
}
// The instructions for maximum and minimum give NaN where either operand is: a comparison chooses
// instead, as maxps and minps do.
inline float32x4_t max4(float32x4_t a, float32x4_t b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline F16 max16(F16 a, F16 b) {
  return parts([&](int i) { return max4(a.part[i], b.part[i]); });
}
inline F16 min16(F16 a, F16 b) {
  return parts([&](int i) {
    return vbslq_f32(vcltq_f32(a.part[i], b.part[i]), a.part[i], b.part[i]);
  });
}
inline F16 abs_max(F16 a, F16 b) {
  return parts([&](int i) {
    const int32x4_t x = vreinterpretq_s32_f32(a.part[i]);
    const int32x4_t y = vreinterpretq_s32_f32(vabsq_f32(b.part[i]));  // clears the sign bit only
    return vreinterpretq_f32_s32(vmaxq_s32(x, y));
  });
}
inline F16 round16(F16 a) {
  return parts([&](int i) { return vrndnq_f32(a.part[i]); });
}
inline F16 exp2_integral(F16 n) {
  return parts([&](int i) {
    const int32x4_t biased = vaddq_s32(vcvtq_s32_f32(n.part[i]), vdupq_n_s32(127));
    return vreinterpretq_f32_s32(vshlq_n_s32(biased, 23));
  });
}
inline F16 zero_below(F16 a, F16 limit, F16 value) {
  return parts([&](int i) {
    const uint32x4_t below = vcltq_f32(a.part[i], limit.part[i]);
    return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(value.part[i]), below));
  });
}
inline void store_int8(int8_t* p, F16 a) {
#pragma GCC unroll 2
  for (int i = 0; i < 4; i += 2) {
    const int16x4_t low = vmovn_s32(vcvtq_s32_f32(a.part[i]));
    const int16x4_t high = vmovn_s32(vcvtq_s32_f32(a.part[i + 1]));
    vst1_s8(p + 4 * i, vmovn_s16(vcombine_s16(low, high)));
  }
}
/** Folds 16 lanes to 8, 4, 2 and 1, each time the upper half onto the lower. */
inline float sum_lanes(F16 a) {
  const float32x4_t low = vaddq_f32(a.part[0], a.part[2]);
  const float32x4_t s = vaddq_f32(low, vaddq_f32(a.part[1], a.part[3]));
  const float32x2_t t = vadd_f32(vget_low_f32(s), vget_high_f32(s));
  return vget_lane_f32(t, 0) + vget_lane_f32(t, 1);
}
inline float max_lanes(F16 a) {
  const float32x4_t low = max4(a.part[0], a.part[2]);
  const float32x4_t s = max4(low, max4(a.part[1], a.part[3]));
  const float32x4_t t = max4(s, vextq_f32(s, s, 2));
  return vgetq_lane_f32(max4(t, vextq_f32(t, t, 1)), 0);
}
inline float abs_max_lanes(F16 a) {
  const int32x4_t low =
      vmaxq_s32(vreinterpretq_s32_f32(a.part[0]), vreinterpretq_s32_f32(a.part[1]));
  const int32x4_t high =
      vmaxq_s32(vreinterpretq_s32_f32(a.part[2]), vreinterpretq_s32_f32(a.part[3]));
  return std::bit_cast<float>(vmaxvq_s32(vmaxq_s32(low, high)));
}

struct D16 {
  float64x2_t part[8];
};
inline D16 zero_d16() {
  D16 r;
#pragma GCC unroll 8
  for (auto& part : r.part) part = vdupq_n_f64(0.0);
  return r;
}
inline float64x2_t widen(F16 a, int i) {
  const float32x4_t four = a.part[i / 2];
  return i % 2 == 0 ? vcvt_f64_f32(vget_low_f32(four)) : vcvt_high_f64_f32(four);
}
inline D16 add_wide(D16 sum, F16 a) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) sum.part[i] = vaddq_f64(sum.part[i], widen(a, i));
  return sum;
}
inline D16 add_square(D16 sum, F16 a) {
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) {
    const float64x2_t x = widen(a, i);
    sum.part[i] = vfmaq_f64(sum.part[i], x, x);
  }
  return sum;
}
inline double sum_lanes(D16 a) {
#pragma GCC unroll 4
  for (int half = 4; half > 0; half /= 2)
#pragma GCC unroll 4
    for (int i = 0; i < half; i++) a.part[i] = vaddq_f64(a.part[i], a.part[i + half]);
  return vgetq_lane_f64(a.part[0], 0) + vgetq_lane_f64(a.part[0], 1);
}

}  // namespace magnet::neon
