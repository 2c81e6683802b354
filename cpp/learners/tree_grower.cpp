// Growth of a tree. The rows of a node are a contiguous part of one list, which each split divides
// in two, keeping their order; leaves settle as soon as they cannot be split.
#include "tree_grower.hpp"

#include <algorithm>
#include <array>
#include <cstring>

#include "../cpu/thread_pool.hpp"

namespace magnet::learn {

struct TreeGrower::Job {
  const std::vector<Packed>& gradients;
  const Scales& scales;
  const SplitRules& split_rules;
  std::vector<uint32_t>& rows;
  TreeSet& trees;
  float* scores;
  std::vector<double>& gains;
  uint32_t leaves = 1;
};

TreeGrower::TreeGrower(const FitTable& table, const GrowRules& rules)
    : table_(table), rules_(rules), finder_(table), spare_rows_(table.rows()) {}

AlignedBuffer<Packed>* TreeGrower::take_histogram() {
  if (free_.empty()) {
    histograms_.push_back(std::make_unique<AlignedBuffer<Packed>>());
    free_.push_back(histograms_.back().get());
  }
  AlignedBuffer<Packed>* const histogram = free_.back();
  free_.pop_back();
  histogram->reserve(table_.cells());
  return histogram;
}

void TreeGrower::give_back(Open& leaf) {
  if (leaf.histogram != nullptr) free_.push_back(leaf.histogram);
  leaf.histogram = nullptr;
}

/** Heap order: whether b is split before a. */
bool TreeGrower::is_before(const Open& a, const Open& b) const {
  if (rules_.level_by_level && a.depth != b.depth) return a.depth > b.depth;
  if (a.split.gain != b.split.gain) return a.split.gain < b.split.gain;
  return a.node > b.node;
}

bool TreeGrower::may_split(const Job& job, const Open& leaf) const {
  if (rules_.max_depth > 0 && leaf.depth >= rules_.max_depth) return false;
  const double least = 2.0 * job.split_rules.min_curvature;
  const double rows_least = 2.0 * std::max(job.split_rules.min_rows, 1.0);
  return curvature_of(leaf.total) >= least && leaf.end - leaf.begin >= rows_least;
}

/** Rows that go left first, both sides in their old order; returns how many those are. */
uint32_t TreeGrower::partition(Job& job, const Open& parent) {
  const Split& split = parent.split;
  const uint32_t missing = table_.rules().columns[split.column].bins;
  std::array<uint8_t, 256> goes_left{};
  for (uint32_t b = 0; b <= missing; b++) {
    const bool number_left = b == missing ? split.missing_left : b <= split.bin;
    goes_left[b] = (split.is_category ? has_bin(split.bins, b) : number_left) ? 1 : 0;
  }
  const uint8_t* const column = table_.column(split.column);
  uint32_t* const rows = job.rows.data() + parent.begin;
  uint32_t* const spare = spare_rows_.data();
  const uint32_t count = parent.end - parent.begin;
  uint32_t left = 0;
  uint32_t right = 0;
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t row = rows[i];
    const uint32_t is_left = goes_left[column[row]];
    rows[left] = row;
    spare[right] = row;
    left += is_left;
    right += 1 - is_left;
  }
  std::memcpy(rows + left, spare, right * sizeof(uint32_t));
  return left;
}

/** Makes an open leaf a leaf of the tree for good. */
void TreeGrower::settle(Job& job, Open& leaf) {
  give_back(leaf);
  const double gradient = gradient_of(leaf.total) / job.scales.gradient;
  const double curvature = curvature_of(leaf.total) / job.scales.curvature;
  const double l1 = job.split_rules.l1 / job.scales.gradient;
  const double l2 = job.split_rules.l2 / job.scales.curvature;
  const double size = std::max((gradient < 0 ? -gradient : gradient) - l1, 0.0);
  double step = curvature + l2 > 0 ? size / (curvature + l2) : 0.0;
  if (rules_.max_step > 0) step = std::min(step, rules_.max_step);
  const auto value = static_cast<float>(rules_.learning_rate * (gradient > 0 ? -step : step));
  *job.trees.set_leaf(leaf.node) = value;
  for (uint32_t i = leaf.begin; i < leaf.end; i++) job.scores[job.rows[i]] += value;
}

