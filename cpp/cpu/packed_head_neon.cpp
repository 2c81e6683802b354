// NEON products of packed heads, with SDOT and without.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "packed_head.hpp"

namespace magnet::neon {
namespace {

inline int8x16_t four_of(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

namespace widening {
inline int32x4_t add_products(int32x4_t sum, int8x16_t w, int8x16_t q) {
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(q)));
  const int32x4_t high = vpaddlq_s16(vmull_high_s8(w, q));
  return vaddq_s32(sum, vpaddq_s32(low, high));
}
#define DOT(sum, codes, q) add_products(sum, codes, four_of(q))
#include "packed_head_neon.inc"
#undef DOT
}  // namespace widening

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
namespace dot {
#define DOT(sum, codes, q) vdotq_s32(sum, codes, four_of(q))
#include "packed_head_neon.inc"
#undef DOT
}  // namespace dot
#pragma GCC pop_options

}  // namespace

const HeadKernel HEAD_PRODUCT = widening::product;
const HeadKernel HEAD_DOT_PRODUCT = dot::product;

}  // namespace magnet::neon
#endif
