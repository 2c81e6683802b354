// NEON kernels of the integer product. Panels hold the weights as they are, 16 columns: for every 4
// k, 4 codes of each column. With SDOT a vector of them meets 4 codes of a row in one instruction;
// without it, products add up in 16 bits and are widened before they can overflow.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <cstring>

#include "ternary_product.hpp"

namespace magnet::neon {
namespace {

constexpr int64_t ROWS = 4;
constexpr int64_t COLUMNS = 16;
constexpr int64_t GROUP_BYTES = 4 * COLUMNS;

void pack(const TernaryWeights& w, int64_t n0, int64_t n, int64_t k, uint8_t* out) {
  const int64_t groups = (k + 3) / 4;
  for (int64_t j = 0; j < n; j += COLUMNS, out += groups * GROUP_BYTES)
    for (int64_t c = 0; c < COLUMNS; c++) {
      const int8_t* const row = w.t + (n0 + j + c) * k;
      for (int64_t g = 0; g < groups; g++) {
        const int64_t there = j + c < n ? std::min<int64_t>(4, k - 4 * g) : 0;
        uint8_t codes[4] = {};
        if (there > 0) std::memcpy(codes, row + 4 * g, static_cast<size_t>(there));
        std::memcpy(out + g * GROUP_BYTES + c * 4, codes, 4);
      }
    }
}

/** 4 codes of a row in every lane. */
inline int8x16_t four_codes(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return vreinterpretq_s8_s32(vdupq_n_s32(four));
}

/** int16 sums of one row with 16 columns: the 4 k of a column stay apart until they are widened. */
struct RowSums {
  int16x8_t v[8];

  static inline RowSums zero() {
    RowSums r;
    for (auto& x : r.v) x = vdupq_n_s16(0);
    return r;
  }
  inline void add(int8x16_t q, const int8x16_t* w) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      v[2 * i] = vmlal_s8(v[2 * i], vget_low_s8(w[i]), vget_low_s8(q));
      v[2 * i + 1] = vmlal_high_s8(v[2 * i + 1], w[i], q);
    }
  }
  inline void flush(int32_t* sums) const {
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const int32x4_t more = vpaddq_s32(vpaddlq_s16(v[2 * i]), vpaddlq_s16(v[2 * i + 1]));
      vst1q_s32(sums + 4 * i, vaddq_s32(vld1q_s32(sums + 4 * i), more));
    }
  }
};

/** sums (4, 16) = products of 4 rows of q with one panel of 16 columns. */
void tile_in_16_bits(const int8_t* const* q, const int8_t* panel, int64_t k, int32_t* sums) {
  constexpr int64_t GROUPS_MAX = 255;  // a product is at most 128, and 255 * 128 fits in int16
  const int64_t groups = (k + 3) / 4;
  std::memset(sums, 0, ROWS * COLUMNS * sizeof(int32_t));
  for (int64_t g0 = 0; g0 < groups; g0 += GROUPS_MAX) {
    const int64_t g1 = std::min(groups, g0 + GROUPS_MAX);
    for (int64_t r = 0; r < ROWS; r += 2) {  // 16 accumulators at a time
      RowSums first = RowSums::zero();
      RowSums second = RowSums::zero();
      for (int64_t g = g0; g < g1; g++) {
        const int8_t* const p = panel + g * GROUP_BYTES;
        const int8x16_t w[4] = {vld1q_s8(p), vld1q_s8(p + 16), vld1q_s8(p + 32),
                                vld1q_s8(p + 48)};
        first.add(four_codes(q[r] + 4 * g), w);
        second.add(four_codes(q[r + 1] + 4 * g), w);
      }
      first.flush(sums + r * COLUMNS);
      second.flush(sums + (r + 1) * COLUMNS);
    }
  }
}

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
/** One group of 4 k: lane `lane` of every row's codes. */
template <int lane>
inline void add_group(const int8_t* panel, const int8x16_t* codes, int32x4_t (*sums)[4]) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const int8x16_t w = vld1q_s8(panel + 16 * i);
#pragma GCC unroll 4
    for (int64_t r = 0; r < ROWS; r++) sums[r][i] = vdotq_laneq_s32(sums[r][i], w, codes[r], lane);
  }
}

