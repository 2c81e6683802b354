// Cross-entropy and tied head. Chunking over rows changes no bits: every logit, dx row and running
// sum of dembedding is the same chain whatever the chunk.
#include "loss.hpp"

#include <algorithm>

#include "gemm.hpp"
#include "math.hpp"
#include "aligned_buffer.hpp"
#include "profile.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

#define MAGNET_KERNELS "loss.inc"
#include "all_paths.inc"

namespace magnet {

double cross_entropy_row(float* logits, int64_t vocab, int32_t target, float gradient_scale) {
  return MAGNET_DISPATCH(cross_entropy_row, logits, vocab, target, gradient_scale);
}

void head_logits(uint32_t threads, const Head& head, const float* x, int64_t rows, float* logits) {
  const KernelScope scope(Kernel::gemm_forward);
  gemm(threads, {rows, head.vocab, head.width}, {x, head.width, 1}, {head.embedding, 1, head.width},
       logits, head.vocab, false);
}

int64_t head_chunk_rows(int64_t vocab) {
  constexpr int64_t CHUNK_FLOATS = 1 << 22;
  return std::max<int64_t>(48, CHUNK_FLOATS / vocab / 48 * 48);
}

namespace {
/** What rows' gradients are multiplied by: `by_row` where that is given; 0 for all: no gradient. */
struct GradientScale {
  float all;
  const float* by_row;
  bool wanted() const { return by_row != nullptr || all != 0.0f; }
  float of(int64_t row) const { return by_row != nullptr ? by_row[row] : all; }
};

/** Negative log-likelihoods, and the gradient in place of the logits where it is wanted. */
void cross_entropy_rows(uint32_t threads, int64_t vocab, const int32_t* targets, int64_t rows,
                        int64_t first, const GradientScale& scale, float* logits, double* nll) {
  const KernelScope scope(Kernel::cross_entropy);
  parallel_for(threads, rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++) {
      float* const l = logits + i * vocab;
      const bool counted = targets[first + i] != IGNORED_TARGET;
      const float factor = counted ? scale.of(first + i) : 0.0f;
      nll[first + i] = counted ? cross_entropy_row(l, vocab, targets[first + i], factor) : 0.0;
      if (scale.wanted() && factor == 0.0f) std::fill_n(l, vocab, 0.0f);
    }
  });
}

double head_pass(uint32_t threads, const Head& head, const float* x, const int32_t* targets,
                 int64_t rows, const GradientScale& scale, double* nll, float* dx,
                 float* dembedding) {
  const SiteScope site(Site::head);
  thread_local AlignedBuffer<float> scratch;
  const int64_t chunk = std::min(rows, head_chunk_rows(head.vocab));
  float* const logits = scratch.reserve(chunk * head.vocab);
  for (int64_t row = 0; row < rows; row += chunk) {
    const int64_t count = std::min(chunk, rows - row);
    const float* const xc = x + row * head.width;
    head_logits(threads, head, xc, count, logits);
    cross_entropy_rows(threads, head.vocab, targets, count, row, scale, logits, nll);
    if (!scale.wanted()) continue;
    {
      const KernelScope scope(Kernel::gemm_dx);
      gemm(threads, {count, head.width, head.vocab}, {logits, head.vocab, 1},
           {head.embedding, head.width, 1}, dx + row * head.width, head.width, false);
    }
    const KernelScope scope(Kernel::gemm_dw);
    gemm(threads, {head.vocab, head.width, count}, {logits, 1, head.vocab}, {xc, head.width, 1},
         dembedding, head.width, true);
  }
  double sum = 0.0;
  for (int64_t i = 0; i < rows; i++) sum += nll[i];
  return sum;
}
}  // namespace

double head_loss(uint32_t threads, const Head& head, const float* x, const int32_t* targets,
                 int64_t rows, float gradient_scale, double* nll, float* dx, float* dembedding) {
  const GradientScale scale{gradient_scale, nullptr};
  return head_pass(threads, head, x, targets, rows, scale, nll, dx, dembedding);
}

double head_loss_by_row(uint32_t threads, const Head& head, const float* x, const int32_t* targets,
                        int64_t rows, const float* gradient_scales, double* nll, float* dx,
                        float* dembedding) {
  const GradientScale scale{0.0f, gradient_scales};
  return head_pass(threads, head, x, targets, rows, scale, nll, dx, dembedding);
}

}  // namespace magnet
