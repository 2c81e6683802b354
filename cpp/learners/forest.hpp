// Random forests and extremely randomised trees (Breiman 2001; Geurts, Ernst and Wehenkel 2006) on
// binned features. A tree is a function of the examples, the settings, the seed and its number alone:
// all sums over rows are of integers, so neither threads nor the CPU's path change a bit of it.
#pragma once
#include <cstdint>
#include <vector>

#include "learner.hpp"

namespace magnet::learn {

/** The bin of a missing value; bins proper are 0..254. */
inline constexpr uint8_t FOREST_MISSING = 255;

/** Bins of the examples as trees read them: by row for small nodes, by column for large ones. */
struct ForestBins {
  int64_t rows = 0;
  uint32_t columns = 0;
  std::vector<uint8_t> by_row;     // (rows, columns)
  std::vector<uint8_t> by_column;  // (columns, rows)
  std::vector<uint8_t> category;   // by column: bins are levels without an order
};

struct ForestSettings {
  uint32_t trees;
  /** Best of all cuts of a feature (forest), or one drawn at random (extra trees). */
  bool best_split;
  bool bootstrap;
  /** Rows that a bootstrap sample draws, as a share of the examples. */
  double max_samples;
  /** Features looked at in each node, in 1..columns. */
  uint32_t max_features;
  uint32_t max_depth;
  /** Examples, each counted once whatever its weight. */
  uint32_t min_samples_leaf;
  uint64_t seed;
};

/**
 * Eight bytes, so that a whole tree stays in the cache. Inner node: rows with bin <= threshold go to
 * `child`, others to child + 1. A category node has four slots at `child` that hold a set of 256
 * levels (those that go left), its children follow. Children come after their parents.
 */
struct ForestNode {
  static constexpr uint8_t LEAF = 1;
  static constexpr uint8_t MISSING_LEFT = 2;
  static constexpr uint8_t CATEGORY = 4;
  static constexpr uint32_t LEVEL_SLOTS = 4;
  /** Of a leaf: its row of the leaf table. */
  uint32_t child;
  uint32_t feature : 21;
  uint32_t threshold : 8;
  uint32_t flags : 3;
};
static_assert(sizeof(ForestNode) == 8);

/** Trees one after the other; leaf rows 0..classes-1 are the pure ones of classification. */
struct ForestModel {
  uint32_t outputs = 1;
  std::vector<ForestNode> nodes;
  std::vector<uint64_t> roots;     // first node of each tree; child indices count from it
  std::vector<float> leaves;       // (leaf rows, outputs)
  std::vector<double> importance;  // by column: total decrease of impurity
};

ForestBins forest_bins(const BinnedData& data, const Examples& examples);
/** Throws MG_E_CANCELLED. */
ForestModel grow_forest(ForestBins bins, const FitInput& input, const ForestSettings& settings);
/** Mean of the trees' leaves, out (rows, outputs). The model's indices are in range. */
void predict_forest(const ForestModel& model, const PredictInput& input, float* out);

}  // namespace magnet::learn
