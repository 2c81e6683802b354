// Scans of one column's histogram. Of equal gains the first in the order of the scan is taken.
#include "split.hpp"

#include <algorithm>

namespace magnet::learn {
namespace {

/** Up to so many categories are each tried against the rest. */
constexpr uint32_t FEW_CATEGORIES = 4;

/** Gain of cutting `left` off, or 0 where a side is too small. */
double gain_of(Packed left, Packed total, double own_score, const SplitRules& rules,
               double extra_l2 = 0) {
  const Packed right = total - left;
  const double left_curvature = curvature_of(left);
  const double right_curvature = curvature_of(right);
  if (left_curvature < rules.min_curvature || right_curvature < rules.min_curvature) return 0;
  return rules.score(gradient_of(left), left_curvature, extra_l2) +
         rules.score(gradient_of(right), right_curvature, extra_l2) - own_score;
}

/** Where bins after the cut are empty, half of them go left: values between are nearer to it. */
uint8_t middle_of_gap(const Packed* cells, uint32_t bin, uint32_t bins) {
  uint32_t next = bin + 1;
  while (next < bins && cells[next] == 0) next++;
  return static_cast<uint8_t>(next == bins ? bin : bin + (next - bin - 1) / 2);
}

Split best_number_split(const Packed* cells, uint32_t bins, Packed total,
                        const SplitRules& rules) {
  Split best;
  const Packed missing = cells[bins];
  const double own = rules.score(gradient_of(total), curvature_of(total));
  Packed left = 0;
  for (uint32_t b = 0; b < bins; b++) {
    if (cells[b] == 0) continue;
    left += cells[b];
    const double gain = gain_of(left, total, own, rules);
    if (gain > best.gain) {
      best.gain = gain;
      best.bin = static_cast<uint8_t>(b);
      best.left = left;
      best.missing_left = false;
    }
    if (missing == 0) continue;
    const double with_missing = gain_of(left + missing, total, own, rules);
    if (with_missing > best.gain) {
      best.gain = with_missing;
      best.bin = static_cast<uint8_t>(b);
      best.left = left + missing;
      best.missing_left = true;
    }
  }
  if (best.gain <= 0) return best;
  // Where the node has none missing, later ones go the way of most.
  if (missing == 0) best.missing_left = curvature_of(best.left) * 2 >= curvature_of(total);
  best.bin = middle_of_gap(cells, best.bin, bins);
  return best;
}

Split best_of_few(const Packed* cells, uint32_t cells_count, Packed total,
                  const SplitRules& rules) {
  Split best;
  const double own = rules.score(gradient_of(total), curvature_of(total));
  for (uint32_t b = 0; b < cells_count; b++) {
    if (cells[b] == 0) continue;
    const double gain = gain_of(cells[b], total, own, rules);
    if (gain <= best.gain) continue;
    best.gain = gain;
    best.left = cells[b];
    best.bins = {};
    add_bin(best.bins, b);
  }
  return best;
}

Split best_subset(const Packed* cells, uint32_t cells_count, Packed total,
                  const SplitRules& rules) {
  struct Category {
    double mean;
    uint32_t bin;
  };
  Category order[BINS_LIMIT + 1];
  uint32_t count = 0;
  for (uint32_t b = 0; b < cells_count; b++) {
    if (cells[b] == 0) continue;
    const double weight = curvature_of(cells[b]) + rules.category_smoothing;
    order[count++] = {gradient_of(cells[b]) / weight, b};
  }
  std::sort(order, order + count, [](const Category& a, const Category& b) {
    return a.mean != b.mean ? a.mean < b.mean : a.bin < b.bin;
  });
  Split best;
  const double own = rules.score(gradient_of(total), curvature_of(total), rules.category_l2);
  Packed left = 0;
  uint32_t taken = 0;
  for (uint32_t i = 0; i + 1 < count; i++) {
    left += cells[order[i].bin];
    const double gain = gain_of(left, total, own, rules, rules.category_l2);
    if (gain <= best.gain) continue;
    best.gain = gain;
    best.left = left;
    taken = i + 1;
  }
  for (uint32_t i = 0; i < taken; i++) add_bin(best.bins, order[i].bin);
  return best;
}

}  // namespace

Split best_split(const Packed* cells, const ColumnBins& column, Packed total,
                 const SplitRules& rules) {
  if (!column.is_category()) return best_number_split(cells, column.bins, total, rules);
  // Missing values are one more category.
  const uint32_t count = column.bins + 1;
  Split best = column.bins <= FEW_CATEGORIES ? best_of_few(cells, count, total, rules)
                                             : best_subset(cells, count, total, rules);
  best.is_category = true;
  return best;
}

}  // namespace magnet::learn
