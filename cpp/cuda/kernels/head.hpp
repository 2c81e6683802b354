// Embedding lookup and cross-entropy. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

/** -100: a target that is not counted. As an input it reads as token 0. */
constexpr int32_t IGNORED = -100;

/** x (rows, d) = embedding (vocab, d) at ids. */
void embed(const Stream& stream, const float* embedding, const int32_t* ids, Matrix<float> x);

/** Rows by token, made on the host with the batch (token_order), all on the device: token i of `count`
 * is ids[i] and stands in the rows order[starts[i]..starts[i + 1]), ascending. */
struct TokenOrder {
  const int32_t* count;   // one
  const int32_t* ids;     // (rows)
  const int32_t* starts;  // (rows + 1)
  const int32_t* order;   // (rows)
};
/** On the host: the four arrays of a TokenOrder one after the other, token_order_size(rows) integers.
 * ids outside [0, vocab) are IGNORED and count as 0. */
void token_order(const int32_t* ids, int64_t rows, int64_t vocab, int32_t* out);
constexpr uint64_t token_order_size(int64_t rows) { return static_cast<uint64_t>(3 * rows + 2); }
/** The arrays in what token_order wrote, copied to the device. */
TokenOrder token_order_in(const int32_t* device, int64_t rows);

/** gradient (vocab, d) += rows of dx by token, each sum in the order of the rows. */
void embed_backward(const Stream& stream, Matrix<const float> dx, const TokenOrder& order,
                    float* gradient);

/**
 * Per row of logits (rows, vocab): nll = -log softmax at the target (0 where not counted), and, unless
 * gradient_scale (on the device) is null, the logits become (softmax - onehot) * *gradient_scale *
 * row_scales[row] (1 where row_scales is null; 0 where not counted). T: float or bf16; statistics are
 * float32.
 */
template <class T>
void cross_entropy(const Stream& stream, Matrix<T> logits, const int32_t* targets,
                   const float* gradient_scale, const float* row_scales, float* nll);

/** *out += sum of nll in double, by one fixed tree. */
void add_losses(const Stream& stream, const float* nll, int64_t rows, double* out);

}  // namespace magnet::gpu
