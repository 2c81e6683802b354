// float32 GEMM: packed 6x16 FMA kernel for AVX2 (panels in the manner of GotoBLAS), naive scalar
// twin.
#include "gemm.hpp"

#include <algorithm>
#include <cstdlib>
#include <new>

#include "aligned_buffer.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

namespace magnet::scalar {
namespace {

inline float right_at(const GemmRight& b, int64_t k, int64_t n) {
  const int64_t at = k * b.row + n * b.col;
  if (b.codes == nullptr) return b.data[at];
  const float scale = b.row_scale == nullptr ? b.scale : b.scale * b.row_scale[k];
  return static_cast<float>(b.codes[at]) * scale;
}

void gemm_serial(GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c, int64_t ldc,
                 bool accumulate) {
  for (int64_t m = 0; m < shape.m; m++)
    for (int64_t n = 0; n < shape.n; n++) {
      float sum = accumulate ? c[m * ldc + n] : 0.0f;
      for (int64_t k = 0; k < shape.k; k++)
        sum = std::fma(a.data[m * a.row + k * a.col], right_at(b, k, n), sum);
      c[m * ldc + n] = sum;
    }
}

}  // namespace
}  // namespace magnet::scalar

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
namespace {

constexpr int64_t MR = 6;    // rows and
constexpr int64_t NR = 16;   // columns of the register tile: 12 accumulators, 2 of B, 1 of A
constexpr int64_t KC = 256;  // a 16-column panel of B (16 KiB) stays in the first-level cache,
constexpr int64_t MC = 96;   // a block of A (96 KiB) in the second,
constexpr int64_t NC = 512;  // a block of B (512 KiB) in the second or third

#include "gemm_pack.inc"

/** c (6, 16) = [c +] a panel of 6 rows times a panel of 16 columns. */
template <bool fresh>
inline void tile(int64_t k, const float* a, const float* b, float* c, int64_t ldc) {
  __m256 c0[MR], c1[MR];
#pragma GCC unroll 6
  for (int64_t i = 0; i < MR; i++) {
    c0[i] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(c + i * ldc);
    c1[i] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(c + i * ldc + 8);
  }
  for (int64_t p = 0; p < k; p++, a += MR, b += NR) {
    const __m256 b0 = _mm256_load_ps(b);
    const __m256 b1 = _mm256_load_ps(b + 8);
#pragma GCC unroll 6
    for (int64_t i = 0; i < MR; i++) {
      const __m256 ai = _mm256_broadcast_ss(a + i);
      c0[i] = _mm256_fmadd_ps(ai, b0, c0[i]);
      c1[i] = _mm256_fmadd_ps(ai, b1, c1[i]);
    }
  }
#pragma GCC unroll 6
  for (int64_t i = 0; i < MR; i++) {
    _mm256_storeu_ps(c + i * ldc, c0[i]);
    _mm256_storeu_ps(c + i * ldc + 8, c1[i]);
  }
}

/** A tile at the edge of C goes through a buffer. */
void edge_tile(int64_t k, const float* a, const float* b, float* c, int64_t ldc, int64_t rows,
               int64_t columns, bool fresh) {
  alignas(32) float buffer[MR * NR] = {};
  if (!fresh)
    for (int64_t i = 0; i < rows; i++)
      std::memcpy(buffer + i * NR, c + i * ldc, static_cast<size_t>(columns) * sizeof(float));
  tile<false>(k, a, b, buffer, NR);
  for (int64_t i = 0; i < rows; i++)
    std::memcpy(c + i * ldc, buffer + i * NR, static_cast<size_t>(columns) * sizeof(float));
}

void block(int64_t m, int64_t n, int64_t k, const float* a, const float* b, float* c, int64_t ldc,
           bool fresh) {
  for (int64_t j = 0; j < n; j += NR)
    for (int64_t i = 0; i < m; i += MR) {
      const float* const ap = a + i * k;
      const float* const bp = b + j * k;
      float* const cp = c + i * ldc + j;
      if (m - i < MR || n - j < NR) {
        edge_tile(k, ap, bp, cp, ldc, std::min(MR, m - i), std::min(NR, n - j), fresh);
      } else if (fresh) {
        tile<true>(k, ap, bp, cp, ldc);
      } else {
        tile<false>(k, ap, bp, cp, ldc);
      }
    }
}

void gemm_serial(GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c, int64_t ldc,
                 bool accumulate) {
  thread_local AlignedBuffer<float> left_scratch;
  thread_local AlignedBuffer<float> right_scratch;
  float* const left = left_scratch.reserve(MC * KC);
  float* const right = right_scratch.reserve(KC * NC);
  for (int64_t n0 = 0; n0 < shape.n; n0 += NC) {
    const int64_t n = std::min(NC, shape.n - n0);
    for (int64_t k0 = 0; k0 < shape.k; k0 += KC) {
      const int64_t k = std::min(KC, shape.k - k0);
      const bool fresh = k0 == 0 && !accumulate;
      for (int64_t j = 0; j < n; j += NR)
        pack_right_panel(b, n0 + j, std::min(NR, n - j), k0, k, right + j * k);
      for (int64_t m0 = 0; m0 < shape.m; m0 += MC) {
        const int64_t m = std::min(MC, shape.m - m0);
        pack_left(a, m0, m, k0, k, left);
        block(m, n, k, left, right, c + m0 * ldc + n0, ldc, fresh);
      }
    }
  }
}

}  // namespace
}  // namespace magnet::avx2
#pragma GCC pop_options

namespace magnet::avx512 {
namespace {
using avx2::gemm_serial;
}
}  // namespace magnet::avx512

namespace magnet {

void gemm_serial(GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c, int64_t ldc,
                 bool accumulate) {
  MAGNET_DISPATCH(gemm_serial, shape, a, b, c, ldc, accumulate);
}

void gemm(uint32_t threads, GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c,
          int64_t ldc, bool accumulate) {
  // Split the longer side, in whole register tiles, so that no two threads share one.
  const bool by_rows = shape.m >= shape.n;
  const int64_t unit = by_rows ? 6 : 16;
  const int64_t length = by_rows ? shape.m : shape.n;
  parallel_for(threads, (length + unit - 1) / unit, [&](int64_t begin, int64_t end, uint32_t) {
    const int64_t from = begin * unit;
    const int64_t size = std::min(length, end * unit) - from;
    GemmLeft a_part = a;
    GemmRight b_part = b;
    if (by_rows) {
      a_part.data += from * a.row;
    } else if (b.codes != nullptr) {
      b_part.codes += from * b.col;
    } else {
      b_part.data += from * b.col;
    }
    const GemmShape part{by_rows ? size : shape.m, by_rows ? shape.n : size, shape.k};
    gemm_serial(part, a_part, b_part, c + (by_rows ? from * ldc : from), ldc, accumulate);
  });
}

}  // namespace magnet
