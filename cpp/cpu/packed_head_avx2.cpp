// AVX2 products of packed heads. Pairs of products add up in int16 lanes: sums may wrap around on
// the way, but with the shift for unsigned codes added in they fit. One token takes both halves of a
// panel (8 rows each) at a time, as they lie in memory; more tokens take one after the other, so
// that sums and codes stay in registers.
#if defined(__x86_64__)
#include <algorithm>
#include <array>

#include "packed_head.hpp"
#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
namespace {

using Word = int32_t __attribute__((may_alias, aligned(1)));
using Words = long long __attribute__((may_alias, aligned(1)));
inline __m256i broadcast4(const void* p) { return _mm256_set1_epi32(*static_cast<const Word*>(p)); }
inline __m256i load256(const uint8_t* p) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
}
inline __m256 load_halves(const uint8_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline void prefetch(const uint8_t* p) {
  constexpr uint64_t AHEAD = 4096;
  _mm_prefetch(reinterpret_cast<const char*>(p + AHEAD), _MM_HINT_T0);
}

/** One plane of the activations, from its first token. */
struct Plane {
  const int8_t* q;
  const int16_t* shift;
};
struct Rows {
  Plane plane[2];
  uint64_t stride;
  Rows(const Int15Rows& x, uint32_t t0)
      : plane{{x.high + uint64_t{t0} * x.stride, x.high_shift + uint64_t{t0} * (x.stride / 8)},
              {x.low + uint64_t{t0} * x.stride, x.low_shift + uint64_t{t0} * (x.stride / 8)}},
        stride(x.stride) {}
  inline const int8_t* q(int p, uint32_t t, uint64_t c) const {
    return plane[p].q + t * stride + c;
  }
  inline const int16_t* shift(int p, uint32_t t, uint64_t c) const {
    return plane[p].shift + (t * stride + c) / 8;
  }
};

/** 128 * high + low as floats. */
inline __m256 joined(const __m256i (&sums)[2]) {
  return _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums[0]), _mm256_set1_ps(128.0f),
                         _mm256_cvtepi32_ps(sums[1]));
}

/** Codes of 16 columns and 8 rows from their three vectors. */
inline void q6k_codes(const uint8_t* p, __m256i (&codes)[4]) {
  const __m256i low[2] = {load256(p), load256(p + 64)};
  const __m256i pairs = load256(p + 128);
  const __m256i nibble = _mm256_set1_epi8(0x0f);
  const __m256i above = _mm256_set1_epi8(0x30);
  const auto join = [&](__m256i a, __m256i b) {
    return _mm256_or_si256(_mm256_and_si256(a, nibble), _mm256_and_si256(b, above));
  };
  codes[0] = join(low[0], _mm256_slli_epi16(pairs, 4));
  codes[1] = join(_mm256_srli_epi16(low[0], 4), _mm256_slli_epi16(pairs, 2));
  codes[2] = join(low[1], pairs);
  codes[3] = join(_mm256_srli_epi16(low[1], 4), _mm256_srli_epi16(pairs, 2));
}

/** Scales of 8 rows as int16, each twice. */
inline __m256i q6k_scales(const uint8_t* p) {
  const __m256i bytes = _mm256_set1_epi64x(*reinterpret_cast<const Words*>(p));
  const __m256i into_upper = _mm256_setr_epi8(-1, 0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1,
                                              3, -1, 4, -1, 4, -1, 5, -1, 5, -1, 6, -1, 6, -1, 7,
                                              -1, 7);
  return _mm256_srai_epi16(_mm256_shuffle_epi8(bytes, into_upper), 8);
}

/** Four groups of codes times 16 columns of a plane: |code - 32| <= 32 and |q| <= 127, so that the 8
 * columns of a lane stay within 2^15. */
inline __m256i q6k_products(const __m256i (&codes)[4], const int8_t* q, const int16_t* shift) {
  const __m256i a = _mm256_add_epi16(_mm256_maddubs_epi16(codes[0], broadcast4(q)),
                                     _mm256_maddubs_epi16(codes[1], broadcast4(q + 4)));
  const __m256i b = _mm256_add_epi16(_mm256_maddubs_epi16(codes[2], broadcast4(q + 8)),
                                     _mm256_maddubs_epi16(codes[3], broadcast4(q + 12)));
  return _mm256_add_epi16(_mm256_add_epi16(a, b), broadcast4(shift));
}

