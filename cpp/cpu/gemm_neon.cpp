// NEON kernels of gemm.cpp: register tile of 6 rows and 16 columns (24 accumulators, 4 of B, 2 of
// A), enough independent chains for four units with a latency of four cycles.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "gemm_kernels.hpp"

namespace magnet::neon {
namespace {

constexpr int64_t MR = 6;
constexpr int64_t NR = 16;

/** Four vectors of B times lane `lane` of A, added to four accumulators. */
template <int lane>
inline void multiply_add(const float32x4_t* b, float32x4_t a, float32x4_t* c) {
#pragma GCC unroll 4
  for (int j = 0; j < 4; j++) c[j] = vfmaq_laneq_f32(c[j], b[j], a, lane);
}

/** Where a tile finds A(i, p): in a panel of R rows; as it lies, data[i + p * step]; or in rows of
 * their own, data[i * step + p]. */
enum class Left { packed, by_k, by_rows };

/** c (R, 16) = [c +] R rows of A times a panel of 16 columns. Reads a packed A by fours, so up to
 * three floats past the panel. */
template <Left layout, bool fresh, size_t... I>
void tile(std::index_sequence<I...>, int64_t k, const float* a, int64_t step, const float* b,
          float* c, int64_t ldc) {
  constexpr int64_t R = sizeof...(I);
  float32x4_t sums[R][4];
#pragma GCC unroll 6
  for (int64_t i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int64_t j = 0; j < 4; j++)
      sums[i][j] = fresh ? vdupq_n_f32(0.0f) : vld1q_f32(c + i * ldc + 4 * j);
  for (int64_t p = 0; p < k; p++, b += NR) {
    const float32x4_t of_b[4] = {vld1q_f32(b), vld1q_f32(b + 4), vld1q_f32(b + 8),
                                 vld1q_f32(b + 12)};
    if constexpr (layout == Left::packed) {
      const float32x4_t of_a[2] = {vld1q_f32(a), vld1q_f32(R > 4 ? a + 4 : a)};
      (multiply_add<I % 4>(of_b, of_a[I / 4], sums[I]), ...);
      a += R;
    } else {
      constexpr bool rows = layout == Left::by_rows;
      (multiply_add<0>(of_b, vld1q_dup_f32(a + static_cast<int64_t>(I) * (rows ? step : 1)),
                       sums[I]),
       ...);
      a += rows ? 1 : step;
    }
  }
#pragma GCC unroll 6
  for (int64_t i = 0; i < R; i++)
#pragma GCC unroll 4
    for (int64_t j = 0; j < 4; j++) vst1q_f32(c + i * ldc + 4 * j, sums[i][j]);
}

template <int64_t R, Left layout, bool fresh>
void tile_of(int64_t k, const float* a, int64_t step, const float* b, float* c, int64_t ldc) {
  tile<layout, fresh>(std::make_index_sequence<R>(), k, a, step, b, c, ldc);
}

using Tile = void (*)(int64_t, const float*, int64_t, const float*, float*, int64_t);

template <Left layout, bool fresh, int64_t... R>
constexpr std::array<Tile, sizeof...(R)> tiles(std::integer_sequence<int64_t, R...>) {
  return {tile_of<R + 1, layout, fresh>...};
}
template <Left layout, bool fresh>
constexpr auto TILES = tiles<layout, fresh>(std::make_integer_sequence<int64_t, MR>());

/** A tile with fewer than 16 columns goes through a buffer. */
void edge_tile(Tile added, int64_t rows, int64_t k, const float* a, int64_t step, const float* b,
               float* c, int64_t ldc, int64_t columns, bool fresh) {
  alignas(16) float buffer[MR * NR] = {};
  const size_t bytes = static_cast<size_t>(columns) * sizeof(float);
  if (!fresh)
    for (int64_t i = 0; i < rows; i++) std::memcpy(buffer + i * NR, c + i * ldc, bytes);
  added(k, a, step, b, buffer, NR);
  for (int64_t i = 0; i < rows; i++) std::memcpy(c + i * ldc, buffer + i * NR, bytes);
}

/** All tiles of c. Panel i of A begins at left + ranges.at(i) * from_row. */
template <Left layout>
void tiles_of(int64_t m, int64_t n, int64_t k, const float* left, int64_t from_row, int64_t step,
              const float* right, int64_t stride, float* c, int64_t ldc, bool fresh) {
  const auto& whole = fresh ? TILES<layout, true> : TILES<layout, false>;
  const int64_t panels = (m + MR - 1) / MR;
  const Ranges ranges(m, panels);
  for (int64_t j = 0; j < n; j += NR, right += stride)
    for (int64_t i = 0; i < panels; i++) {
      const int64_t at = ranges.at(i);
      const int64_t rows = ranges.size(i);
      const auto of_height = static_cast<size_t>(rows - 1);
      const float* const a = left + at * from_row;
      float* const to = c + at * ldc + j;
      if (n - j >= NR)
        whole[of_height](k, a, step, right, to, ldc);
      else
        edge_tile(TILES<layout, false>[of_height], rows, k, a, step, right, to, ldc, n - j, fresh);
    }
}

void block(int64_t m, int64_t n, int64_t k, const float* left, const float* right, int64_t stride,
           float* c, int64_t ldc, bool fresh) {
  tiles_of<Left::packed>(m, n, k, left, k, 0, right, stride, c, ldc, fresh);
}

void block_unpacked(int64_t m, int64_t n, int64_t k, const GemmLeft& a, const float* right,
                    int64_t stride, float* c, int64_t ldc, bool fresh) {
  if (a.row == 1)
    tiles_of<Left::by_k>(m, n, k, a.data, 1, a.col, right, stride, c, ldc, fresh);
  else
    tiles_of<Left::by_rows>(m, n, k, a.data, a.row, a.row, right, stride, c, ldc, fresh);
}

/** 4x4 block: out[p * out_stride + r] = from[r * stride + p]. */
inline void transpose4(const float* from, int64_t stride, float* out, int64_t out_stride) {
  const float32x4_t r0 = vld1q_f32(from);
  const float32x4_t r1 = vld1q_f32(from + stride);
  const float32x4_t r2 = vld1q_f32(from + 2 * stride);
  const float32x4_t r3 = vld1q_f32(from + 3 * stride);
  const float32x4x2_t low = vzipq_f32(r0, r2);   // r0[0] r2[0] r0[1] r2[1] | [2] [2] [3] [3]
  const float32x4x2_t high = vzipq_f32(r1, r3);
  const float32x4x2_t first = vzipq_f32(low.val[0], high.val[0]);
  const float32x4x2_t last = vzipq_f32(low.val[1], high.val[1]);
  vst1q_f32(out, first.val[0]);
  vst1q_f32(out + out_stride, first.val[1]);
  vst1q_f32(out + 2 * out_stride, last.val[0]);
  vst1q_f32(out + 3 * out_stride, last.val[1]);
}

/** out[p * 6 + r] = from[r * stride + p] for 6 rows: two blocks of 4 rows that overlap in two. */
void pack_six_rows(const float* from, int64_t stride, int64_t k, float* out) {
  int64_t p = 0;
  for (; p + 4 <= k; p += 4) {
    transpose4(from + p, stride, out + p * MR, MR);
    transpose4(from + 2 * stride + p, stride, out + p * MR + 2, MR);
  }
  for (; p < k; p++)
    for (int64_t r = 0; r < MR; r++) out[p * MR + r] = from[r * stride + p];
}

void pack_left(const GemmLeft& a, int64_t m0, int64_t m, int64_t k0, int64_t k, float* out) {
  const float* const from = a.data + m0 * a.row + k0 * a.col;
  const int64_t panels = (m + MR - 1) / MR;
  const Ranges ranges(m, panels);
  for (int64_t i = 0; i < panels; i++) {
    const int64_t at = ranges.at(i);
    const int64_t rows = ranges.size(i);
    float* const o = out + at * k;
    if (rows == MR && a.col == 1) {
      pack_six_rows(from + at * a.row, a.row, k, o);
    } else {
      for (int64_t p = 0; p < k; p++)
        for (int64_t r = 0; r < rows; r++) o[p * rows + r] = from[(at + r) * a.row + p * a.col];
    }
  }
}

/** Row p of a row-major operand into a panel of 16 columns. */
inline void pack_row(const GemmRight& b, int64_t at, float scale, float* o) {
  if (b.codes == nullptr) {
    std::memcpy(o, b.data + at, NR * sizeof(float));
    return;
  }
  const int8x16_t codes = vld1q_s8(b.codes + at);
  const int16x8_t low = vmovl_s8(vget_low_s8(codes));
  const int16x8_t high = vmovl_high_s8(codes);
  const int32x4_t wide[4] = {vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low),
                             vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)};
#pragma GCC unroll 4
  for (int i = 0; i < 4; i++) vst1q_f32(o + 4 * i, vmulq_n_f32(vcvtq_f32_s32(wide[i]), scale));
}

