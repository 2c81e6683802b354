// AMX products of packed ternary weights, for the avx512 path where CPU and system have them.
#pragma once
#if defined(__x86_64__)
#include "packed_ternary.hpp"

namespace magnet::avx512 {

/** Tokens from which on tiles pay. */
inline constexpr uint32_t TILE_TOKENS_MIN = 16;
/** Whether tiles can be used; the first call asks the system. MAGNET_AMX=0: no. */
bool has_tiles();
/** PackedTernaryKernels::product for n >= TILE_TOKENS_MIN. */
void tile_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                  const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride);

}  // namespace magnet::avx512
#endif
