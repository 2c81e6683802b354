// Linear models as a learner: settings, fit, prediction, saved models.
#include <algorithm>
#include <cmath>

#include "../cpu/math.hpp"
#include "../cpu/thread_pool.hpp"
#include "logistic.hpp"

namespace magnet::learn {
namespace {

constexpr SettingRule SETTINGS[] = {
    {"c", 1, 1e-8, 1e8, false, "weight of the examples' loss against the penalty"},
    {"l1_ratio", 0, 0, 1, false, "share of the penalty on |b|; the rest is on b^2 / 2"},
    {"iterations", 200, 1, 100000, true, "steps at most"},
    {"tolerance", 1e-5, 0, 1, false, "the gradient's largest part at the end"},
};

struct LinearModel {
  LinearLoss loss;
  std::vector<LinearFeature> features;
  std::vector<float> coefficients;  // (rows, features + 1)
  /** Of values: score x spread + mean. */
  float mean = 0;
  float spread = 1;
  uint32_t rows() const {
    return static_cast<uint32_t>(coefficients.size() / (features.size() + 1));
  }
};

class FittedLinear : public Model {
 public:
  FittedLinear(uint32_t outputs, std::shared_ptr<const BinRules> rules, LinearModel model)
      : Model(MG_LEARNER_LOGISTIC, outputs, std::move(rules)), model_(std::move(model)) {}

  uint32_t trees() const override { return 0; }
  bool reads_values() const override { return true; }

  void predict(const PredictInput& input, float* out) const override {
    const auto features = static_cast<uint32_t>(model_.features.size());
    const uint64_t n = input.rows.count;
    parallel_for(input.threads, static_cast<int64_t>((n + 15) / 16),
                 [&](int64_t begin, int64_t end, uint32_t) {
                   std::vector<float> tile(features * 16);
                   std::vector<float> scores(std::max(2u, model_.rows()) * 16);
                   for (int64_t block = begin; block < end; block++) {
                     if (is_cancelled(input.cancel)) fail(MG_E_CANCELLED, "prediction: cancelled");
                     predict_block(input, static_cast<uint64_t>(block) * 16, tile, scores, out);
                   }
                 });
  }

  std::vector<double> importance() const override {
    std::vector<double> amounts(columns(), 0.0);
    const size_t width = model_.features.size() + 1;
    for (uint32_t k = 0; k < model_.rows(); k++)
      for (size_t f = 0; f + 1 < width; f++)
        amounts[model_.features[f].column] +=
            std::fabs(static_cast<double>(model_.coefficients[k * width + f])) *
            model_.features[f].spread;
    return as_shares(std::move(amounts));
  }

  void save(Writer& out) const override {
    out.put(static_cast<uint32_t>(model_.loss));
    out.put(model_.mean);
    out.put(model_.spread);
    out.put_all(model_.features);
    out.put_all(model_.coefficients);
  }

 private:
  void predict_block(const PredictInput& input, uint64_t first, std::vector<float>& tile,
                     std::vector<float>& scores, float* out) const {
    const auto features = static_cast<uint32_t>(model_.features.size());
    const auto count = static_cast<uint32_t>(std::min<uint64_t>(16, input.rows.count - first));
    uint32_t rows[16];
    for (uint32_t i = 0; i < count; i++) rows[i] = input.rows[first + i];
    fill_tile(model_.features, rules(), input.matrix, rows, count, tile.data());
    linear_scores(tile.data(), features, model_.coefficients.data(), model_.rows(), scores.data());
    linear_probabilities(model_.loss, model_.rows(), scores.data());
    for (uint32_t i = 0; i < count; i++)
      for (uint32_t k = 0; k < outputs(); k++) {
        const float score = scores[k * 16 + i];
        out[(first + i) * outputs() + k] =
            model_.loss == LinearLoss::squared ? score * model_.spread + model_.mean : score;
      }
  }

