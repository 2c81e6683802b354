// Rotary positions and causal grouped-query attention. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

struct AttentionShape {
  int64_t sequences;
  int64_t context;  // positions of a sequence: rows = sequences * context
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;  // even, at most 256
};

/** Rotates the pairs (j, j + head_dim/2) of every head of x (rows, heads * head_dim) in place; row i is
 * at position i % context. cosines, sines: (positions, head_dim / 2). backward: by the negative angle. */
template <class T>
void rope(const Stream& stream, Matrix<T> x, int64_t context, int64_t heads, int64_t head_dim,
          const float* cosines, const float* sines, bool backward);

/** q, o (rows, heads * head_dim); k, v (rows, kv_heads * head_dim). log_sums (sequences, heads, context):
 * log of the sum of the exponentials of the scaled scores, for backward. T bf16: tensor cores, float32
 * softmax; probabilities never go to memory. */
template <class T>
void attention_forward(const Stream& stream, const AttentionShape& shape, Matrix<const T> q,
                       Matrix<const T> k, Matrix<const T> v, Matrix<T> o, float* log_sums);

/** dq, dk, dv (overwritten) from d_o. `scratch`: attention_scratch(shape) floats. No float atomics: the
 * same bits in every run. */
template <class T>
void attention_backward(const Stream& stream, const AttentionShape& shape, Matrix<const T> q,
                        Matrix<const T> k, Matrix<const T> v, Matrix<const T> o,
                        Matrix<const T> d_o, const float* log_sums, Matrix<T> dq, Matrix<T> dk,
                        Matrix<T> dv, float* scratch);
uint64_t attention_scratch(const AttentionShape& shape);

}  // namespace magnet::gpu
