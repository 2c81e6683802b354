// What callers of sessions and batches pass, checked before anything runs: their numbers become
// addresses. The libraries of CPU and GPU refuse the same calls in the same words.
#pragma once
#include "common.hpp"

namespace magnet {

/** What mg_batch_eval and mg_batch_step take alike. */
struct BatchCall {
  const mg_batch_row* rows;
  uint64_t n_rows;
  const uint32_t* tables;
  const uint32_t* starts;
  uint64_t n_sequences;
};

/** Rows with an output of each kind. */
struct BatchOutputs {
  uint64_t logits = 0;
  uint64_t hidden = 0;
};

/** Throws MG_E_INVALID naming what is wrong. pool_blocks: of the pool that the tables refer to. */
BatchOutputs check_batch(const BatchCall& call, const mg_model_config& config,
                         uint32_t pool_blocks);
/** One sampler for each of `outputs`, of the model's vocabulary; each is drawn from by one thread. */
void check_samplers(void* const* samplers, uint64_t n, uint64_t outputs, uint32_t vocab);

/** Tokens of a session that a model of this context may keep. */
uint32_t check_session_options(const mg_session_options& options, const mg_model_config& config);
/** n tokens more for a session that has `length` of `context`. */
void check_tokens(const int32_t* tokens, uint64_t n, uint32_t length, uint32_t context,
                  uint32_t vocab);

}  // namespace magnet
