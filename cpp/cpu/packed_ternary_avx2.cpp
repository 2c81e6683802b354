// AVX2 products of packed ternary weights: vpmaddubsw adds two products of unsigned codes and
// signed activations into an int16 lane, and lanes are widened before they can overflow.
#if defined(__x86_64__)
#include <algorithm>
#include <array>
#include <utility>

#include "aligned_buffer.hpp"
#include "packed_ternary.hpp"
#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet::avx2 {
namespace {

using Four = int32_t __attribute__((may_alias, aligned(1)));

inline __m256i load8(const uint8_t* codes) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(codes));
}
inline __m256i four_of(const int8_t* q) {
  return _mm256_set1_epi32(*reinterpret_cast<const Four*>(q));
}
inline __m256i group(__m256i block, int g) {
  const __m256i shifted = g == 0 ? block : _mm256_srli_epi16(block, 2 * g);
  return _mm256_and_si256(shifted, _mm256_set1_epi8(3));
}
inline void add_products(__m256i& sum, __m256i codes, __m256i q) {
  sum = _mm256_add_epi16(sum, _mm256_maddubs_epi16(codes, q));
}
/** The same as one piece: left alone, g++ 12 spills the accumulators of a tile. */
inline void add_in_place(__m256i& sum, __m256i codes, __m256i q) {
  __m256i products;
  asm("vpmaddubsw %3, %2, %1\n\tvpaddw %1, %0, %0"
      : "+x"(sum), "=&x"(products)
      : "x"(codes), "x"(q));
}
/** Lanes of rows 8h..8h+7 of a panel that exist. */
inline __m256i rows_there(const PackedTernary& w, uint32_t panel, uint32_t h) {
  const auto left = static_cast<int>(w.rows - panel * PANEL_ROWS) - static_cast<int>(8 * h);
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(left), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
inline void store_rows(const PackedTernary& w, uint32_t panel, uint32_t h, __m256 v, float* y) {
  float* const to = y + uint64_t{panel} * PANEL_ROWS + 8 * h;
  if ((panel + 1) * PANEL_ROWS <= w.rows)
    _mm256_storeu_ps(to, v);
  else
    _mm256_maskstore_ps(to, rows_there(w, panel, h), v);
}
/** Eight sums of one token, scaled back, into y. */
inline void finish(const PackedTernary& w, uint32_t panel, uint32_t h, const Int8Rows& x,
                   uint32_t t, __m256i sums, float* y, uint32_t y_stride) {
  const __m256 exact = _mm256_cvtepi32_ps(_mm256_sub_epi32(sums, _mm256_set1_epi32(x.sum[t])));
  store_rows(w, panel, h, _mm256_mul_ps(exact, _mm256_set1_ps(x.scale[t] * w.scale)),
             y + uint64_t{t} * y_stride);
}

constexpr uint64_t AHEAD = 4096;
/**
 * Blocks between two widenings of few_tokens. `low` gets two groups of codes a block (of at most
 * 2 * 2 * 128 a product pair), `high` two of codes times 4: 8 blocks are 16 * 2048 = 2^15, which
 * only the negative end reaches, and int16 holds that.
 */
constexpr uint32_t FOLD = 8;

/** FOLD blocks (or fewer) of T tokens and H halves of a panel, 8 rows each. Odd groups stay two bits
 * up in their byte, so everything is summed 4 times. */
template <uint32_t T, uint32_t H>
inline void fold_blocks(const uint8_t* codes, const int8_t* q, uint64_t stride, uint32_t blocks,
                        __m256i (&wide)[T][H]) {
  const __m256i mask = _mm256_set1_epi8(0x03);
  const __m256i mask_up = _mm256_set1_epi8(0x0c);
  __m256i low[T][H], high[T][H];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) low[t][h] = high[t][h] = _mm256_setzero_si256();
  for (uint32_t b = 0; b < blocks; b++, codes += PANEL_BLOCK_BYTES, q += PANEL_COLUMNS) {
    _mm_prefetch(reinterpret_cast<const char*>(codes + AHEAD), _MM_HINT_T0);
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) {
      const __m256i block = load8(codes + 32 * h);
      const __m256i shifted = _mm256_srli_epi16(block, 4);
      const __m256i groups[4] = {
          _mm256_and_si256(block, mask), _mm256_and_si256(block, mask_up),
          _mm256_and_si256(shifted, mask), _mm256_and_si256(shifted, mask_up)};
#pragma GCC unroll 4
      for (uint32_t t = 0; t < T; t++) {
        add_products(low[t][h], groups[0], four_of(q + t * stride));
        add_products(high[t][h], groups[1], four_of(q + t * stride + 4));
        add_products(low[t][h], groups[2], four_of(q + t * stride + 8));
        add_products(high[t][h], groups[3], four_of(q + t * stride + 12));
      }
    }
  }
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) {
      const __m256i l = _mm256_madd_epi16(low[t][h], _mm256_set1_epi16(4));
      const __m256i u = _mm256_madd_epi16(high[t][h], _mm256_set1_epi16(1));
      wide[t][h] = _mm256_add_epi32(wide[t][h], _mm256_add_epi32(l, u));
    }
}

