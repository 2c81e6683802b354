// AVX2 kernels of gemm.cpp: register tile of 6 rows and 16 columns (12 accumulators, 2 of B, 1 of
// A).
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "gemm_kernels.hpp"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
namespace {

constexpr int64_t MR = 6;
constexpr int64_t NR = 16;

/** Where a tile finds A(i, p): data[i + p * step], or in rows of their own, data[i * step + p]. */
enum class Left { by_k, by_rows };

/** c (R, 16) = [c +] R rows of A times a panel of 16 columns. */
template <int64_t R, Left layout, bool fresh>
void tile(int64_t k, const float* a, int64_t step, const float* b, float* c, int64_t ldc) {
  __m256 c0[R], c1[R];
#pragma GCC unroll 6
  for (int64_t i = 0; i < R; i++) {
    c0[i] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(c + i * ldc);
    c1[i] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(c + i * ldc + 8);
  }
#pragma GCC unroll 2
  for (int64_t p = 0; p < k; p++, a += layout == Left::by_k ? step : 1, b += NR) {
    const __m256 b0 = _mm256_load_ps(b);
    const __m256 b1 = _mm256_load_ps(b + 8);
#pragma GCC unroll 6
    for (int64_t i = 0; i < R; i++) {
      const __m256 ai = _mm256_broadcast_ss(a + (layout == Left::by_k ? i : i * step));
      c0[i] = _mm256_fmadd_ps(ai, b0, c0[i]);
      c1[i] = _mm256_fmadd_ps(ai, b1, c1[i]);
    }
  }
#pragma GCC unroll 6
  for (int64_t i = 0; i < R; i++) {
    _mm256_storeu_ps(c + i * ldc, c0[i]);
    _mm256_storeu_ps(c + i * ldc + 8, c1[i]);
  }
}

using Tile = void (*)(int64_t, const float*, int64_t, const float*, float*, int64_t);

template <Left layout, bool fresh, int64_t... R>
constexpr std::array<Tile, sizeof...(R)> tiles(std::integer_sequence<int64_t, R...>) {
  return {tile<R + 1, layout, fresh>...};
}
template <Left layout, bool fresh>
constexpr auto TILES = tiles<layout, fresh>(std::make_integer_sequence<int64_t, MR>());

/** A tile with fewer than 16 columns goes through a buffer. */
void edge_tile(Tile added, int64_t rows, int64_t k, const float* a, int64_t step, const float* b,
               float* c, int64_t ldc, int64_t columns, bool fresh) {
  alignas(32) float buffer[MR * NR] = {};
  const size_t bytes = static_cast<size_t>(columns) * sizeof(float);
  if (!fresh)
    for (int64_t i = 0; i < rows; i++) std::memcpy(buffer + i * NR, c + i * ldc, bytes);
  added(k, a, step, b, buffer, NR);
  for (int64_t i = 0; i < rows; i++) std::memcpy(c + i * ldc, buffer + i * NR, bytes);
}

/** All tiles of c. Panel i of A begins at left + ranges.at(i) * from_row; its step is `step`, or
 * its height where that is 0 (packed). */
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
      const int64_t a_step = step == 0 ? rows : step;
      float* const to = c + at * ldc + j;
      if (n - j >= NR)
        whole[of_height](k, a, a_step, right, to, ldc);
      else
        edge_tile(TILES<layout, false>[of_height], rows, k, a, a_step, right, to, ldc, n - j,
                  fresh);
    }
}

void block(int64_t m, int64_t n, int64_t k, const float* left, const float* right, int64_t stride,
           float* c, int64_t ldc, bool fresh) {
  tiles_of<Left::by_k>(m, n, k, left, k, 0, right, stride, c, ldc, fresh);
}

void block_unpacked(int64_t m, int64_t n, int64_t k, const GemmLeft& a, const float* right,
                    int64_t stride, float* c, int64_t ldc, bool fresh) {
  if (a.row == 1)
    tiles_of<Left::by_k>(m, n, k, a.data, 1, a.col, right, stride, c, ldc, fresh);
  else
    tiles_of<Left::by_rows>(m, n, k, a.data, a.row, a.row, right, stride, c, ldc, fresh);
}

