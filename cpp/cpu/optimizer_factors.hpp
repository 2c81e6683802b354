// Numbers of one step of the optimizer, made in float64 on every backend's host: equal on all.
#pragma once
#include "common.hpp"

namespace magnet {

/** Constants of one step, rounded once from float64. */
struct AdamwFactors {
  float decay;
  float clip;
  float beta1;
  float beta2;
  float one_minus_beta1;
  float one_minus_beta2;
  float inverse_root_correction2;
  float eps;
  float step_size;
};

/** With clip 1. Bias corrections come from exact powers in float64. */
AdamwFactors adamw_factors(const mg_optimizer& optimizer, float weight_decay);

/** Throws MG_E_INVALID for a value that is not finite or outside its range. */
void check_optimizer(const mg_optimizer* optimizer);

/** min(1, clip / (norm + 1e-6)); 1 for clip 0. */
float clip_factor(double norm, float clip);

}  // namespace magnet
