// NEON products of packed ternary weights. With SDOT four codes of a row meet four activations in
// one instruction; without it, products add up in 16 bits and are widened before they can overflow.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "packed_ternary.hpp"

namespace magnet::neon {
namespace {

/** Four rows of a block, four columns each: group g of the 16 columns. */
template <int g>
inline int8x16_t group(uint8x16_t codes) {
  uint8x16_t v = codes;
  if constexpr (g > 0) v = vshrq_n_u8(v, 2 * g);
  if constexpr (g < 3) v = vandq_u8(v, vdupq_n_u8(3));
  return vreinterpretq_s8_u8(v);
}

inline void store_rows(const PackedTernary& w, uint32_t panel, const float* values, float* y) {
  const uint32_t row = panel * PANEL_ROWS;
  std::copy(values, values + std::min(PANEL_ROWS, w.rows - row), y + row);
}

/** 16 sums of one token, scaled back, into y. */
inline void finish(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t,
                   const int32_t* sums, float* y, uint32_t y_stride) {
  const float32x4_t scale = vdupq_n_f32(x.scale[t] * w.scale);
  const int32x4_t shift = vdupq_n_s32(x.sum[t]);
  float values[PANEL_ROWS];
  for (uint32_t i = 0; i < PANEL_ROWS; i += 4)
    vst1q_f32(values + i,
              vmulq_f32(vcvtq_f32_s32(vsubq_s32(vld1q_s32(sums + i), shift)), scale));
  store_rows(w, panel, values, y + uint64_t{t} * y_stride);
}

#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
template <int g, uint32_t T>
inline void add_group(int32x4_t (*sums)[4], const uint8x16_t* codes, const int8x16_t* q) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) {
    const int8x16_t w = group<g>(codes[i]);
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) sums[t][i] = vdotq_laneq_s32(sums[t][i], w, q[t], g);
  }
}

/** T tokens and one panel. */
template <uint32_t T>
void dot_tile(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t0, float* y,
              uint32_t y_stride) {
  const uint8_t* codes = w.codes + panel * w.panel_bytes();
  const int8_t* q = x.q + uint64_t{t0} * x.stride;
  int32x4_t sums[T][4];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) sums[t][i] = vdupq_n_s32(0);
  for (uint32_t b = 0; b < w.blocks; b++, codes += PANEL_BLOCK_BYTES, q += PANEL_COLUMNS) {
    const uint8x16_t block[4] = {vld1q_u8(codes), vld1q_u8(codes + 16), vld1q_u8(codes + 32),
                                 vld1q_u8(codes + 48)};
    int8x16_t rows[T];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) rows[t] = vld1q_s8(q + uint64_t{t} * x.stride);
    add_group<0, T>(sums, block, rows);
    add_group<1, T>(sums, block, rows);
    add_group<2, T>(sums, block, rows);
    add_group<3, T>(sums, block, rows);
  }
  for (uint32_t t = 0; t < T; t++) {
    int32_t out[PANEL_ROWS];
    for (int i = 0; i < 4; i++) vst1q_s32(out + 4 * i, sums[t][i]);
    finish(w, panel, x, t0 + t, out, y, y_stride);
  }
}
constexpr std::array DOT_TILES{dot_tile<1>, dot_tile<2>, dot_tile<3>, dot_tile<4>};

void dot_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                 const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  constexpr auto TILE = static_cast<uint32_t>(DOT_TILES.size());
  for (uint32_t p = panel_begin; p < panel_end; p++)
    for (uint32_t t = 0; t < n; t += TILE)
      DOT_TILES[std::min(TILE, n - t) - 1](w, p, x, t, y, y_stride);
}
#pragma GCC pop_options

inline int8x8_t four_of(const int8_t* q) {
  int32_t four;
  std::memcpy(&four, q, 4);
  return vreinterpret_s8_s32(vdup_n_s32(four));
}

/** int16 sums of rows 4i..4i+3 of a panel: the four columns of a group stay apart. */
struct WideSums {
  int16x8_t v[8];
  static WideSums zero() {
    WideSums r;
    for (auto& x : r.v) x = vdupq_n_s16(0);
    return r;
  }
  template <int g>
  inline void add(const uint8x16_t* block, const int8_t* q) {
    const int8x8_t four = four_of(q + 4 * g);
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      const int8x16_t w = group<g>(block[i]);
      v[2 * i] = vmlal_s8(v[2 * i], vget_low_s8(w), four);
      v[2 * i + 1] = vmlal_s8(v[2 * i + 1], vget_high_s8(w), four);
    }
  }
  inline void flush(int32_t* sums) const {
    for (int i = 0; i < 4; i++) {
      const int32x4_t more = vpaddq_s32(vpaddlq_s16(v[2 * i]), vpaddlq_s16(v[2 * i + 1]));
      vst1q_s32(sums + 4 * i, vaddq_s32(vld1q_s32(sums + 4 * i), more));
    }
  }
};

