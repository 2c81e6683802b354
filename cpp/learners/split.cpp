// Scans of histograms. Number columns are scanned by vectors; only the best cut is then worked out. Of equal gains the first column, then the first bin, is taken.
#include "split.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "../cpu/simd.hpp"
#include "../cpu/thread_pool.hpp"

namespace magnet::learn {
namespace {

/** What the kernels need of a node. */
struct CutRules {
  int32_t gradient;
  int32_t curvature;
  int32_t min_curvature;
  double l1;
  double l2;
};

/** The best cut so far. */
struct BestCut {
  /** The sum of the sides' scores, as bits; its last ones are 0. */
  int64_t score;
  uint32_t column;
  /** Counts the column's cells that are not empty. */
  int32_t place;
  uint32_t missing_left;
};

/** Places of one column, one after the other. */
struct CutRun {
  int32_t first;
  uint32_t column;
  uint32_t missing_left;
};

/** What goes left at each of many places where columns may be cut. */
struct CutPlaces {
  static constexpr int32_t MAX = 2048;
  static constexpr int32_t RUNS_MAX = 256;
  alignas(64) int32_t gradients[MAX];
  alignas(64) int32_t curvatures[MAX];
  int32_t count = 0;
  int32_t run_count = 0;
  CutRun runs[RUNS_MAX];
};

}  // namespace
}  // namespace magnet::learn

namespace magnet {
using learn::BestCut;
using learn::CutPlaces;
using learn::CutRules;
using learn::CutRun;
}  // namespace magnet

#define MAGNET_KERNELS "../learners/split.inc"
#include "../cpu/all_paths.inc"

namespace magnet::learn {
namespace {

/** Up to so many categories are each tried against the rest. */
constexpr uint32_t FEW_CATEGORIES = 4;
/** Below so many cells a thread's wake-up costs more than it brings. */
constexpr uint32_t CELLS_FOR_THREADS = 1u << 16;
/** Parts of a scan with threads: always the same, whatever the threads. */
constexpr int64_t PARTS = 16;

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

Split number_split(const Packed* cells, uint32_t bins, Packed total, const SplitRules& rules,
                   const BestCut& cut) {
  Split split;
  const Packed missing = cells[bins];
  split.missing_left = cut.missing_left != 0;
  split.left = split.missing_left ? missing : 0;
  uint32_t bin = 0;
  for (int32_t place = cut.place; place >= 0; bin++) {
    split.left += cells[bin];
    place -= cells[bin] != 0 ? 1 : 0;
  }
  bin--;
  const double own = rules.score(gradient_of(total), curvature_of(total));
  split.gain = gain_of(split.left, total, own, rules);
  // Where the node has none missing, later ones go the way of most.
  if (missing == 0) split.missing_left = curvature_of(split.left) * 2 >= curvature_of(total);
  split.bin = middle_of_gap(cells, bin, bins);
  return split;
}

Split best_of_few(const Packed* cells, uint32_t count, Packed total, const SplitRules& rules) {
  Split best;
  const double own = rules.score(gradient_of(total), curvature_of(total));
  for (uint32_t b = 0; b < count; b++) {
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

/** `least`: curvature of a category below which it is not chosen, as its mean tells nothing. */
Split best_subset(const Packed* cells, uint32_t cell_count, Packed total, double least,
                  const SplitRules& rules) {
  struct Category {
    double mean;
    uint32_t bin;
  };
  Category order[BINS_LIMIT + 1];
  uint32_t count = 0;
  for (uint32_t b = 0; b < cell_count; b++) {
    if (cells[b] == 0 || curvature_of(cells[b]) < least) continue;
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
  for (uint32_t i = 0; i < count; i++) {
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

/** Missing values are one more category. */
Split category_split(const Packed* cells, uint32_t bins, Packed total, uint32_t rows,
                     const SplitRules& rules) {
  const double least = rules.category_rows_min * curvature_of(total) / rows;
  Split best = bins <= FEW_CATEGORIES ? best_of_few(cells, bins + 1, total, rules)
                                      : best_subset(cells, bins + 1, total, least, rules);
  best.is_category = true;
  return best;
}

}  // namespace

void SplitFinder::columns_changed() {
  number_bins_.clear();
  for (const uint32_t c : table_.chosen()) {
    const ColumnBins& column = table_.rules().columns[c];
    number_bins_.push_back(column.is_category() ? 0 : static_cast<int32_t>(column.bins));
  }
}

Split SplitFinder::find(const Packed* histogram, Packed total, uint32_t rows,
                        const SplitRules& given, uint32_t threads) {
  SplitRules rules = given;
  if (rules.min_rows > 1) rules.min_curvature = rules.least_of_side(curvature_of(total), rows);
  const CutRules cut_rules{static_cast<int32_t>(total >> 32), static_cast<int32_t>(total),
                           rules.min_curvature, rules.l1, rules.l2};
  const auto columns = static_cast<int64_t>(number_bins_.size());
  const double own = rules.score(gradient_of(total), curvature_of(total));
  // Scores that are no more than the node's own are no cut.
  const BestCut none{std::bit_cast<int64_t>(own), 0, -1, 0};
  const int64_t parts = table_.cells() < CELLS_FOR_THREADS ? 1 : PARTS;
  std::array<BestCut, PARTS> cuts;
  parallel_tasks(threads, parts, [&](int64_t part) {
    const int64_t begin = columns * part / parts;
    const auto count = static_cast<uint32_t>(columns * (part + 1) / parts - begin);
    BestCut& found = cuts[static_cast<size_t>(part)] = none;
    MAGNET_DISPATCH(best_cut, histogram, table_.offsets() + begin, number_bins_.data() + begin,
                    count, cut_rules, found);
    found.column += static_cast<uint32_t>(begin);
  });
  BestCut cut = none;
  for (int64_t part = 0; part < parts; part++)
    if (cuts[static_cast<size_t>(part)].score > cut.score) cut = cuts[static_cast<size_t>(part)];
  Split best;
  const auto take = [&](Split split, int64_t i) {
    split.column = table_.chosen()[static_cast<size_t>(i)];
    if (split.gain > best.gain) best = split;
  };
  const auto cells_of = [&](int64_t i) { return histogram + table_.offsets()[i]; };
  if (cut.place >= 0) {
    const auto bins = static_cast<uint32_t>(number_bins_[cut.column]);
    take(number_split(cells_of(cut.column), bins, total, rules, cut), cut.column);
  }
  for (int64_t i = 0; i < columns; i++) {
    if (number_bins_[static_cast<size_t>(i)] > 0) continue;
    const uint32_t bins = table_.rules().columns[table_.chosen()[static_cast<size_t>(i)]].bins;
    take(category_split(cells_of(i), bins, total, rows, rules), i);
  }
  return best;
}

void subtract_histogram(Packed* a, const Packed* b, uint32_t cells) {
  MAGNET_DISPATCH(subtract, a, b, cells);
}

}  // namespace magnet::learn
