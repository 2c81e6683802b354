// AVX-512 products of packed ternary weights: vpdpbusd adds four products of unsigned codes and
// signed activations to the int32 lane of a row.
#if defined(__x86_64__)
#include <algorithm>
#include <array>
#include <utility>

#include "aligned_buffer.hpp"
#include "packed_ternary.hpp"
#include "packed_ternary_amx.hpp"
#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
namespace {

/** Four int8 activations, wherever they stand. */
using Four = int32_t __attribute__((may_alias, aligned(1)));

/** vpdpbusd of four activations, broadcast by the load itself. The intrinsic makes g++ 12 move and
 * spill every accumulator. */
inline void add_products(__m512i& sum, __m512i codes, const int8_t* q) {
  asm("vpdpbusd %2%{1to16%}, %1, %0"
      : "+v"(sum)
      : "v"(codes), "m"(*reinterpret_cast<const Four*>(q)));
}
inline void add_products(__m512i& sum, __m512i codes, __m512i q) {
  asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(q));
}

inline __m512i load_block(const uint8_t* codes) { return _mm512_load_si512(codes); }
/** Columns 4g..4g+3 of a block: one code in a byte. */
inline __m512i group(__m512i block, int g) {
  const __m512i shifted = g == 0 ? block : _mm512_srli_epi16(block, static_cast<unsigned>(2 * g));
  return _mm512_and_si512(shifted, _mm512_set1_epi8(3));
}

inline __mmask16 rows_there(const PackedTernary& w, uint32_t panel) {
  const uint32_t left = w.rows - panel * PANEL_ROWS;
  return left >= PANEL_ROWS ? __mmask16{0xffff} : static_cast<__mmask16>((1u << left) - 1);
}

/** 16 sums of one token, scaled back, into y. */
inline void finish(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t,
                   __m512i sums, float* y, uint32_t y_stride) {
  const __m512 exact = _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, _mm512_set1_epi32(x.sum[t])));
  const __m512 scale = _mm512_set1_ps(x.scale[t] * w.scale);
  _mm512_mask_storeu_ps(y + uint64_t{t} * y_stride + uint64_t{panel} * PANEL_ROWS,
                        rows_there(w, panel), _mm512_mul_ps(exact, scale));
}

/** How far ahead of the codes in use memory is asked for. */
constexpr uint64_t AHEAD = 4096;

/**
 * One token and P panels. Codes stay where they are in their byte: group g sums 4^g times what it
 * should, which is taken back once at the end. So a block costs four masks and four products.
 */
template <uint32_t P>
void one_token(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t, float* y,
               uint32_t y_stride) {
  const uint64_t bytes = w.panel_bytes();
  const uint8_t* codes = w.codes + panel * bytes;
  const int8_t* q = x.q + uint64_t{t} * x.stride;
  const __m512i masks[4] = {_mm512_set1_epi8(0x03), _mm512_set1_epi8(0x0c),
                            _mm512_set1_epi8(0x30), _mm512_set1_epi8(static_cast<char>(0xc0))};
  __m512i sums[P][4];
#pragma GCC unroll 4
  for (uint32_t p = 0; p < P; p++)
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) sums[p][g] = _mm512_setzero_si512();
  for (uint32_t b = 0; b < w.blocks; b++, codes += PANEL_BLOCK_BYTES, q += PANEL_COLUMNS) {
#pragma GCC unroll 4
    for (uint32_t p = 0; p < P; p++) {
      _mm_prefetch(reinterpret_cast<const char*>(codes + p * bytes + AHEAD), _MM_HINT_T0);
      const __m512i block = load_block(codes + p * bytes);
#pragma GCC unroll 4
      for (int g = 0; g < 4; g++)
        add_products(sums[p][g], _mm512_and_si512(block, masks[g]), q + 4 * g);
    }
  }
#pragma GCC unroll 4
  for (uint32_t p = 0; p < P; p++) {
    const __m512i low = _mm512_add_epi32(sums[p][0], _mm512_srai_epi32(sums[p][1], 2));
    const __m512i high = _mm512_srai_epi32(
        _mm512_add_epi32(sums[p][2], _mm512_srai_epi32(sums[p][3], 2)), 4);
    finish(w, panel + p, x, t, _mm512_add_epi32(low, high), y, y_stride);
  }
}

/** T tokens and P panels, codes unpacked as they come. */
template <uint32_t T, uint32_t P>
void few_tokens(const PackedTernary& w, uint32_t panel, const Int8Rows& x, float* y,
                uint32_t y_stride) {
  const uint64_t bytes = w.panel_bytes();
  const uint8_t* codes = w.codes + panel * bytes;
  const int8_t* q = x.q;
  const uint64_t stride = x.stride;
  __m512i sums[P][T];
#pragma GCC unroll 4
  for (uint32_t p = 0; p < P; p++)
#pragma GCC unroll 8
    for (uint32_t t = 0; t < T; t++) sums[p][t] = _mm512_setzero_si512();
  for (uint32_t b = 0; b < w.blocks; b++, codes += PANEL_BLOCK_BYTES, q += PANEL_COLUMNS) {
    __m512i block[P];
#pragma GCC unroll 4
    for (uint32_t p = 0; p < P; p++) {
      _mm_prefetch(reinterpret_cast<const char*>(codes + p * bytes + AHEAD), _MM_HINT_T0);
      block[p] = load_block(codes + p * bytes);
    }
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
      __m512i four[P];
#pragma GCC unroll 4
      for (uint32_t p = 0; p < P; p++) four[p] = group(block[p], g);
#pragma GCC unroll 8
      for (uint32_t t = 0; t < T; t++)
#pragma GCC unroll 4
        for (uint32_t p = 0; p < P; p++) add_products(sums[p][t], four[p], q + t * stride + 4 * g);
    }
  }
