// Activations as the integer products take them.
#pragma once
#include <cstdint>

namespace magnet {

/** Quantised activations of n rows. `stride` columns are allocated per row (a multiple of 128, zero
 * beyond the last one), so that a kernel never reads a partial block. */
struct Int8Rows {
  uint32_t stride = 0;
  int8_t* q = nullptr;           // n x stride
  int16_t* sums16 = nullptr;     // n x stride/16: sums of 16 consecutive q
  float* block_scale = nullptr;  // n x stride/128: what a step of q is worth, per 256 columns
  float* scale = nullptr;        // n: the same per row, where one scale holds for the row
  int32_t* sum = nullptr;        // n: sum of the row's q
};

}  // namespace magnet
