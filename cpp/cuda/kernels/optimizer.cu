// AdamW and the global norm.
#include "optimizer.hpp"

#include <cmath>

#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 256;
constexpr uint64_t EACH = 8192;  // elements of a block, at least
/** Of AdamW: long enough that a block's start does not count, short enough that all end together. */
constexpr uint64_t PIECE = 32768;

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

/** A block a piece. */
__global__ void __launch_bounds__(THREADS)
    adamw_kernel(const float* all_g, float* all_p, float* all_m, float* all_v,
                 const AdamwPiece* pieces, const StepNumbers* numbers, const StepState* state) {
  if (state->skips != 0) return;
  const AdamwPiece piece = pieces[blockIdx.x];
  const float* const g = all_g + piece.first;
  float* const p = all_p + piece.first;
  float* const m = all_m + piece.first;
  float* const v = all_v + piece.first;
  const uint32_t n = piece.count;
  const AdamwFactors o = numbers->adamw;
  const float decay = piece.decays != 0 ? o.decay : 1.0f;
  const float factor = state->factor;
  // A tensor starts anywhere in the arena: its first elements up to 16 bytes go one by one.
  const auto before = static_cast<uint32_t>(16 - (reinterpret_cast<uintptr_t>(p) & 15)) / 4 % 4;
  const uint32_t head = before < n ? before : n;
  const uint32_t vectors = (n - head) / 4;
  for (uint32_t i = threadIdx.x; i < vectors; i += blockDim.x) {
    const uint32_t at = head + 4 * i;
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
  const uint32_t singles = n - 4 * vectors;
  for (uint32_t i = threadIdx.x; i < singles; i += blockDim.x) {
    const uint32_t at = i < head ? i : i + 4 * vectors;
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

void add_pieces(std::vector<AdamwPiece>& pieces, uint64_t first, uint64_t n, bool decays) {
  for (uint64_t at = 0; at < n; at += PIECE) {
    const auto count = static_cast<uint32_t>(n - at < PIECE ? n - at : PIECE);
    pieces.push_back({first + at, count, decays ? 1u : 0u});
  }
}

void adamw(const Stream& stream, const float* g, float* p, float* m, float* v,
           const AdamwPiece* pieces, uint64_t count, const StepNumbers* numbers,
           const StepState* state) {
  if (count == 0) return;
  MG_LAUNCH(adamw_kernel, stream, {dim3(static_cast<unsigned>(count)), dim3(THREADS)}, g, p, m, v,
            pieces, numbers, state);
}

}  // namespace magnet::gpu
