// Embedding lookup and cross-entropy. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

/** -100: a target that is not counted. As an input it reads as token 0. */
constexpr int32_t IGNORED = -100;

/** x (rows, d) = embedding (vocab, d) at ids. */
void embed(const Stream& stream, const float* embedding, int64_t vocab, const int32_t* ids,
           Matrix<float> x);

/** embedding gradient (vocab, d) += rows of dx by id, each sum in the order of the rows: the same bits
 * in every run. `scratch`: embed_scratch(rows, vocab) integers. */
void embed_backward(const Stream& stream, Matrix<const float> dx, const int32_t* ids, int64_t vocab,
                    float* gradient, int32_t* scratch);
uint64_t embed_scratch(int64_t rows, int64_t vocab);

/**
 * Per row of logits (rows, vocab): nll = -log softmax at the target (0 where not counted), and, unless
 * gradient_scale is null, the logits become (softmax - onehot) * *gradient_scale * (row_scales ? row_scales[row] : 1) (0 where not
 * counted). T: float or bf16; statistics are float32, one pass over memory to read and one to write.
 */
template <class T>
void cross_entropy(const Stream& stream, Matrix<T> logits, const int32_t* targets,
                   const float* gradient_scale, const float* row_scales, float* nll);

/** out[0] = sum of nll over rows in double, out[1] = number of targets that count; one fixed tree. */
void sum_losses(const Stream& stream, const float* nll, const int32_t* targets, int64_t rows,
                double* out);

}  // namespace magnet::gpu
