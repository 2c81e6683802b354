// Rotary positions and causal grouped-query attention. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "sums.cuh"

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

/** q (rows, heads * head_dim); k, v (rows, kv_heads * head_dim). Columns may be those of a wider matrix.
 * `low`: what fp16 lost of them; without data nothing. */
template <class A>
struct AttentionInput {
  Matrix<const A> q, k, v;
  Matrix<const A> low_q = {}, low_k = {}, low_v = {};
};

/** Sums (sum16) of queries, keys and values beside each other, whose values are as Product has them. */
struct QkvSums {
  Matrix<fp16> of;
  Matrix<fp16> low;  // of the same layout
  int64_t first_k, first_v;
  const float* row_scale;
  const float* scales;  // three
  float step;
};
/** They become fp16, in place, and what that loses goes to `low`; queries and keys are rotated before.
 * Padding stays zero in the first, and is not written in the second. */
void rope_split(const Stream& stream, const AttentionShape& shape, const QkvSums& sums,
                const float* cosines, const float* sines);

/** o (rows, heads * head_dim). log_sums (sequences, heads, context): log of the sum of the exponentials of
 * the scaled scores, for backward. A fp16: tensor cores, float32 softmax; probabilities never go to
 * memory. Where there are low parts (heads up to 128), products are sums of three: 22 bits of both factors,
 * see Activation. A: float or fp16. What is written ends at padded(columns). */
template <class A>
void attention_forward(const Stream& stream, const AttentionShape& shape,
                       const AttentionInput<A>& in, Matrix<float> o, float* log_sums);

/** Of positions, (context, head_dim / 2). */
struct Angles {
  const float* cosines = nullptr;
  const float* sines = nullptr;
};

/** dq, dk, dv (overwritten) from d_o, multiplied by weight_scales[0], [1] and [2] where these are given,
 * dq and dk rotated by the negative angles where those are. `scratch`: attention_scratch(shape) floats. No
 * float atomics: the same bits in every run. */
template <class T>
void attention_backward(const Stream& stream, const AttentionShape& shape,
                        Matrix<const Activation<T>> q, Matrix<const Activation<T>> k,
                        Matrix<const Activation<T>> v, Matrix<const float> o,
                        Matrix<const T> d_o, const float* log_sums, const float* weight_scales,
                        const Angles& angles, Matrix<T> dq, Matrix<T> dk, Matrix<T> dv,
                        float* scratch);
uint64_t attention_scratch(const AttentionShape& shape);

}  // namespace magnet::gpu
