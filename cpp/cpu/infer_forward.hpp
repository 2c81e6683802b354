// The forward pass over a batch of rows, each row being one token of one sequence. A row is
// computed from its own sequence only and in fixed order, so that its bits do not depend on which
// other rows run beside it: prefill, decode and mixed batches agree.
#pragma once
#include <cstdint>
#include <functional>

#include "infer_kv.hpp"
#include "infer_model.hpp"
#include "thread_team.hpp"

namespace magnet {

/** One token of a sequence. Rows of a sequence stand together, in order of position. */
struct Row {
  const KvPool* pool;
  const uint32_t* table;  // blocks of the sequence, in order of position
  uint32_t sequence;      // the same for the rows of a sequence, different for others
  uint32_t position;
  int32_t token;
  uint32_t output;  // MG_OUTPUT_*
};

/** A batch, checked: tokens and positions are in range and every position has its block. */
struct Batch {
  const Row* rows;
  uint64_t n;
  float* logits;  // (rows with MG_OUTPUT_LOGITS, vocab); null: they go to `read`
  float* hidden;  // (rows with MG_OUTPUT_HIDDEN, d_model)
  /** Gets the logits of outputs first, first + 1, ..., some at a time. */
  std::function<void(Team& team, uint64_t first, uint64_t n, const float* logits)> read = {};
};

/** Throws MG_E_CANCELLED between layers. */
void forward(const Model& model, uint32_t rounding, const Batch& batch, Team& team,
             const int32_t* cancel);
/** The same with a team of the model's threads. */
void forward(const Model& model, uint32_t rounding, const Batch& batch, const int32_t* cancel);

/** llama.cpp's arithmetic exists for files that llama.cpp loads: throws MG_E_UNSUPPORTED. */
void check_rounding(const Model& model, uint32_t rounding);

}  // namespace magnet
