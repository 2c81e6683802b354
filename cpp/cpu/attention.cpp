// Attention by blocks of query rows: scores of a block against all keys up to its end, softmax,
// product with the values. Keys and values are packed once for all blocks and heads. Backward makes
// the probabilities again instead of keeping them (memory grows with the context, not its square).
// One task owns a kv head of a sequence, so its dK and dV add up in order.
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

/** Query rows whose scores are made together; twice as many share an update of dK and dV. Whole
 * register tiles of the products; more would compute more of what the mask hides. */
constexpr int64_t BLOCK = 28;
constexpr int64_t DOUBLE_BLOCK = 2 * BLOCK;

float score_scale(const AttentionShape& a) {
  return 1.0f / std::sqrt(static_cast<float>(a.head_dim));
}

/** Row stride of scores: no power of two, or the rows of a tile would meet in one cache set. */
int64_t score_stride(const AttentionShape& a) { return (a.context + 15) / 16 * 16 + 16; }

/** K or V of one kv head, (context, head_dim), both ways. */
struct PackedHead {
  PackedRight transposed;  // (head_dim, context): scores
  PackedRight plain;       // (context, head_dim): mixes of rows
};

int64_t transposed_floats(const AttentionShape& a) { return packed_floats(a.context, a.head_dim); }
int64_t plain_floats(const AttentionShape& a) { return packed_floats(a.head_dim, a.context); }

PackedRight pack_transposed(const AttentionShape& a, const float* x, int64_t stride, float* out) {
  return gemm_pack({x, 1, stride}, a.context, a.head_dim, out);
}
PackedRight pack_plain(const AttentionShape& a, const float* x, int64_t stride, float* out) {
  return gemm_pack({x, stride, 1}, a.head_dim, a.context, out);
}

/** out (rows, width; row stride score_stride) = x k^T for `rows` rows of x, `stride` apart. */
void scores(const AttentionShape& a, const float* x, int64_t stride, const PackedRight& k,
            int64_t rows, int64_t width, float* out) {
  // A copy: rows of x may be a power of two apart.
  thread_local AlignedBuffer<float> scratch;
  const int64_t copy_stride = a.head_dim + 16;
  float* const copy = scratch.reserve(BLOCK * copy_stride);
  for (int64_t r = 0; r < rows; r++)
    std::copy_n(x + r * stride, a.head_dim, copy + r * copy_stride);
  gemm_packed({rows, width, a.head_dim}, {copy, copy_stride, 1}, k, 0, out, score_stride(a), false);
}

void forward_head(const AttentionShape& a, const float* q, const PackedRight& k,
                  const PackedRight& v, float* o, float* stats) {
  thread_local AlignedBuffer<float> scratch;
  const int64_t stride = score_stride(a);
  float* const p = scratch.reserve(BLOCK * stride);
  const int64_t q_stride = a.heads * a.head_dim;
  for (int64_t i0 = 0; i0 < a.context; i0 += BLOCK) {
    const int64_t rows = std::min(BLOCK, a.context - i0);
    const int64_t width = i0 + rows;
    scores(a, q + i0 * q_stride, q_stride, k, rows, width, p);
    for (int64_t r = 0; r < rows; r++)
      MAGNET_DISPATCH(softmax_row, p + r * stride, i0 + r + 1, width, score_scale(a),
                      stats + 2 * (i0 + r));
    gemm_packed({rows, a.head_dim, width}, {p, stride, 1}, v, 0, o + i0 * q_stride, q_stride,
                false);
  }
}

struct HeadGradient {
  const float *q, *stats, *d_o;
  PackedHead k;
  PackedRight v;  // transposed
  float *dq, *dk, *dv;
};

/** Probabilities (p) and gradient of the scores (dp) of one block, zeros up to `width`; dq. */
void backward_block(const AttentionShape& a, const HeadGradient& h, int64_t i0, int64_t rows,
                    int64_t width, float* p, float* dp) {
  const int64_t stride = score_stride(a);
  const int64_t q_stride = a.heads * a.head_dim;
  const int64_t seen = i0 + rows;
  scores(a, h.q + i0 * q_stride, q_stride, h.k.transposed, rows, seen, p);
  scores(a, h.d_o + i0 * q_stride, q_stride, h.v, rows, seen, dp);
  for (int64_t r = 0; r < rows; r++) {
    MAGNET_DISPATCH(probabilities_row, p + r * stride, i0 + r + 1, width, score_scale(a),
                    h.stats + 2 * (i0 + r));
    MAGNET_DISPATCH(softmax_backward_row, p + r * stride, dp + r * stride, seen, score_scale(a));
    std::fill(dp + r * stride + seen, dp + r * stride + width, 0.0f);
  }
  gemm_packed({rows, a.head_dim, seen}, {dp, stride, 1}, h.k.plain, 0, h.dq + i0 * q_stride,
              q_stride, false);
}