/** A product is at most 2 * 128, and a block adds four of them to a lane: 2^15 in 32 blocks, on the
 * negative end, which int16 holds. */
constexpr uint32_t FOLD = 32;

void wide_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                  const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t p = panel_begin; p < panel_end; p++)
    for (uint32_t t = 0; t < n; t++) {
      const uint8_t* codes = w.codes + p * w.panel_bytes();
      const int8_t* q = x.q + uint64_t{t} * x.stride;
      int32_t sums[PANEL_ROWS] = {};
      for (uint32_t start = 0; start < w.blocks; start += FOLD) {
        WideSums wide = WideSums::zero();
        const uint32_t end = std::min(w.blocks, start + FOLD);
        for (uint32_t b = start; b < end; b++, codes += PANEL_BLOCK_BYTES, q += PANEL_COLUMNS) {
          const uint8x16_t block[4] = {vld1q_u8(codes), vld1q_u8(codes + 16),
                                       vld1q_u8(codes + 32), vld1q_u8(codes + 48)};
          wide.add<0>(block, q);
          wide.add<1>(block, q);
          wide.add<2>(block, q);
          wide.add<3>(block, q);
        }
        wide.flush(sums);
      }
      finish(w, p, x, t, sums, y, y_stride);
    }
}

/** Four rows, group g of a block, times four activations: one int32 for each row. */
template <int g>
inline void add_lane(int32_t* part, const uint8x16_t* block, const int8_t* q) {
  const int8x8_t four = four_of(q + 4 * g);
  for (int i = 0; i < 4; i++) {
    const int8x16_t w = group<g>(block[i]);
    const int16x8_t low = vmull_s8(vget_low_s8(w), four);
    const int16x8_t high = vmull_s8(vget_high_s8(w), four);
    const int32x4_t sum = vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
    vst1q_s32(part + 4 * i, vaddq_s32(vld1q_s32(part + 4 * i), sum));
  }
}

void block_panel(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t, float* y) {
  const uint8_t* codes = w.codes + panel * w.panel_bytes();
  const int8_t* q = x.q + uint64_t{t} * x.stride;
  const uint32_t blocks = w.cols / 256;
  const uint32_t rows = std::min(PANEL_ROWS, w.rows - panel * PANEL_ROWS);
  float lanes[8][PANEL_ROWS] = {};
  for (uint32_t b = 0; b < blocks; b++) {
    const int16_t* const sums = x.sums16 + uint64_t{t} * (x.stride / 16) + 16 * b;
    int32_t part[8][PANEL_ROWS];
    for (int l = 0; l < 8; l++)
      std::fill(part[l], part[l] + PANEL_ROWS, -sums[2 * l] - sums[2 * l + 1]);
    for (int i = 0; i < 16; i++, codes += PANEL_BLOCK_BYTES, q += PANEL_COLUMNS) {
      const uint8x16_t block[4] = {vld1q_u8(codes), vld1q_u8(codes + 16), vld1q_u8(codes + 32),
                                   vld1q_u8(codes + 48)};
      int32_t(*const to)[PANEL_ROWS] = part + i % 2 * 4;
      add_lane<0>(to[0], block, q);
      add_lane<1>(to[1], block, q);
      add_lane<2>(to[2], block, q);
      add_lane<3>(to[3], block, q);
    }
    const float d = x.block_scale[uint64_t{t} * (x.stride / 128) + b];
    float scale[PANEL_ROWS] = {};
    for (uint32_t r = 0; r < rows; r++)
      scale[r] = d * (w.block_scales.empty()
                          ? w.scale
                          : w.block_scales[uint64_t{panel * PANEL_ROWS + r} * blocks + b]);
    for (int l = 0; l < 8; l++)
      for (uint32_t i = 0; i < PANEL_ROWS; i += 4)
        vst1q_f32(lanes[l] + i, vfmaq_f32(vld1q_f32(lanes[l] + i),
                                          vcvtq_f32_s32(vld1q_s32(part[l] + i)),
                                          vld1q_f32(scale + i)));
  }
  float values[PANEL_ROWS];
  for (uint32_t r = 0; r < PANEL_ROWS; r++)
    values[r] = ((lanes[0][r] + lanes[4][r]) + (lanes[2][r] + lanes[6][r])) +
                ((lanes[1][r] + lanes[5][r]) + (lanes[3][r] + lanes[7][r]));
  store_rows(w, panel, values, y);
}

void block_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                   const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t p = panel_begin; p < panel_end; p++)
    for (uint32_t t = 0; t < n; t++) block_panel(w, p, x, t, y + uint64_t{t} * y_stride);
}

}  // namespace

const PackedTernaryKernels PACKED_TERNARY_KERNELS{wide_product, block_product};
const PackedTernaryKernels PACKED_TERNARY_DOT_KERNELS{dot_product, block_product};

}  // namespace magnet::neon
#endif
