// AdamW, Muon and the global norm. Formulas: tests/golden/bitnet/README.md. What a step's numbers are
// made of comes from the host, by the CPU's own code, so that equal gradients give equal bits.
#pragma once
#include <vector>

#include "../../cpu/optimizer_factors.hpp"
#include "matrix.hpp"

namespace magnet::gpu {

/** A step's numbers, on the device: a captured graph takes new ones each time. */
struct StepNumbers {
  AdamwFactors adamw;  // decay: of matrices
  float clip;          // 0: off
  float momentum;
  float lr;
};
StepNumbers step_numbers(const mg_optimizer& optimizer);

/** What was found before the update. */
struct StepState {
  double norm;    // of the gradient, before clipping
  float factor;   // that clipping multiplies the gradient with
  int32_t skips;  // 1: loss or norm is not finite, and no update below changes anything
};

/** Writes state->norm: sqrt(sum g^2), summed in double by one fixed tree. `partial`: NORM_PARTIALS
 * doubles. */
void global_norm(const Stream& stream, const float* g, uint64_t n, double* partial,
                 StepState* state);
constexpr uint64_t NORM_PARTIALS = 1024;

/** Writes state->factor = min(1, clip / (norm + 1e-6)), 1 where clip is 0, and state->skips. loss: as
 * add_losses leaves it. */
void clip_and_check(const Stream& stream, const double* loss, const StepNumbers* numbers,
                    StepState* state);

/** Elements of the arena that one block of AdamW takes; all of one tensor. */
struct AdamwPiece {
  uint64_t first;
  uint32_t count;
  uint32_t decays;  // 1: as matrices do
};
/** Appends those of n elements from `first` on. */
void add_pieces(std::vector<AdamwPiece>& pieces, uint64_t first, uint64_t n, bool decays);
/** AdamW on `count` pieces, which lie on the device, in one launch: most tensors of a model are too small
 * to keep a GPU busy alone. */
void adamw(const Stream& stream, const float* g, float* p, float* m, float* v,
           const AdamwPiece* pieces, uint64_t count, const StepNumbers* numbers,
           const StepState* state);

/** Muon on a matrix (rows, columns) without padding. T: precision of the products. `scratch`:
 * muon_scratch<T>(rows, columns) bytes. */
template <class T>
void muon(const Stream& stream, const float* g, float* p, float* m, int64_t rows, int64_t columns,
          const StepNumbers* numbers, const StepState* state, void* scratch);
template <class T>
uint64_t muon_scratch(int64_t rows, int64_t columns);

}  // namespace magnet::gpu
