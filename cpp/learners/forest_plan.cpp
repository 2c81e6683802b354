// Examples as the integers that trees add up, and their bins.
#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>

#include "forest_grow.hpp"

namespace magnet::learn {
namespace {

/** Row weights are whole multiples of 2^-20 of the largest. */
constexpr double WEIGHT_UNITS = 1 << 20;

float weight_of(const Examples& examples, uint32_t i) {
  return examples.weight.empty() ? 1.0f : examples.weight[i];
}

/** Those of a class side by side, in the order given within it. */
void sort_rows(ForestPlan& plan, const Examples& examples) {
  const auto n = static_cast<uint32_t>(examples.count());
  if (plan.classes == 0) {
    plan.class_end = {n};
    plan.row.resize(n);
    std::iota(plan.row.begin(), plan.row.end(), 0u);
    return;
  }
  std::vector<uint32_t> next(plan.classes + 1);
  for (const float label : examples.target) next[static_cast<uint32_t>(label) + 1]++;
  std::partial_sum(next.begin(), next.end(), next.begin());
  plan.class_end.assign(next.begin() + 1, next.end());
  plan.row.resize(n);
  for (uint32_t i = 0; i < n; i++) plan.row[next[static_cast<uint32_t>(examples.target[i])]++] = i;
}

/** True, with scales by class, where all rows of a class have one weight. */
bool weights_by_class(ForestPlan& plan, const Examples& examples) {
  plan.scale.assign(plan.class_end.size(), 1.0);
  uint32_t i = 0;
  for (size_t c = 0; c < plan.class_end.size(); c++) {
    if (i == plan.class_end[c]) continue;
    const float first = weight_of(examples, plan.row[i]);
    for (; i < plan.class_end[c]; i++)
      if (weight_of(examples, plan.row[i]) != first) return false;
    plan.scale[c] = first;
  }
  return true;
}

void weights_by_row(ForestPlan& plan, const Examples& examples) {
  float most = 0;
  bool same = true;
  for (uint32_t i = 0; i < plan.row.size(); i++) {
    most = std::max(most, weight_of(examples, i));
    same = same && weight_of(examples, i) == weight_of(examples, 0);
  }
  const double units = same ? 1 : WEIGHT_UNITS;
  plan.weight.reserve(plan.row.size());
  for (const uint32_t row : plan.row) {
    const double share = static_cast<double>(weight_of(examples, row)) / most;
    plan.weight.push_back(std::max(1u, static_cast<uint32_t>(std::llround(share * units))));
  }
  plan.scale.assign(plan.class_end.size(), most / units);
}

/** Integers so large that the sum over all rows, with weights and copies, stays below 2^62. */
void values_by_row(ForestPlan& plan, const Examples& examples) {
  uint64_t weight = 0;
  double sum = 0;
  for (size_t i = 0; i < plan.row.size(); i++) {
    weight += plan.weight[i];
    sum += plan.weight[i] * static_cast<double>(examples.target[plan.row[i]]);
  }
  plan.value_mean = sum / static_cast<double>(weight);
  double most = 0;
  for (const float y : examples.target) most = std::max(most, std::fabs(y - plan.value_mean));
  const int room = 62 - static_cast<int>(std::bit_width(weight * COPIES_MAX));
  plan.value_unit = most > 0 ? most / std::ldexp(1.0, std::min(30, room)) : 1.0;
  plan.value.reserve(plan.row.size());
  for (const uint32_t row : plan.row)
    plan.value.push_back(static_cast<int32_t>(
        std::llround((examples.target[row] - plan.value_mean) / plan.value_unit)));
}

}  // namespace

ForestBins forest_bins(const BinnedData& data, const Examples& examples) {
  ForestBins bins;
  const size_t rows = examples.count();
  bins.rows = static_cast<int64_t>(rows);
  bins.columns = data.columns();
  bins.by_row.resize(rows * bins.columns);
  bins.by_column.resize(rows * bins.columns);
  for (uint32_t c = 0; c < bins.columns; c++) {
    const ColumnBins& rules = data.rules->columns[c];
    const uint8_t* const from = data.column(c);
    uint8_t* const to = bins.by_column.data() + c * rows;
    bins.category.push_back(rules.is_category());
    for (size_t i = 0; i < rows; i++) {
      const uint8_t bin = from[examples.rows[i]];
      to[i] = bin == rules.bins ? FOREST_MISSING : bin;
      bins.by_row[i * bins.columns + c] = to[i];
    }
  }
  return bins;
}

ForestPlan plan_forest(const ForestBins& bins, const FitInput& input,
                       const ForestSettings& settings) {
  const Examples& examples = input.examples;
  ForestPlan plan{};
  plan.bins = &bins;
  plan.settings = settings;
  plan.classes = input.classes == 1 ? 0 : input.classes;
  sort_rows(plan, examples);
  if (plan.classes > 0 && weights_by_class(plan, examples)) {
    plan.kind = ForestKind::counts;
    return plan;
  }
  weights_by_row(plan, examples);
  plan.kind = plan.classes > 0 ? ForestKind::weights : ForestKind::values;
  if (plan.classes == 0) values_by_row(plan, examples);
  return plan;
}

}  // namespace magnet::learn