/** Integer sums of a block of 256 columns, each 16 of them times their scale. */
template <uint32_t T, uint32_t H>
inline void q6k_block(const uint8_t* codes, const uint8_t* scales, const Rows& x, uint64_t c,
                      __m256i (&sums)[T][H][2]) {
  for (uint32_t s = 0; s < 16; s++, codes += 192, c += 16) {
    for (int line = 0; line < 3; line++) prefetch(codes + 64 * line);
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) {
      __m256i four[4];
      q6k_codes(codes + 32 * h, four);
      const __m256i scale = q6k_scales(scales + 16 * s + 8 * h);
#pragma GCC unroll 4
      for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
        for (int p = 0; p < 2; p++) {
          const __m256i products = q6k_products(four, x.q(p, t, c), x.shift(p, t, c));
          sums[t][h][p] = _mm256_add_epi32(sums[t][h][p], _mm256_madd_epi16(products, scale));
        }
    }
  }
}

template <uint32_t T, uint32_t H>
void q6k(const uint8_t* codes, const uint8_t* scales, uint32_t half, uint32_t cols, const Rows& x,
         __m256 (&sums)[T][H]) {
  for (uint32_t c = 0; c < cols; c += 256, codes += 16 * 192, scales += 288) {
    for (int line = 0; line < 5; line++) prefetch(scales + 64 * line);
    const uint8_t* const halves = scales + 256 + 16 * half;
    __m256i block[T][H][2];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
      for (uint32_t h = 0; h < H; h++) block[t][h][0] = block[t][h][1] = _mm256_setzero_si256();
    q6k_block<T, H>(codes, scales + 8 * half, x, c, block);
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) {
      const __m256 d = load_halves(halves + 16 * h);
#pragma GCC unroll 4
      for (uint32_t t = 0; t < T; t++)
        sums[t][h] = _mm256_fmadd_ps(joined(block[t][h]), d, sums[t][h]);
    }
  }
}

/** 32 columns of one plane: codes of at most 15, 16 columns to a lane, so that nothing wraps. */
inline __m256i int4_products(const __m256i (&codes)[8], const int8_t* q, const int16_t* shift) {
  __m256i sum = _mm256_add_epi16(_mm256_srai_epi16(broadcast4(shift), 2),
                                 _mm256_srai_epi16(broadcast4(shift + 2), 2));
#pragma GCC unroll 8
  for (int g = 0; g < 8; g++)
    sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes[g], broadcast4(q + 4 * g)));
  return _mm256_madd_epi16(sum, _mm256_set1_epi16(1));
}

template <uint32_t T, uint32_t H>
void int4(const uint8_t* codes, const uint8_t* scales, uint32_t cols, const Rows& x,
          __m256 (&sums)[T][H]) {
  const __m256i nibble = _mm256_set1_epi8(0x0f);
  for (uint32_t c = 0; c < cols; c += 32, codes += 256, scales += 32) {
    prefetch(scales);
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) {
      __m256i eight[8];
#pragma GCC unroll 4
      for (int v = 0; v < 4; v++) {
        if (h == 0) prefetch(codes + 64 * v);
        const __m256i both = load256(codes + 64 * v + 32 * h);
        eight[2 * v] = _mm256_and_si256(both, nibble);
        eight[2 * v + 1] = _mm256_and_si256(_mm256_srli_epi16(both, 4), nibble);
      }
      const __m256 scale = load_halves(scales + 16 * h);
#pragma GCC unroll 4
      for (uint32_t t = 0; t < T; t++) {
        const __m256i high = int4_products(eight, x.q(0, t, c), x.shift(0, t, c));
        const __m256i low = int4_products(eight, x.q(1, t, c), x.shift(1, t, c));
        const __m256i sum = _mm256_add_epi32(_mm256_slli_epi32(high, 7), low);
        sums[t][h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, sums[t][h]);
      }
    }
  }
}

/** Four activations as int16, in every 8 bytes. */
inline __m256i four_wide(const int8_t* q) {
  return _mm256_cvtepi8_epi16(_mm256_castsi256_si128(broadcast4(q)));
}