/** out[p * 6 + r] = from[r * stride + p] for 6 rows: 4x4 transposes of rows 0-3, pairs of 4, 5. */
void pack_six_rows(const float* from, int64_t stride, int64_t k, float* out) {
  const float* const r0 = from;
  const float *r1 = r0 + stride, *r2 = r1 + stride, *r3 = r2 + stride;
  const float *r4 = r3 + stride, *r5 = r4 + stride;
  int64_t p = 0;
  for (; p + 4 <= k; p += 4, out += 4 * MR) {
    __m128 a = _mm_loadu_ps(r0 + p);
    __m128 b = _mm_loadu_ps(r1 + p);
    __m128 c = _mm_loadu_ps(r2 + p);
    __m128 d = _mm_loadu_ps(r3 + p);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    const __m128 e = _mm_loadu_ps(r4 + p);
    const __m128 f = _mm_loadu_ps(r5 + p);
    const __m128 low = _mm_unpacklo_ps(e, f);
    const __m128 high = _mm_unpackhi_ps(e, f);
    _mm_storeu_ps(out, a);
    _mm_storel_pi(reinterpret_cast<__m64*>(out + 4), low);
    _mm_storeu_ps(out + 6, b);
    _mm_storeh_pi(reinterpret_cast<__m64*>(out + 10), low);
    _mm_storeu_ps(out + 12, c);
    _mm_storel_pi(reinterpret_cast<__m64*>(out + 16), high);
    _mm_storeu_ps(out + 18, d);
    _mm_storeh_pi(reinterpret_cast<__m64*>(out + 22), high);
  }
  for (; p < k; p++, out += MR)
    for (int64_t r = 0; r < MR; r++) out[r] = from[r * stride + p];
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
    } else if (rows == MR && a.row == 1) {
      for (int64_t p = 0; p < k; p++)
        std::memcpy(o + p * MR, from + p * a.col + at, MR * sizeof(float));
    } else {
      for (int64_t p = 0; p < k; p++)
        for (int64_t r = 0; r < rows; r++) o[p * rows + r] = from[(at + r) * a.row + p * a.col];
    }
  }
}

/** 8x8 block: out[p * NR + r] = from[r * stride + p]. */
inline void transpose8(const float* from, int64_t stride, float* out) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; i++) r[i] = _mm256_loadu_ps(from + i * stride);
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xEE);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xEE);
  }
  for (int i = 0; i < 4; i++) {
    _mm256_storeu_ps(out + i * NR, _mm256_permute2f128_ps(r[i], r[i + 4], 0x20));
    _mm256_storeu_ps(out + (i + 4) * NR, _mm256_permute2f128_ps(r[i], r[i + 4], 0x31));
  }
}

inline __m256 from_codes(const int8_t* p) {
  return _mm256_cvtepi32_ps(
      _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
}

/** Row p of a row-major operand into a panel of 16 columns. */
inline void pack_row(const GemmRight& b, int64_t at, float scale, float* o) {
  const bool coded = b.codes != nullptr;
  const __m256 scale8 = _mm256_set1_ps(scale);
  const __m256 low = coded ? _mm256_mul_ps(from_codes(b.codes + at), scale8)
                           : _mm256_loadu_ps(b.data + at);
  const __m256 high = coded ? _mm256_mul_ps(from_codes(b.codes + at + 8), scale8)
                            : _mm256_loadu_ps(b.data + at + 8);
  _mm256_store_ps(o, low);
  _mm256_store_ps(o + 8, high);
}

void pack_right(const GemmRight& b, int64_t n0, int64_t n, int64_t k0, int64_t k, float* out,
                int64_t stride) {
  for (int64_t j = 0; j < n; j += NR, out += stride) {
    const int64_t columns = std::min(NR, n - j);
    const float* const from = b.data + k0 * b.row + (n0 + j) * b.col;
    int64_t p = 0;
    if (columns == NR && b.codes == nullptr && b.row == 1)
      for (; p + 8 <= k; p += 8) {
        transpose8(from + p, b.col, out + p * NR);
        transpose8(from + 8 * b.col + p, b.col, out + p * NR + 8);
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

}  // namespace magnet::avx2
#pragma GCC pop_options
#endif
