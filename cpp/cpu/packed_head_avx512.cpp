// AVX-512 products of packed heads: vpdpbusd of unsigned codes with both planes of the activations.
#if defined(__x86_64__)
#include <algorithm>
#include <array>

#include "packed_head.hpp"
#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
namespace {

using Word = int32_t __attribute__((may_alias, aligned(1)));
inline const Word& word(const void* p) { return *static_cast<const Word*>(p); }

/** vpdpbusd of four activations, broadcast by the load itself. The intrinsic makes g++ 12 move and
 * spill accumulators. */
inline void add_products(__m512i& sum, __m512i codes, const int8_t* q) {
  asm("vpdpbusd %2%{1to16%}, %1, %0" : "+v"(sum) : "v"(codes), "m"(word(q)));
}
/** Adds both int16 at `shift`. */
inline void add_shift(__m512i& sum, const int16_t* shift) {
  asm("vpdpwssd %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(_mm512_set1_epi16(1)), "m"(word(shift)));
}
inline __m512i load512(const uint8_t* p) { return _mm512_load_si512(p); }
inline __m512 load_halves(const uint8_t* p) {
  return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline void prefetch(const uint8_t* p) {
  constexpr uint64_t AHEAD = 4096;
  _mm_prefetch(reinterpret_cast<const char*>(p + AHEAD), _MM_HINT_T0);
}

/** Rows t of the activations, T of them from t0. */
struct Rows {
  const int8_t* high;
  const int8_t* low;
  const int16_t* high_shift;
  const int16_t* low_shift;
  uint64_t stride;
  Rows(const Int15Rows& x, uint32_t t0)
      : high(x.high + uint64_t{t0} * x.stride),
        low(x.low + uint64_t{t0} * x.stride),
        high_shift(x.high_shift + uint64_t{t0} * (x.stride / 8)),
        low_shift(x.low_shift + uint64_t{t0} * (x.stride / 8)),
        stride(x.stride) {}
};

/** 128 * high + low as floats. */
inline __m512 joined(__m512i high, __m512i low) {
  return _mm512_fmadd_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(128.0f), _mm512_cvtepi32_ps(low));
}

/** Codes of 16 columns from their three vectors. */
inline void q6k_codes(const uint8_t* p, __m512i (&codes)[4]) {
  const __m512i low[2] = {load512(p), load512(p + 64)};
  const __m512i pairs = load512(p + 128);
  const __m512i nibble = _mm512_set1_epi8(0x0f);
  const __m512i above = _mm512_set1_epi8(0x30);
  // Bits of the first where the mask has ones, else of the second.
  const auto select = [&](__m512i a, __m512i b) {
    return _mm512_ternarylogic_epi32(nibble, a, _mm512_and_si512(b, above), 0xca);
  };
  codes[0] = select(low[0], _mm512_slli_epi16(pairs, 4));
  codes[1] = select(_mm512_srli_epi16(low[0], 4), _mm512_slli_epi16(pairs, 2));
  codes[2] = select(low[1], pairs);
  codes[3] = select(_mm512_srli_epi16(low[1], 4), _mm512_srli_epi16(pairs, 2));
}

/** Integer sums of a block of 256 columns (from column c), each 16 of them times their scale. */
template <uint32_t T>
inline void q6k_block(const uint8_t* codes, const uint8_t* scales, const Rows& x, uint64_t c,
                      __m512i (&high)[T], __m512i (&low)[T]) {
  for (uint32_t s = 0; s < 16; s++, codes += 192, c += 16) {
    for (int line = 0; line < 3; line++) prefetch(codes + 64 * line);
    __m512i four[4];
    q6k_codes(codes, four);
    const __m512i scale = _mm512_cvtepi8_epi32(
        _mm_load_si128(reinterpret_cast<const __m128i*>(scales + 16 * s)));
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) {
      __m512i h = _mm512_setzero_si512();
      __m512i l = _mm512_setzero_si512();
      add_shift(h, x.high_shift + t * (x.stride / 8) + c / 8);
      add_shift(l, x.low_shift + t * (x.stride / 8) + c / 8);
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++) {
        add_products(h, four[g], x.high + t * x.stride + c + 4 * g);
        add_products(l, four[g], x.low + t * x.stride + c + 4 * g);
      }
      high[t] = _mm512_add_epi32(high[t], _mm512_mullo_epi32(h, scale));
      low[t] = _mm512_add_epi32(low[t], _mm512_mullo_epi32(l, scale));
    }
  }
}

/** T tokens and one panel; `sums` are to be multiplied with the activations' scales. */
template <uint32_t T>
void q6k(const PackedHead& w, uint32_t panel, const Rows& x, __m512 (&sums)[T]) {
  const uint8_t* codes = w.codes + uint64_t{panel} * w.panel_codes;
  const uint8_t* scales = w.scales + uint64_t{panel} * w.panel_scales;
  for (uint32_t c = 0; c < w.cols; c += 256, codes += 16 * 192, scales += 288) {
    for (int line = 0; line < 5; line++) prefetch(scales + 64 * line);
    __m512i high[T], low[T];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) high[t] = low[t] = _mm512_setzero_si512();
    q6k_block<T>(codes, scales, x, c, high, low);
    const __m512 d = load_halves(scales + 256);
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) sums[t] = _mm512_fmadd_ps(joined(high[t], low[t]), d, sums[t]);
  }
}