/** Splits an open leaf and opens or settles its children. */
void TreeGrower::divide(Job& job, Open& parent) {
  const Split& split = parent.split;
  const auto missing = static_cast<uint8_t>(table_.rules().columns[split.column].bins);
  const uint32_t node =
      split.is_category
          ? job.trees.split_category(parent.node, split.column, split.bins)
          : job.trees.split_number(parent.node, split.column, split.bin, missing,
                                   split.missing_left);
  const double loss_scale =
      job.scales.curvature / (job.scales.gradient * job.scales.gradient);
  job.gains[split.column] += split.gain * loss_scale;
  job.leaves++;
  const uint32_t middle = parent.begin + partition(job, parent);
  Open left{node, parent.begin, middle, parent.depth + 1, split.left, nullptr, {}};
  const Packed rest = parent.total - split.left;
  Open right{node + 1, middle, parent.end, parent.depth + 1, rest, nullptr, {}};
  const bool is_last = rules_.max_leaves > 0 && job.leaves >= rules_.max_leaves;
  const bool left_open = !is_last && may_split(job, left);
  const bool right_open = !is_last && may_split(job, right);
  if (left_open || right_open) {
    const bool left_is_small = middle - parent.begin <= parent.end - middle;
    Open& small = left_is_small ? left : right;
    Open& large = left_is_small ? right : left;
    const bool large_open = left_is_small ? right_open : left_open;
    small.histogram = take_histogram();
    table_.sum(job.gradients.data(), job.rows.data() + small.begin, small.end - small.begin,
               small.histogram->data(), rules_.threads);
    if (large_open) {
      large.histogram = parent.histogram;
      parent.histogram = nullptr;
      subtract_histogram(large.histogram->data(), small.histogram->data(), table_.cells());
    }
  }
  give_back(parent);
  for (auto [child, is_open] : {std::pair{&left, left_open}, std::pair{&right, right_open}}) {
    if (is_open)
      child->split = finder_.find(child->histogram->data(), child->total,
                                  child->end - child->begin, job.split_rules, rules_.threads);
    if (is_open && child->split.gain > job.split_rules.min_gain) {
      open_.push_back(*child);
      std::push_heap(open_.begin(), open_.end(),
                     [this](const Open& a, const Open& b) { return is_before(a, b); });
    } else {
      settle(job, *child);
    }
  }
}

void TreeGrower::open_root(Job& job) {
  Packed total = 0;
  for (const uint32_t row : job.rows) total += job.gradients[row];
  const auto count = static_cast<uint32_t>(job.rows.size());
  Open root{job.trees.add_tree(), 0, count, 0, total, nullptr, {}};
  if (may_split(job, root)) {
    root.histogram = take_histogram();
    table_.sum(job.gradients.data(), job.rows.data(), count, root.histogram->data(),
               rules_.threads);
    root.split =
        finder_.find(root.histogram->data(), total, count, job.split_rules, rules_.threads);
  }
  if (root.split.gain > job.split_rules.min_gain && rules_.max_leaves != 1) {
    open_.push_back(root);
  } else {
    settle(job, root);
  }
}

void TreeGrower::grow(const std::vector<Packed>& gradients, const Scales& scales,
                      const SplitRules& split_rules, std::vector<uint32_t>& rows, TreeSet& trees,
                      float* scores, std::vector<double>& gains) {
  Job job{gradients, scales, split_rules, rows, trees, scores, gains};
  open_.clear();
  open_root(job);
  const auto order = [this](const Open& a, const Open& b) { return is_before(a, b); };
  while (!open_.empty()) {
    std::pop_heap(open_.begin(), open_.end(), order);
    Open next = open_.back();
    open_.pop_back();
    if (rules_.max_leaves > 0 && job.leaves >= rules_.max_leaves) {
      settle(job, next);
    } else {
      divide(job, next);
    }
  }
}

}  // namespace magnet::learn
