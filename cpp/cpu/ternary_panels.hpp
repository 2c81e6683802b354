// From the ternary formats of files to panels of 16 rows (packed_ternary.hpp), without a detour over
// single trits: the four 2-bit fields of a byte are exchanged with those of three others.
#pragma once
#include <cstdint>

namespace magnet {

/**
 * Sets a panel from 16 rows of TQ2_0, TQ1_0 or I2_S blocks, one after another at `row_bytes`; `cols`
 * is a multiple of 256 (I2_S: 128). The rows are scratch: they may be changed. scales: 16 x cols/256
 * f16 bits, 0 where all trits of a block are 0; not used for I2_S. False where a code is 3 or a scale
 * is not finite.
 */
bool set_panel(uint32_t type, uint8_t* rows, uint64_t row_bytes, uint32_t cols, uint8_t* codes,
               uint16_t* scales);
/** Rows that are not there: all weights zero, whatever the type. */
void clear_rows(uint32_t type, uint8_t* rows, uint64_t bytes);

}  // namespace magnet
