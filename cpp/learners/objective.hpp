// What boosting minimises: logistic loss of two classes, softmax cross-entropy of more, squared
// error of values. Gradients and curvatures by row from the scores so far, rounded to packed whole
// numbers; the same bits on every CPU path.
#pragma once
#include "histogram.hpp"
#include "learner.hpp"
#include "tree_grower.hpp"

namespace magnet::learn {

enum class Loss { logistic, softmax, squared };

class Objective {
 public:
  Objective(uint32_t classes, const Examples& examples, uint64_t seed);

  Loss loss() const { return loss_; }
  /** Trees of a round, and scores of a row: 1, or the classes where there are more than two. */
  uint32_t scores() const { return scores_; }
  /** Scores before the first tree: log odds or log shares of the classes, or the mean. */
  const std::vector<float>& start() const { return start_; }

  /** At the beginning of a round. scores: (scores, rows). */
  void begin_round(const float* scores, uint32_t round);
  /** Packed gradients of the tree for score k; `out` has one element a row. */
  Scales gradients(uint32_t k, const float* scores, std::vector<Packed>& out);

 private:
  const Examples& examples_;
  Loss loss_;
  uint32_t scores_;
  uint32_t classes_;
  uint64_t seed_;
  uint32_t round_ = 0;
  /** Magnitude of the largest packed gradient and curvature. */
  float largest_;
  std::vector<float> start_;
  std::vector<float> probabilities_;
  std::vector<float> gradient_;
  std::vector<float> curvature_;
};

/** Scores, row-major (rows, scores), to probabilities or values, row-major (rows, outputs). */
void scores_to_outputs(Loss loss, const float* scores, uint64_t rows, uint32_t outputs, float* out);
/** Weighted mean loss of scores, row-major. */
double mean_loss(Loss loss, const float* scores, uint32_t outputs, const Examples& examples);

}  // namespace magnet::learn