void pack_right(const GemmRight& b, int64_t n0, int64_t n, int64_t k0, int64_t k, float* out,
                int64_t stride) {
  for (int64_t j = 0; j < n; j += NR, out += stride) {
    const int64_t columns = std::min(NR, n - j);
    int64_t p = 0;
    if (columns == NR && b.codes == nullptr && b.row == 1) {
      const float* const from = b.data + k0 + (n0 + j) * b.col;
      for (; p + 4 <= k; p += 4)
        for (int64_t r = 0; r < NR; r += 4)
          transpose4(from + r * b.col + p, b.col, out + p * NR + r, NR);
    }
    for (; p < k; p++) {
      const float scale = b.row_scale == nullptr ? b.scale : b.scale * b.row_scale[k0 + p];
      const int64_t at = (k0 + p) * b.row + (n0 + j) * b.col;
      if (columns == NR && b.col == 1) {
        pack_row(b, at, scale, out + p * NR);
        continue;
      }
      for (int64_t r = 0; r < NR; r++) {
        const int64_t r_at = at + r * b.col;
        out[p * NR + r] = r >= columns          ? 0.0f
                          : b.codes == nullptr ? b.data[r_at]
                                               : static_cast<float>(b.codes[r_at]) * scale;
      }
    }
  }
}

}  // namespace

const GemmKernels GEMM_KERNELS{MR, NR, pack_left, pack_right, block, block_unpacked};

}  // namespace magnet::neon
#endif
