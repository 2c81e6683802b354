// ORPO between the two passes over a micro-batch's logits. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

/** What the means of a step divide by, on the device. */
struct PairScales {
  double chosen_token;  // 1 / labels of all chosen sequences
  double pair;          // 1 / pairs
  double beta;
};

/** Means over the pairs of a step, complete with its last micro-batch. */
struct PairTotals {
  double nll;  // over the labels of the chosen
  double odds_loss;
  double log_odds;
  double logp_chosen;
  double logp_rejected;
  uint64_t wins;
};

/** Adds the figures of `pairs` pairs to the totals, makes *loss that of them, and writes the gradient
 * scale of every row. nll and targets as cross_entropy takes and gives them: 2 * pairs sequences of
 * `context` rows, chosen before rejected. Sums in double by one fixed tree, in the order of the pairs. */
void weigh_pairs(const Stream& stream, const float* nll, const int32_t* targets, int64_t pairs,
                 int64_t context, const PairScales* scales, float* row_scales, PairTotals* totals,
                 double* loss);

}  // namespace magnet::gpu
