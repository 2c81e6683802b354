// Histogram gradient boosting: Newton steps by trees on packed gradients (Friedman 2001; Chen and
// Guestrin 2016; Ke and others 2017), with row and column sampling, early stopping and shrinkage.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "../cpu/thread_pool.hpp"
#include "learner.hpp"
#include "objective.hpp"
#include "random.hpp"
#include "tree_grower.hpp"

namespace magnet::learn {
namespace {

constexpr SettingRule SETTINGS[] = {
    {"trees", 100, 1, 20000, true, "rounds of boosting at most"},
    {"learning_rate", 0.1, 1e-4, 1, false, "part of each tree's step that is taken"},
    {"max_depth", 6, 0, 64, true, "splits from root to leaf at most; 0 = no limit"},
    {"max_leaves", 0, 0, 65536, true, "leaves of a tree at most; 0 = no limit"},
    {"level_by_level", 0, 0, 1, true,
     "split by level, not by gain (matters with max_leaves)"},
    {"min_child_weight", 1, 0, 1e9, false,
     "least sum of curvatures in a leaf (regression: of weights)"},
    {"min_samples_leaf", 20, 1, 1 << 24, true,
     "least rows in a leaf, by its share of the node's curvature"},
    {"l1", 0, 0, 1e9, false, "L1 penalty of leaf values"},
    {"l2", 1, 0, 1e9, false, "L2 penalty of leaf values"},
    {"min_gain", 0, 0, 1e9, false, "least gain of a split"},
    {"max_step", 0, 0, 1e9, false, "largest leaf value before the learning rate; 0 = no limit"},
    {"row_share", 1, 0.01, 1, false, "part of the rows that each round is fitted on"},
    {"column_share", 1, 0.001, 1, false, "part of the columns that each tree may split"},
    {"category_smoothing", 10, 0, 1e9, false, "pulls rare categories to the middle of the order"},
    {"category_l2", 10, 0, 1e9, false, "more L2 where a split takes a subset of many categories"},
    {"category_rows_min", 10, 0, 1e6, false,
     "with fewer rows in a node one of many categories stays with the rest"},
    {"early_stopping_rounds", 0, 0, 20000, true,
     "stop after so many rounds without a better loss on stop_rows; 0 = never"},
};
SettingRules settings() { return SETTINGS; }

class BoostedModel : public Model {
 public:
  BoostedModel(uint32_t outputs, std::shared_ptr<const BinRules> rules, std::vector<float> start,
               TreeSet trees, std::vector<double> gains)
      : Model(MG_LEARNER_BOOSTING, outputs, std::move(rules)),
        start_(std::move(start)),
        trees_(std::move(trees)),
        gains_(std::move(gains)) {}

  uint32_t trees() const override { return trees_.trees(); }
  std::vector<double> importance() const override { return as_shares(gains_); }

  void predict(const PredictInput& input, float* out) const override {
    const auto scores = static_cast<uint32_t>(start_.size());
    const Loss loss = outputs() == 1 ? Loss::squared : scores == 1 ? Loss::logistic : Loss::softmax;
    parallel_for(input.threads, static_cast<int64_t>(input.rows.count),
                 [&](int64_t begin, int64_t end, uint32_t) {
      constexpr int64_t BLOCK = 512;
      std::vector<float> sums(static_cast<size_t>(std::min(BLOCK, end - begin)) * scores);
      for (int64_t first = begin; first < end; first += BLOCK) {
        if (is_cancelled(input.cancel)) fail(MG_E_CANCELLED, "prediction: cancelled");
        const auto count = static_cast<uint64_t>(std::min(BLOCK, end - first));
        add_scores(input, static_cast<uint64_t>(first), count, sums.data());
        scores_to_outputs(loss, sums.data(), count, outputs(), out + first * outputs());
      }
    });
  }

  void save(Writer& out) const override {
    out.put_all(start_);
    out.put_all(gains_);
    trees_.save(out);
  }