template <uint32_t T>
void int4(const PackedHead& w, uint32_t panel, const Rows& x, __m512 (&sums)[T]) {
  const uint8_t* codes = w.codes + uint64_t{panel} * w.panel_codes;
  const uint8_t* scales = w.scales + uint64_t{panel} * w.panel_scales;
  const __m512i nibble = _mm512_set1_epi8(0x0f);
  for (uint32_t c = 0; c < w.cols; c += 32, codes += 256, scales += 32) {
    prefetch(scales);
    __m512i high[T], low[T];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) high[t] = low[t] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
      for (uint32_t i = 0; i < 2; i++) {
        add_shift(high[t], x.high_shift + t * (x.stride / 8) + c / 8 + 2 * i);
        add_shift(low[t], x.low_shift + t * (x.stride / 8) + c / 8 + 2 * i);
      }
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) {  // -32 times the sums so far; a code is 8 too large
      high[t] = _mm512_srai_epi32(high[t], 2);
      low[t] = _mm512_srai_epi32(low[t], 2);
    }
#pragma GCC unroll 4
    for (uint32_t v = 0; v < 4; v++) {
      prefetch(codes + 64 * v);
      const __m512i both = load512(codes + 64 * v);
      const __m512i four[2] = {_mm512_and_si512(both, nibble),
                               _mm512_and_si512(_mm512_srli_epi16(both, 4), nibble)};
#pragma GCC unroll 4
      for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
        for (uint32_t i = 0; i < 2; i++) {
          const uint64_t at = t * x.stride + c + 8 * v + 4 * i;
          add_products(high[t], four[i], x.high + at);
          add_products(low[t], four[i], x.low + at);
        }
    }
    const __m512 scale = load_halves(scales);
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) {
      const __m512i sum = _mm512_add_epi32(_mm512_slli_epi32(high[t], 7), low[t]);
      sums[t] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, sums[t]);
    }
  }
}

template <uint32_t T>
void int8(const PackedHead& w, uint32_t panel, const Rows& x, const int32_t* totals,
          __m512 (&sums)[T]) {
  const uint8_t* codes = w.codes + uint64_t{panel} * w.panel_codes;
  const uint32_t groups = w.panel_codes / 64;
  __m512i high[T], low[T];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++) {
    high[t] = _mm512_set1_epi32(-128 * totals[2 * t]);
    low[t] = _mm512_set1_epi32(-128 * totals[2 * t + 1]);
  }
  for (uint32_t g = 0; g < groups; g++) {
    prefetch(codes + 64 * g);
    const __m512i four = load512(codes + 64 * g);
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) {
      add_products(high[t], four, x.high + t * x.stride + 4 * g);
      add_products(low[t], four, x.low + t * x.stride + 4 * g);
    }
  }
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++) sums[t] = joined(high[t], low[t]);
}

template <uint32_t T>
void tile(const PackedHead& w, uint32_t panel, const Int15Rows& x, uint32_t t0, float* y,
          uint32_t y_stride) {
  const Rows rows(x, t0);
  __m512 sums[T];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++) sums[t] = _mm512_setzero_ps();
  __m512 row_scale = _mm512_set1_ps(1.0f);
  if (w.format == HeadFormat::q6k) {
    q6k<T>(w, panel, rows, sums);
  } else if (w.format == HeadFormat::int4) {
    int4<T>(w, panel, rows, sums);
  } else {
    int8<T>(w, panel, rows, x.sums + 2 * t0, sums);
    row_scale = _mm512_loadu_ps(w.scales + uint64_t{panel} * w.panel_scales);
  }
  const uint32_t left = w.rows - panel * 16;
  const __mmask16 there = left >= 16 ? __mmask16{0xffff} : static_cast<__mmask16>((1u << left) - 1);
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++) {
    const __m512 scale = _mm512_mul_ps(row_scale, _mm512_set1_ps(x.scale[t0 + t]));
    _mm512_mask_storeu_ps(y + uint64_t{t0 + t} * y_stride + uint64_t{panel} * 16, there,
                          _mm512_mul_ps(sums[t], scale));
  }
}
constexpr std::array TILES{tile<1>, tile<2>, tile<3>, tile<4>};

void product(const PackedHead& w, uint32_t panel_begin, uint32_t panel_end, const Int15Rows& x,
             uint32_t n, float* y, uint32_t y_stride) {
  constexpr auto TILE = static_cast<uint32_t>(TILES.size());
  for (uint32_t p = panel_begin; p < panel_end; p++)
    for (uint32_t t = 0; t < n; t += TILE)
      TILES[std::min(TILE, n - t) - 1](w, p, x, t, y, y_stride);
}

}  // namespace

const HeadKernel HEAD_PRODUCT = product;

}  // namespace magnet::avx512
#pragma GCC pop_options
#endif
