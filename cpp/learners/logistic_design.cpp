// The design matrix of a linear model: numbers standardised, categories as one column a level,
// missing values as the mean (no level) with a column that says so where the examples have any.
#include <algorithm>
#include <cmath>

#include "logistic.hpp"

namespace magnet::learn {
namespace {

bool is_missing(float x) { return !std::isfinite(x); }

void number_feature(const FitInput& input, uint32_t column, std::vector<LinearFeature>& out) {
  const float* const values = input.matrix.column(column);
  double sum = 0;
  uint64_t count = 0;
  for (const uint32_t row : input.examples.rows) {
    if (is_missing(values[row])) continue;
    sum += values[row];
    count++;
  }
  if (count == 0) return;
  const double mean = sum / static_cast<double>(count);
  double squares = 0;
  for (const uint32_t row : input.examples.rows)
    if (!is_missing(values[row])) squares += (values[row] - mean) * (values[row] - mean);
  const double spread = std::sqrt(squares / static_cast<double>(count));
  // What rounding leaves of a constant column is no feature.
  if (!(spread > 1e-7 * std::fabs(mean))) return;
  const double known = static_cast<double>(count) / static_cast<double>(input.examples.count());
  out.push_back({column, LinearFeature::VALUE, 0, static_cast<float>(mean),
                 static_cast<float>(1 / spread), static_cast<float>(std::sqrt(known))});
}

float spread_of_share(uint64_t count, uint64_t all) {
  const double share = static_cast<double>(count) / static_cast<double>(all);
  return static_cast<float>(std::sqrt(share * (1 - share)));
}

/** The level's bin, or the number of bins where it is missing. */
uint32_t bin_of(const ColumnBins& rules, float x) {
  const bool known = x >= 0 && x < static_cast<float>(rules.level_bins.size());
  return known ? rules.level_bins[static_cast<size_t>(x)] : rules.bins;
}

void level_features(const FitInput& input, uint32_t column, std::vector<LinearFeature>& out) {
  const ColumnBins& rules = input.data.rules->columns[column];
  const float* const values = input.matrix.column(column);
  std::vector<uint64_t> counts(rules.bins + 1);
  for (const uint32_t row : input.examples.rows) counts[bin_of(rules, values[row])]++;
  for (uint32_t level = 0; level < rules.bins; level++) {
    const float spread = spread_of_share(counts[level], input.examples.count());
    if (spread > 0) out.push_back({column, LinearFeature::LEVEL, level, 0, 1, spread});
  }
}

void missing_feature(const FitInput& input, uint32_t column, std::vector<LinearFeature>& out) {
  const ColumnBins& rules = input.data.rules->columns[column];
  const float* const values = input.matrix.column(column);
  uint64_t missing = 0;
  for (const uint32_t row : input.examples.rows) {
    const float x = values[row];
    missing += rules.is_category() ? bin_of(rules, x) == rules.bins : is_missing(x);
  }
  const float spread = spread_of_share(missing, input.examples.count());
  if (spread > 0) out.push_back({column, LinearFeature::MISSING, 0, 0, 1, spread});
}

float feature_value(const LinearFeature& feature, const ColumnBins& rules, float x) {
  const bool missing = rules.is_category() ? bin_of(rules, x) == rules.bins : is_missing(x);
  switch (feature.kind) {
    case LinearFeature::VALUE:
      return missing ? 0.0f : (x - feature.mean) * feature.inverse_spread;
    case LinearFeature::LEVEL:
      return bin_of(rules, x) == feature.level ? 1.0f : 0.0f;
    default:
      return missing ? 1.0f : 0.0f;
  }
}

}  // namespace

std::vector<LinearFeature> linear_features(const FitInput& input) {
  std::vector<LinearFeature> out;
  for (uint32_t c = 0; c < input.data.columns(); c++) {
    if (input.data.rules->columns[c].is_category()) {
      level_features(input, c, out);
    } else {
      number_feature(input, c, out);
    }
    missing_feature(input, c, out);
  }
  return out;
}

void fill_tile(const std::vector<LinearFeature>& features, const BinRules& rules,
               const Matrix& matrix, const uint32_t* rows, uint32_t count, float* tile) {
  for (size_t f = 0; f < features.size(); f++) {
    const LinearFeature& feature = features[f];
    const ColumnBins& column_rules = rules.columns[feature.column];
    const float* const column = matrix.column(feature.column);
    float* const out = tile + f * 16;
    for (uint32_t i = 0; i < count; i++)
      out[i] = feature_value(feature, column_rules, column[rows[i]]);
    for (uint32_t i = count; i < 16; i++) out[i] = 0.0f;
  }
}

}  // namespace magnet::learn
