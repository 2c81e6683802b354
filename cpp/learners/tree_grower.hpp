// Grows one regression tree on packed gradients: histograms of the smaller children, siblings by
// subtraction, the best gain first (or level by level) until the leaves are enough.
#pragma once
#include <memory>
#include <vector>

#include "split.hpp"

namespace magnet::learn {

struct GrowRules {
  /** 0 = no limit. */
  uint32_t max_depth;
  /** 0 = no limit. */
  uint32_t max_leaves;
  bool level_by_level;
  double learning_rate;
  /** Largest size of a leaf's value before the learning rate; 0 = no limit. */
  double max_step;
  uint32_t threads;
};

/** What a packed unit is worth: gradient = units / gradient_scale. */
struct Scales {
  double gradient;
  double curvature;
};

class TreeGrower {
 public:
  TreeGrower(const FitTable& table, const GrowRules& rules);
  /** After the table's columns were chosen anew. */
  void columns_changed() { finder_.columns_changed(); }
  /**
   * Appends a tree grown on `rows` (of the fit table; reordered) and adds its leaves' values to
   * scores[row] of these rows. `split_rules` are in units of the packed sums. Adds each split's
   * gain, in units of the loss, to `gains` by column.
   */
  void grow(const std::vector<Packed>& gradients, const Scales& scales,
            const SplitRules& split_rules, std::vector<uint32_t>& rows, TreeSet& trees,
            float* scores, std::vector<double>& gains);

 private:
  /** A leaf that may be split further. */
  struct Open {
    uint32_t node;
    uint32_t begin;
    uint32_t end;
    uint32_t depth;
    Packed total;
    AlignedBuffer<Packed>* histogram;
    Split split;
  };
  struct Job;

  void open_root(Job& job);
  void divide(Job& job, Open& parent);
  void settle(Job& job, Open& leaf);
  bool may_split(const Job& job, const Open& leaf) const;
  uint32_t partition(Job& job, const Open& parent);
  bool is_before(const Open& a, const Open& b) const;
  AlignedBuffer<Packed>* take_histogram();
  void give_back(Open& leaf);

  const FitTable& table_;
  GrowRules rules_;
  SplitFinder finder_;
  std::vector<Open> open_;
  std::vector<std::unique_ptr<AlignedBuffer<Packed>>> histograms_;
  std::vector<AlignedBuffer<Packed>*> free_;
  std::vector<uint32_t> spare_rows_;
};

}  // namespace magnet::learn
