// Categories of a random forest in one order: by the mean of their rows' values, or, for classes, along
// the direction in which the levels' class shares differ most (Coppersmith, Hong and Hosking 1999).
#include <algorithm>
#include <cmath>
#include <numeric>

#include "forest_grow.hpp"

namespace magnet::learn {
namespace {

/** Rows of the mean that every level is given on top: few rows say little of a level. */
constexpr double PRIOR_ROWS = 4;
constexpr int POWER_STEPS = 50;

/** Weights and summed outputs by level; one output for values, the classes' weights else. */
struct LevelSums {
  size_t outputs;
  std::vector<double> weight;
  std::vector<double> sum;
};

LevelSums sums_of(const FitInput& input, const uint8_t* bins, size_t levels) {
  LevelSums sums{input.classes, std::vector<double>(levels),
                 std::vector<double>(levels * input.classes)};
  const Examples& examples = input.examples;
  for (size_t i = 0; i < examples.count(); i++) {
    if (bins[i] == FOREST_MISSING) continue;
    const double weight = examples.weight.empty() ? 1.0 : examples.weight[i];
    sums.weight[bins[i]] += weight;
    const auto output = input.classes == 1 ? 0 : static_cast<size_t>(examples.target[i]);
    const double value = input.classes == 1 ? examples.target[i] : 1.0;
    sums.sum[bins[i] * input.classes + output] += weight * value;
  }
  return sums;
}

/** Means by level, (levels, outputs), drawn towards the mean of all, and less that. */
std::vector<double> centred_means(const LevelSums& sums) {
  const size_t levels = sums.weight.size();
  const double all = std::accumulate(sums.weight.begin(), sums.weight.end(), 0.0);
  std::vector<double> mean(sums.outputs);
  for (size_t i = 0; i < sums.sum.size(); i++) mean[i % sums.outputs] += sums.sum[i] / all;
  std::vector<double> out(sums.sum.size());
  for (size_t level = 0; level < levels; level++)
    for (size_t k = 0; k < sums.outputs; k++) {
      const double w = sums.weight[level];
      out[level * sums.outputs + k] =
          (sums.sum[level * sums.outputs + k] - w * mean[k]) / (w + PRIOR_ROWS);
    }
  return out;
}

/** The first principal direction of the levels' means, weighted by their rows. */
std::vector<double> direction_of(const LevelSums& sums, const std::vector<double>& means) {
  const size_t outputs = sums.outputs;
  std::vector<double> covariance(outputs * outputs);
  for (size_t level = 0; level < sums.weight.size(); level++)
    for (size_t a = 0; a < outputs; a++)
      for (size_t b = 0; b < outputs; b++)
        covariance[a * outputs + b] += sums.weight[level] * means[level * outputs + a] *
                                       means[level * outputs + b];
  // From the output that differs most; powers of the matrix turn it into the direction wanted.
  size_t widest = 0;
  for (size_t a = 1; a < outputs; a++)
    if (covariance[a * outputs + a] > covariance[widest * outputs + widest]) widest = a;
  std::vector<double> direction(outputs);
  direction[widest] = 1;
  for (int step = 0; step < POWER_STEPS; step++) {
    std::vector<double> next(outputs);
    double squares = 0;
    for (size_t a = 0; a < outputs; a++) {
      for (size_t b = 0; b < outputs; b++) next[a] += covariance[a * outputs + b] * direction[b];
      squares += next[a] * next[a];
    }
    if (!(squares > 0)) break;
    for (double& x : next) x /= std::sqrt(squares);
    direction = std::move(next);
  }
  return direction;
}

std::vector<uint8_t> ranks_of(const FitInput& input, const uint8_t* bins, size_t levels) {
  const LevelSums sums = sums_of(input, bins, levels);
  std::vector<uint32_t> order(levels);
  std::iota(order.begin(), order.end(), 0u);
  if (std::any_of(sums.weight.begin(), sums.weight.end(), [](double w) { return w > 0; })) {
    const std::vector<double> means = centred_means(sums);
    const std::vector<double> direction = direction_of(sums, means);
    std::vector<double> key(levels);
    for (size_t level = 0; level < levels; level++)
      for (size_t k = 0; k < sums.outputs; k++)
        key[level] += means[level * sums.outputs + k] * direction[k];
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return key[a] < key[b]; });
  }
  std::vector<uint8_t> rank(levels);
  for (size_t i = 0; i < levels; i++) rank[order[i]] = static_cast<uint8_t>(i);
  return rank;
}

}  // namespace

LevelOrder order_levels(const FitInput& input, ForestBins& bins) {
  LevelOrder out;
  out.rank.resize(bins.columns);
  const auto rows = static_cast<size_t>(bins.rows);
  for (uint32_t c = 0; c < bins.columns; c++) {
    if (bins.category[c] == 0) continue;
    uint8_t* const column = bins.by_column.data() + c * rows;
    out.rank[c] = ranks_of(input, column, input.data.rules->columns[c].bins);
    for (size_t i = 0; i < rows; i++) {
      if (column[i] != FOREST_MISSING) column[i] = out.rank[c][column[i]];
      bins.by_row[i * bins.columns + c] = column[i];
    }
  }
  return out;
}

}  // namespace magnet::learn
