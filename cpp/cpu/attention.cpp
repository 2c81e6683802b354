// Attention by blocks of query rows: scores of a block against all keys up to its end, softmax,
// product with the values. Backward makes the probabilities again instead of keeping them (memory
// grows with the context, not its square). One task owns a kv head of a sequence, so its dK and dV
// add up in order.
#include "attention.hpp"

#include <algorithm>

#include "gemm.hpp"
#include "math.hpp"
#include "aligned_buffer.hpp"
#include "profile.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

#define MAGNET_KERNELS "attention.inc"
#include "all_paths.inc"

namespace magnet {
namespace {

/** Query rows per block: whole register tiles of the GEMM. */
constexpr int64_t BLOCK = 48;

float score_scale(const AttentionShape& a) {
  return 1.0f / std::sqrt(static_cast<float>(a.head_dim));
}

/** scores (rows, width) = q k^T of one head; row strides are the widths of q and k. */
void scores(const AttentionShape& a, const float* q, const float* k, int64_t rows, int64_t width,
            float* out) {
  const GemmLeft left{q, a.heads * a.head_dim, 1};
  const GemmRight right{k, 1, a.kv_heads * a.head_dim};
  gemm_serial({rows, width, a.head_dim}, left, right, out, width, false);
}

void forward_head(const AttentionShape& a, const float* q, const float* k, const float* v, float* o,
                  float* stats) {
  thread_local AlignedBuffer<float> scratch;
  float* const p = scratch.reserve(BLOCK * a.context);
  const int64_t q_stride = a.heads * a.head_dim;
  for (int64_t i0 = 0; i0 < a.context; i0 += BLOCK) {
    const int64_t rows = std::min(BLOCK, a.context - i0);
    const int64_t width = i0 + rows;
    scores(a, q + i0 * q_stride, k, rows, width, p);
    for (int64_t r = 0; r < rows; r++)
      MAGNET_DISPATCH(softmax_row, p + r * width, i0 + r + 1, width, score_scale(a),
                      stats + 2 * (i0 + r));
    gemm_serial({rows, a.head_dim, width}, {p, width, 1}, {v, a.kv_heads * a.head_dim, 1},
                o + i0 * q_stride, q_stride, false);
  }
}

struct HeadGradient {
  const float *q, *k, *v, *stats, *d_o;
  float *dq, *dk, *dv;
};

/** Adds one query head's share to dk and dv; `fresh` overwrites them. */
void backward_head(const AttentionShape& a, const HeadGradient& h, bool fresh) {
  thread_local AlignedBuffer<float> scratch;
  float* const p = scratch.reserve(2 * BLOCK * a.context);
  float* const dp = p + BLOCK * a.context;
  const int64_t q_stride = a.heads * a.head_dim;
  const int64_t kv_stride = a.kv_heads * a.head_dim;
  if (fresh)
    for (int64_t i = 0; i < a.context; i++) {
      std::fill_n(h.dk + i * kv_stride, a.head_dim, 0.0f);
      std::fill_n(h.dv + i * kv_stride, a.head_dim, 0.0f);
    }
  for (int64_t i0 = 0; i0 < a.context; i0 += BLOCK) {
    const int64_t rows = std::min(BLOCK, a.context - i0);
    const int64_t width = i0 + rows;
    const float* const q = h.q + i0 * q_stride;
    const float* const d_o = h.d_o + i0 * q_stride;
    scores(a, q, h.k, rows, width, p);
    for (int64_t r = 0; r < rows; r++)
      MAGNET_DISPATCH(probabilities_row, p + r * width, i0 + r + 1, width, score_scale(a),
                      h.stats + 2 * (i0 + r));
    scores(a, d_o, h.v, rows, width, dp);
    gemm_serial({width, a.head_dim, rows}, {p, 1, width}, {d_o, q_stride, 1}, h.dv, kv_stride,
                true);
    for (int64_t r = 0; r < rows; r++)
      MAGNET_DISPATCH(softmax_backward_row, p + r * width, dp + r * width, width, score_scale(a));
    gemm_serial({rows, a.head_dim, width}, {dp, width, 1}, {h.k, kv_stride, 1},
                h.dq + i0 * q_stride, q_stride, false);
    gemm_serial({width, a.head_dim, rows}, {dp, 1, width}, {q, q_stride, 1}, h.dk, kv_stride, true);
  }
}

}  // namespace

RopeTables::RopeTables(int64_t positions, int64_t head_dim, double theta)
    : half(head_dim / 2),
      cos(static_cast<size_t>(positions * half)),
      sin(static_cast<size_t>(positions * half)) {
  const double log_theta = log_fixed(theta);
  for (int64_t j = 0; j < half; j++) {
    const auto fraction = -2.0 * static_cast<double>(j) / static_cast<double>(head_dim);
    const double frequency = exp_fixed(fraction * log_theta);
    for (int64_t t = 0; t < positions; t++) {
      const SinCos pair = sincos_fixed(static_cast<double>(t) * frequency);
      cos[static_cast<size_t>(t * half + j)] = static_cast<float>(pair.cos);
      sin[static_cast<size_t>(t * half + j)] = static_cast<float>(pair.sin);
    }
  }
}

void rope(uint32_t threads, const RopeTables& tables, float* x, int64_t rows, int64_t context,
          int64_t heads, bool backward) {
  const KernelScope scope(Kernel::rope);
  const int64_t half = tables.half;
  parallel_for(threads, rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++) {
      const float* const cos = tables.cos.data() + i % context * half;
      const float* const sin = tables.sin.data() + i % context * half;
      for (int64_t h = 0; h < heads; h++)
        MAGNET_DISPATCH(rope_head, cos, sin, half, backward, x + (i * heads + h) * 2 * half);
    }
  });
}

void attention_forward(uint32_t threads, const AttentionShape& a, const float* q, const float* k,
                       const float* v, float* o, float* stats) {
  const KernelScope scope(Kernel::attention_forward);
  parallel_tasks(threads, a.sequences * a.heads, [&](int64_t task) {
    const int64_t head = task % a.heads;
    const int64_t row = task / a.heads * a.context;
    const int64_t kv_head = head / (a.heads / a.kv_heads);
    const int64_t q_at = (row * a.heads + head) * a.head_dim;
    const int64_t kv_at = (row * a.kv_heads + kv_head) * a.head_dim;
    forward_head(a, q + q_at, k + kv_at, v + kv_at, o + q_at, stats + task * a.context * 2);
  });
}

void attention_backward(uint32_t threads, const AttentionShape& a, const float* q, const float* k,
                        const float* v, const float* stats, const float* d_o, float* dq, float* dk,
                        float* dv) {
  const KernelScope scope(Kernel::attention_backward);
  const int64_t group = a.heads / a.kv_heads;
  parallel_tasks(threads, a.sequences * a.kv_heads, [&](int64_t task) {
    const int64_t kv_head = task % a.kv_heads;
    const int64_t sequence = task / a.kv_heads;
    const int64_t row = sequence * a.context;
    const int64_t kv_at = (row * a.kv_heads + kv_head) * a.head_dim;
    for (int64_t g = 0; g < group; g++) {
      const int64_t head = kv_head * group + g;
      const int64_t q_at = (row * a.heads + head) * a.head_dim;
      const float* const s = stats + (sequence * a.heads + head) * a.context * 2;
      const HeadGradient h{q + q_at,   k + kv_at, v + kv_at,  s,
                           d_o + q_at, dq + q_at, dk + kv_at, dv + kv_at};
      backward_head(a, h, g == 0);
    }
  });
}

}  // namespace magnet