#pragma GCC unroll 4
  for (uint32_t p = 0; p < P; p++)
#pragma GCC unroll 8
    for (uint32_t t = 0; t < T; t++) finish(w, panel + p, x, t, sums[p][t], y, y_stride);
}

constexpr uint32_t FEW = 8;
using Few = void (*)(const PackedTernary&, uint32_t, const Int8Rows&, float*, uint32_t);
template <uint32_t P, uint32_t... T>
constexpr std::array<Few, sizeof...(T)> few(std::integer_sequence<uint32_t, T...>) {
  return {few_tokens<T + 1, P>...};
}
constexpr auto FEW_IN_ONE = few<1>(std::make_integer_sequence<uint32_t, FEW>());
constexpr auto FEW_IN_TWO = few<2>(std::make_integer_sequence<uint32_t, FEW>());

constexpr uint32_t TILE = 12;         // tokens: 24 accumulators, 2 of codes, 1 of activations
constexpr uint32_t CHUNK = 32;        // blocks of two panels that are unpacked into 16 KiB
constexpr uint32_t GROUP_BYTES = 64;  // one code in a byte: 16 rows x 4 columns
constexpr uint32_t PAIR_BYTES = 2 * GROUP_BYTES;

/** `blocks` blocks of two panels, group by group side by side; the second may be missing. */
void unpack(const uint8_t* first, const uint8_t* second, uint32_t blocks, uint8_t* out) {
  for (uint32_t b = 0; b < blocks; b++, out += 4 * PAIR_BYTES) {
    const __m512i one = load_block(first + b * PANEL_BLOCK_BYTES);
    const __m512i two = load_block(second + b * PANEL_BLOCK_BYTES);
#pragma GCC unroll 4
    for (int g = 0; g < 4; g++) {
      _mm512_store_si512(out + g * PAIR_BYTES, group(one, g));
      _mm512_store_si512(out + g * PAIR_BYTES + GROUP_BYTES, group(two, g));
    }
  }
}

/** sums (T, 32) += products of T tokens, `stride` apart, with unpacked codes. */
template <uint32_t T>
void tile(const int8_t* q, uint64_t stride, const uint8_t* codes, uint32_t groups, int32_t* sums) {
  __m512i low[T], high[T];
#pragma GCC unroll 12
  for (uint32_t t = 0; t < T; t++) {
    low[t] = _mm512_load_si512(sums + t * 32);
    high[t] = _mm512_load_si512(sums + t * 32 + 16);
  }
#pragma GCC unroll 4
  for (uint32_t g = 0; g < groups; g++, q += 4, codes += PAIR_BYTES) {
    const __m512i w0 = _mm512_load_si512(codes);
    const __m512i w1 = _mm512_load_si512(codes + GROUP_BYTES);
#pragma GCC unroll 12
    for (uint32_t t = 0; t < T; t++) {
      const __m512i four = _mm512_set1_epi32(*reinterpret_cast<const Four*>(q + t * stride));
      add_products(low[t], w0, four);
      add_products(high[t], w1, four);
    }
  }
#pragma GCC unroll 12
  for (uint32_t t = 0; t < T; t++) {
    _mm512_store_si512(sums + t * 32, low[t]);
    _mm512_store_si512(sums + t * 32 + 16, high[t]);
  }
}
using Tile = void (*)(const int8_t*, uint64_t, const uint8_t*, uint32_t, int32_t*);
template <uint32_t... T>
constexpr std::array<Tile, sizeof...(T)> tiles(std::integer_sequence<uint32_t, T...>) {
  return {tile<T + 1>...};
}
constexpr auto TILES = tiles(std::make_integer_sequence<uint32_t, TILE>());