/** Codes of 8 bits do not fit vpmaddubsw: they are widened. A row has two lanes until the end. */
template <uint32_t T, uint32_t H>
void int8(const uint8_t* codes, uint32_t groups, const Rows& x, const int32_t* totals,
          __m256 (&sums)[T][H]) {
  __m256i wide[T][H][2][2] = {};
  for (uint32_t g = 0; g < groups; g++, codes += 64) {
    prefetch(codes);
    __m256i q[T][2];
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
      for (int p = 0; p < 2; p++) q[t][p] = four_wide(x.q(p, t, 4 * g));
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++)
#pragma GCC unroll 2
      for (int i = 0; i < 2; i++) {
        const __m256i w = _mm256_cvtepu8_epi16(
            _mm_load_si128(reinterpret_cast<const __m128i*>(codes + 32 * h + 16 * i)));
#pragma GCC unroll 4
        for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
          for (int p = 0; p < 2; p++)
            wide[t][h][p][i] = _mm256_add_epi32(wide[t][h][p][i], _mm256_madd_epi16(w, q[t][p]));
      }
  }
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) {
      __m256i both[2];
#pragma GCC unroll 2
      for (int p = 0; p < 2; p++) {
        // hadd leaves rows 0 1 4 5 2 3 6 7.
        const __m256i rows = _mm256_hadd_epi32(wide[t][h][p][0], wide[t][h][p][1]);
        both[p] = _mm256_sub_epi32(_mm256_permute4x64_epi64(rows, 0xd8),
                                   _mm256_set1_epi32(128 * totals[2 * t + static_cast<uint32_t>(p)]));
      }
      sums[t][h] = joined(both);
    }
}

/** T tokens from t0 times H halves of a panel, from `half`. */
template <uint32_t T, uint32_t H>
void tile(const PackedHead& w, uint32_t panel, uint32_t half, const Int15Rows& x, uint32_t t0,
          float* y, uint32_t y_stride) {
  const Rows rows(x, t0);
  const uint8_t* const codes = w.codes + uint64_t{panel} * w.panel_codes + 32 * half;
  const uint8_t* const scales = w.scales + uint64_t{panel} * w.panel_scales;
  __m256 sums[T][H];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) sums[t][h] = _mm256_setzero_ps();
  if (w.format == HeadFormat::q6k)
    q6k<T, H>(codes, scales, half, w.cols, rows, sums);
  else if (w.format == HeadFormat::int4)
    int4<T, H>(codes, scales + 16 * half, w.cols, rows, sums);
  else
    int8<T, H>(codes, w.panel_codes / 64, rows, x.sums + 2 * t0, sums);
#pragma GCC unroll 2
  for (uint32_t h = 0; h < H; h++) {
    const uint32_t row = panel * 16 + 8 * (half + h);
    const int left = static_cast<int>(w.rows) - static_cast<int>(row);
    const __m256i there =
        _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
    const __m256 row_scale =
        w.format == HeadFormat::int8
            ? _mm256_loadu_ps(reinterpret_cast<const float*>(scales) + 8 * (half + h))
            : _mm256_set1_ps(1.0f);
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) {
      const __m256 scale = _mm256_mul_ps(row_scale, _mm256_set1_ps(x.scale[t0 + t]));
      _mm256_maskstore_ps(y + uint64_t{t0 + t} * y_stride + row, there,
                          _mm256_mul_ps(sums[t][h], scale));
    }
  }
}
constexpr std::array TILES{tile<1, 1>, tile<2, 1>, tile<3, 1>};

void product(const PackedHead& w, uint32_t panel_begin, uint32_t panel_end, const Int15Rows& x,
             uint32_t n, float* y, uint32_t y_stride) {
  constexpr auto TILE = static_cast<uint32_t>(TILES.size());
  for (uint32_t p = panel_begin; p < panel_end; p++) {
    if (n == 1) {
      tile<1, 2>(w, p, 0, x, 0, y, y_stride);
      continue;
    }
    for (uint32_t half = 0; half < 2; half++)
      for (uint32_t t = 0; t < n; t += TILE)
        TILES[std::min(TILE, n - t) - 1](w, p, half, x, t, y, y_stride);
  }
}

}  // namespace

const HeadKernel HEAD_PRODUCT = product;

}  // namespace magnet::avx2
#pragma GCC pop_options
#endif
