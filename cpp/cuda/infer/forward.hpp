// The forward pass over a batch of rows on a GPU; see cpp/cpu/infer_forward.hpp, whose rule holds here
// too: a row's bits depend on its own sequence alone. Decode steps are graphs that were captured once for
// each size; what they read of the host lies at fixed places.
#pragma once
#include "../../cpu/sampler.hpp"
#include "model.hpp"

namespace magnet::gpu {

/** A batch that check_batch has passed. */
struct DeviceBatch {
  const mg_batch_row* rows;
  uint32_t n;
  const uint32_t* tables;
  const uint32_t* starts;
  fp16* const* pools;  // of each sequence
  float* logits;  // (rows with MG_OUTPUT_LOGITS, vocab); null: they are drawn from
  float* hidden;  // (rows with MG_OUTPUT_HIDDEN, d_model)
  /** Of outputs whose logits nobody takes. Greedy draws take theirs on the GPU. */
  const BatchDraws* draws = nullptr;
};

/** Throws MG_E_CANCELLED before anything runs. */
void run_batch(InferModel& model, const DeviceBatch& batch, const int32_t* cancel);

}  // namespace magnet::gpu
