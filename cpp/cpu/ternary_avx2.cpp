// AVX2 kernels of the integer product: pairs of products add up in 16 bits, widened every 256 k.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "ternary_product.hpp"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
namespace {

constexpr int64_t ROWS = 4;  // 8 accumulators, 2 of w, 1 of q, temporaries: more would spill
constexpr int64_t COLUMNS = 16;
/** A pair of products is at most 2 * 2 * 127 = 508, so 64 of them fit in int16. */
constexpr int64_t K_BLOCK = 256;

void pack(const TernaryWeights& w, int64_t n0, int64_t n, int64_t k, uint8_t* out) {
  const int64_t groups = (k + 3) / 4;
  for (int64_t j = 0; j < n; j += COLUMNS, out += groups * 64) {
    for (int64_t c = 0; c < COLUMNS; c++) {
      uint8_t* o = out + c * 4;
      if (j + c >= n) {
        for (int64_t g = 0; g < groups; g++) std::memset(o + g * 64, 0, 4);
        continue;
      }
      const int8_t* const row = w.t + (n0 + j + c) * k;
      int64_t g = 0;
      for (; g < k / 4; g++) {
        uint32_t codes;
        std::memcpy(&codes, row + 4 * g, 4);
        codes = ((codes & 0x7F7F7F7Fu) + 0x01010101u) ^ (codes & 0x80808080u);
        std::memcpy(o + g * 64, &codes, 4);
      }
      if (g < groups)
        for (int64_t i = 0; i < 4; i++)
          o[g * 64 + i] = 4 * g + i < k ? static_cast<uint8_t>(row[4 * g + i] + 1) : uint8_t{0};
    }
  }
}

/** int16 sums of one row with 16 columns. */
struct RowSums {
  __m256i low;
  __m256i high;

  static inline RowSums zero() { return {_mm256_setzero_si256(), _mm256_setzero_si256()}; }
  inline void add(const int8_t* codes, __m256i w0, __m256i w1) {
    int32_t four;
    std::memcpy(&four, codes, 4);
    const __m256i a = _mm256_set1_epi32(four);
    low = _mm256_add_epi16(low, _mm256_maddubs_epi16(w0, a));
    high = _mm256_add_epi16(high, _mm256_maddubs_epi16(w1, a));
    // One row at a time: left alone, the compiler loads all rows first and spills accumulators.
    asm volatile("" : "+x"(low), "+x"(high));
  }
  /** Widens into 16 int32. */
  inline void flush(int32_t* sums, bool fresh) const {
    const __m256i ones = _mm256_set1_epi16(1);
    auto* const to = reinterpret_cast<__m256i*>(sums);
    const __m256i zero = _mm256_setzero_si256();
    const __m256i old0 = fresh ? zero : _mm256_load_si256(to);
    const __m256i old1 = fresh ? zero : _mm256_load_si256(to + 1);
    _mm256_store_si256(to, _mm256_add_epi32(old0, _mm256_madd_epi16(low, ones)));
    _mm256_store_si256(to + 1, _mm256_add_epi32(old1, _mm256_madd_epi16(high, ones)));
  }
};

/** sums (4, 16) = products of 4 rows of q with one panel of 16 columns. */
void tile(const int8_t* const* q, const uint8_t* panel, int64_t k, int32_t* sums) {
  static_assert(ROWS == 4);
  const int64_t groups = (k + 3) / 4;
  for (int64_t g0 = 0; g0 < groups; g0 += K_BLOCK / 4) {
    const int64_t g1 = std::min(groups, g0 + K_BLOCK / 4);
    RowSums r0 = RowSums::zero();
    RowSums r1 = RowSums::zero();
    RowSums r2 = RowSums::zero();
    RowSums r3 = RowSums::zero();
    for (int64_t g = g0; g < g1; g++) {
      const __m256i w0 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + g * 64));
      const __m256i w1 = _mm256_load_si256(reinterpret_cast<const __m256i*>(panel + g * 64 + 32));
      r0.add(q[0] + 4 * g, w0, w1);
      r1.add(q[1] + 4 * g, w0, w1);
      r2.add(q[2] + 4 * g, w0, w1);
      r3.add(q[3] + 4 * g, w0, w1);
    }
    r0.flush(sums, g0 == 0);
    r1.flush(sums + COLUMNS, g0 == 0);
    r2.flush(sums + 2 * COLUMNS, g0 == 0);
    r3.flush(sums + 3 * COLUMNS, g0 == 0);
  }
}

void finish_row(const TernaryProduct& p, int64_t row, int64_t j, int64_t columns, int32_t* sums) {
  const float scale = p.x.inverse[row] * p.w.inverse;
  const int64_t at = row * p.n + j;
  if (columns < COLUMNS) {
    for (int64_t c = 0; c < columns; c++)
      p.y[at + c] =
          finish(sums[c] - p.x.sum[row], scale, p.residual ? p.residual + at + c : nullptr);
    return;
  }
  const __m256i shift = _mm256_set1_epi32(p.x.sum[row]);  // the codes were t + 1
  const __m256 scale8 = _mm256_set1_ps(scale);
  for (int64_t c = 0; c < COLUMNS; c += 8) {
    const __m256i raw = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + c));
    const __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(raw, shift));
    _mm256_storeu_ps(p.y + at + c, p.residual == nullptr
                                       ? _mm256_mul_ps(exact, scale8)
                                       : _mm256_fmadd_ps(exact, scale8,
                                                         _mm256_loadu_ps(p.residual + at + c)));
  }
}

void product(const TernaryProduct& p, const uint8_t* packed, int64_t begin, int64_t end) {
  const int64_t panel_bytes = (p.k + 3) / 4 * 4 * COLUMNS;
  const int64_t stride = padded_codes(p.k);
  alignas(64) int32_t sums[ROWS * COLUMNS];
  for (int64_t j = 0; j < p.n; j += COLUMNS, packed += panel_bytes)
    for (int64_t i = begin; i < end; i += ROWS) {
      const int8_t* rows[ROWS];
      for (int64_t r = 0; r < ROWS; r++) rows[r] = p.x.q + std::min(i + r, end - 1) * stride;
      tile(rows, packed, p.k, sums);
      for (int64_t r = 0; r < std::min(ROWS, end - i); r++)
        finish_row(p, i + r, j, std::min(COLUMNS, p.n - j), sums + r * COLUMNS);
    }
}

}  // namespace

const TernaryKernels TERNARY_KERNELS{COLUMNS, ROWS, pack, product};

}  // namespace magnet::avx2
#pragma GCC pop_options
#endif