  static std::unique_ptr<Model> load(const SavedHead& head, Reader& in) {
    auto start = in.take_all<float>("first scores");
    auto gains = in.take_all<double>("gains");
    require_format(start.size() == (head.outputs <= 2 ? 1 : head.outputs), "first scores");
    require_format(gains.size() == head.rules->columns.size(), "a gain for each column");
    for (const float s : start) require_format(std::isfinite(s), "a first score is no number");
    for (const double g : gains)
      require_format(std::isfinite(g) && g >= 0, "a gain is no number from 0 up");
    TreeSet trees = TreeSet::load(in, *head.rules);
    require_format(trees.leaf_outputs() == 1, "a leaf of boosting has one value");
    require_format(trees.trees() % start.size() == 0, "a round lacks a tree");
    return std::make_unique<BoostedModel>(head.outputs, head.rules, std::move(start),
                                          std::move(trees), std::move(gains));
  }

 private:
  void add_scores(const PredictInput& input, uint64_t first, uint64_t count, float* sums) const {
    const auto scores = static_cast<uint32_t>(start_.size());
    std::vector<uint32_t> rows(count);
    for (uint64_t i = 0; i < count; i++) {
      rows[i] = input.rows[first + i];
      std::copy(start_.begin(), start_.end(), sums + i * scores);
    }
    for (uint32_t k = 0; k < scores; k++)
      trees_.add_values(k, scores, *input.data, {rows.data(), count}, sums + k, scores);
  }

  std::vector<float> start_;
  TreeSet trees_;
  /** Of all splits by column. */
  std::vector<double> gains_;
};

/** One fit: scores of its rows, and what stops it early. */
class Boosting {
 public:
  explicit Boosting(const FitInput& input)
      : in_(input),
        table_(input.data, input.examples.rows, input.threads),
        objective_(input.classes, input.examples, input.seed),
        grower_(table_, grow_rules(input)),
        trees_(1),
        gains_(input.data.columns()),
        column_share_(input.settings.get("column_share")),
        row_share_(input.settings.get("row_share")) {
    const size_t rows = in_.examples.count();
    for (const float s : objective_.start()) scores_.insert(scores_.end(), rows, s);
    for (size_t i = 0; i < in_.stop.count(); i++)
      stop_scores_.insert(stop_scores_.end(), objective_.start().begin(), objective_.start().end());
    choose_columns(0);
  }

  std::unique_ptr<Model> run() {
    const uint32_t rounds = in_.settings.count("trees");
    const uint32_t patience = in_.stop.count() > 0 ? in_.settings.count("early_stopping_rounds") : 0;
    double best = HUGE_VAL;
    uint32_t best_round = 0;
    for (uint32_t round = 0; round < rounds; round++) {
      if (is_cancelled(in_.cancel)) fail(MG_E_CANCELLED, "boosting: cancelled");
      add_round(round);
      if (patience == 0) continue;
      const double loss =
          mean_loss(objective_.loss(), stop_scores_.data(), objective_.scores(), in_.stop);
      if (loss < best) {
        best = loss;
        best_round = round;
        best_gains_ = gains_;
      } else if (round - best_round >= patience) {
        break;
      }
    }
    if (patience > 0) {
      trees_.truncate((best_round + 1) * objective_.scores());
      gains_.swap(best_gains_);
    }
    return std::make_unique<BoostedModel>(in_.classes, in_.data.rules, objective_.start(),
                                          std::move(trees_), std::move(gains_));
  }

 private:
  static GrowRules grow_rules(const FitInput& in) {
    return {
        .max_depth = in.settings.count("max_depth"),
        .max_leaves = in.settings.count("max_leaves"),
        .level_by_level = in.settings.get("level_by_level") != 0,
        .learning_rate = in.settings.get("learning_rate"),
        .max_step = in.settings.get("max_step"),
        .threads = in.threads,
    };
  }

