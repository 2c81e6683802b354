// AdamW and global-norm clipping; Muon is in muon.hpp. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "optimizer_factors.hpp"

namespace magnet {

/** L2 norm of n floats, float64 sums over fixed chunks added in order. */
double l2_norm(uint32_t threads, const float* x, int64_t n);

/** One step on n elements: p decayed by lr * weight_decay, then moved. g is scaled by `clip` on
 * reading. */
void adamw_step(uint32_t threads, const mg_optimizer& optimizer, float weight_decay, float clip,
                const float* g, float* p, float* m, float* v, int64_t n);

}  // namespace magnet
