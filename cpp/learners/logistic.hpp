// Generalised linear models with an elastic-net penalty: logistic (2 classes), softmax (more) and
// least squares (values). Minimises the weighted mean of the loss + penalty x (l1 x |b| + (1 - l1) / 2
// x b^2) over standardised features; intercepts go free.
#pragma once
#include <cstdint>
#include <vector>

#include "../cpu/aligned_buffer.hpp"
#include "learner.hpp"

namespace magnet::learn {

enum class LinearLoss : uint32_t { logistic, softmax, squared };

/** A column of the design, made of one of the table's. */
struct LinearFeature {
  static constexpr uint32_t VALUE = 0;    // (value - mean) x inverse_spread, 0 where missing
  static constexpr uint32_t LEVEL = 1;    // 1 where the category's bin is `level`
  static constexpr uint32_t MISSING = 2;  // 1 where the value is missing
  uint32_t column;
  uint32_t kind;
  uint32_t level;
  float mean;
  float inverse_spread;
  /** Standard deviation of the feature itself, for importance. */
  float spread;
};
static_assert(sizeof(LinearFeature) == 24);

/** Rows in blocks of 16: (block, feature, 16), what is past the last row 0 and of weight 0. */
struct LinearDesign {
  uint32_t features = 0;
  uint64_t rows = 0;
  AlignedBuffer<float> tiles;
  std::vector<float> weight;  // by row, of mean 1; whole blocks
  std::vector<float> target;  // by row; whole blocks
  uint64_t blocks() const { return (rows + 15) / 16; }
};

std::vector<LinearFeature> linear_features(const FitInput& input);
/** 16 rows of the matrix, or fewer: (features, 16). */
void fill_tile(const std::vector<LinearFeature>& features, const BinRules& rules,
               const Matrix& matrix, const uint32_t* rows, uint32_t count, float* tile);

/** Coefficients of one output: by feature, then the intercept. */
struct LinearProblem {
  LinearLoss loss;
  /** Rows of coefficients: 1, or the classes of softmax. */
  uint32_t outputs;
  const LinearDesign* design;
  uint32_t threads;
  const int32_t* cancel;
  size_t size() const { return static_cast<size_t>(outputs) * (design->features + 1); }
};

/** The weighted mean loss at `at` (outputs, features + 1) and its gradient. */
double linear_loss(const LinearProblem& problem, const std::vector<double>& at,
                   std::vector<double>& gradient);
/** Linear scores of 16 rows: (outputs, 16). */
void linear_scores(const float* tile, uint32_t features, const float* coefficients,
                   uint32_t outputs, float* scores);
/** Scores to probabilities in place, (outputs, 16); two rows from the one of `logistic`. */
void linear_probabilities(LinearLoss loss, uint32_t outputs, float* scores);

struct ElasticNet {
  double l1;
  double l2;
  double tolerance;
  uint32_t iterations;
};
/** Minimises loss + penalty from `at` on, which is replaced by the minimum. */
void minimise_elastic_net(const LinearProblem& problem, const ElasticNet& net,
                          std::vector<double>& at);

}  // namespace magnet::learn
