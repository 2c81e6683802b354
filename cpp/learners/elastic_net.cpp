// Minimises a smooth convex loss + l2 / 2 |b|^2 + l1 |b|: L-BFGS (Nocedal 1980), and with l1 > 0 its
// orthant-wise form (Andrew and Gao 2007), which keeps each step within one orthant and so makes exact
// zeros.
#include <algorithm>
#include <cmath>
#include <deque>

#include "logistic.hpp"

namespace magnet::learn {
namespace {

using Vector = std::vector<double>;

double dot(const Vector& a, const Vector& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); i++) sum += a[i] * b[i];
  return sum;
}

/** Steps and changes of the gradient that stand for the inverse Hessian. */
class Curvature {
 public:
  void learn(Vector step, Vector change) {
    const double curvature = dot(step, change);
    // What rounding leaves of a step says nothing.
    if (!(curvature > 1e-12 * dot(change, change))) return;
    if (pairs_.size() == MEMORY) pairs_.pop_front();
    pairs_.push_back({std::move(step), std::move(change), 1 / curvature});
  }
  void forget() { pairs_.clear(); }
  bool empty() const { return pairs_.empty(); }

  /** Minus the inverse Hessian times the gradient. */
  Vector direction(const Vector& gradient) const {
    Vector d = gradient;
    Vector share(pairs_.size());
    for (size_t i = pairs_.size(); i-- > 0;) {
      share[i] = pairs_[i].inverse * dot(pairs_[i].step, d);
      for (size_t j = 0; j < d.size(); j++) d[j] -= share[i] * pairs_[i].change[j];
    }
    if (!pairs_.empty()) {
      const Pair& last = pairs_.back();
      const double scale = 1 / (last.inverse * dot(last.change, last.change));
      for (double& x : d) x *= scale;
    }
    for (size_t i = 0; i < pairs_.size(); i++) {
      const double back = pairs_[i].inverse * dot(pairs_[i].change, d);
      for (size_t j = 0; j < d.size(); j++) d[j] += (share[i] - back) * pairs_[i].step[j];
    }
    for (double& x : d) x = -x;
    return d;
  }

 private:
  static constexpr size_t MEMORY = 10;
  struct Pair {
    Vector step, change;
    double inverse;
  };
  std::deque<Pair> pairs_;
};

class Minimiser {
 public:
  Minimiser(const LinearProblem& problem, const ElasticNet& net, Vector& at)
      : problem_(problem), net_(net), at_(at), width_(problem.design->features + 1) {}

  void run() {
    value_ = smooth(at_, gradient_) + l1_term(at_);
    int idle = 0;
    for (uint32_t i = 0; i < net_.iterations; i++) {
      const Vector downhill = pseudo_gradient();
      double largest = 0;
      for (const double g : downhill) largest = std::max(largest, std::fabs(g));
      if (largest <= net_.tolerance) return;
      const double before = value_;
      if (!step(downhill)) {
        // Curvature learnt from rounding errors may point nowhere: once more without it.
        if (curvature_.empty()) return;
        curvature_.forget();
        continue;
      }
      // The loss has float32's digits: twice less than they show, and there is no more to gain.
      idle = before - value_ <= 1e-8 * std::fabs(value_) ? idle + 1 : 0;
      if (idle == 2) return;
    }
  }

 private:
  bool is_intercept(size_t i) const { return i % width_ == width_ - 1; }

  double smooth(const Vector& at, Vector& gradient) const {
    double value = linear_loss(problem_, at, gradient);
    for (size_t i = 0; i < at.size(); i++) {
      if (is_intercept(i)) continue;
      value += 0.5 * net_.l2 * at[i] * at[i];
      gradient[i] += net_.l2 * at[i];
    }
    return value;
  }
  double l1_term(const Vector& at) const {
    double sum = 0;
    for (size_t i = 0; i < at.size(); i++)
      if (!is_intercept(i)) sum += std::fabs(at[i]);
    return net_.l1 * sum;
  }

  /** The gradient with that of |b|; at b = 0 the one of the side that goes down, or 0. */
  Vector pseudo_gradient() const {
    Vector out = gradient_;
    if (net_.l1 == 0) return out;
    for (size_t i = 0; i < out.size(); i++) {
      if (is_intercept(i)) continue;
      if (at_[i] != 0) {
        out[i] += at_[i] > 0 ? net_.l1 : -net_.l1;
      } else if (out[i] + net_.l1 < 0) {
        out[i] += net_.l1;
      } else if (out[i] - net_.l1 > 0) {
        out[i] -= net_.l1;
      } else {
        out[i] = 0;
      }
    }
    return out;
  }

  /** at + length x direction; what would change its sign stops at 0. */
  Vector moved(const Vector& direction, const Vector& downhill, double length) const {
    Vector to(at_.size());
    for (size_t i = 0; i < to.size(); i++) {
      to[i] = at_[i] + length * direction[i];
      if (net_.l1 == 0 || is_intercept(i)) continue;
      const double side = at_[i] != 0 ? at_[i] : -downhill[i];
      if (to[i] * side <= 0) to[i] = 0;
    }
    return to;
  }

  /** One step down, its length halved until it pays; false where none does. */
  bool step(const Vector& downhill) {
    Vector direction = curvature_.direction(downhill);
    if (net_.l1 > 0)
      for (size_t i = 0; i < direction.size(); i++)
        if (!is_intercept(i) && direction[i] * downhill[i] > 0) direction[i] = 0;
    double length = curvature_.empty() ? std::min(1.0, 1 / std::sqrt(dot(downhill, downhill))) : 1.0;
    constexpr int HALVINGS = 30;
    Vector gradient;
    for (int i = 0; i < HALVINGS; i++, length *= 0.5) {
      Vector to = moved(direction, downhill, length);
      double promised = 0;
      for (size_t j = 0; j < to.size(); j++) promised += downhill[j] * (to[j] - at_[j]);
      if (!(promised < 0)) return false;
      const double value = smooth(to, gradient) + l1_term(to);
      if (!(value <= value_ + 1e-4 * promised)) continue;
      Vector change(gradient.size());
      Vector moved_by(to.size());
      for (size_t j = 0; j < to.size(); j++) {
        change[j] = gradient[j] - gradient_[j];
        moved_by[j] = to[j] - at_[j];
      }
      curvature_.learn(std::move(moved_by), std::move(change));
      at_ = std::move(to);
      gradient_ = std::move(gradient);
      value_ = value;
      return true;
    }
    return false;
  }

  const LinearProblem& problem_;
  const ElasticNet& net_;
  Vector& at_;
  const size_t width_;
  Curvature curvature_;
  Vector gradient_;
  double value_ = 0;
};

}  // namespace

void minimise_elastic_net(const LinearProblem& problem, const ElasticNet& net, Vector& at) {
  Minimiser(problem, net, at).run();
}

}  // namespace magnet::learn
