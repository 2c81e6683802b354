// AVX-512 kernels of gemm.cpp: register tile of 14 rows and 32 columns (28 accumulators, 2 of B, 1
// of A). Measured against 8x48, 7x64 and 12x32: all within the noise of each other, and the widths
// of models are multiples of 32.
#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12's own header: GCC bug 105593
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "gemm_kernels.hpp"
#include "lanes_avx512.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
namespace {

constexpr int64_t MR = 14;
constexpr int64_t NR = 32;

/** Where a tile finds A(i, p): data[i + p * step], or in rows of their own, data[i * step + p]. */
enum class Left { by_k, by_rows };

/** c (R, 32) = [c +] R rows of A times a panel of 32 columns; `columns` of them exist. `next` is
 * where the following tile starts: its rows are far apart, nothing else fetches them in time. */
template <int64_t R, Left layout, bool fresh, bool whole>
void tile(int64_t k, const float* a, int64_t step, const float* b, float* c, int64_t ldc,
          int64_t columns, const float* next) {
  const __mmask16 low = whole ? __mmask16{0xFFFF} : first_lanes(columns);
  const __mmask16 high = whole ? __mmask16{0xFFFF} : first_lanes(columns - 16);
  __m512 c0[R], c1[R];
#pragma GCC unroll 14
  for (int64_t i = 0; i < R; i++) {
    c0[i] = fresh ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(low, c + i * ldc);
    c1[i] = fresh ? _mm512_setzero_ps() : _mm512_maskz_loadu_ps(high, c + i * ldc + 16);
  }
#pragma GCC unroll 14
  for (int64_t i = 0; i < R; i++) {
    _mm_prefetch(reinterpret_cast<const char*>(next + i * ldc), _MM_HINT_T0);
    _mm_prefetch(reinterpret_cast<const char*>(next + i * ldc + 16), _MM_HINT_T0);
  }
#pragma GCC unroll 2
  for (int64_t p = 0; p < k; p++, a += layout == Left::by_k ? step : 1, b += NR) {
    const __m512 b0 = _mm512_load_ps(b);
    const __m512 b1 = _mm512_load_ps(b + 16);
#pragma GCC unroll 14
    for (int64_t i = 0; i < R; i++) {
      const __m512 ai = _mm512_set1_ps(a[layout == Left::by_k ? i : i * step]);
      c0[i] = _mm512_fmadd_ps(ai, b0, c0[i]);
      c1[i] = _mm512_fmadd_ps(ai, b1, c1[i]);
    }
  }
#pragma GCC unroll 14
  for (int64_t i = 0; i < R; i++) {
    _mm512_mask_storeu_ps(c + i * ldc, low, c0[i]);
    _mm512_mask_storeu_ps(c + i * ldc + 16, high, c1[i]);
  }
}

using Tile = void (*)(int64_t, const float*, int64_t, const float*, float*, int64_t, int64_t,
                      const float*);

template <Left layout, bool fresh, bool whole, int64_t... R>
constexpr std::array<Tile, sizeof...(R)> tiles(std::integer_sequence<int64_t, R...>) {
  return {tile<R + 1, layout, fresh, whole>...};
}
template <Left layout, bool fresh, bool whole>
constexpr auto TILES = tiles<layout, fresh, whole>(std::make_integer_sequence<int64_t, MR>());

/** All tiles of c. Panel i of A begins at left + ranges.at(i) * from_row; its step is `step`, or
 * its height where that is 0 (packed). */
template <Left layout>
void tiles_of(int64_t m, int64_t n, int64_t k, const float* left, int64_t from_row, int64_t step,
              const float* right, int64_t stride, float* c, int64_t ldc, bool fresh) {
  const auto& whole = fresh ? TILES<layout, true, true> : TILES<layout, false, true>;
  const auto& edge = fresh ? TILES<layout, true, false> : TILES<layout, false, false>;
  const int64_t panels = (m + MR - 1) / MR;
  const Ranges ranges(m, panels);
  for (int64_t j = 0; j < n; j += NR, right += stride) {
    const auto& with = n - j >= NR ? whole : edge;
    for (int64_t i = 0; i < panels; i++) {
      const int64_t at = ranges.at(i);
      const int64_t rows = ranges.size(i);
      const float* const next = i + 1 < panels ? c + ranges.at(i + 1) * ldc + j : c + j + NR;
      with[static_cast<size_t>(rows - 1)](k, left + at * from_row, step == 0 ? rows : step, right,
                                          c + at * ldc + j, ldc, n - j, next);
    }
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

/** out[p * step + r] = from[r * stride + p] for `rows` <= 16 rows and k columns; every store is of
 * 16 floats, the next one overwrites what it wrote too much. */
inline void transpose_rows(const float* from, int64_t stride, int64_t rows, int64_t k, float* out,
                           int64_t step) {
  for (int64_t p = 0; p < k; p += 16) {
    const __mmask16 mask = first_lanes(k - p);
    __m512 r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++)
      r[i] = i < rows ? _mm512_maskz_loadu_ps(mask, from + i * stride + p) : _mm512_setzero_ps();
    transpose16(r);
    const int64_t count = std::min<int64_t>(16, k - p);
    if (count == 16) {
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++) _mm512_storeu_ps(out + (p + i) * step, r[i]);
    } else {
      for (int i = 0; i < 16; i++)
        if (i < count) _mm512_storeu_ps(out + (p + i) * step, r[i]);
    }
  }
}

/** Operands stored by k are packed in stripes of this depth: what was read for one panel is
 * still in the first-level cache for the next. */
constexpr int64_t K_STRIPE = 32;

/** `rows` <= 16 floats of each of k rows of the stored matrix, closely packed. Stores are of 16
 * floats, the next one overwrites what is too much; `ends` says that there is no next one. */
inline void copy_rows(const float* from, int64_t stride, int64_t rows, int64_t k, bool ends,
                      float* out) {
  const __mmask16 mask = first_lanes(rows);
  const int64_t open = ends ? k - 1 : k;
  int64_t p = 0;
  for (; p < open; p++)
    _mm512_storeu_ps(out + p * rows, _mm512_maskz_loadu_ps(mask, from + p * stride));
  if (ends)
    _mm512_mask_storeu_ps(out + p * rows, mask, _mm512_maskz_loadu_ps(mask, from + p * stride));
}

void pack_left(const GemmLeft& a, int64_t m0, int64_t m, int64_t k0, int64_t k, float* out) {
  const float* const from = a.data + m0 * a.row + k0 * a.col;
  const int64_t panels = (m + MR - 1) / MR;
  const Ranges ranges(m, panels);
  if (a.row == 1) {
    for (int64_t p = 0; p < k; p += K_STRIPE)
      for (int64_t i = 0; i < panels; i++)
        copy_rows(from + p * a.col + ranges.at(i), a.col, ranges.size(i), std::min(K_STRIPE, k - p),
                  p + K_STRIPE >= k, out + ranges.at(i) * k + p * ranges.size(i));
    return;
  }
  for (int64_t i = 0; i < panels; i++) {
    const int64_t at = ranges.at(i);
    const int64_t rows = ranges.size(i);
    if (a.col == 1) {
      transpose_rows(from + at * a.row, a.row, rows, k, out + at * k, rows);
      continue;
    }
    for (int64_t p = 0; p < k; p++)
      for (int64_t r = 0; r < rows; r++)
        out[at * k + p * rows + r] = from[(at + r) * a.row + p * a.col];
  }
}

inline __m512 from_codes(const int8_t* p, __mmask16 mask) {
  return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(mask, p)));
}