/** The same by SDOT. Rows are padded to whole vectors; a last group that is alone uses lane 0. */
void tile_by_dot(const int8_t* const* q, const int8_t* panel, int64_t k, int32_t* out) {
  const int64_t groups = (k + 3) / 4;
  int32x4_t sums[ROWS][4];
#pragma GCC unroll 16
  for (int64_t i = 0; i < ROWS * 4; i++) sums[i / 4][i % 4] = vdupq_n_s32(0);
  int64_t g = 0;
  for (; g + 4 <= groups; g += 4, panel += 4 * GROUP_BYTES) {
    int8x16_t codes[ROWS];
#pragma GCC unroll 4
    for (int64_t r = 0; r < ROWS; r++) codes[r] = vld1q_s8(q[r] + 4 * g);
    add_group<0>(panel, codes, sums);
    add_group<1>(panel + GROUP_BYTES, codes, sums);
    add_group<2>(panel + 2 * GROUP_BYTES, codes, sums);
    add_group<3>(panel + 3 * GROUP_BYTES, codes, sums);
  }
  for (; g < groups; g++, panel += GROUP_BYTES) {
    int8x16_t codes[ROWS];
#pragma GCC unroll 4
    for (int64_t r = 0; r < ROWS; r++) codes[r] = four_codes(q[r] + 4 * g);
    add_group<0>(panel, codes, sums);
  }
#pragma GCC unroll 16
  for (int64_t i = 0; i < ROWS * 4; i++) vst1q_s32(out + 4 * i, sums[i / 4][i % 4]);
}
#pragma GCC pop_options

void finish_row(const TernaryProduct& p, int64_t row, int64_t j, int64_t columns,
                const int32_t* sums) {
  const float scale = p.x.inverse[row] * p.w.inverse;
  const int64_t at = row * p.n + j;
  if (columns < COLUMNS) {
    for (int64_t c = 0; c < columns; c++)
      p.y[at + c] = finish(sums[c], scale, p.residual ? p.residual + at + c : nullptr);
    return;
  }
  const float32x4_t scale4 = vdupq_n_f32(scale);
  for (int64_t c = 0; c < COLUMNS; c += 4) {
    const float32x4_t exact = vcvtq_f32_s32(vld1q_s32(sums + c));
    vst1q_f32(p.y + at + c, p.residual == nullptr
                                ? vmulq_f32(exact, scale4)
                                : vfmaq_f32(vld1q_f32(p.residual + at + c), exact, scale4));
  }
}

using Tile = void (*)(const int8_t* const* q, const int8_t* panel, int64_t k, int32_t* sums);

template <Tile tile>
void product(const TernaryProduct& p, const uint8_t* packed, int64_t begin, int64_t end) {
  const auto* panel = reinterpret_cast<const int8_t*>(packed);
  const int64_t panel_bytes = (p.k + 3) / 4 * GROUP_BYTES;
  const int64_t stride = padded_codes(p.k);
  alignas(16) int32_t sums[ROWS * COLUMNS];
  for (int64_t j = 0; j < p.n; j += COLUMNS, panel += panel_bytes)
    for (int64_t i = begin; i < end; i += ROWS) {
      const int8_t* rows[ROWS];
      for (int64_t r = 0; r < ROWS; r++) rows[r] = p.x.q + std::min(i + r, end - 1) * stride;
      tile(rows, panel, p.k, sums);
      for (int64_t r = 0; r < std::min(ROWS, end - i); r++)
        finish_row(p, i + r, j, std::min(COLUMNS, p.n - j), sums + r * COLUMNS);
    }
}

}  // namespace

const TernaryKernels TERNARY_KERNELS{COLUMNS, ROWS, pack, product<tile_in_16_bits>};
const TernaryKernels TERNARY_DOT_KERNELS{COLUMNS, ROWS, pack, product<tile_by_dot>};

}  // namespace magnet::neon
#endif
