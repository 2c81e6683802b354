// AdamW and the global norm.
#include "optimizer.hpp"

#include <cmath>

#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 256;
constexpr uint64_t EACH = 8192;  // elements of a block, at least

unsigned blocks_for(uint64_t n, uint64_t most) {
  const uint64_t blocks = (n + EACH - 1) / EACH;
  return static_cast<unsigned>(blocks < most ? blocks : most);
}

__global__ void square_sum_kernel(const float* g, uint64_t n, double* partial) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  for (uint64_t i = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    const auto x = static_cast<double>(g[i]);
    sum = fma(x, x, sum);
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void norm_kernel(const double* partial, unsigned parts, StepState* state) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  for (unsigned i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) state->norm = sqrt(sum);
}

__global__ void clip_and_check_kernel(const double* loss, const StepNumbers* numbers,
                                      StepState* state) {
  if (threadIdx.x != 0) return;
  const double norm = state->norm;
  const double factor = static_cast<double>(numbers->clip) / (norm + 1e-6);
  state->factor = numbers->clip == 0.0f || !(factor < 1.0) ? 1.0f : static_cast<float>(factor);
  // x - x is 0 of finite numbers only.
  const bool finite = norm - norm == 0.0 && *loss - *loss == 0.0;
  state->skips = finite ? 0 : 1;
}

struct Moments {
  float p, m, v;
};
/** The operations of cpp/cpu/optimizer.inc in their order. */
__device__ __forceinline__ Moments adamw_one(const AdamwFactors& o, float decay, float factor,
                                             float g, Moments x) {
  const float gi = g * factor;
  const float m = fmaf(o.beta1, x.m, o.one_minus_beta1 * gi);
  const float v = fmaf(o.beta2, x.v, o.one_minus_beta2 * gi * gi);
  const float denominator = fmaf(sqrtf(v), o.inverse_root_correction2, o.eps);
  return {fmaf(-o.step_size, m / denominator, x.p * decay), m, v};
}

__global__ void adamw_kernel(const float* g, float* p, float* m, float* v, uint64_t n, bool decays,
                             const StepNumbers* numbers, const StepState* state) {
  if (state->skips != 0) return;
  const AdamwFactors o = numbers->adamw;
  const float decay = decays ? o.decay : 1.0f;
  const float factor = state->factor;
  const uint64_t step = uint64_t{gridDim.x} * blockDim.x;
  // A tensor starts anywhere in the arena: its first elements up to 16 bytes go one by one.
  const uint64_t before = (16 - (reinterpret_cast<uintptr_t>(p) & 15)) / 4 % 4;
  const uint64_t head = before < n ? before : n;
  const uint64_t vectors = (n - head) / 4;
  const uint64_t thread = uint64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (uint64_t i = thread; i < vectors; i += step) {
    const uint64_t at = head + 4 * i;
    const float4 gi = load4(g + at);
    float4 pi = load4(p + at);
    float4 mi = load4(m + at);
    float4 vi = load4(v + at);
    const auto one = [&](float gradient, float& a, float& b, float& c) {
      const Moments next = adamw_one(o, decay, factor, gradient, {a, b, c});
      a = next.p;
      b = next.m;
      c = next.v;
    };
    one(gi.x, pi.x, mi.x, vi.x);
    one(gi.y, pi.y, mi.y, vi.y);
    one(gi.z, pi.z, mi.z, vi.z);
    one(gi.w, pi.w, mi.w, vi.w);
    store4(p + at, pi);
    store4(m + at, mi);
    store4(v + at, vi);
  }
  const uint64_t singles = n - 4 * vectors;
  for (uint64_t i = thread; i < singles; i += step) {
    const uint64_t at = i < head ? i : i + 4 * vectors;
    const Moments next = adamw_one(o, decay, factor, g[at], {p[at], m[at], v[at]});
    p[at] = next.p;
    m[at] = next.m;
    v[at] = next.v;
  }
}

}  // namespace

StepNumbers step_numbers(const mg_optimizer& o) {
  return {adamw_factors(o, o.weight_decay), o.clip, o.momentum, o.lr};
}

void global_norm(const Stream& stream, const float* g, uint64_t n, double* partial,
                 StepState* state) {
  const unsigned parts = blocks_for(n, NORM_PARTIALS);
  MG_LAUNCH(square_sum_kernel, stream, {dim3(parts), dim3(THREADS)}, g, n, partial);
  const double* const sums = partial;
  MG_LAUNCH(norm_kernel, stream, {dim3(1), dim3(THREADS)}, sums, parts, state);
}

void clip_and_check(const Stream& stream, const double* loss, const StepNumbers* numbers,
                    StepState* state) {
  MG_LAUNCH(clip_and_check_kernel, stream, {dim3(1), dim3(LANES)}, loss, numbers, state);
}

void adamw(const Stream& stream, const float* g, float* p, float* m, float* v, uint64_t n,
           bool decays, const StepNumbers* numbers, const StepState* state) {
  MG_LAUNCH(adamw_kernel, stream, {dim3(blocks_for(n, 4096)), dim3(THREADS)}, g, p, m, v, n, decays,
            numbers, state);
}

}  // namespace magnet::gpu