/** Adds one query head's share to dk and dv; `fresh` overwrites them. */
void backward_head(const AttentionShape& a, const HeadGradient& h, bool fresh) {
  thread_local AlignedBuffer<float> scratch;
  thread_local AlignedBuffer<float> packed;
  const int64_t stride = score_stride(a);
  float* const p = scratch.reserve(2 * DOUBLE_BLOCK * stride);
  float* const dp = p + DOUBLE_BLOCK * stride;
  const int64_t q_stride = a.heads * a.head_dim;
  const int64_t kv_stride = a.kv_heads * a.head_dim;
  float* const out = packed.reserve(2 * plain_floats(a));
  const PackedRight q = pack_plain(a, h.q, q_stride, out);
  const PackedRight d_o = pack_plain(a, h.d_o, q_stride, out + plain_floats(a));
  if (fresh)
    for (int64_t i = 0; i < a.context; i++) {
      std::fill_n(h.dk + i * kv_stride, a.head_dim, 0.0f);
      std::fill_n(h.dv + i * kv_stride, a.head_dim, 0.0f);
    }
  for (int64_t i0 = 0; i0 < a.context; i0 += DOUBLE_BLOCK) {
    const int64_t rows = std::min(DOUBLE_BLOCK, a.context - i0);
    const int64_t width = i0 + rows;
    for (int64_t r = 0; r < rows; r += BLOCK)
      backward_block(a, h, i0 + r, std::min(BLOCK, rows - r), width, p + r * stride,
                     dp + r * stride);
    const GemmShape shape{width, a.head_dim, rows};
    gemm_packed(shape, {p, 1, stride}, d_o, i0, h.dv, kv_stride, true);
    gemm_packed(shape, {dp, 1, stride}, q, i0, h.dk, kv_stride, true);
  }
}

}  // namespace

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
  thread_local AlignedBuffer<float> scratch;
  const int64_t kv_heads = a.sequences * a.kv_heads;
  const int64_t kv_stride = a.kv_heads * a.head_dim;
  const int64_t floats = transposed_floats(a) + plain_floats(a);
  float* const packed = scratch.reserve(kv_heads * floats);
  std::vector<PackedRight> keys(static_cast<size_t>(kv_heads));
  std::vector<PackedRight> values(static_cast<size_t>(kv_heads));
  parallel_tasks(threads, kv_heads, [&](int64_t task) {
    const auto i = static_cast<size_t>(task);
    const int64_t at = task / a.kv_heads * a.context * kv_stride + task % a.kv_heads * a.head_dim;
    float* const out = packed + task * floats;
    keys[i] = pack_transposed(a, k + at, kv_stride, out);
    values[i] = pack_plain(a, v + at, kv_stride, out + transposed_floats(a));
  });
  parallel_tasks(threads, a.sequences * a.heads, [&](int64_t task) {
    const int64_t head = task % a.heads;
    const int64_t sequence = task / a.heads;
    const int64_t at = (sequence * a.context * a.heads + head) * a.head_dim;
    const auto kv =
        static_cast<size_t>(sequence * a.kv_heads + head / (a.heads / a.kv_heads));
    forward_head(a, q + at, keys[kv], values[kv], o + at, stats + task * a.context * 2);
  });
}

void attention_backward(uint32_t threads, const AttentionShape& a, const float* q, const float* k,
                        const float* v, const float* stats, const float* d_o, float* dq, float* dk,
                        float* dv) {
  const KernelScope scope(Kernel::attention_backward);
  const int64_t group = a.heads / a.kv_heads;
  const int64_t kv_stride = a.kv_heads * a.head_dim;
  parallel_tasks(threads, a.sequences * a.kv_heads, [&](int64_t task) {
    thread_local AlignedBuffer<float> scratch;
    float* const packed = scratch.reserve(2 * transposed_floats(a) + plain_floats(a));
    const int64_t kv_head = task % a.kv_heads;
    const int64_t sequence = task / a.kv_heads;
    const int64_t row = sequence * a.context;
    const int64_t kv_at = row * kv_stride + kv_head * a.head_dim;
    HeadGradient h{};
    h.k.transposed = pack_transposed(a, k + kv_at, kv_stride, packed);
    h.k.plain = pack_plain(a, k + kv_at, kv_stride, packed + transposed_floats(a));
    h.v = pack_transposed(a, v + kv_at, kv_stride,
                          packed + transposed_floats(a) + plain_floats(a));
    h.dk = dk + kv_at;
    h.dv = dv + kv_at;
    for (int64_t g = 0; g < group; g++) {
      const int64_t head = kv_head * group + g;
      const int64_t q_at = (row * a.heads + head) * a.head_dim;
      h.q = q + q_at;
      h.d_o = d_o + q_at;
      h.dq = dq + q_at;
      h.stats = stats + (sequence * a.heads + head) * a.context * 2;
      backward_head(a, h, g == 0);
    }
  });
}

}  // namespace magnet
