// Extra trees and random forests as learners: settings, fit, saved models.
#include <algorithm>
#include <cmath>

#include "forest.hpp"
#include "forest_grow.hpp"

namespace magnet::learn {
namespace {

constexpr const char* TREES = "trees; more cost time and never accuracy";
constexpr const char* MAX_FEATURES =
    "share of the columns looked at in a node; 0 = square root of their number for classes, all for "
    "values";
constexpr const char* MAX_DEPTH = "splits above a leaf at most; 0 = no limit";
constexpr const char* MIN_LEAF = "rows of a leaf at least";
constexpr const char* BOOTSTRAP = "1 = each tree sees rows drawn with replacement";
constexpr const char* MAX_SAMPLES = "rows drawn for a tree, as a share of all";

constexpr SettingRule EXTRA_TREES_SETTINGS[] = {
    {"trees", 100, 1, 10000, true, TREES},
    {"max_features", 0, 0, 1, false, MAX_FEATURES},
    {"max_depth", 0, 0, 1000, true, MAX_DEPTH},
    {"min_samples_leaf", 1, 1, 1 << 24, true, MIN_LEAF},
    {"bootstrap", 0, 0, 1, true, BOOTSTRAP},
    {"max_samples", 1, 0.001, 1, false, MAX_SAMPLES},
};
constexpr SettingRule FOREST_SETTINGS[] = {
    {"trees", 100, 1, 10000, true, TREES},
    {"max_features", 0, 0, 1, false, MAX_FEATURES},
    {"max_depth", 0, 0, 1000, true, MAX_DEPTH},
    {"min_samples_leaf", 1, 1, 1 << 24, true, MIN_LEAF},
    {"bootstrap", 1, 0, 1, true, BOOTSTRAP},
    {"max_samples", 1, 0.001, 1, false, MAX_SAMPLES},
};

uint32_t features_of(double share, uint32_t columns, bool classes) {
  const double wanted = share > 0 ? share * columns : classes ? std::sqrt(columns) : columns;
  return std::clamp(static_cast<uint32_t>(wanted), 1u, columns);
}

class FittedForest : public Model {
 public:
  FittedForest(uint32_t learner, std::shared_ptr<const BinRules> rules, ForestModel model)
      : Model(learner, model.outputs, std::move(rules)), model_(std::move(model)) {}

  uint32_t trees() const override { return static_cast<uint32_t>(model_.roots.size()); }
  void predict(const PredictInput& input, float* out) const override {
    predict_forest(model_, input, out);
  }
  std::vector<double> importance() const override { return as_shares(model_.importance); }
  void save(Writer& out) const override {
    out.put_all(model_.roots);
    out.put_all(model_.nodes);
    out.put_all(model_.leaves);
    out.put_all(model_.importance);
  }

 private:
  ForestModel model_;
};

template <uint32_t LEARNER>
std::unique_ptr<Model> fit(const FitInput& input) {
  const Settings& given = input.settings;
  const uint32_t depth = given.count("max_depth");
  const ForestSettings settings{
      .trees = given.count("trees"),
      .best_split = LEARNER == MG_LEARNER_FOREST,
      .bootstrap = given.get("bootstrap") != 0,
      .max_samples = given.get("max_samples"),
      .max_features =
          features_of(given.get("max_features"), input.data.columns(), input.classes > 1),
      .max_depth = depth == 0 ? UINT32_MAX : depth,
      .min_samples_leaf = given.count("min_samples_leaf"),
      .seed = input.seed,
  };
  ForestBins bins = forest_bins(input.data, input.examples);
  return std::make_unique<FittedForest>(LEARNER, input.data.rules,
                                        grow_forest(std::move(bins), input, settings));
}

/** So that a walk ends, and reads nothing outside the tree, the bins and the leaves. */
void check_tree(const ForestNode* nodes, uint64_t count, uint32_t columns, uint64_t leaf_rows) {
  const std::vector<bool> is_slot = level_slots(nodes, count);
  for (uint64_t i = 0; i < count; i++) {
    if (is_slot[i]) continue;
    const ForestNode& node = nodes[i];
    require_format(node.feature < columns, "a node of a column that is not there");
    if (node.flags & ForestNode::LEAF) {
      require_format(node.flags == ForestNode::LEAF && node.child < leaf_rows, "a leaf without values");
      continue;
    }
    const uint32_t slots = node.flags & ForestNode::CATEGORY ? ForestNode::LEVEL_SLOTS : 0;
    const uint64_t left = uint64_t{node.child} + slots;
    require_format(node.child > i && left + 1 < count, "a node whose children are not there");
    require_format(!is_slot[left] && !is_slot[left + 1], "a node whose child is a set of levels");
  }
}

std::unique_ptr<Model> load(const SavedHead& head, Reader& in) {
  ForestModel model;
  model.outputs = head.outputs;
  model.roots = in.take_all<uint64_t>("trees");
  model.nodes = in.take_all<ForestNode>("nodes");
  model.leaves = in.take_all<float>("leaves");
  model.importance = in.take_all<double>("importance");
  const auto columns = static_cast<uint32_t>(head.rules->columns.size());
  require_format(!model.roots.empty() && model.roots[0] == 0, "a forest without trees");
  require_format(model.leaves.size() % head.outputs == 0, "leaves of another number of classes");
  require_format(model.importance.size() == columns, "importance of another number of columns");
  for (const float leaf : model.leaves) require_format(std::isfinite(leaf), "a leaf is not a number");
  for (const double share : model.importance)
    require_format(std::isfinite(share) && share >= 0, "an importance below 0");
  for (size_t t = 0; t < model.roots.size(); t++) {
    const uint64_t end = t + 1 < model.roots.size() ? model.roots[t + 1] : model.nodes.size();
    require_format(model.roots[t] < end && end <= model.nodes.size(), "a tree without nodes");
    check_tree(model.nodes.data() + model.roots[t], end - model.roots[t], columns,
               model.leaves.size() / head.outputs);
  }
  return std::make_unique<FittedForest>(head.learner, head.rules, std::move(model));
}

}  // namespace

const Learner EXTRA_TREES = {
    "extra_trees", [] { return SettingRules(EXTRA_TREES_SETTINGS); }, fit<MG_LEARNER_EXTRA_TREES>, load};
const Learner FOREST = {
    "forest", [] { return SettingRules(FOREST_SETTINGS); }, fit<MG_LEARNER_FOREST>, load};

}  // namespace magnet::learn
