// What the kernels of infer_draw.hpp share: parts of a row among 256 threads, and the host's exponential.
#pragma once
#include "infer_draw.hpp"

namespace magnet::gpu {

constexpr int DRAW_THREADS = 256;
constexpr int DRAW_LANES = 16;  // that sum a block of DRAW_BLOCK, as the host's vectors do
constexpr int STRIPES = DRAW_THREADS / DRAW_LANES;  // blocks of a part that are next to each other
constexpr int THREAD_BLOCKS = static_cast<int>(DRAW_PART / DRAW_BLOCK) / STRIPES;
constexpr int QUARTERS = static_cast<int>(DRAW_BLOCK) / DRAW_LANES;

__device__ __forceinline__ LogitRank rank_of(float logit, int64_t id) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // -0 equals 0
  const unsigned number = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  const unsigned ordered = logit == logit ? number : 0xffffffffu;
  return {uint64_t{ordered} << 32 | (0xffffffffu - static_cast<unsigned>(id))};
}
/** Of -Inf with the lowest id: what is above it may be drawn. */
constexpr uint64_t IMPOSSIBLE = uint64_t{0x007fffffu} << 32 | 0xffffffffu;

/** A thread's share of a part: quarter q of block j * 16 + thread / 16, which is 64 bytes of 16 threads.
 * -Inf behind the row's end. */
struct PartLogits {
  float of[THREAD_BLOCKS][QUARTERS];

  static __device__ __forceinline__ int64_t place(int j, int q) {
    const int thread = static_cast<int>(threadIdx.x);
    return (j * STRIPES + thread / DRAW_LANES) * DRAW_BLOCK +
           q * DRAW_LANES + thread % DRAW_LANES;
  }
  __device__ __forceinline__ void load(const float* row, int64_t begin, int64_t vocab) {
#pragma unroll
    for (int j = 0; j < THREAD_BLOCKS; j++)
#pragma unroll
      for (int q = 0; q < QUARTERS; q++) {
        const int64_t id = begin + place(j, q);
        of[j][q] = id < vocab ? row[id] : -INFINITY;
      }
  }
  __device__ __forceinline__ uint64_t highest(int64_t begin) const {
    uint64_t best = 0;
#pragma unroll
    for (int j = 0; j < THREAD_BLOCKS; j++)
#pragma unroll
      for (int q = 0; q < QUARTERS; q++)
        best = max(best, rank_of(of[j][q], begin + place(j, q)).bits);
    return best;
  }
};

/** The first n wishes' rows, which are changed, and the highest of their parts. */
void change_rows(const Stream& stream, const WishArguments& arguments, int64_t n);

/** The highest of a row's parts. */
__device__ __forceinline__ LogitRank highest_of(const PartTop* parts, int n) {
  uint64_t best = 0;
  for (int i = 0; i < n; i++) best = max(best, parts[i].highest.bits);
  return {best};
}

/** exp16 of cpp/cpu/simd_math.inc, operation by operation. */
__device__ __forceinline__ float exp_as_host(float x) {
  const float above = -87.3f > x ? -87.3f : x;
  const float clamped = 88.3f < above ? 88.3f : above;
  const float n = rintf(__fmul_rn(clamped, 1.44269504f));
  float r = __fmaf_rn(-n, 0.693145751953125f, clamped);
  r = __fmaf_rn(-n, 1.42860677e-6f, r);
  float p = 1.0f / 5040.0f;
  p = __fmaf_rn(p, r, 1.0f / 720.0f);
  p = __fmaf_rn(p, r, 1.0f / 120.0f);
  p = __fmaf_rn(p, r, 1.0f / 24.0f);
  p = __fmaf_rn(p, r, 1.0f / 6.0f);
  p = __fmaf_rn(p, r, 0.5f);
  p = __fmaf_rn(p, r, 1.0f);
  p = __fmaf_rn(p, r, 1.0f);
  const int exponent = n == n ? static_cast<int>(n) : 0;
  const float power = __uint_as_float(static_cast<unsigned>(exponent + 127) << 23);
  return x < -87.3f ? 0.0f : __fmul_rn(p, power);
}

}  // namespace magnet::gpu
