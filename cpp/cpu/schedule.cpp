// Schedules of learning rate and weight decay, in float64 with own functions: the same bits on every
// host.
#include <algorithm>

#include "common.hpp"
#include "math.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

enum : uint32_t { CONSTANT = 0, WSD = 1, COSINE = 2, TWO_STAGE = 3 };

void check_steps(uint64_t step, uint64_t total_steps) {
  require(total_steps >= 1 && total_steps <= (uint64_t{1} << 53), MG_E_INVALID,
          "schedule: total_steps must be 1..2^53");
  require(step >= 1 && step <= total_steps, MG_E_INVALID, "schedule: step must be 1..total_steps");
}

bool is_second_half(uint64_t step, uint64_t total_steps) { return step > total_steps / 2; }

/** `part` / `whole` of `x`. */
double share(double x, uint64_t part, uint64_t whole) {
  return x * static_cast<double>(part) / static_cast<double>(whole);
}

double rate(uint32_t kind, uint64_t step, uint64_t total, double peak) {
  if (kind == CONSTANT) return peak;
  const uint64_t warmup = (total + 99) / 100;
  if (step <= warmup) return share(peak, step, warmup);
  const uint64_t left = total - step;
  if (kind == WSD) {
    const uint64_t decay = std::min(total - warmup, (total * 15 + 99) / 100);
    return left >= decay ? peak : share(peak, left, decay);
  }
  if (kind == COSINE) {
    constexpr double PI = 3.141592653589793;
    const double angle = PI * share(1.0, step - warmup, total - warmup);
    return peak * 0.5 * (1.0 + sincos_fixed(angle).cos);
  }
  // Two stages of BitNet b1.58: both fall linearly towards 0 at the end, from peaks of 3 : 2.
  return share(is_second_half(step, total) ? peak * 2.0 / 3.0 : peak, left, total);
}

}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_schedule(uint32_t kind, uint64_t step, uint64_t total_steps, float peak,
                    float* out_lr) {
  return guard([&] {
    require(out_lr != nullptr, MG_E_INVALID, "mg_schedule: out is null");
    require(kind <= TWO_STAGE, MG_E_INVALID,
            "schedule: kind must be 0 constant, 1 wsd, 2 cosine or 3 two-stage");
    check_steps(step, total_steps);
    require(peak >= 0.0f && peak <= 10.0f, MG_E_INVALID, "schedule: peak must be 0..10");
    const FloatEnvironment environment;
    *out_lr = static_cast<float>(rate(kind, step, total_steps, peak));
    return int32_t{MG_OK};
  });
}

int32_t mg_decay_schedule(uint32_t kind, uint64_t step, uint64_t total_steps, float weight_decay,
                          float* out_decay) {
  return guard([&] {
    require(out_decay != nullptr, MG_E_INVALID, "mg_decay_schedule: out is null");
    require(kind <= 1, MG_E_INVALID, "schedule: kind must be 0 constant or 1 two-stage");
    check_steps(step, total_steps);
    require(weight_decay >= 0.0f && weight_decay <= 1.0f, MG_E_INVALID,
            "schedule: weight_decay must be 0..1");
    *out_decay = kind == 1 && is_second_half(step, total_steps) ? 0.0f : weight_decay;
    return int32_t{MG_OK};
  });
}
}
