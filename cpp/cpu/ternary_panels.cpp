// Rows of ternary blocks to panels; see ternary_panels.hpp. Plain integer loops over 16 rows, which
// the compiler makes wide; memory is slower than they are.
#include "ternary_panels.hpp"

#include <algorithm>
#include <cstring>

#include "packed_ternary.hpp"

namespace magnet {
namespace {

constexpr uint32_t ROWS = PANEL_ROWS;
constexpr uint32_t FIELDS = 0x03030303u;      // the lowest 2-bit field of four bytes
constexpr uint32_t ZEROS = 0x55555555u;       // sixteen codes of 1
constexpr uint32_t HALF_BYTES = 32;           // 128 columns
constexpr uint32_t HALF_BLOCKS = 8;           // of 16 columns

/**
 * 128 columns of 16 rows: element 32n + m is field n (I2_S: 3 - n) of byte m; in the panel, column
 * 16b + 4g + j is field g of byte j of block b's word for the row. So the words 4e..4e+3 of a row and
 * the words of blocks e, 2 + e, 4 + e, 6 + e hold the same 64 codes, transposed. Returns bits that are
 * set where a code is 3.
 */
template <bool REVERSED>
uint32_t set_half(const uint8_t* rows, uint64_t stride, uint8_t* out) {
  uint32_t bad = 0;
  for (uint32_t e = 0; e < 2; e++) {
    uint32_t words[4][ROWS];
    for (uint32_t r = 0; r < ROWS; r++)
      for (uint32_t i = 0; i < 4; i++)
        std::memcpy(&words[i][r], rows + r * stride + 16 * e + 4 * i, 4);
    for (uint32_t i = 0; i < 4; i++)
      for (uint32_t r = 0; r < ROWS; r++) bad |= words[i][r] & (words[i][r] >> 1) & ZEROS;
    for (uint32_t n = 0; n < 4; n++) {
      const uint32_t shift = REVERSED ? 6 - 2 * n : 2 * n;
      uint32_t block[ROWS];
      for (uint32_t r = 0; r < ROWS; r++)
        block[r] = ((words[0][r] >> shift) & FIELDS) | ((words[1][r] >> shift) & FIELDS) << 2 |
                   ((words[2][r] >> shift) & FIELDS) << 4 | ((words[3][r] >> shift) & FIELDS) << 6;
      std::memcpy(out + PANEL_BLOCK_BYTES * (2 * n + e), block, PANEL_BLOCK_BYTES);
    }
  }
  return bad;
}

/** What the scales of a block of 16 rows say: a scale of 0 makes the codes zeros. False where one is
 * not finite. */
bool settle_block(uint8_t* codes, uint64_t stride, const uint8_t* scale_bytes,
                  uint64_t scale_stride, uint16_t* scales, uint32_t per_row) {
  for (uint32_t r = 0; r < ROWS; r++) {
    uint16_t half;
    std::memcpy(&half, scale_bytes + r * scale_stride, 2);
    if ((half & 0x7c00u) == 0x7c00u) return false;
    uint8_t* const own = codes + r * stride;
    if ((half & 0x7fffu) == 0) std::memset(own, ZEROS & 0xff, 2 * HALF_BYTES);
    const bool zero = std::all_of(own, own + 2 * HALF_BYTES, [](uint8_t b) { return b == 0x55; });
    scales[r * per_row] = zero ? uint16_t{0} : half;
  }
  return true;
}

/** A TQ1_0 block's digits (first the most significant) as the codes of a TQ2_0 block. */
void tq1_to_tq2(const uint8_t* in, uint8_t* out) {
  constexpr uint8_t POWERS[5] = {1, 3, 9, 27, 81};
  uint8_t codes[256];
  const auto digits = [&](const uint8_t* bytes, uint8_t* to, uint32_t width, uint32_t count) {
    for (uint32_t n = 0; n < count; n++)
      for (uint32_t m = 0; m < width; m++) {
        const auto q = static_cast<uint8_t>(bytes[m] * POWERS[n]);
        to[width * n + m] = static_cast<uint8_t>(q * 3u >> 8);
      }
  };
  digits(in, codes, 32, 5);
  digits(in + 32, codes + 160, 16, 5);
  digits(in + 48, codes + 240, 4, 4);
  for (uint32_t h = 0; h < 2; h++)
    for (uint32_t m = 0; m < 32; m++) {
      const uint8_t* const c = codes + 128 * h + m;
      out[32 * h + m] = static_cast<uint8_t>(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
    }
}

bool set_tq1_panel(const uint8_t* rows, uint64_t row_bytes, uint32_t cols, uint8_t* codes,
                   uint16_t* scales) {
  const uint32_t per_row = cols / 256;
  for (uint32_t b = 0; b < per_row; b++) {
    uint8_t block[ROWS * 64];
    for (uint32_t r = 0; r < ROWS; r++) tq1_to_tq2(rows + r * row_bytes + 54 * b, block + 64 * r);
    if (!settle_block(block, 64, rows + 54 * b + 52, row_bytes, scales + b, per_row)) return false;
    uint8_t* const out = codes + uint64_t{2} * b * HALF_BLOCKS * PANEL_BLOCK_BYTES;
    set_half<false>(block, 64, out);
    set_half<false>(block + HALF_BYTES, 64, out + HALF_BLOCKS * PANEL_BLOCK_BYTES);
  }
  return true;
}

bool set_tq2_panel(uint8_t* rows, uint64_t row_bytes, uint32_t cols, uint8_t* codes,
                   uint16_t* scales) {
  const uint32_t per_row = cols / 256;
  uint32_t bad = 0;
  for (uint32_t b = 0; b < per_row; b++) {
    uint8_t* const block = rows + 66 * b;
    uint8_t* const out = codes + uint64_t{2} * b * HALF_BLOCKS * PANEL_BLOCK_BYTES;
    // Of the codes as the file has them, also where the scale makes them zeros.
    bad |= set_half<false>(block, row_bytes, out);
    bad |= set_half<false>(block + HALF_BYTES, row_bytes, out + HALF_BLOCKS * PANEL_BLOCK_BYTES);
    if (!settle_block(block, row_bytes, block + 64, row_bytes, scales + b, per_row)) return false;
    bool changed = false;
    for (uint32_t r = 0; r < ROWS; r++) changed = changed || scales[r * per_row + b] == 0;
    if (!changed) continue;
    set_half<false>(block, row_bytes, out);
    set_half<false>(block + HALF_BYTES, row_bytes, out + HALF_BLOCKS * PANEL_BLOCK_BYTES);
  }
  return bad == 0;
}

}  // namespace

bool set_panel(uint32_t type, uint8_t* rows, uint64_t row_bytes, uint32_t cols, uint8_t* codes,
               uint16_t* scales) {
  if (type == MG_TYPE_TQ1_0) return set_tq1_panel(rows, row_bytes, cols, codes, scales);
  if (type == MG_TYPE_TQ2_0) return set_tq2_panel(rows, row_bytes, cols, codes, scales);
  uint32_t bad = 0;
  for (uint32_t b = 0; b < cols / 128; b++)
    bad |= set_half<true>(rows + HALF_BYTES * b, row_bytes,
                          codes + uint64_t{b} * HALF_BLOCKS * PANEL_BLOCK_BYTES);
  return bad == 0;
}

void clear_rows(uint32_t type, uint8_t* rows, uint64_t bytes) {
  // In TQ1_0 and TQ2_0 a scale of 0 says so; I2_S has none, its code for zero is 1.
  std::memset(rows, type == MG_TYPE_I2_S ? 0x55 : 0, bytes);
}

}  // namespace magnet
