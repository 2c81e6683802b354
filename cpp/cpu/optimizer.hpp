// AdamW and global-norm clipping; Muon is in muon.hpp. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "common.hpp"

namespace magnet {

/** Throws MG_E_INVALID for a value that is not finite or outside its range. */
void check_optimizer(const mg_optimizer* optimizer);

/** L2 norm of n floats, float64 sums over fixed chunks added in order. */
double l2_norm(uint32_t threads, const float* x, int64_t n);

/** min(1, clip / (norm + 1e-6)); 1 for clip 0. */
float clip_factor(double norm, float clip);

/** One step on n elements: p decayed by lr * weight_decay, then moved. g is scaled by `clip` on
 * reading. */
void adamw_step(uint32_t threads, const mg_optimizer& optimizer, float weight_decay, float clip,
                const float* g, float* p, float* m, float* v, int64_t n);

}  // namespace magnet
