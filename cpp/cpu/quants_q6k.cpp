// Q6_K quantiser: 256 weights as 6-bit codes, an 8-bit scale for every 16 and an f16 scale of those.
// The least squared error is searched for instead of taken from the largest weight: first over the
// scales of each 16 alone, then over the block's scale, where each group takes the best of the
// integer scales nearby. Plain loops in a fixed order: the same bytes on every machine.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "quants.hpp"

namespace magnet {
namespace {

constexpr int GROUP = 16;
constexpr int GROUPS = 16;
constexpr float LOWEST = -32.0f;
constexpr float HIGHEST = 31.0f;

/** Nearest, even, of |x| < 2^22; the library's rint is a call that no loop gets wide with. */
inline float nearest(float x) {
  constexpr float MAGIC = 0x1.8p23f;
  return (x + MAGIC) - MAGIC;
}

/** Sum of 16, in lanes of k % 4. */
inline float sum16(const float* p) {
  float lanes[4];
  for (int l = 0; l < 4; l++) lanes[l] = (p[l] + p[l + 4]) + (p[l + 8] + p[l + 12]);
  return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}

/** q = x * inverse, rounded and clamped. */
inline void quantise(const float* x, float inverse, float* q) {
  for (int i = 0; i < GROUP; i++) {
    float v = x[i] * inverse;
    v = v > LOWEST ? v : LOWEST;
    v = v < HIGHEST ? v : HIGHEST;
    q[i] = nearest(v);
  }
}

/** Squared error of 16 weights under a scale; q gets the codes. */
float error_of(const float* x, float scale, float* q) {
  quantise(x, scale == 0.0f ? 0.0f : 1.0f / scale, q);
  float squares[GROUP];
  for (int i = 0; i < GROUP; i++) {
    const float difference = x[i] - scale * q[i];
    squares[i] = difference * difference;
  }
  return sum16(squares);
}

/**
 * The scale of 16 weights alone: for steps from coarse to fine, the least-squares scale of the codes
 * that the step gives, and of all those the one that leaves the least error. 0 where all are 0.
 */
float group_scale(const float* x) {
  float largest = 0;
  for (int i = 0; i < GROUP; i++)
    if (std::fabs(x[i]) > std::fabs(largest)) largest = x[i];
  if (std::fabs(largest) < 1e-30f) return 0;
  float best = 0;
  float best_gain = -1;
  for (int step = -12; step <= 12; step++) {
    // The largest weight becomes -32: that end of the codes reaches one further than the other.
    const float inverse = (LOWEST - 0.25f * static_cast<float>(step)) / largest;
    float q[GROUP], products[GROUP], squares[GROUP];
    quantise(x, inverse, q);
    for (int i = 0; i < GROUP; i++) {
      products[i] = x[i] * q[i];
      squares[i] = q[i] * q[i];
    }
    const float xq = sum16(products);
    const float qq = sum16(squares);
    // The error falls by xq^2 / qq.
    if (qq > 0 && xq * xq > best_gain * qq) {
      best_gain = xq * xq / qq;
      best = xq / qq;
    }
  }
  return best;
}

struct Candidate {
  uint16_t half = 0;
  int8_t scales[GROUPS] = {};
  float error = 0;
};

/** With `half` as the block's scale, the best integer scale of each group. */
Candidate settle(const float* x, const float* wanted, uint16_t half) {
  Candidate c;
  c.half = half;
  const float d = from_half(half);
  float q[GROUP];
  for (int g = 0; g < GROUPS; g++) {
    const float* const own = x + GROUP * g;
    const float middle = d == 0.0f ? 0.0f : nearest(std::clamp(wanted[g] / d, -128.0f, 127.0f));
    float least = error_of(own, 0.0f, q);
    for (int offset = -2; offset <= 2; offset++) {
      const float scale = std::clamp(middle + static_cast<float>(offset), -128.0f, 127.0f);
      const float error = error_of(own, d * scale, q);
      if (!(error < least)) continue;
      least = error;
      c.scales[g] = static_cast<int8_t>(scale);
    }
    c.error += least;
  }
  return c;
}

void put_codes(const float* x, const Candidate& c, uint8_t* out) {
  const float d = from_half(c.half);
  uint8_t codes[256];
  for (int g = 0; g < GROUPS; g++) {
    float q[GROUP];
    quantise(x + GROUP * g, c.scales[g] == 0 ? 0.0f : 1.0f / (d * static_cast<float>(c.scales[g])),
             q);
    for (int i = 0; i < GROUP; i++)
      codes[GROUP * g + i] = static_cast<uint8_t>(static_cast<int>(q[i]) + 32);
  }
  for (int h = 0; h < 2; h++)
    for (int l = 0; l < 32; l++) {
      const uint8_t* const k = codes + 128 * h + l;
      out[64 * h + l] = static_cast<uint8_t>((k[0] & 15) | (k[64] & 15) << 4);
      out[64 * h + 32 + l] = static_cast<uint8_t>((k[32] & 15) | (k[96] & 15) << 4);
      out[128 + 32 * h + l] = static_cast<uint8_t>(k[0] >> 4 | (k[32] >> 4) << 2 |
                                                   (k[64] >> 4) << 4 | (k[96] >> 4) << 6);
    }
  std::memcpy(out + 192, c.scales, GROUPS);
  std::memcpy(out + 208, &c.half, 2);
}

}  // namespace

void pack_q6k_block(const float* x, uint8_t* out) {
  float wanted[GROUPS];
  float largest = 0;
  for (int g = 0; g < GROUPS; g++) {
    wanted[g] = group_scale(x + GROUP * g);
    if (std::fabs(wanted[g]) > std::fabs(largest)) largest = wanted[g];
  }
  Candidate best = settle(x, wanted, to_half(largest / -128.0f));
  // A slightly larger step of the scales may fit all groups better.
  for (const float reach : {-126.5f, -125.0f, -122.0f}) {
    if (largest == 0.0f) break;
    const Candidate other = settle(x, wanted, to_half(largest / reach));
    if (other.error < best.error) best = other;
  }
  put_codes(x, best, out);
}

}  // namespace magnet
