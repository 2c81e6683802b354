// AVX-512 kernels of the integer product: vpdpbusd adds four products of unsigned weight codes and
// signed activations to an int32 lane.
#if defined(__x86_64__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // g++ 12's own header: GCC bug 105593
#include <immintrin.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "lanes_avx512.hpp"
#include "ternary_product.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
namespace {

constexpr int64_t ROWS = 14;  // 28 accumulators, 2 of w, 1 of q
constexpr int64_t COLUMNS = 32;

/** 16 columns (those past n zero), 4 k at a time, 128 bytes apart. */
void pack_half(const TernaryWeights& w, int64_t n0, int64_t n, int64_t k, uint8_t* out) {
  const __m512i one = _mm512_set1_epi8(1);
  const int64_t groups = (k + 3) / 4;
  for (int64_t g = 0; g < groups; g += 16) {
    const int64_t bytes = std::min<int64_t>(64, k - 4 * g);
    const __mmask64 mask = bytes == 64 ? ~__mmask64{0} : (__mmask64{1} << bytes) - 1;
    __m512 r[16];
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) {
      const int8_t* const from = w.t + (n0 + i) * k + 4 * g;
      r[i] = i < n ? _mm512_castsi512_ps(_mm512_add_epi8(_mm512_maskz_loadu_epi8(mask, from), one))
                   : _mm512_setzero_ps();
    }
    transpose16(r);
    const int64_t count = std::min<int64_t>(16, groups - g);
    for (int i = 0; i < 16; i++)
      if (i < count) _mm512_store_ps(out + (g + i) * 128, r[i]);
  }
}

void pack(const TernaryWeights& w, int64_t n0, int64_t n, int64_t k, uint8_t* out) {
  const int64_t panel_bytes = (k + 3) / 4 * 4 * COLUMNS;
  for (int64_t j = 0; j < n; j += COLUMNS, out += panel_bytes) {
    pack_half(w, n0 + j, std::min<int64_t>(16, n - j), k, out);
    pack_half(w, n0 + j + 16, n - j - 16, k, out + 64);
  }
}

inline __m512i four_codes(const int8_t* q) {
  int32_t codes;
  std::memcpy(&codes, q, 4);
  return _mm512_set1_epi32(codes);
}

/** vpdpbusd. The intrinsic makes g++ 12 move and spill every accumulator. */
inline void add_products(__m512i& sum, __m512i unsigned_codes, __m512i codes) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(unsigned_codes), "v"(codes));
}

/** sums (R, 32) = products of R rows of q, `stride` apart, with a panel, minus the rows' sums. */
template <int64_t R>
void tile(const int8_t* q, int64_t stride, const int32_t* row_sums, const uint8_t* panel,
          int64_t groups, int32_t* sums) {
  __m512i low[R], high[R];
#pragma GCC unroll 14
  for (int64_t i = 0; i < R; i++) {
    low[i] = _mm512_set1_epi32(-row_sums[i]);
    high[i] = low[i];
  }
  for (int64_t g = 0; g < groups; g++, q += 4, panel += 128) {
    const __m512i w0 = _mm512_load_si512(panel);
    const __m512i w1 = _mm512_load_si512(panel + 64);
#pragma GCC unroll 14
    for (int64_t i = 0; i < R; i++) {
      const __m512i a = four_codes(q + i * stride);
      add_products(low[i], w0, a);
      add_products(high[i], w1, a);
    }
  }
#pragma GCC unroll 14
  for (int64_t i = 0; i < R; i++) {
    _mm512_store_si512(sums + i * COLUMNS, low[i]);
    _mm512_store_si512(sums + i * COLUMNS + 16, high[i]);
  }
}

/** Sixteen sums as floats, scaled back, into y. */
inline void finish16(const TernaryProduct& p, const int32_t* sums, __m512 scale, int64_t at,
                     __mmask16 mask) {
  const __m512 exact = _mm512_cvtepi32_ps(_mm512_load_si512(sums));
  if (p.residual == nullptr) {
    _mm512_mask_storeu_ps(p.y + at, mask, _mm512_mul_ps(exact, scale));
    return;
  }
  const __m512 residual = _mm512_maskz_loadu_ps(mask, p.residual + at);
  _mm512_mask_storeu_ps(p.y + at, mask, _mm512_fmadd_ps(exact, scale, residual));
}

using Tile = void (*)(const int8_t*, int64_t, const int32_t*, const uint8_t*, int64_t, int32_t*);
template <int64_t... R>
constexpr std::array<Tile, sizeof...(R)> tiles(std::integer_sequence<int64_t, R...>) {
  return {tile<R + 1>...};
}
constexpr auto TILES = tiles(std::make_integer_sequence<int64_t, ROWS>());

void product(const TernaryProduct& p, const uint8_t* packed, int64_t begin, int64_t end) {
  const int64_t groups = (p.k + 3) / 4;
  const int64_t stride = padded_codes(p.k);
  alignas(64) int32_t sums[ROWS * COLUMNS];
  for (int64_t j = 0; j < p.n; j += COLUMNS, packed += groups * 4 * COLUMNS) {
    const __mmask16 low = first_lanes(p.n - j);
    const __mmask16 high = first_lanes(p.n - j - 16);
    for (int64_t i = begin; i < end; i += ROWS) {
      const int64_t rows = std::min(ROWS, end - i);
      // Rows of y are far apart: nothing else fetches them before they are written.
      for (int64_t r = 0; r < rows; r++) {
        const auto* const to = reinterpret_cast<const char*>(p.y + (i + r) * p.n + j);
        _mm_prefetch(to, _MM_HINT_T0);
        _mm_prefetch(to + 64, _MM_HINT_T0);
      }
      TILES[static_cast<size_t>(rows - 1)](p.x.q + i * stride, stride, p.x.sum + i, packed, groups,
                                           sums);
      for (int64_t r = 0; r < rows; r++) {
        const __m512 scale = _mm512_set1_ps(p.x.inverse[i + r] * p.w.inverse);
        const int64_t at = (i + r) * p.n + j;
        finish16(p, sums + r * COLUMNS, scale, at, low);
        finish16(p, sums + r * COLUMNS + 16, scale, at + 16, high);
      }
    }
  }
}

}  // namespace

const TernaryKernels TERNARY_KERNELS{COLUMNS, ROWS, pack, product};

}  // namespace magnet::avx512
#pragma GCC pop_options
#endif
