// BitLinear: quantisers, integer forward product, float32 backward from the quantised operands.
#include "bitlinear.hpp"

#include <algorithm>
#include <vector>

#include "gemm.hpp"
#include "aligned_buffer.hpp"
#include "profile.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

#define MAGNET_KERNELS "bitlinear.inc"
#include "all_paths.inc"

namespace magnet {
namespace {

/** Integer products of rows [begin, end) of x with all n rows of w. */
struct TernaryProduct {
  QuantizedRows x;
  TernaryWeights w;
  int64_t n;
  int64_t k;
  const float* residual;
  float* y;
};

/** The one place where the integer sum becomes a float: both paths end here or in the same two
 * steps. */
inline float finish(int32_t sum, float scale, const float* residual) {
  const auto exact = static_cast<float>(sum);
  return residual == nullptr ? exact * scale : std::fma(exact, scale, *residual);
}

}  // namespace
}  // namespace magnet

namespace magnet::scalar {
namespace {
void ternary_product(const TernaryProduct& p, int64_t begin, int64_t end) {
  const int64_t stride = padded_codes(p.k);
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < p.n; j++) {
      int32_t sum = 0;
      for (int64_t k = 0; k < p.k; k++) sum += p.x.q[i * stride + k] * p.w.t[j * p.k + k];
      const int64_t at = i * p.n + j;
      p.y[at] = finish(sum, p.x.inverse[i] * p.w.inverse, p.residual ? p.residual + at : nullptr);
    }
}
}  // namespace
}  // namespace magnet::scalar

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
namespace {

constexpr int64_t ROWS = 4;  // 8 accumulators, 2 of w, 1 of q, temporaries: more would spill
constexpr int64_t COLUMNS = 16;
constexpr int64_t COLUMN_BLOCK = 256;
/** A pair of products is at most 2 * 2 * 127 = 508, so 64 of them fit in int16. */
constexpr int64_t K_BLOCK = 256;

/** Columns as panels of 16: for every 4 k, 16 groups of 4 unsigned codes t + 1. */
void pack_codes(const TernaryWeights& w, int64_t n0, int64_t n, int64_t k, uint8_t* out) {
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
  const __m256i shift = _mm256_set1_epi32(p.x.sum[row]);  // the codes were t + 1
  const int64_t at = row * p.n + j;
  if (columns < COLUMNS) {
    for (int64_t c = 0; c < columns; c++)
      p.y[at + c] =
          finish(sums[c] - p.x.sum[row], scale, p.residual ? p.residual + at + c : nullptr);
    return;
  }
  for (int64_t c = 0; c < COLUMNS; c += 8) {
    const __m256i raw = _mm256_load_si256(reinterpret_cast<const __m256i*>(sums + c));
    const F8 exact{_mm256_cvtepi32_ps(_mm256_sub_epi32(raw, shift))};
    store(p.y + at + c, p.residual == nullptr
                            ? mul(exact, set1(scale))
                            : fma8(exact, set1(scale), load(p.residual + at + c)));
  }
}

void ternary_product(const TernaryProduct& p, int64_t begin, int64_t end) {
  thread_local AlignedBuffer<uint8_t> scratch;
  const int64_t panel_bytes = (p.k + 3) / 4 * 64;
  uint8_t* const packed = scratch.reserve(panel_bytes * (COLUMN_BLOCK / COLUMNS));
  const int64_t stride = padded_codes(p.k);
  alignas(64) int32_t sums[ROWS * COLUMNS];
  for (int64_t n0 = 0; n0 < p.n; n0 += COLUMN_BLOCK) {
    const int64_t n = std::min(COLUMN_BLOCK, p.n - n0);
    pack_codes(p.w, n0, n, p.k, packed);
    for (int64_t i = begin; i < end; i += ROWS) {
      const int8_t* rows[ROWS];
      for (int64_t r = 0; r < ROWS; r++) rows[r] = p.x.q + std::min(i + r, end - 1) * stride;
      for (int64_t j = 0; j < n; j += COLUMNS) {
        tile(rows, packed + j / COLUMNS * panel_bytes, p.k, sums);
        for (int64_t r = 0; r < std::min(ROWS, end - i); r++)
          finish_row(p, i + r, n0 + j, std::min(COLUMNS, n - j), sums + r * COLUMNS);
      }
    }
  }
}

}  // namespace
}  // namespace magnet::avx2
#pragma GCC pop_options

namespace magnet::avx512 {
namespace {
using avx2::ternary_product;
}
}  // namespace magnet::avx512

namespace magnet {

void quantize_row(const float* x, int64_t k, int8_t* q, float* inverse, int32_t* sum) {
  MAGNET_DISPATCH(quantize_row, x, k, q, inverse, sum);
}

float ternarize(uint32_t threads, const float* w, int64_t count, int8_t* t) {
  constexpr int64_t CHUNK = 4096;
  const int64_t chunks = (count + CHUNK - 1) / CHUNK;
  std::vector<double> sums(static_cast<size_t>(chunks));
  auto size_of = [&](int64_t chunk) { return std::min(CHUNK, count - chunk * CHUNK); };
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++)
      sums[static_cast<size_t>(c)] = MAGNET_DISPATCH(abs_sum_chunk, w + c * CHUNK, size_of(c));
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  const auto mean = static_cast<float>(total / static_cast<double>(count));
  if (!std::isfinite(mean)) return std::nanf("");
  const float scale = 1.0f / (mean < 1e-5f ? 1e-5f : mean);
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++)
      MAGNET_DISPATCH(ternarize_chunk, w + c * CHUNK, size_of(c), scale, t + c * CHUNK);
  });
  return 1.0f / scale;
}

void bitlinear_forward(uint32_t threads, const QuantizedRows& x, const TernaryWeights& w,
                       int64_t rows, int64_t n, int64_t k, const float* residual, float* y) {
  const KernelScope scope(Kernel::ternary_product);
  const TernaryProduct product{x, w, n, k, residual, y};
  constexpr int64_t UNIT = 4;  // whole register tiles
  parallel_for(threads, (rows + UNIT - 1) / UNIT, [&](int64_t begin, int64_t end, uint32_t) {
    MAGNET_DISPATCH(ternary_product, product, begin * UNIT, std::min(rows, end * UNIT));
  });
}

void bitlinear_backward(uint32_t threads, const QuantizedRows& x, const TernaryWeights& w,
                        const float* dy, int64_t rows, int64_t n, int64_t k, bool accumulate_dx,
                        float* dx, float* dw) {
  {
    const KernelScope scope(Kernel::gemm_dx);
    GemmRight weights{nullptr, k, 1, w.t, w.inverse, nullptr};
    gemm(threads, {rows, k, n}, {dy, n, 1}, weights, dx, k, accumulate_dx);
  }
  const KernelScope scope(Kernel::gemm_dw);
  GemmRight inputs{nullptr, padded_codes(k), 1, x.q, 1.0f, x.inverse};
  gemm(threads, {n, k, rows}, {dy, 1, n}, inputs, dw, k, true);
}

}  // namespace magnet