/** T tokens from t0 and H halves of a panel from `half`, codes unpacked as they come. */
template <uint32_t T, uint32_t H>
void few_tokens(const PackedTernary& w, uint32_t panel, uint32_t half, const Int8Rows& x,
                uint32_t t0, float* y, uint32_t y_stride) {
  const uint8_t* const codes = w.codes + panel * w.panel_bytes() + 32 * half;
  const int8_t* const q = x.q + uint64_t{t0} * x.stride;
  __m256i wide[T][H];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++) wide[t][h] = _mm256_setzero_si256();
  for (uint32_t b = 0; b < w.blocks; b += FOLD)
    fold_blocks<T, H>(codes + b * PANEL_BLOCK_BYTES, q + b * PANEL_COLUMNS, x.stride,
                      std::min(FOLD, w.blocks - b), wide);
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 2
    for (uint32_t h = 0; h < H; h++)
      finish(w, panel, half + h, x, t0 + t, _mm256_srai_epi32(wide[t][h], 2), y, y_stride);
}

/** One half of a panel at a time: both would leave too few registers. */
constexpr std::array FEW{few_tokens<1, 1>, few_tokens<2, 1>, few_tokens<3, 1>, few_tokens<4, 1>};

constexpr uint32_t TILE = 4;           // tokens: 8 accumulators, 2 of codes, activations, products
constexpr uint32_t GROUP_BYTES = 64;   // one code in a byte: 16 rows x 4 columns
/** Groups between two widenings: times 2 * 2 * 128 that is 2^15, which only the negative end
 * reaches, and int16 holds that. */
constexpr uint32_t FOLD_GROUPS = 64;
constexpr uint32_t CHUNK = FOLD_GROUPS / 4;  // blocks of a panel that are unpacked at once

void unpack(const uint8_t* codes, uint32_t blocks, uint8_t* out) {
  for (uint32_t b = 0; b < blocks; b++, codes += PANEL_BLOCK_BYTES, out += 4 * GROUP_BYTES)
#pragma GCC unroll 2
    for (int h = 0; h < 2; h++) {
      const __m256i block = load8(codes + 32 * h);
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++)
        _mm256_store_si256(reinterpret_cast<__m256i*>(out + g * GROUP_BYTES + 32 * h),
                           group(block, g));
    }
}

/** sums (T, 16) += products of T tokens, `stride` apart, with at most FOLD_GROUPS groups of codes. */
template <uint32_t T>
void tile(const int8_t* q, uint64_t stride, const uint8_t* codes, uint32_t groups, int32_t* sums) {
  __m256i low[T], high[T];
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++) low[t] = high[t] = _mm256_setzero_si256();
  for (uint32_t g = 0; g < groups; g++, q += 4, codes += GROUP_BYTES) {
    const __m256i w0 = load8(codes);
    const __m256i w1 = load8(codes + 32);
#pragma GCC unroll 4
    for (uint32_t t = 0; t < T; t++) {
      const __m256i four = four_of(q + t * stride);
      add_in_place(low[t], w0, four);
      add_in_place(high[t], w1, four);
    }
  }
  const __m256i ones = _mm256_set1_epi16(1);
#pragma GCC unroll 4
  for (uint32_t t = 0; t < T; t++) {
    auto* const to = reinterpret_cast<__m256i*>(sums + t * PANEL_ROWS);
    const __m256i l = _mm256_madd_epi16(low[t], ones);
    const __m256i h = _mm256_madd_epi16(high[t], ones);
    _mm256_store_si256(to, _mm256_add_epi32(_mm256_load_si256(to), l));
    _mm256_store_si256(to + 1, _mm256_add_epi32(_mm256_load_si256(to + 1), h));
  }
}
constexpr std::array TILES{tile<1>, tile<2>, tile<3>, tile<4>};
static_assert(TILES.size() == TILE);

