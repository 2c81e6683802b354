// What all trees of a fit share: rows in order, weights and values as integers, settings. Rows are
// sorted by class, and splits keep the order, so that in every node the rows of a class lie side by
// side: how many of them go left is a count of bits.
#pragma once
#include <cstdint>
#include <vector>

#include "forest.hpp"

namespace magnet::learn {

/** How rows are summed up; the fewer of these are needed, the faster. */
enum class ForestKind {
  /** Classes; all rows of a class weigh the same. */
  counts,
  /** Classes; rows with weights of their own. */
  weights,
  /** Values, with weights. */
  values,
};

/**
 * A forest's categories as numbers: levels are put in order once, by the mean of their rows, and cut
 * like numbers. Orders made anew in every node follow the noise of few rows a level (Wright and König
 * 2019 compare them).
 */
struct LevelOrder {
  /** By column of the table; empty where it is no category. */
  std::vector<std::vector<uint8_t>> rank;
};

struct ForestPlan {
  const ForestBins* bins;
  LevelOrder order;
  ForestSettings settings;
  ForestKind kind;
  uint32_t classes;                 // 0 for values
  std::vector<uint32_t> row;        // of the bins; those of a class side by side
  std::vector<uint32_t> class_end;  // by class, into `row`; one entry for values
  std::vector<uint32_t> weight;     // by position in `row`; empty for counts
  std::vector<int32_t> value;       // by position; empty for classes
  std::vector<double> scale;        // by class: what one row, or one unit of weight, weighs
  /** value = value_mean + value_unit x integer. */
  double value_mean = 0;
  double value_unit = 0;
};

/** Copies of one row in a bootstrap sample beyond this many are dropped: sums stay in 64 bits. */
inline constexpr uint32_t COPIES_MAX = 31;

/** Ranks by column; the bins of categories become ranks. Levels not among the rows: as the mean. */
LevelOrder order_levels(const FitInput& input, ForestBins& bins);
ForestPlan plan_forest(const ForestBins& bins, const FitInput& input,
                       const ForestSettings& settings);

/** One tree as it is grown; leaf rows as in ForestModel, those that are not pure in `leaves`. */
struct GrownTree {
  std::vector<ForestNode> nodes;
  std::vector<float> leaves;
  std::vector<double> importance;
};

GrownTree grow_tree(const ForestPlan& plan, uint64_t tree);

/** Which nodes of a tree are slots of a category node's set of levels. */
std::vector<bool> level_slots(const ForestNode* nodes, size_t count);

}  // namespace magnet::learn
