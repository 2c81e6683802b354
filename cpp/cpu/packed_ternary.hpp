// Ternary weights as inference keeps them: 2-bit codes in panels of 16 rows, so that a SIMD lane is
// an output row, no sum crosses lanes, and the weights are read once, front to back.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "mapping.hpp"

namespace magnet {

/** Rows of a panel, and columns of one of its 64-byte blocks. */
inline constexpr uint32_t PANEL_ROWS = 16;
inline constexpr uint32_t PANEL_COLUMNS = 16;

/**
 * codes: panel p, block b (columns 16b..16b+15) is the 64 bytes at 64 * (p * blocks + b). In it, bits
 * 2g, 2g+1 of byte 4r + j hold code = trit + 1 of row 16p + r, column 16b + 4g + j. So one 64-byte load,
 * shifted by 2g and masked with 3, is 16 rows (int32 lanes) x 4 columns, which meets the broadcast of
 * the activations' four int8 at column 16b + 4g. Rows and columns past the end hold code 1 (zero).
 * `blocks` is even (columns are padded to a multiple of 32).
 */
struct PackedTernary {
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint32_t blocks = 0;
  std::unique_ptr<Mapping> memory;  // huge pages: a token reads all of it
  uint8_t* codes = nullptr;         // ceil(rows / 16) * blocks * 64 bytes
  float scale = 0;                  // of the whole tensor
  std::vector<float> block_scales;  // rows x cols/256, only where a file's blocks differ
  bool is_tq = false;               // came from TQ1_0 or TQ2_0: llama.cpp multiplies it with Q8_K
  uint32_t panels() const { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }
};

}  // namespace magnet
