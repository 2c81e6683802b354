// What the attention kernels of both precisions share: which block has which rows, and the statistics
// of every query that backward needs.
#pragma once
#include <cmath>

#include "attention.hpp"

namespace magnet::gpu {

/** MG_E_SHAPE for what no kernel here takes. */
void check_attention(const AttentionShape& shape);

inline float score_scale(const AttentionShape& shape) {
  return static_cast<float>(1.0 / std::sqrt(static_cast<double>(shape.head_dim)));
}

/** Rows of one head of one sequence that a block of threads owns. */
struct Place {
  int64_t sequence;
  int64_t head;
  int64_t base;   // row of the sequence's first position
  int64_t stats;  // sequence * heads + head
  int first;      // position of the first row
};
enum class Longest { first_rows, last_rows };
/** Blocks of one head follow each other, those with most to do first: the last queries, which see all
 * keys, or the first keys, which all queries see. */
__device__ __forceinline__ Place place_of(const AttentionShape& shape, int64_t heads, int rows,
                                          Longest longest) {
  const auto blocks = static_cast<unsigned>((shape.context + rows - 1) / rows);
  const unsigned i = blockIdx.x / blocks;
  const unsigned n = static_cast<unsigned>(heads);
  Place at;
  at.sequence = i / n;
  at.head = i % n;
  at.base = at.sequence * shape.context;
  at.stats = i;
  const unsigned block = blockIdx.x % blocks;
  at.first = static_cast<int>(longest == Longest::first_rows ? block : blocks - 1 - block) * rows;
  return at;
}
inline dim3 places(const AttentionShape& shape, int64_t heads, int rows) {
  return static_cast<unsigned>((shape.context + rows - 1) / rows * heads * shape.sequences);
}

/** rope, backward, of both, where there are angles. */
template <class T>
void turn_gradients(const Stream& stream, const AttentionShape& shape, const Angles& angles,
                    Matrix<T> dq, Matrix<T> dk) {
  if (angles.cosines == nullptr) return;
  const auto [cosines, sines] = angles;
  rope<T>(stream, dq, shape.context, shape.heads, shape.head_dim, cosines, sines, true);
  rope<T>(stream, dk, shape.context, shape.kv_heads, shape.head_dim, cosines, sines, true);
}

/** Positions of a head in the statistics: whole tiles. */
constexpr int STATS_ROWS = 128;
__host__ __device__ __forceinline__ int64_t stats_stride(const AttentionShape& shape) {
  return (shape.context + STATS_ROWS - 1) / STATS_ROWS * STATS_ROWS;
}

/** Per sequence, head and position, stats_stride apart: (log_sum * factor, rowsum(d_o * o)), and behind
 * the last position (infinity, 0), which makes every probability and gradient there 0. */
template <class T>
const float2* attention_stats(const Stream& stream, const AttentionShape& shape,
                              Matrix<const float> o, Matrix<const T> d_o,
                              const float* log_sums, float factor, float* scratch);

}  // namespace magnet::gpu
