// AdamW, Muon and the global norm. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

/** A step's numbers, on the device, so that a captured graph takes new ones each time. */
struct StepNumbers {
  float lr, beta1, beta2, eps, weight_decay, clip, momentum;
  float bias1, bias2;  // 1 - beta^t
  uint32_t kind;       // MG_OPTIMIZER_*
};

/** Writes sqrt(sum g^2), summed in double by one fixed tree. `partial`: NORM_PARTIALS doubles. */
void global_norm(const Stream& stream, const float* g, uint64_t n, double* partial, double* norm);
constexpr uint64_t NORM_PARTIALS = 1024;

/** factor = min(1, clip / (norm + 1e-6)); 1 where clip is 0. `skip` becomes 1 where loss or norm is not
 * finite, and every update below then changes nothing. losses: as sum_losses writes. */
void clip_factor(const Stream& stream, const double* norm, const double* losses,
                 const StepNumbers* numbers, float* factor, int32_t* skip);

/** AdamW on n elements; decays says whether weight decay applies. Element-wise in the CPU's order of
 * operations, so that equal gradients give equal bits. */
void adamw(const Stream& stream, const float* g, float* p, float* m, float* v, uint64_t n, bool decays,
           const StepNumbers* numbers, const float* factor, const int32_t* skip);

/** Muon on a matrix (rows, columns) without padding. T: precision of the products. `scratch`:
 * muon_scratch(rows, columns) bytes. */
template <class T>
void muon(const Stream& stream, const float* g, float* p, float* m, int64_t rows, int64_t columns,
          const StepNumbers* numbers, const float* factor, const int32_t* skip, void* scratch);
uint64_t muon_scratch(int64_t rows, int64_t columns);

}  // namespace magnet::gpu
