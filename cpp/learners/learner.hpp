// The face of a learner: what a fit is given, what a fitted model can do, and the table of learners
// that the exports dispatch on. A learner has a file of its own with its settings, fit and load.
#pragma once
#include <memory>
#include <vector>

#include "binning.hpp"
#include "settings.hpp"

namespace magnet::learn {

/** Rows with their targets, checked: by place in the list, not by row of the table. */
struct Examples {
  /** Rows of the table, in the caller's order. */
  std::vector<uint32_t> rows;
  /** Class index, or the value; finite. */
  std::vector<float> target;
  /** > 0 and finite; empty means 1 for all. */
  std::vector<float> weight;
  size_t count() const { return rows.size(); }
};

struct FitInput {
  const BinnedData& data;
  /** The matrix behind `data`. */
  Matrix matrix;
  /** 1 = regression. */
  uint32_t classes;
  /** Rows of weight 0 are left out; at least one. */
  Examples examples;
  /** For early stopping; may be empty. */
  Examples stop;
  Settings settings;
  uint64_t seed;
  /** Resolved, >= 1. */
  uint32_t threads;
  const int32_t* cancel;
};

/** What a prediction reads: bins by the model's own rules, raw values where the learner asks. */
struct PredictInput {
  /** Null where the model `reads_values`. */
  const BinnedData* data;
  Matrix matrix;
  RowList rows;
  uint32_t threads;
  const int32_t* cancel;
};

class Model : public LiveHandle {
 public:
  Model(uint32_t learner, uint32_t outputs, std::shared_ptr<const BinRules> rules)
      : learner_(learner), outputs_(outputs), rules_(std::move(rules)) {}
  virtual ~Model() = default;

  uint32_t learner() const { return learner_; }
  /** 1 for regression, else the classes. */
  uint32_t outputs() const { return outputs_; }
  const BinRules& rules() const { return *rules_; }
  std::shared_ptr<const BinRules> shared_rules() const { return rules_; }
  uint32_t columns() const { return static_cast<uint32_t>(rules_->columns.size()); }

  virtual uint32_t trees() const = 0;
  /** Whether predict reads the raw matrix and no bins. */
  virtual bool reads_values() const { return false; }
  /** out: row-major (rows, outputs). */
  virtual void predict(const PredictInput& input, float* out) const = 0;
  /** One share a column, summing to 1 or all 0. */
  virtual std::vector<double> importance() const = 0;
  /** What comes after learner, outputs and rules. */
  virtual void save(Writer& out) const = 0;

 private:
  uint32_t learner_;
  uint32_t outputs_;
  std::shared_ptr<const BinRules> rules_;
};

/** Shares of a total; all 0 where it is 0. */
std::vector<double> as_shares(std::vector<double> amounts);

/** What `load` is given of the part that all models have. */
struct SavedHead {
  uint32_t learner;
  uint32_t outputs;
  std::shared_ptr<const BinRules> rules;
};

struct Learner {
  const char* name;
  SettingRules (*settings)();
  std::unique_ptr<Model> (*fit)(const FitInput& input);
  std::unique_ptr<Model> (*load)(const SavedHead& head, Reader& in);
};

/** By MG_LEARNER_*; null for a number that is none. */
const Learner* find_learner(uint32_t number);

extern const Learner BOOSTING;
extern const Learner EXTRA_TREES;
extern const Learner FOREST;
extern const Learner LOGISTIC;

}  // namespace magnet::learn