/** Many tokens and two panels (`second` false: one): codes are unpacked once for all. */
void many_tokens(const PackedTernary& w, uint32_t panel, bool second, const Int8Rows& x, uint32_t n,
                 float* y, uint32_t y_stride) {
  thread_local AlignedBuffer<uint8_t> unpacked_buffer;
  thread_local AlignedBuffer<int32_t> sums_buffer;
  uint8_t* const unpacked = unpacked_buffer.reserve(CHUNK * 4 * PAIR_BYTES);
  int32_t* const sums = sums_buffer.reserve(int64_t{n} * 32);
  std::fill(sums, sums + uint64_t{n} * 32, 0);
  const uint8_t* const codes = w.codes + panel * w.panel_bytes();
  const uint8_t* const next = second ? codes + w.panel_bytes() : codes;
  for (uint32_t b = 0; b < w.blocks; b += CHUNK) {
    const uint32_t blocks = std::min(CHUNK, w.blocks - b);
    unpack(codes + b * PANEL_BLOCK_BYTES, next + b * PANEL_BLOCK_BYTES, blocks, unpacked);
    for (uint32_t t = 0; t < n;) {
      // Tiles of nearly one size: a last tile of one token would run at a fraction of the speed.
      const uint32_t left = (n - t + TILE - 1) / TILE;
      const uint32_t size = (n - t + left - 1) / left;
      TILES[size - 1](x.q + uint64_t{t} * x.stride + b * PANEL_COLUMNS, x.stride, unpacked,
                      4 * blocks, sums + uint64_t{t} * 32);
      t += size;
    }
  }
  for (uint32_t t = 0; t < n; t++) {
    finish(w, panel, x, t, _mm512_load_si512(sums + t * 32), y, y_stride);
    if (second) finish(w, panel + 1, x, t, _mm512_load_si512(sums + t * 32 + 16), y, y_stride);
  }
}

void product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end, const Int8Rows& x,
             uint32_t n, float* y, uint32_t y_stride) {
  if (n >= TILE_TOKENS_MIN && has_tiles())
    return tile_product(w, panel_begin, panel_end, x, n, y, y_stride);
  for (uint32_t p = panel_begin; p < panel_end; p += 2) {
    const bool two = p + 2 <= panel_end;
    if (n > FEW)
      many_tokens(w, p, two, x, n, y, y_stride);
    else if (n > 1)
      (two ? FEW_IN_TWO : FEW_IN_ONE)[n - 1](w, p, x, y, y_stride);
    else if (two)
      one_token<2>(w, p, x, 0, y, y_stride);
    else
      one_token<1>(w, p, x, 0, y, y_stride);
  }
}

/** Scales of block b of a panel's rows. */
inline __m512 block_scales(const PackedTernary& w, uint32_t panel, uint32_t b) {
  const uint32_t per_row = w.cols / 256;
  const __m512i at = _mm512_mullo_epi32(
      _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
      _mm512_set1_epi32(static_cast<int>(per_row)));
  const float* const from = w.block_scales.data() + uint64_t{panel} * PANEL_ROWS * per_row + b;
  return _mm512_mask_i32gather_ps(_mm512_setzero_ps(), rows_there(w, panel), at, from, 4);
}

void block_panel(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t, float* y) {
  const uint8_t* codes = w.codes + panel * w.panel_bytes();
  const int8_t* q = x.q + uint64_t{t} * x.stride;
  const int16_t* sums = x.sums16 + uint64_t{t} * (x.stride / 16);
  const float* d = x.block_scale + uint64_t{t} * (x.stride / 128);
  __m512 lanes[8];
#pragma GCC unroll 8
  for (int l = 0; l < 8; l++) lanes[l] = _mm512_setzero_ps();
  for (uint32_t b = 0; b < w.cols / 256; b++, sums += 16) {
    __m512i part[8];
#pragma GCC unroll 8
    for (int l = 0; l < 8; l++) part[l] = _mm512_set1_epi32(-sums[2 * l] - sums[2 * l + 1]);
    for (int pair = 0; pair < 8; pair++, codes += 2 * PANEL_BLOCK_BYTES, q += 32) {
      const __m512i block[2] = {load_block(codes), load_block(codes + PANEL_BLOCK_BYTES)};
#pragma GCC unroll 8
      for (int l = 0; l < 8; l++) add_products(part[l], group(block[l / 4], l % 4), q + 4 * l);
    }
    const __m512 wd =
        w.block_scales.empty() ? _mm512_set1_ps(w.scale) : block_scales(w, panel, b);
    const __m512 scale = _mm512_mul_ps(_mm512_set1_ps(d[b]), wd);
#pragma GCC unroll 8
    for (int l = 0; l < 8; l++)
      lanes[l] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(part[l]), scale, lanes[l]);
  }
  const __m512 even = _mm512_add_ps(_mm512_add_ps(lanes[0], lanes[4]),
                                    _mm512_add_ps(lanes[2], lanes[6]));
  const __m512 odd = _mm512_add_ps(_mm512_add_ps(lanes[1], lanes[5]),
                                   _mm512_add_ps(lanes[3], lanes[7]));
  _mm512_mask_storeu_ps(y + uint64_t{panel} * PANEL_ROWS, rows_there(w, panel),
                        _mm512_add_ps(even, odd));
}

void block_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                   const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t p = panel_begin; p < panel_end; p++)
    for (uint32_t t = 0; t < n; t++) block_panel(w, p, x, t, y + uint64_t{t} * y_stride);
}

}  // namespace

const PackedTernaryKernels PACKED_TERNARY_KERNELS{product, block_product};

}  // namespace magnet::avx512
#pragma GCC pop_options
#endif
