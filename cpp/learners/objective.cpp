// Gradients to packed integers. The largest magnitude becomes so large a number that no sum over
// all rows overflows its half of a word: 14 bits up to 2^16 rows, fewer above. Where fewer than 12
// are left, rounding is random by row and round, so that what is lost has no direction.
#include "objective.hpp"

#include <bit>
#include <cmath>

#include "../cpu/math.hpp"
#include "../cpu/simd.hpp"
#include "random.hpp"

#define MAGNET_KERNELS "../learners/objective.inc"
#include "../cpu/all_paths.inc"

namespace magnet::learn {
namespace {

/** Shares of a class are held so far from 0 and 1: log odds of at most 13.8. */
constexpr double SHARE_MIN = 1e-6;

float log_share(double share) {
  return static_cast<float>(log_fixed(std::min(std::max(share, SHARE_MIN), 1.0 - SHARE_MIN)));
}

std::vector<float> start_scores(Loss loss, uint32_t classes, const Examples& examples) {
  std::vector<double> sums(std::max(classes, 2u));
  double total = 0;
  double mean = 0;
  for (size_t i = 0; i < examples.count(); i++) {
    const double w = examples.weight.empty() ? 1.0 : examples.weight[i];
    total += w;
    if (loss == Loss::squared) {
      mean += w * examples.target[i];
    } else {
      sums[static_cast<size_t>(examples.target[i])] += w;
    }
  }
  if (loss == Loss::squared) return {static_cast<float>(mean / total)};
  if (loss == Loss::logistic) return {log_share(sums[1] / total) - log_share(sums[0] / total)};
  std::vector<float> out;
  for (const double sum : sums) out.push_back(log_share(sum / total));
  return out;
}

const float* or_null(const std::vector<float>& values) {
  return values.empty() ? nullptr : values.data();
}

constexpr int BITS_MAX = 14;
/** With fewer, rounding is random. */
constexpr int BITS_ENOUGH = 12;

}  // namespace

Objective::Objective(uint32_t classes, const Examples& examples, uint64_t seed)
    : examples_(examples),
      loss_(classes == 1   ? Loss::squared
            : classes == 2 ? Loss::logistic
                           : Loss::softmax),
      scores_(classes <= 2 ? 1 : classes),
      classes_(classes),
      seed_(seed),
      start_(start_scores(loss_, classes, examples)),
      gradient_(examples.count()),
      curvature_(examples.count()) {
  const int row_bits = std::bit_width(examples.count());
  const int bits = std::min(BITS_MAX, 31 - row_bits);
  largest_ = static_cast<float>(1u << bits);
  if (loss_ == Loss::softmax) probabilities_.resize(examples.count() * classes);
}

void Objective::begin_round(const float* scores, uint32_t round) {
  round_ = round;
  if (loss_ != Loss::softmax) return;
  const auto n = static_cast<int64_t>(examples_.count());
  MAGNET_DISPATCH(softmax_columns, scores, n, classes_, probabilities_.data());
}

Scales Objective::gradients(uint32_t k, const float* scores, std::vector<Packed>& out) {
  const auto n = static_cast<int64_t>(examples_.count());
  const float* const target = examples_.target.data();
  const float* const weight = or_null(examples_.weight);
  float* const g = gradient_.data();
  float* const h = curvature_.data();
  if (loss_ == Loss::logistic) {
    MAGNET_DISPATCH(logistic_gradients, scores, target, weight, n, g, h);
  } else if (loss_ == Loss::squared) {
    MAGNET_DISPATCH(squared_gradients, scores, target, weight, n, g, h);
  } else {
    const float factor = static_cast<float>(classes_) / static_cast<float>(classes_ - 1);
    MAGNET_DISPATCH(softmax_gradients, probabilities_.data() + k * n, target, weight, n,
                    static_cast<float>(k), factor, g, h);
  }
  const float top_g = MAGNET_DISPATCH(largest_magnitude, g, n);
  const float top_h = MAGNET_DISPATCH(largest_magnitude, h, n);
  if (!std::isfinite(top_g) || !std::isfinite(top_h))
    fail(MG_E_NUMERIC, "boosting: the gradients overflow; scale the target or the weights down");
  // Denormal tops would make an infinite scale.
  const float g_scale = top_g > 1e-30f ? largest_ / top_g : 1.0f;
  const float h_scale = top_h > 1e-30f ? largest_ / top_h : 1.0f;
  if (largest_ < static_cast<float>(1 << BITS_ENOUGH)) {
    const uint64_t stream = mix(seed_, (uint64_t{round_} << 32) + k);
    for (int64_t i = 0; i < n; i++) {
      // In [-0.5, 0.5) of a unit, added before rounding.
      const uint64_t bits = mix(stream, static_cast<uint64_t>(i));
      g[i] += (static_cast<float>(bits >> 40) * 0x1p-24f - 0.5f) / g_scale;
      h[i] += (static_cast<float>(bits & 0xFF'FFFF) * 0x1p-24f - 0.5f) / h_scale;
    }
  }
  out.resize(examples_.count());
  MAGNET_DISPATCH(pack_rows, g, h, n, g_scale, h_scale, out.data());
  return {g_scale, h_scale};
}

void scores_to_outputs(Loss loss, const float* scores, uint64_t rows, uint32_t outputs,
                       float* out) {
  const auto n = static_cast<int64_t>(rows);
  if (loss == Loss::squared) {
    std::copy(scores, scores + rows, out);
  } else if (loss == Loss::logistic) {
    MAGNET_DISPATCH(sigmoid_pairs, scores, n, out);
  } else {
    for (int64_t i = 0; i < n; i++)
      MAGNET_DISPATCH(softmax_row, scores + i * outputs, outputs, out + i * outputs);
  }
}

double mean_loss(Loss loss, const float* scores, uint32_t outputs, const Examples& examples) {
  const auto n = static_cast<int64_t>(examples.count());
  const float* const target = examples.target.data();
  const float* const weight = or_null(examples.weight);
  double total = 0;
  double sum = 0;
  for (int64_t i = 0; i < n; i++) total += weight == nullptr ? 1.0 : weight[i];
  if (loss == Loss::logistic) {
    sum = MAGNET_DISPATCH(logistic_loss, scores, target, weight, n);
  } else {
    for (int64_t i = 0; i < n; i++) {
      const double w = weight == nullptr ? 1.0 : weight[i];
      const double error = static_cast<double>(scores[i]) - target[i];
      sum += w * (loss == Loss::squared
                      ? error * error
                      : MAGNET_DISPATCH(softmax_loss_row, scores + i * outputs, outputs,
                                        static_cast<int64_t>(target[i])));
    }
  }
  return sum / total;
}

}  // namespace magnet::learn
