// Head and embedding in few bits, in panels of 16 rows as packed_ternary.hpp has them: Q6_K at its
// 6.5625 bits a weight, and forms of our own, int8 with a scale per row and int4 with one per 32
// columns (4.5 bits; one per row is too coarse for 4 bits). The product takes activations of 15
// bits in two int8 planes: its integer sums are exact, and its float steps have one order.
#pragma once
#include <cstdint>
#include <memory>

#include "mapping.hpp"

namespace magnet {

enum class HeadFormat { q6k, int8, int4 };

/**
 * Codes are unsigned (q6k: value + 32, int8: + 128, int4: + 8). A vector is 64 bytes, byte 4r + j of
 * it belongs to row r of the panel and column 4g + j of a group g.
 * q6k: for every 16 columns three vectors: the low nibbles of groups 0 and 1 (low and high nibble of
 *   a byte), those of groups 2 and 3, and bits 4 and 5 of group g in bits 2g, 2g+1. Of scales: for
 *   every 256 columns 16 x 16 int8 (of 16 columns each, for all rows) and 16 binary16.
 * int8: a vector a group. Of scales: 16 float32.
 * int4: for every 32 columns four vectors, v with groups 2v and 2v+1 (low and high nibble). Of
 *   scales: for every 32 columns 16 binary16.
 */
struct PackedHead {
  HeadFormat format = HeadFormat::q6k;
  uint32_t rows = 0;
  uint32_t cols = 0;
  std::shared_ptr<Mapping> memory;
  uint8_t* codes = nullptr;        // 64-byte aligned
  uint8_t* scales = nullptr;       // 32-byte aligned
  uint32_t panel_codes = 0;        // bytes of a panel
  uint32_t panel_scales = 0;
  uint32_t panels() const { return (rows + 15) / 16; }
  bool empty() const { return rows == 0; }
};

/** Bytes of codes and scales, a multiple of 64. */
uint64_t packed_head_bytes(HeadFormat format, uint32_t rows, uint32_t cols);
/** A head whose rows are still to be set, every one. Its bytes are those from `offset` (a multiple
 * of 64) of `memory`, or memory of its own. Throws MG_E_SHAPE where Q6_K has no whole blocks. */
PackedHead empty_head(HeadFormat format, uint32_t rows, uint32_t cols,
                      std::shared_ptr<Mapping> memory = nullptr, uint64_t offset = 0);
/** Sets a q6k row from its blocks of 210 bytes. Threads may set different panels at once, but not
 * rows of one: rows of a panel share bytes of nothing, yet lines of the cache. */
void set_head_row_q6k(PackedHead& head, uint32_t row, const uint8_t* blocks);
/** Rounds a row to int8 or int4. */
void set_head_row(PackedHead& head, uint32_t row, const float* values);
/** The row's values in float32: an embedding, or a row for other arithmetic. */
void head_row(const PackedHead& head, uint32_t row, float* out);

/**
 * Activations of n rows in 15 bits: x = scale * (128 * high + low), high in -127..127, low in
 * -64..63. `stride` columns are allocated per row, a multiple of 32, zero beyond the last one.
 */
struct Int15Rows {
  uint32_t stride = 0;
  int8_t* high = nullptr;  // n x stride
  int8_t* low = nullptr;   // n x stride
  /** n x stride/8: two for every 16 columns, -32 times the sums of those with c % 4 < 2 and of the
   * others: what unsigned codes of 6 bits add too much, in the lanes of pairs. */
  int16_t* high_shift = nullptr;
  int16_t* low_shift = nullptr;
  int32_t* sums = nullptr;  // n x 2: of high, of low
  float* scale = nullptr;   // n
};
/** Row t of `out` from n floats. */
void quantize_int15(const float* x, uint32_t n, const Int15Rows& out, uint32_t t);

/** y[t * y_stride + r] = row r of w times row t of x, for the rows of panels [panel_begin,
 * panel_end) and t < n. The same bits on every path and for every n. */
void head_product(const PackedHead& w, uint32_t panel_begin, uint32_t panel_end, const Int15Rows& x,
                  uint32_t n, float* y, uint32_t y_stride);

/** A path's products. */
using HeadKernel = void (*)(const PackedHead& w, uint32_t panel_begin, uint32_t panel_end,
                            const Int15Rows& x, uint32_t n, float* y, uint32_t y_stride);
#if defined(__x86_64__)
namespace avx512 {
extern const HeadKernel HEAD_PRODUCT;
}
namespace avx2 {
extern const HeadKernel HEAD_PRODUCT;
}
#elif defined(__aarch64__)
namespace neon {
extern const HeadKernel HEAD_PRODUCT;
extern const HeadKernel HEAD_DOT_PRODUCT;  // where cpu_has_dot_products()
}
#endif

}  // namespace magnet