/** Several tokens and one panel: codes are unpacked once for all. */
void many_tokens(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t n, float* y,
                 uint32_t y_stride) {
  thread_local AlignedBuffer<uint8_t> unpacked_buffer;
  thread_local AlignedBuffer<int32_t> sums_buffer;
  uint8_t* const unpacked = unpacked_buffer.reserve(CHUNK * 4 * GROUP_BYTES);
  int32_t* const sums = sums_buffer.reserve(int64_t{n} * PANEL_ROWS);
  std::fill(sums, sums + uint64_t{n} * PANEL_ROWS, 0);
  const uint8_t* const codes = w.codes + panel * w.panel_bytes();
  for (uint32_t b = 0; b < w.blocks; b += CHUNK) {
    const uint32_t blocks = std::min(CHUNK, w.blocks - b);
    unpack(codes + b * PANEL_BLOCK_BYTES, blocks, unpacked);
    for (uint32_t t = 0; t < n; t += TILE)
      TILES[std::min(TILE, n - t) - 1](x.q + uint64_t{t} * x.stride + b * PANEL_COLUMNS, x.stride,
                                       unpacked, 4 * blocks, sums + uint64_t{t} * PANEL_ROWS);
  }
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t h = 0; h < 2; h++) {
      const auto* const from = reinterpret_cast<const __m256i*>(sums + t * PANEL_ROWS + 8 * h);
      finish(w, panel, h, x, t, _mm256_load_si256(from), y, y_stride);
    }
}

void product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end, const Int8Rows& x,
             uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t p = panel_begin; p < panel_end; p++)
    if (n == 1) {
      few_tokens<1, 2>(w, p, 0, x, 0, y, y_stride);
    } else if (n <= FEW.size()) {
      for (uint32_t half = 0; half < 2; half++) FEW[n - 1](w, p, half, x, 0, y, y_stride);
    } else {
      many_tokens(w, p, x, n, y, y_stride);
    }
}

/** Scales of block b of rows 8h..8h+7 of a panel. */
inline __m256 block_scales(const PackedTernary& w, uint32_t panel, uint32_t h, uint32_t b) {
  const uint32_t per_row = w.cols / 256;
  float scales[8] = {};
  const uint32_t row = panel * PANEL_ROWS + 8 * h;
  for (uint32_t r = row; r < std::min(w.rows, row + 8); r++)
    scales[r - row] = w.block_scales[uint64_t{r} * per_row + b];
  return _mm256_loadu_ps(scales);
}

void block_half(const PackedTernary& w, uint32_t panel, uint32_t h, const Int8Rows& x, uint32_t t,
                float* y) {
  const uint8_t* codes = w.codes + panel * w.panel_bytes() + 32 * h;
  const int8_t* q = x.q + uint64_t{t} * x.stride;
  const int16_t* sums = x.sums16 + uint64_t{t} * (x.stride / 16);
  const float* d = x.block_scale + uint64_t{t} * (x.stride / 128);
  __m256 lanes[8];
  for (auto& lane : lanes) lane = _mm256_setzero_ps();
  for (uint32_t b = 0; b < w.cols / 256; b++, sums += 16) {
    __m256i part[8];
#pragma GCC unroll 8
    for (auto& sum : part) sum = _mm256_setzero_si256();
    for (int pair = 0; pair < 8; pair++, codes += 2 * PANEL_BLOCK_BYTES, q += 32) {
      const __m256i block[2] = {load8(codes), load8(codes + PANEL_BLOCK_BYTES)};
#pragma GCC unroll 8
      for (int l = 0; l < 8; l++)
        add_products(part[l], group(block[l / 4], l % 4), four_of(q + 4 * l));
    }
    const __m256 wd =
        w.block_scales.empty() ? _mm256_set1_ps(w.scale) : block_scales(w, panel, h, b);
    const __m256 scale = _mm256_mul_ps(_mm256_set1_ps(d[b]), wd);
#pragma GCC unroll 8
    for (int l = 0; l < 8; l++) {
      const __m256i shift = _mm256_set1_epi32(sums[2 * l] + sums[2 * l + 1]);
      const __m256i sum =
          _mm256_sub_epi32(_mm256_madd_epi16(part[l], _mm256_set1_epi16(1)), shift);
      lanes[l] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), scale, lanes[l]);
    }
  }
  const __m256 even = _mm256_add_ps(_mm256_add_ps(lanes[0], lanes[4]),
                                    _mm256_add_ps(lanes[2], lanes[6]));
  const __m256 odd = _mm256_add_ps(_mm256_add_ps(lanes[1], lanes[5]),
                                   _mm256_add_ps(lanes[3], lanes[7]));
  store_rows(w, panel, h, _mm256_add_ps(even, odd), y);
}

void block_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                   const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t p = panel_begin; p < panel_end; p++)
    for (uint32_t h = 0; h < 2; h++)
      for (uint32_t t = 0; t < n; t++) block_half(w, p, h, x, t, y + uint64_t{t} * y_stride);
}

}  // namespace

const PackedTernaryKernels PACKED_TERNARY_KERNELS{product, block_product};

}  // namespace magnet::avx2
#pragma GCC pop_options
#endif
