// What the optimizer's formulas need once a step; see optimizer_factors.hpp.
#include "optimizer_factors.hpp"

#include <cmath>

static_assert(sizeof(mg_optimizer) == 48);

namespace magnet {
namespace {

/** x^n by repeated squaring: no C library, the same bits everywhere. */
double power(double x, uint64_t n) {
  double result = 1.0;
  for (; n > 0; n >>= 1, x *= x)
    if ((n & 1) != 0) result *= x;
  return result;
}

/** The decimal of up to 7 places that a float32 beta stands for: 0.999f alone would put 1 - beta
 * off by 1e-5. */
double as_decimal(float x) { return std::nearbyint(static_cast<double>(x) * 1e7) / 1e7; }

}  // namespace

void check_optimizer(const mg_optimizer* o) {
  require(o != nullptr, MG_E_INVALID, "optimizer is null");
  require(o->kind <= MG_OPTIMIZER_MUON, MG_E_INVALID, "optimizer: kind must be 0 adamw or 1 muon");
  if (!(o->lr >= 0.0f && o->lr <= 10.0f))
    fail(MG_E_INVALID, "optimizer: lr is %g, must be 0..10", o->lr);
  if (!(o->beta1 >= 0.0f && o->beta1 < 1.0f) || !(o->beta2 >= 0.0f && o->beta2 < 1.0f))
    fail(MG_E_INVALID, "optimizer: betas are %g and %g, must be at least 0 and below 1", o->beta1,
         o->beta2);
  if (!(o->eps > 0.0f && o->eps <= 1.0f))
    fail(MG_E_INVALID, "optimizer: eps is %g, must be above 0, at most 1", o->eps);
  if (!(o->weight_decay >= 0.0f && o->weight_decay <= 1.0f))
    fail(MG_E_INVALID, "optimizer: weight_decay is %g, must be 0..1", o->weight_decay);
  if (!(o->clip >= 0.0f && o->clip <= 1e9f))
    fail(MG_E_INVALID, "optimizer: clip is %g, must be 0..1e9", o->clip);
  if (!(o->momentum >= 0.0f && o->momentum < 1.0f))
    fail(MG_E_INVALID, "optimizer: momentum is %g, must be at least 0 and below 1", o->momentum);
  require(o->step >= 1, MG_E_INVALID, "optimizer: step counts from 1");
  require(o->reserved == 0, MG_E_INVALID, "optimizer: reserved must be 0");
}

float clip_factor(double norm, float clip) {
  if (clip == 0.0f) return 1.0f;
  const double factor = static_cast<double>(clip) / (norm + 1e-6);
  return factor < 1.0 ? static_cast<float>(factor) : 1.0f;
}

AdamwFactors adamw_factors(const mg_optimizer& o, float weight_decay) {
  const double beta1 = as_decimal(o.beta1);
  const double beta2 = as_decimal(o.beta2);
  const double correction1 = 1.0 - power(beta1, o.step);
  const double correction2 = 1.0 - power(beta2, o.step);
  AdamwFactors f{};
  f.decay = static_cast<float>(1.0 - static_cast<double>(o.lr) * weight_decay);
  f.clip = 1.0f;
  f.beta1 = o.beta1;
  f.beta2 = o.beta2;
  f.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  f.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  f.inverse_root_correction2 = static_cast<float>(1.0 / std::sqrt(correction2));
  f.eps = o.eps;
  f.step_size = static_cast<float>(static_cast<double>(o.lr) / correction1);
  return f;
}

}  // namespace magnet
