// Building, walking, saving and checking trees. A saved tree is walked as it is: its children must
// come after their parents and stay within the tree, so that every walk ends.
#include "tree_set.hpp"

#include <algorithm>
#include <cmath>

namespace magnet::learn {
namespace {

/** All bins lead to itself. */
TreeNode leaf_at(uint32_t node) { return {node, 0, 0, 255, 255, TreeNode::LEAF, 0}; }

}  // namespace

uint32_t TreeSet::add_tree() {
  const auto root = static_cast<uint32_t>(nodes_.size());
  roots_.push_back(root);
  nodes_.push_back(leaf_at(root));
  return root;
}

uint32_t TreeSet::make_children(uint32_t node) {
  const auto left = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back(leaf_at(left));
  nodes_.push_back(leaf_at(left + 1));
  nodes_[node].left = left;
  return left;
}

uint32_t TreeSet::split_number(uint32_t node, uint32_t column, uint8_t bin, uint8_t missing,
                               bool missing_left) {
  const uint32_t left = make_children(node);
  const uint8_t too = missing_left ? missing : bin;
  nodes_[node] = {left, column, 0, bin, too, TreeNode::NUMBER, 0};
  return left;
}

uint32_t TreeSet::split_category(uint32_t node, uint32_t column, const BinSet& left_bins) {
  const uint32_t left = make_children(node);
  const auto set = static_cast<uint32_t>(sets_.size());
  sets_.push_back(left_bins);
  nodes_[node] = {left, column, set, 0, 0, TreeNode::CATEGORY, 0};
  return left;
}

float* TreeSet::set_leaf(uint32_t node) {
  nodes_[node].index = static_cast<uint32_t>(values_.size() / leaf_outputs_);
  values_.resize(values_.size() + leaf_outputs_);
  return values_.data() + values_.size() - leaf_outputs_;
}

void TreeSet::truncate(uint32_t trees) {
  if (trees >= roots_.size()) return;
  const uint32_t end = roots_[trees];
  size_t leaves = 0;
  size_t sets = 0;
  for (uint32_t i = 0; i < end; i++) {
    leaves += nodes_[i].kind == TreeNode::LEAF ? 1 : 0;
    sets += nodes_[i].kind == TreeNode::CATEGORY ? 1 : 0;
  }
  roots_.resize(trees);
  nodes_.resize(end);
  sets_.resize(sets);
  values_.resize(leaves * leaf_outputs_);
}

template <bool CATEGORIES>
void TreeSet::find_leaves(uint32_t tree, const BinnedData& data, const uint32_t* rows,
                          uint32_t* leaves) const {
  const TreeNode* const nodes = nodes_.data();
  const uint8_t* const bins = data.bins.data();
  uint32_t at[TEAM];
  for (uint32_t& node : at) node = roots_[tree];
  for (uint32_t moved = 1; moved != 0;) {
    moved = 0;
    for (uint32_t j = 0; j < TEAM; j++) {
      const TreeNode& node = nodes[at[j]];
      const uint32_t bin = bins[node.column * data.rows + rows[j]];
      auto right = static_cast<uint32_t>(bin > node.bin) & static_cast<uint32_t>(bin != node.too);
      if constexpr (CATEGORIES)
        if (node.kind == TreeNode::CATEGORY) right = has_bin(sets_[node.index], bin) ? 0 : 1;
      const uint32_t next = node.left + right;
      moved |= next ^ at[j];
      at[j] = next;
    }
  }
  for (uint32_t j = 0; j < TEAM; j++) leaves[j] = nodes[at[j]].index;
}

void TreeSet::add_values(uint32_t first, uint32_t step, const BinnedData& data, const RowList& rows,
                         float* sums, uint32_t stride) const {
  // Rows of a block stay in the cache for all trees.
  constexpr uint64_t BLOCK = 512;
  uint32_t block[BLOCK];
  for (uint64_t begin = 0; begin < rows.count; begin += BLOCK) {
    const auto count = static_cast<uint32_t>(std::min(BLOCK, rows.count - begin));
    for (uint32_t i = 0; i < count; i++) block[i] = rows[begin + i];
    // The last team is filled up with a row that is there; it is walked and not added.
    for (uint32_t i = count; i % TEAM != 0; i++) block[i] = block[0];
    for (uint32_t tree = first; tree < trees(); tree += step)
      for (uint32_t i = 0; i < count; i += TEAM) {
        uint32_t leaves[TEAM];
        if (sets_.empty()) {
          find_leaves<false>(tree, data, block + i, leaves);
        } else {
          find_leaves<true>(tree, data, block + i, leaves);
        }
        for (uint32_t j = 0; j < std::min(TEAM, count - i); j++) {
          const float* const values = leaf_values(leaves[j]);
          float* const to = sums + (begin + i + j) * stride;
          for (uint32_t k = 0; k < leaf_outputs_; k++) to[k] += values[k];
        }
      }
  }
}

void TreeSet::save(Writer& out) const {
  out.put(leaf_outputs_);
  out.put_all(roots_);
  out.put_all(nodes_);
  out.put_all(sets_);
  out.put_all(values_);
}

TreeSet TreeSet::load(Reader& in, const BinRules& rules) {
  const auto outputs = in.take<uint32_t>();
  require_format(outputs >= 1, "a leaf holds nothing");
  TreeSet set(outputs);
  set.roots_ = in.take_all<uint32_t>("roots");
  set.nodes_ = in.take_all<TreeNode>("nodes");
  set.sets_ = in.take_all<BinSet>("sets of bins");
  set.values_ = in.take_all<float>("leaf values");
  require_format(set.nodes_.size() < UINT32_MAX / 2, "too many nodes");
  require_format(set.values_.size() % outputs == 0, "a leaf's values are cut off");
  for (const float value : set.values_)
    require_format(std::isfinite(value), "a leaf's value is not a number");
  const auto nodes = static_cast<uint32_t>(set.nodes_.size());
  require_format(set.roots_.empty() ? nodes == 0 : set.roots_[0] == 0, "nodes outside the trees");
  for (size_t t = 0; t < set.roots_.size(); t++) {
    const uint32_t end = t + 1 < set.roots_.size() ? set.roots_[t + 1] : nodes;
    require_format(set.roots_[t] < end && end <= nodes, "a tree has no nodes");
    set.check_tree(set.roots_[t], end, rules);
  }
  return set;
}

void TreeSet::check_tree(uint32_t first, uint32_t end, const BinRules& rules) const {
  for (uint32_t i = first; i < end; i++) {
    const TreeNode& node = nodes_[i];
    require_format(node.kind <= TreeNode::LEAF && node.unused == 0, "a node of no known kind");
    if (node.kind == TreeNode::LEAF) {
      const bool stays = node.left == i && node.column == 0 && node.bin == 255;
      require_format(stays, "a leaf that leads elsewhere");
      require_format(node.index < values_.size() / leaf_outputs_, "a leaf has no values");
      continue;
    }
    require_format(node.left > i && node.left < end && end - node.left >= 2,
                   "a child outside its tree");
    require_format(node.column < rules.columns.size(), "a split of a column that is not there");
    const bool is_category = node.kind == TreeNode::CATEGORY;
    const ColumnBins& column = rules.columns[node.column];
    require_format(is_category == column.is_category(), "a split of the wrong kind for its column");
    if (is_category) require_format(node.index < sets_.size(), "a split has no set of bins");
  }
}

}  // namespace magnet::learn