  SplitRules split_rules(const Scales& scales) const {
    const Settings& s = in_.settings;
    const double least = std::ceil(s.get("min_child_weight") * scales.curvature);
    return {
        .l1 = s.get("l1") * scales.gradient,
        .l2 = s.get("l2") * scales.curvature,
        .min_curvature = static_cast<int32_t>(std::min(std::max(least, 1.0), 2147483647.0)),
        .min_rows = s.get("min_samples_leaf"),
        .min_gain = s.get("min_gain") * scales.gradient * scales.gradient / scales.curvature,
        .category_smoothing = s.get("category_smoothing") * scales.curvature,
        .category_l2 = s.get("category_l2") * scales.curvature,
        .category_rows_min = s.get("category_rows_min"),
    };
  }

  void choose_columns(uint64_t tree) {
    const uint32_t all = in_.data.columns();
    std::vector<uint32_t> columns(all);
    std::iota(columns.begin(), columns.end(), 0u);
    const auto wanted = static_cast<uint32_t>(std::max(1.0, std::round(column_share_ * all)));
    if (wanted < all) {
      const uint64_t stream = mix(in_.seed, 0x636F6C75'00000000ull + tree);
      for (uint32_t i = 0; i < wanted; i++)
        std::swap(columns[i], columns[i + below(all - i, stream, i)]);
      columns.resize(wanted);
      std::sort(columns.begin(), columns.end());
    }
    table_.choose_columns(columns, in_.threads);
    grower_.columns_changed();
  }

  /** Rows of a round; those left out go to `others_`. */
  void choose_rows(uint32_t round) {
    const auto all = static_cast<uint32_t>(in_.examples.count());
    sample_.clear();
    others_.clear();
    const uint64_t stream = mix(in_.seed, 0x726F7773'00000000ull + round);
    for (uint32_t i = 0; i < all; i++)
      (row_share_ >= 1 || uniform(stream, i) < row_share_ ? sample_ : others_).push_back(i);
    if (sample_.empty()) sample_.swap(others_);
  }

  void add_round(uint32_t round) {
    objective_.begin_round(scores_.data(), round);
    choose_rows(round);
    for (uint32_t k = 0; k < objective_.scores(); k++) {
      const uint32_t tree = trees_.trees();
      if (column_share_ < 1 && tree > 0) choose_columns(tree);
      float* const scores = scores_.data() + k * in_.examples.count();
      const Scales scales = objective_.gradients(k, scores, packed_);
      rows_ = sample_;
      grower_.grow(packed_, scales, split_rules(scales), rows_, trees_, scores, gains_);
      add_to_others(tree, scores);
      for (size_t i = 0; i < in_.stop.count(); i++)
        stop_scores_[i * objective_.scores() + k] +=
            *trees_.leaf_values(trees_.find_leaf(tree, in_.data, in_.stop.rows[i]));
    }
  }

  void add_to_others(uint32_t tree, float* scores) {
    for (const uint32_t i : others_)
      scores[i] += *trees_.leaf_values(trees_.find_leaf(tree, in_.data, in_.examples.rows[i]));
  }

  const FitInput& in_;
  FitTable table_;
  Objective objective_;
  TreeGrower grower_;
  TreeSet trees_;
  std::vector<double> gains_;
  std::vector<double> best_gains_;
  double column_share_;
  double row_share_;
  /** (scores, rows of the fit) */
  std::vector<float> scores_;
  /** (stop rows, scores) */
  std::vector<float> stop_scores_;
  std::vector<Packed> packed_;
  std::vector<uint32_t> sample_;
  std::vector<uint32_t> others_;
  std::vector<uint32_t> rows_;
};

std::unique_ptr<Model> fit(const FitInput& input) { return Boosting(input).run(); }

}  // namespace

const Learner BOOSTING = {"boosting", settings, fit, BoostedModel::load};

}  // namespace magnet::learn
