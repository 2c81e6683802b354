// Draws from what a device has left of a row of logits: its largest tokens, sums over all of it, or the
// block in which the draw falls. Either the token and the log-probabilities are provably those of the
// whole row (draw.hpp), bit for bit, or nothing is drawn and the caller takes the whole row.
#pragma once
#include <cstdint>
#include <optional>
#include <vector>

#include "draw.hpp"

namespace magnet {

/** Tokens of a row that a device returns at most. */
constexpr int32_t REDUCED_TOKENS = 256;

/** A token with its logit as it was changed and as it came. */
struct ReducedToken {
  float value;
  float raw;
  int32_t id;
};

/** The block of DRAW_BLOCK logits in which a draw from a whole row falls. */
struct ReducedBlock {
  int32_t number;  // -1: none was found
  double before;   // sum of the weights of the blocks before it
  float sum;       // of its own, as block_sums rounds it
  float values[DRAW_BLOCK];
  float raw[DRAW_BLOCK];
};

/** total and before are of the terms that the CPU adds, in another order; sum_exp is the CPU's. */
struct ReducedRow {
  int64_t size;        // of the row
  float top;           // the largest raw logit, of the lowest id
  int32_t top_id;
  double sum_exp;      // of exp(raw - top)
  // As it was changed: the largest tokens in order of rank, as many as there are or REDUCED_TOKENS. Raw
  // tokens are for the alternatives that are reported.
  const ReducedToken* tokens = nullptr;
  int32_t n_tokens = 0;
  const ReducedToken* raw_tokens = nullptr;
  int32_t n_raw_tokens = 0;
  // Of exp((value - largest value) * inverse temperature); where there is a block, of block_sums.
  double total = 0;
  const ReducedBlock* block = nullptr;
  float block_top = 0;  // the largest changed logit, where there are no tokens
};

/** Upper limit of the relative difference between two sums of a row's weights in different orders. */
double order_error(int64_t size);

/** log(sum of exp) of the row as it came; not finite where the row is broken. */
double reduced_log_sum(const ReducedRow& row);

struct ReducedDraw {
  int32_t id;
  float raw;
};
/** What draw_token draws. */
std::optional<ReducedDraw> draw_reduced(const ReducedRow& row, const mg_sampling& sampling,
                                        uint64_t step);

/** What of a row draw_reduced needs. */
struct DrawNeed {
  bool tokens;
  bool block;
};
DrawNeed need_of(const mg_sampling& sampling, int64_t size);

}  // namespace magnet
