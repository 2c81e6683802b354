// Cross-entropy over next-token targets, and the tied head around it.
#pragma once
#include <cstdint>

namespace magnet {

/** Target of a position that counts neither in the loss nor in the gradient. */
inline constexpr int32_t IGNORED_TARGET = -100;

/**
 * Negative log-likelihood (nats) of one row of logits. With `gradient_scale` != 0 the logits become
 * (softmax - onehot) * gradient_scale; with 0 they stay. Not for ignored targets.
 */
double cross_entropy_row(float* logits, int64_t vocab, int32_t target, float gradient_scale);

/** Tied output head: logits = x embedding^T. */
struct Head {
  const float* embedding;  // (vocab, width)
  int64_t vocab;
  int64_t width;
};

/** logits (rows, vocab) of x (rows, width). */
void head_logits(uint32_t threads, const Head& head, const float* x, int64_t rows, float* logits);

/**
 * Sum of the negative log-likelihoods of the counted rows, in row order; nll (rows) is scratch.
 * Logits are made in chunks of rows, never all at once. If gradient_scale != 0: dx (rows, width) is
 * written and dembedding (vocab, width) added to.
 */
double head_loss(uint32_t threads, const Head& head, const float* x, const int32_t* targets,
                 int64_t rows, float gradient_scale, double* nll, float* dx, float* dembedding);

/**
 * As head_loss, with a gradient scale for every row of its own (0 or less is allowed).
 */
double head_loss_by_row(uint32_t threads, const Head& head, const float* x, const int32_t* targets,
                        int64_t rows, const float* gradient_scales, double* nll, float* dx,
                        float* dembedding);

/** Rows of logits that head_loss holds at once. */
int64_t head_chunk_rows(int64_t vocab);

}  // namespace magnet
