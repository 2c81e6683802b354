// AdamW as torch 1.13 does it, with bias corrections from exact powers in float64.
#include "optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "math.hpp"
#include "profile.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

static_assert(sizeof(mg_adamw) == 40);

namespace magnet {
namespace {

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

constexpr int64_t CHUNK = 16384;

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
}  // namespace magnet

#define MAGNET_KERNELS "optimizer.inc"
#include "both_paths.inc"

namespace magnet {

void check_adamw(const mg_adamw* o) {
  require(o != nullptr, MG_E_INVALID, "adamw is null");
  if (!(o->lr >= 0.0f && o->lr <= 10.0f))
    fail(MG_E_INVALID, "adamw: lr is %g, must be 0..10", o->lr);
  if (!(o->beta1 >= 0.0f && o->beta1 < 1.0f) || !(o->beta2 >= 0.0f && o->beta2 < 1.0f))
    fail(MG_E_INVALID, "adamw: betas are %g and %g, must be at least 0 and below 1", o->beta1,
         o->beta2);
  if (!(o->eps > 0.0f && o->eps <= 1.0f))
    fail(MG_E_INVALID, "adamw: eps is %g, must be above 0, at most 1", o->eps);
  if (!(o->weight_decay >= 0.0f && o->weight_decay <= 1.0f))
    fail(MG_E_INVALID, "adamw: weight_decay is %g, must be 0..1", o->weight_decay);
  if (!(o->clip >= 0.0f && o->clip <= 1e9f))
    fail(MG_E_INVALID, "adamw: clip is %g, must be 0..1e9", o->clip);
  require(o->step >= 1, MG_E_INVALID, "adamw: step counts from 1");
  require(o->reserved == 0, MG_E_INVALID, "adamw: reserved must be 0");
}

double l2_norm(uint32_t threads, const float* x, int64_t n) {
  const KernelScope scope(Kernel::gradient_norm);
  const int64_t chunks = (n + CHUNK - 1) / CHUNK;
  std::vector<double> sums(static_cast<size_t>(chunks));
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++)
      sums[static_cast<size_t>(c)] =
          MAGNET_DISPATCH(square_sum_chunk, x + c * CHUNK, std::min(CHUNK, n - c * CHUNK));
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

float clip_factor(double norm, float clip) {
  if (clip == 0.0f) return 1.0f;
  const double factor = static_cast<double>(clip) / (norm + 1e-6);
  return factor < 1.0 ? static_cast<float>(factor) : 1.0f;
}

void adamw_step(uint32_t threads, const mg_adamw& o, float weight_decay, float clip, const float* g,
                float* p, float* m, float* v, int64_t n) {
  const KernelScope scope(Kernel::optimizer);
  const double beta1 = as_decimal(o.beta1);
  const double beta2 = as_decimal(o.beta2);
  const double correction1 = 1.0 - power(beta1, o.step);
  const double correction2 = 1.0 - power(beta2, o.step);
  AdamwFactors f;
  f.decay = static_cast<float>(1.0 - static_cast<double>(o.lr) * weight_decay);
  f.clip = clip;
  f.beta1 = o.beta1;
  f.beta2 = o.beta2;
  f.one_minus_beta1 = static_cast<float>(1.0 - beta1);
  f.one_minus_beta2 = static_cast<float>(1.0 - beta2);
  f.inverse_root_correction2 = static_cast<float>(1.0 / std::sqrt(correction2));
  f.eps = o.eps;
  f.step_size = static_cast<float>(static_cast<double>(o.lr) / correction1);
  const int64_t chunks = (n + CHUNK - 1) / CHUNK;
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    const int64_t from = begin * CHUNK;
    const int64_t size = std::min(n, end * CHUNK) - from;
    MAGNET_DISPATCH(adamw_chunk, f, g + from, p + from, m + from, v + from, size);
  });
}

float scheduled_rate(uint32_t kind, uint64_t step, uint64_t total_steps, float peak) {
  require(kind <= 2, MG_E_INVALID, "schedule: kind must be 0 constant, 1 wsd or 2 cosine");
  require(total_steps >= 1 && total_steps <= (uint64_t{1} << 53), MG_E_INVALID,
          "schedule: total_steps must be 1..2^53");
  require(step >= 1 && step <= total_steps, MG_E_INVALID, "schedule: step must be 1..total_steps");
  require(peak >= 0.0f && peak <= 10.0f, MG_E_INVALID, "schedule: peak must be 0..10");
  if (kind == 0) return peak;
  const uint64_t warmup = (total_steps + 99) / 100;
  const double top = peak;
  if (step <= warmup)
    return static_cast<float>(top * static_cast<double>(step) / static_cast<double>(warmup));
  if (kind == 1) {
    const uint64_t decay = std::min(total_steps - warmup, (total_steps * 15 + 99) / 100);
    const uint64_t left = total_steps - step;
    if (left >= decay) return peak;
    return static_cast<float>(top * static_cast<double>(left) / static_cast<double>(decay));
  }
  constexpr double PI = 3.141592653589793;
  const double progress =
      static_cast<double>(step - warmup) / static_cast<double>(total_steps - warmup);
  return static_cast<float>(top * 0.5 * (1.0 + sincos_fixed(PI * progress).cos));
}

}  // namespace magnet

using namespace magnet;

extern "C" int32_t mg_schedule(uint32_t kind, uint64_t step, uint64_t total_steps, float peak,
                               float* out_lr) {
  return guard([&] {
    require(out_lr != nullptr, MG_E_INVALID, "mg_schedule: out is null");
    const FloatEnvironment environment;
    *out_lr = scheduled_rate(kind, step, total_steps, peak);
    return int32_t{MG_OK};
  });
}