  LinearModel model_;
};

LinearLoss loss_of(uint32_t classes) {
  return classes == 1   ? LinearLoss::squared
         : classes == 2 ? LinearLoss::logistic
                        : LinearLoss::softmax;
}

/** Tiles, weights of mean 1, and targets; values are standardised as the features are. */
void fill_design(const FitInput& input, LinearModel& model, LinearDesign& design) {
  const Examples& examples = input.examples;
  design.features = static_cast<uint32_t>(model.features.size());
  design.rows = examples.count();
  const uint64_t blocks = design.blocks();
  design.weight.assign(blocks * 16, 0.0f);
  design.target.assign(blocks * 16, 0.0f);
  float* const tiles = design.tiles.reserve(static_cast<int64_t>(blocks * design.features * 16));
  double weight = 0;
  for (size_t i = 0; i < examples.count(); i++)
    weight += examples.weight.empty() ? 1.0 : examples.weight[i];
  const double mean_weight = weight / static_cast<double>(examples.count());
  for (size_t i = 0; i < examples.count(); i++)
    design.weight[i] =
        static_cast<float>((examples.weight.empty() ? 1.0 : examples.weight[i]) / mean_weight);
  if (model.loss == LinearLoss::squared) {
    double sum = 0;
    double squares = 0;
    for (const float y : examples.target) sum += y;
    const double mean = sum / static_cast<double>(examples.count());
    for (const float y : examples.target) squares += (y - mean) * (y - mean);
    const double spread = std::sqrt(squares / static_cast<double>(examples.count()));
    model.mean = static_cast<float>(mean);
    model.spread = spread > 0 ? static_cast<float>(spread) : 1.0f;
  }
  for (size_t i = 0; i < examples.count(); i++)
    design.target[i] = (examples.target[i] - model.mean) / model.spread;
  parallel_for(input.threads, static_cast<int64_t>(blocks), [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t block = begin; block < end; block++) {
      const auto first = static_cast<uint64_t>(block) * 16;
      const auto count = static_cast<uint32_t>(std::min<uint64_t>(16, design.rows - first));
      fill_tile(model.features, *input.data.rules, input.matrix, examples.rows.data() + first, count,
                tiles + first * design.features);
    }
  });
}

/** All 0 but the intercepts, which give the classes' shares. */
std::vector<double> first_guess(const FitInput& input, const LinearProblem& problem) {
  std::vector<double> at(problem.size(), 0.0);
  if (problem.loss == LinearLoss::squared) return at;
  // Half a row more in each class: one that is absent has no infinite intercept.
  std::vector<double> share(input.classes, 0.5);
  for (size_t i = 0; i < input.examples.count(); i++)
    share[static_cast<uint32_t>(input.examples.target[i])] += problem.design->weight[i];
  const size_t width = problem.design->features + 1;
  if (problem.loss == LinearLoss::logistic) {
    at[width - 1] = log_fixed(share[1] / share[0]);
    return at;
  }
  const auto rows = static_cast<double>(input.examples.count());
  for (uint32_t k = 0; k < input.classes; k++) at[(k + 1) * width - 1] = log_fixed(share[k] / rows);
  return at;
}

std::unique_ptr<Model> fit(const FitInput& input) {
  LinearModel model;
  model.loss = loss_of(input.classes);
  model.features = linear_features(input);
  LinearDesign design;
  fill_design(input, model, design);
  const uint32_t rows = model.loss == LinearLoss::softmax ? input.classes : 1;
  const LinearProblem problem{model.loss, rows, &design, input.threads, input.cancel};
  const double penalty = 1 / (input.settings.get("c") * static_cast<double>(design.rows));
  const double l1_ratio = input.settings.get("l1_ratio");
  const ElasticNet net{
      .l1 = penalty * l1_ratio,
      .l2 = penalty * (1 - l1_ratio),
      .tolerance = input.settings.get("tolerance"),
      .iterations = input.settings.count("iterations"),
  };
  std::vector<double> at = first_guess(input, problem);
  minimise_elastic_net(problem, net, at);
  model.coefficients.assign(at.begin(), at.end());
  return std::make_unique<FittedLinear>(input.classes, input.data.rules, std::move(model));
}

std::unique_ptr<Model> load(const SavedHead& head, Reader& in) {
  LinearModel model;
  model.loss = loss_of(head.outputs);
  const bool same = in.take<uint32_t>() == static_cast<uint32_t>(model.loss);
  require_format(same, "a linear model of another loss than its classes'");
  model.mean = in.take<float>();
  model.spread = in.take<float>();
  require_format(std::isfinite(model.mean) && std::isfinite(model.spread), "a scale is no number");
  model.features = in.take_all<LinearFeature>("features");
  model.coefficients = in.take_all<float>("coefficients");
  for (const LinearFeature& feature : model.features) {
    require_format(feature.column < head.rules->columns.size(), "a feature of no column");
    require_format(feature.kind <= LinearFeature::MISSING, "a feature of an unknown kind");
    const bool finite = std::isfinite(feature.mean) && std::isfinite(feature.inverse_spread) &&
                        std::isfinite(feature.spread) && feature.spread >= 0;
    require_format(finite, "a feature's scale is not a number");
  }
  const uint32_t rows = model.loss == LinearLoss::softmax ? head.outputs : 1;
  require_format(model.coefficients.size() == rows * (model.features.size() + 1),
                 "coefficients of another number of features");
  for (const float b : model.coefficients) require_format(std::isfinite(b), "a coefficient is no number");
  return std::make_unique<FittedLinear>(head.outputs, head.rules, std::move(model));
}

}  // namespace

const Learner LOGISTIC = {"logistic", [] { return SettingRules(SETTINGS); }, fit, load};

}  // namespace magnet::learn
