// Muon for the matrices of the blocks: Nesterov momentum whose matrix is replaced by the nearest
// (semi-)orthogonal one, approximately, before the weights are moved by it.
#pragma once
#include <cstdint>

#include "common.hpp"

namespace magnet {

/** Floats of workspace that muon_step needs for a matrix of (rows, cols). */
int64_t muon_workspace(int64_t rows, int64_t cols);

/**
 * One step on p (rows, cols): m = momentum m + clip g; u = clip g + momentum m; p decays by
 * lr * weight_decay and moves by lr * 0.2 sqrt(max(rows, cols)) along orthogonal(u). Such a step has
 * an RMS of 0.2, about that of AdamW's, so that one learning rate (and one weight decay) serves both
 * optimizers of a model, whatever the shape of the matrix.
 */
void muon_step(uint32_t threads, const mg_optimizer& optimizer, float weight_decay, float clip,
               const float* g, float* p, float* m, int64_t rows, int64_t cols, float* workspace);

}  // namespace magnet
