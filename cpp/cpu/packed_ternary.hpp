// Ternary weights as inference keeps them: 2-bit codes in panels of 16 rows, so that a SIMD lane is
// an output row, no sum crosses lanes, and the weights are read once, front to back.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "int8_rows.hpp"
#include "mapping.hpp"

namespace magnet {

/** Rows of a panel, and columns of one of its 64-byte blocks. */
inline constexpr uint32_t PANEL_ROWS = 16;
inline constexpr uint32_t PANEL_COLUMNS = 16;
inline constexpr uint32_t PANEL_BLOCK_BYTES = 64;
/** Sums of this many columns stay inside int32 on every path. */
inline constexpr uint32_t PACKED_COLUMNS_MAX = 1u << 18;

/**
 * codes: panel p, block b (columns 16b..16b+15) is the 64 bytes at 64 * (p * blocks + b). In it,
 * bits 2g, 2g+1 of byte 4r + j hold code = trit + 1 of row 16p + r, column 16b + 4g + j. So one
 * 64-byte load, shifted by 2g and masked with 3, is 16 rows (int32 lanes) x 4 columns, which meets
 * the broadcast of the activations' four int8 at column 16b + 4g. Rows and columns past the end
 * hold code 1 (zero). `blocks` is even (columns are padded to a multiple of 32).
 */
struct PackedTernary {
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint32_t blocks = 0;
  std::shared_ptr<Mapping> memory;  // huge pages: a token reads all of it; tensors may share one
  uint8_t* codes = nullptr;         // packed_ternary_bytes(), 64-byte aligned
  float scale = 0;                  // of the whole tensor
  std::vector<float> block_scales;  // rows x cols/256, only where a file's blocks differ
  bool is_tq = false;               // came from TQ1_0 or TQ2_0: llama.cpp multiplies it with Q8_K
  uint32_t panels() const { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }
  uint64_t panel_bytes() const { return uint64_t{blocks} * PANEL_BLOCK_BYTES; }
};

/** Bytes of the codes of a (rows, cols) matrix: a multiple of 128. */
uint64_t packed_ternary_bytes(uint32_t rows, uint32_t cols);
/**
 * A matrix whose rows are still to be set, every one of them (set_packed_row, or straight into
 * `codes`); rows past the end are there. Its codes are the bytes from `offset` of `memory`, or
 * memory of its own.
 */
PackedTernary empty_packed(uint32_t rows, uint32_t cols, std::shared_ptr<Mapping> memory = nullptr,
                           uint64_t offset = 0);
/** Sets one row from `cols` trits, its padding too. Threads may set different rows at once, best
 * different panels. */
void set_packed_row(PackedTernary& matrix, uint32_t row, const int8_t* trits);

/**
 * y[t * y_stride + r] = (sum code*q - sum q) * (x.scale[t] * w.scale) for the rows r of panels
 * [panel_begin, panel_end) and t < n. Integer sums are exact: the same bits on every path.
 */
void ternary_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                     const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride);
/** The same with a scale per 256 columns (cols is a multiple of 256), accumulated in 8 float lanes
 * in block order, fused, and folded as llama.cpp does. */
void ternary_block_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                           const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride);

/** What a SIMD path gives for the two. */
struct PackedTernaryKernels {
  void (*product)(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                  const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride);
  void (*block_product)(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                        const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride);
};
#if defined(__x86_64__)
namespace avx512 {
extern const PackedTernaryKernels PACKED_TERNARY_KERNELS;
}
namespace avx2 {
extern const PackedTernaryKernels PACKED_TERNARY_KERNELS;
}
#elif defined(__aarch64__)
namespace neon {
extern const PackedTernaryKernels PACKED_TERNARY_KERNELS;
extern const PackedTernaryKernels PACKED_TERNARY_DOT_KERNELS;  // where cpu_has_dot_products()
}
#endif

}  // namespace magnet