/** k rows of one panel of a row-major operand, floats or codes, from row k0 on. */
inline void pack_right_rows(const GemmRight& b, int64_t n0, int64_t columns, int64_t k0, int64_t k,
                            float* o) {
  const __mmask16 low = first_lanes(columns);
  const __mmask16 high = first_lanes(columns - 16);
  if (b.codes == nullptr) {
    const float* from = b.data + k0 * b.row + n0;
    for (int64_t p = 0; p < k; p++, from += b.row, o += NR) {
      _mm512_store_ps(o, _mm512_maskz_loadu_ps(low, from));
      _mm512_store_ps(o + 16, _mm512_maskz_loadu_ps(high, from + 16));
    }
    return;
  }
  const int8_t* from = b.codes + k0 * b.row + n0;
  for (int64_t p = 0; p < k; p++, from += b.row, o += NR) {
    const float row_scale = b.row_scale == nullptr ? 1.0f : b.row_scale[k0 + p];
    const __m512 scale = _mm512_set1_ps(b.scale * row_scale);
    _mm512_store_ps(o, _mm512_mul_ps(from_codes(from, low), scale));
    _mm512_store_ps(o + 16, _mm512_mul_ps(from_codes(from + 16, high), scale));
  }
}

void pack_right(const GemmRight& b, int64_t n0, int64_t n, int64_t k0, int64_t k, float* out,
                int64_t stride) {
  if (b.col == 1) {
    for (int64_t p = 0; p < k; p += K_STRIPE)
      for (int64_t j = 0; j < n; j += NR)
        pack_right_rows(b, n0 + j, std::min(NR, n - j), k0 + p, std::min(K_STRIPE, k - p),
                        out + j / NR * stride + p * NR);
    return;
  }
  const bool transposed = b.codes == nullptr && b.row == 1;
  for (int64_t j = 0; j < n; j += NR, out += stride) {
    const int64_t columns = std::min(NR, n - j);
    if (transposed) {
      const float* const from = b.data + k0 + (n0 + j) * b.col;
      transpose_rows(from, b.col, std::min<int64_t>(16, columns), k, out, NR);
      transpose_rows(from + 16 * b.col, b.col, columns - 16, k, out + 16, NR);
      continue;
    }
    if (columns < NR) std::fill_n(out, NR * k, 0.0f);
    for (int64_t p = 0; p < k; p++) {
      const float scale = b.row_scale == nullptr ? b.scale : b.scale * b.row_scale[k0 + p];
      for (int64_t r = 0; r < columns; r++) {
        const int64_t at = (k0 + p) * b.row + (n0 + j + r) * b.col;
        out[p * NR + r] = b.codes == nullptr ? b.data[at] : static_cast<float>(b.codes[at]) * scale;
      }
    }
  }
}

}  // namespace

const GemmKernels GEMM_KERNELS{MR, NR, pack_left, pack_right, block, block_unpacked};

}  // namespace magnet::avx512
#pragma GCC pop_options
#endif
