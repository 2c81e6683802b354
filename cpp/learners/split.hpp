// The best split of a node from its histogram (Chen and Guestrin 2016, equation 7, with the L1
// term): gain = score(left) + score(right) - score(node), score = max(|G| - l1, 0)^2 / (H + l2).
// Missing values go to the side where they gain more. Categories are cut in the order of their mean
// gradient (Fisher 1958), few of them each against the rest.
#pragma once
#include <algorithm>
#include <cmath>
#include <vector>

#include "histogram.hpp"
#include "tree_set.hpp"

namespace magnet::learn {

/** In units of the packed sums. */
struct SplitRules {
  double l1;
  double l2;
  /** Least of a side, >= 1: a whole number. */
  int32_t min_curvature;
  /** Least rows of a side, >= 1: by its share of the node's curvature, as cells count no rows. */
  double min_rows;
  double min_gain;
  /** Added to the curvature of a category when categories are put in order. */
  double category_smoothing;
  /** Added to l2 where a split takes one of many subsets of categories. */
  double category_l2;
  /** Rows (by share of the curvature) below which one of many categories stays with the rest. */
  double category_rows_min;

  double score(double gradient, double curvature, double extra_l2 = 0) const {
    const double size = std::max((gradient < 0 ? -gradient : gradient) - l1, 0.0);
    return size * size / (curvature + l2 + extra_l2);
  }

  /** min_curvature where min_rows may ask for more, in a node of so many rows and this curvature. */
  int32_t least_of_side(double curvature, uint32_t rows) const {
    return std::max(min_curvature, static_cast<int32_t>(std::ceil(min_rows * curvature / rows)));
  }
};

struct Split {
  /** Of scores over the node's own; not above 0: no split. */
  double gain = 0;
  uint32_t column = 0;
  bool is_category = false;
  bool missing_left = false;
  uint8_t bin = 0;
  BinSet bins{};
  Packed left = 0;
};

/** Finds splits in histograms of one fit table; one for each thread that grows trees. */
class SplitFinder {
 public:
  explicit SplitFinder(const FitTable& table) : table_(table) {}
  /** After the table's columns were chosen anew. */
  void columns_changed();
  /** The best split of a node of this total over all chosen columns; of equal gains the first. */
  Split find(const Packed* histogram, Packed total, uint32_t rows, const SplitRules& rules,
             uint32_t threads);

 private:
  const FitTable& table_;
  /** Bins of each chosen number column; 0 for a category. */
  std::vector<int32_t> number_bins_;
};

/** a -= b, cell by cell. */
void subtract_histogram(Packed* a, const Packed* b, uint32_t cells);

}  // namespace magnet::learn
