// Trees over binned columns, one after the other in flat arrays: what boosting and forests share.
// A row walks from a root to a leaf; a leaf holds one value, or one for each output.
#pragma once
#include <array>
#include <vector>

#include "binning.hpp"

namespace magnet::learn {

/** Bins that go left, as bits. */
using BinSet = std::array<uint64_t, 4>;
inline bool has_bin(const BinSet& set, uint32_t bin) {
  return (set[bin / 64] >> (bin % 64) & 1) != 0;
}
inline void add_bin(BinSet& set, uint32_t bin) { set[bin / 64] |= uint64_t{1} << (bin % 64); }

/** Kinds are told apart only where they must be: a step of a walk has no branch for numbers. */
struct TreeNode {
  enum : uint8_t { NUMBER = 0, CATEGORY = 1, LEAF = 2 };
  /** The left child's index, the right one is the next; of a leaf its own. */
  uint32_t left;
  /** 0 in a leaf. */
  uint32_t column;
  /** Of a leaf its number, of a category split its set's. */
  uint32_t index;
  /** Bins up to this one go left: in a leaf all. */
  uint8_t bin;
  /** This bin goes left too: that of missing values, or `bin` once more. */
  uint8_t too;
  uint8_t kind;
  uint8_t unused;
};
static_assert(sizeof(TreeNode) == 16);

class TreeSet {
 public:
  explicit TreeSet(uint32_t leaf_outputs) : leaf_outputs_(leaf_outputs) {}

  uint32_t trees() const { return static_cast<uint32_t>(roots_.size()); }
  uint32_t leaf_outputs() const { return leaf_outputs_; }
  const TreeNode& node(uint32_t i) const { return nodes_[i]; }

  /** Starts a tree with one node, a leaf until it is split; returns the node. */
  uint32_t add_tree();
  /** Makes a leaf a split; returns its left child, the right one is the next. */
  uint32_t split_number(uint32_t node, uint32_t column, uint8_t bin, uint8_t missing,
                        bool missing_left);
  uint32_t split_category(uint32_t node, uint32_t column, const BinSet& left);
  /** Gives a leaf its values, to be written by the caller: leaf_outputs of them. */
  float* set_leaf(uint32_t node);
  const float* leaf_values(uint32_t leaf) const { return values_.data() + leaf * leaf_outputs_; }
  /** Drops all trees from this one on. */
  void truncate(uint32_t trees);

  /** The leaf's number that a row of the data ends in. */
  uint32_t find_leaf(uint32_t tree, const BinnedData& data, uint32_t row) const {
    const TreeNode* node = &nodes_[roots_[tree]];
    while (node->kind != TreeNode::LEAF) {
      const uint8_t bin = data.bins[node->column * data.rows + row];
      node = &nodes_[node->left + (goes_left(*node, bin) ? 0 : 1)];
    }
    return node->index;
  }
  /**
   * sums[i * stride] += a tree's leaf value for the i-th row of the list (leaf_outputs of them),
   * trees first, first + step, ... in this order.
   */
  void add_values(uint32_t first, uint32_t step, const BinnedData& data, const RowList& rows,
                  float* sums, uint32_t stride) const;

  void save(Writer& out) const;
  /** Checks that every walk ends in a leaf whatever the bins are. */
  static TreeSet load(Reader& in, const BinRules& rules);

 private:
  bool goes_left(const TreeNode& node, uint8_t bin) const {
    if (node.kind == TreeNode::CATEGORY) return has_bin(sets_[node.index], bin);
    return bin <= node.bin || bin == node.too;
  }
  /** find_leaf of several rows at once: their walks wait for memory together. */
  static constexpr uint32_t TEAM = 8;
  template <bool CATEGORIES>
  void find_leaves(uint32_t tree, const BinnedData& data, const uint32_t* rows,
                   uint32_t* leaves) const;
  uint32_t make_children(uint32_t node);
  void check_tree(uint32_t first, uint32_t end, const BinRules& rules) const;

  uint32_t leaf_outputs_;
  std::vector<uint32_t> roots_;
  std::vector<TreeNode> nodes_;
  std::vector<BinSet> sets_;
  std::vector<float> values_;
};

}  // namespace magnet::learn
