// Forests: trees grown in parallel and put together in order, and their predictions.
#include "forest.hpp"

#include <algorithm>
#include <bit>

#include "../cpu/thread_pool.hpp"
#include "forest_grow.hpp"

namespace magnet::learn {
namespace {

void append(ForestModel& model, const GrownTree& tree, uint32_t pure_leaves) {
  const uint64_t root = model.nodes.size();
  const auto shift = static_cast<uint32_t>(model.leaves.size() / model.outputs) - pure_leaves;
  const std::vector<bool> is_slot = level_slots(tree.nodes.data(), tree.nodes.size());
  model.roots.push_back(root);
  model.nodes.insert(model.nodes.end(), tree.nodes.begin(), tree.nodes.end());
  for (size_t i = 0; i < tree.nodes.size(); i++) {
    ForestNode& node = model.nodes[root + i];
    const bool leaf = !is_slot[i] && (node.flags & ForestNode::LEAF) != 0;
    if (leaf && node.child >= pure_leaves) node.child += shift;
  }
  model.leaves.insert(model.leaves.end(), tree.leaves.begin(), tree.leaves.end());
  for (size_t c = 0; c < tree.importance.size(); c++) model.importance[c] += tree.importance[c];
}

/** Rows that walk down a tree together: each waits for memory while the others go on. */
constexpr uint64_t TOGETHER = 8;
/** Rows whose bins stay in the cache while all trees pass over them. */
constexpr uint64_t BLOCK = 512;

/** The slot after `at` for one row; a leaf stays where it is. */
uint32_t step(const ForestNode* nodes, const uint8_t* bins, uint32_t at) {
  const ForestNode node = nodes[at];
  const uint8_t bin = bins[node.feature];
  if (node.flags & ForestNode::CATEGORY) {
    const auto levels = std::bit_cast<uint64_t>(nodes[node.child + (bin >> 6)]);
    const uint32_t right = (levels >> (bin & 63) & 1) != 0 ? 0 : 1;
    return node.child + ForestNode::LEVEL_SLOTS + right;
  }
  // One more, and 255, the missing value, becomes the lowest.
  const uint32_t shift = (node.flags & ForestNode::MISSING_LEFT) != 0;
  const auto shifted = static_cast<uint8_t>(bin + shift);
  const uint32_t right = shifted > node.threshold + shift;
  return node.flags & ForestNode::LEAF ? at : node.child + right;
}

void walk(const ForestNode* nodes, const uint8_t* bins, uint32_t columns, uint64_t count,
          uint32_t* leaf) {
  uint32_t at[TOGETHER] = {};
  bool moved = true;
  while (moved) {
    moved = false;
    for (uint64_t i = 0; i < count; i++) {
      const uint32_t next = step(nodes, bins + i * columns, at[i]);
      moved |= next != at[i];
      at[i] = next;
    }
  }
  for (uint64_t i = 0; i < count; i++) leaf[i] = nodes[at[i]].child;
}

/** Bins of some listed rows, (rows, columns). */
void copy_bins(const PredictInput& input, uint64_t begin, uint64_t end, uint8_t* out) {
  const uint32_t columns = input.data->columns();
  for (uint32_t c = 0; c < columns; c++) {
    const uint8_t* const column = input.data->column(c);
    const uint32_t missing = input.data->rules->columns[c].bins;
    for (uint64_t i = begin; i < end; i++) {
      const uint8_t bin = column[input.rows[i]];
      out[(i - begin) * columns + c] = bin == missing ? FOREST_MISSING : bin;
    }
  }
}

}  // namespace

std::vector<bool> level_slots(const ForestNode* nodes, size_t count) {
  std::vector<bool> is_slot(count, false);
  for (size_t i = 0; i < count; i++) {
    if (is_slot[i] || (nodes[i].flags & ForestNode::CATEGORY) == 0) continue;
    for (size_t slot = 0; slot < ForestNode::LEVEL_SLOTS; slot++)
      if (nodes[i].child + slot < count) is_slot[nodes[i].child + slot] = true;
  }
  return is_slot;
}

ForestModel grow_forest(ForestBins bins, const FitInput& input, const ForestSettings& settings) {
  LevelOrder order;
  if (settings.best_split) order = order_levels(input, bins);
  ForestPlan plan = plan_forest(bins, input, settings);
  plan.order = std::move(order);
  std::vector<GrownTree> trees(settings.trees);
  parallel_tasks(input.threads, settings.trees, [&](int64_t tree) {
    if (is_cancelled(input.cancel)) fail(MG_E_CANCELLED, "growing trees: cancelled");
    trees[static_cast<size_t>(tree)] = grow_tree(plan, static_cast<uint64_t>(tree));
  });
  ForestModel model;
  model.outputs = input.classes;
  model.importance.assign(bins.columns, 0.0);
  model.leaves.assign(static_cast<size_t>(plan.classes) * plan.classes, 0.0f);
  for (uint32_t c = 0; c < plan.classes; c++) model.leaves[c * (plan.classes + 1)] = 1.0f;
  for (const GrownTree& tree : trees) append(model, tree, plan.classes);
  return model;
}

void predict_forest(const ForestModel& model, const PredictInput& input, float* out) {
  const uint32_t outputs = model.outputs;
  const uint32_t columns = input.data->columns();
  const float trees = static_cast<float>(model.roots.size());
  const uint64_t n = input.rows.count;
  parallel_tasks(input.threads, static_cast<int64_t>((n + BLOCK - 1) / BLOCK), [&](int64_t block) {
    if (is_cancelled(input.cancel)) fail(MG_E_CANCELLED, "prediction: cancelled");
    const uint64_t begin = static_cast<uint64_t>(block) * BLOCK;
    const uint64_t end = std::min(n, begin + BLOCK);
    std::vector<uint8_t> bins((end - begin) * columns);
    copy_bins(input, begin, end, bins.data());
    std::fill(out + begin * outputs, out + end * outputs, 0.0f);
    uint32_t leaf[TOGETHER];
    for (const uint64_t root : model.roots)
      for (uint64_t i = begin; i < end; i += TOGETHER) {
        const uint64_t count = std::min(TOGETHER, end - i);
        const uint8_t* const rows = bins.data() + (i - begin) * columns;
        walk(model.nodes.data() + root, rows, columns, count, leaf);
        for (uint64_t j = 0; j < count; j++) {
          const float* const from = model.leaves.data() + uint64_t{leaf[j]} * outputs;
          float* const to = out + (i + j) * outputs;
          for (uint32_t k = 0; k < outputs; k++) to[k] += from[k];
        }
      }
    for (uint64_t i = begin * outputs; i < end * outputs; i++) out[i] /= trees;
  });
}

}  // namespace magnet::learn
