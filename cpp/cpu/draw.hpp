// Drawing one token from a row of logits. A draw is a function of the logits, the options, the seed
// and the step alone: the same on every CPU path. A row of 128,256 costs a few passes over it; only
// candidates that matter are ever sorted (the k-th largest maximum of the row's blocks is a lower
// bound of the k-th largest element).
#pragma once
#include <cstdint>
#include <vector>

#include "common.hpp"

namespace magnet {

/** Elements whose maximum, or sum, is kept together. */
constexpr int64_t DRAW_BLOCK = 64;
/** Elements whose exponentials are summed before they are added to the row's. */
constexpr int64_t DRAW_PART = 8192;

struct RankedToken {
  float value;
  int32_t id;
};

/** A row with the largest element of each block, in scratch of the calling thread. */
class DrawRow {
 public:
  /** `maxima`: room for blocks() floats. */
  DrawRow(const float* values, int64_t n, float* maxima);
  static int64_t blocks(int64_t n) { return (n + DRAW_BLOCK - 1) / DRAW_BLOCK; }

  float top() const { return top_; }
  int64_t size() const { return n_; }
  const float* values() const { return values_; }
  /** The most likely; the lowest id of equals. */
  int32_t argmax() const;
  /** The k most likely, by value, then by id; -Inf never. */
  void most_likely(int64_t k, bool sorted, std::vector<RankedToken>& out) const;
  /** log(sum of exp). Throws MG_E_NUMERIC where an element is NaN or +Inf, or all are -Inf. */
  double log_sum_exp() const;

 private:
  const float* values_;
  int64_t n_;
  const float* maxima_;
  float top_;
};

/** By value, then by id. */
bool is_before(const RankedToken& a, const RankedToken& b);

/** Throws MG_E_INVALID naming the option that is out of range. */
void check_sampling(const mg_sampling& sampling);
/** Draws token number `step`: temperature, top-k, top-p, min-p. The row's top is finite. */
int32_t draw_token(const DrawRow& row, const mg_sampling& sampling, uint64_t step);

// The steps of a draw, which draws from a part of a row (draw_reduced.hpp) take too.

/** Number `step` of the options' seed, in [0, 1). */
double draw_number(const mg_sampling& sampling, uint64_t step);
float inverse_temperature(const mg_sampling& sampling);
/** weights = exp((logit - top) * inverse), and 0 up to a whole block. */
void weigh_logits(const float* logits, int64_t n, float top, float inverse, float* weights);
/** Of all candidates with top-k, in order; their values are logits. */
int32_t draw_ranked(std::vector<RankedToken>& candidates, const mg_sampling& sampling, double u);
/** Weights of whole blocks of a row, in order; `numbers`: which blocks, null: all. */
struct WeighedBlocks {
  const float* weights;
  float* sums;  // room for one of each block
  int64_t blocks;
  const int32_t* numbers = nullptr;
};
/** By id; `last` where rounding leaves nothing. */
int32_t draw_weighed(const WeighedBlocks& blocks, int32_t last, double u);

}  // namespace magnet
