// Products of packed ternary weights with many tokens by AMX, inside the avx512 path: a tile
// instruction multiplies 16 tokens with 16 rows over 64 columns. Integer sums are exact, so the bits
// are those of every path. Unpacked codes lie as the instruction wants them: 4 columns of 16 rows in
// 64 bytes.
#if defined(__x86_64__)
#include "packed_ternary_amx.hpp"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "aligned_buffer.hpp"
#include "x86_intrinsics.hpp"

#pragma GCC push_options
#pragma GCC target("amx-tile,amx-int8,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet::avx512 {
namespace {

constexpr uint32_t TILE = 16;                // tokens, rows of a panel
constexpr uint32_t TILE_COLUMNS = 64;        // bytes of a tile's row
constexpr uint32_t TILE_BYTES = 1024;
constexpr uint32_t BLOCKS_PER_TILE = TILE_COLUMNS / PANEL_COLUMNS;

/** The system's consent: tile registers make the state of a thread larger. */
bool may_use_tiles() {
  constexpr long REQUEST_PERMISSION = 0x1023;
  constexpr unsigned long TILE_DATA = 18;
  return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

bool cpu_has_tiles() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  constexpr unsigned AMX_TILE = 1u << 24;
  constexpr unsigned AMX_INT8 = 1u << 25;
  return (d & AMX_TILE) != 0 && (d & AMX_INT8) != 0;
}

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
constexpr TileConfig CONFIG;
static_assert(sizeof(TileConfig) == 64);

/** The thread's tiles for a scope. */
struct Tiles {
  Tiles() { _tile_loadconfig(&CONFIG); }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;
};

/** One code in a byte, of all blocks of a panel. */
void unpack(const uint8_t* codes, uint32_t blocks, uint8_t* out) {
  const __m512i mask = _mm512_set1_epi8(3);
  for (uint32_t b = 0; b < blocks; b++, codes += PANEL_BLOCK_BYTES, out += 4 * PANEL_BLOCK_BYTES) {
    const __m512i block = _mm512_load_si512(codes);
    _mm512_store_si512(out, _mm512_and_si512(block, mask));
    _mm512_store_si512(out + 64, _mm512_and_si512(_mm512_srli_epi16(block, 2), mask));
    _mm512_store_si512(out + 128, _mm512_and_si512(_mm512_srli_epi16(block, 4), mask));
    _mm512_store_si512(out + 192, _mm512_and_si512(_mm512_srli_epi16(block, 6), mask));
  }
}

/** 16 tokens times two panels: `sums` gets 2 tiles, token by token. */
void multiply_one(const int8_t* q, uint64_t stride, const uint8_t* first, const uint8_t* second,
                  uint32_t steps, int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  for (uint32_t s = 0; s < steps; s++) {
    _tile_loadd(4, q + s * TILE_COLUMNS, stride);
    _tile_loadd(6, first + s * TILE_BYTES, 64);
    _tile_loadd(7, second + s * TILE_BYTES, 64);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
}

/** 2 x 16 tokens (at q0 and q1) times two panels: `sums` gets 4 tiles. */
void multiply(const int8_t* q0, const int8_t* q1, uint64_t stride, const uint8_t* first,
              const uint8_t* second, uint32_t steps, int32_t* sums) {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (uint32_t s = 0; s < steps; s++) {
    _tile_loadd(4, q0 + s * TILE_COLUMNS, stride);
    _tile_loadd(6, first + s * TILE_BYTES, 64);
    _tile_loadd(7, second + s * TILE_BYTES, 64);
    _tile_loadd(5, q1 + s * TILE_COLUMNS, stride);
    _tile_dpbsud(0, 4, 6);
    _tile_dpbsud(1, 4, 7);
    _tile_dpbsud(2, 5, 6);
    _tile_dpbsud(3, 5, 7);
  }
  _tile_stored(0, sums, 64);
  _tile_stored(1, sums + 256, 64);
  _tile_stored(2, sums + 512, 64);
  _tile_stored(3, sums + 768, 64);
}

/** 16 tokens of one panel, scaled back, into y. */
void finish(const PackedTernary& w, uint32_t panel, const Int8Rows& x, uint32_t t0,
            const int32_t* sums, float* y, uint32_t y_stride) {
  const uint32_t left = w.rows - panel * PANEL_ROWS;
  const __mmask16 there =
      left >= PANEL_ROWS ? __mmask16{0xffff} : static_cast<__mmask16>((1u << left) - 1);
  for (uint32_t t = t0; t < t0 + TILE; t++, sums += PANEL_ROWS) {
    const __m512i exact =
        _mm512_sub_epi32(_mm512_load_si512(sums), _mm512_set1_epi32(x.sum[t]));
    const __m512 scale = _mm512_set1_ps(x.scale[t] * w.scale);
    _mm512_mask_storeu_ps(y + uint64_t{t} * y_stride + uint64_t{panel} * PANEL_ROWS, there,
                          _mm512_mul_ps(_mm512_cvtepi32_ps(exact), scale));
  }
}

/** Two panels (`second` false: one) and all tokens. */
void panels(const PackedTernary& w, uint32_t panel, bool second, const Int8Rows& x, uint32_t n,
            float* y, uint32_t y_stride) {
  thread_local AlignedBuffer<uint8_t> unpacked_buffer;
  alignas(64) int32_t sums[4 * TILE * PANEL_ROWS];
  // What a last, half tile reads beyond the panel meets zeros in the activations.
  const uint32_t steps = (w.blocks + BLOCKS_PER_TILE - 1) / BLOCKS_PER_TILE;
  const uint64_t unpacked_bytes = uint64_t{steps} * TILE_BYTES;
  uint8_t* const first = unpacked_buffer.reserve(static_cast<int64_t>(2 * unpacked_bytes));
  uint8_t* const other = second ? first + unpacked_bytes : first;
  const uint8_t* const codes = w.codes + panel * w.panel_bytes();
  unpack(codes, w.blocks, first);
  if (second) unpack(codes + w.panel_bytes(), w.blocks, other);
  // The tile loads do not tell g++ 12 that they read memory: the stores have to come first.
  asm volatile("" ::: "memory");
  for (uint32_t t = 0; t < n; t += 2 * TILE) {
    // The last tiles end with the last token: some tokens are computed twice.
    const uint32_t t0 = std::min(t, n - TILE);
    const uint32_t t1 = std::min(t + TILE, n - TILE);
    const int8_t* const q = x.q + uint64_t{t0} * x.stride;
    const bool both = t + TILE < n;
    if (both)
      multiply(q, x.q + uint64_t{t1} * x.stride, x.stride, first, other, steps, sums);
    else
      multiply_one(q, x.stride, first, other, steps, sums);
    finish(w, panel, x, t0, sums, y, y_stride);
    if (second) finish(w, panel + 1, x, t0, sums + 256, y, y_stride);
    if (!both) continue;
    finish(w, panel, x, t1, sums + 512, y, y_stride);
    if (second) finish(w, panel + 1, x, t1, sums + 768, y, y_stride);
  }
}

}  // namespace

bool has_tiles() {
  static const bool usable = [] {
    const char* const wanted = std::getenv("MAGNET_AMX");
    return !(wanted != nullptr && wanted[0] == '0') && cpu_has_tiles() && may_use_tiles();
  }();
  return usable;
}

void tile_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                  const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  const Tiles tiles;
  for (uint32_t p = panel_begin; p < panel_end; p += 2)
    panels(w, p, p + 2 <= panel_end, x, n, y, y_stride);
}

}  // namespace magnet::avx512
#pragma GCC pop_options
#endif
