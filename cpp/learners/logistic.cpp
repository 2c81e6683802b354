// The loss of a linear model over all rows: chunks of a fixed size, added up in order, so that the
// threads change no bit.
#include "logistic.hpp"

#include <algorithm>
#include <cmath>

#include "../cpu/simd.hpp"
#include "../cpu/thread_pool.hpp"

#define MAGNET_KERNELS "../learners/logistic.inc"
#include "../cpu/all_paths.inc"

namespace magnet::learn {
namespace {
/** 2,048 rows: float32 sums of so many lose little, and a chunk is worth a thread's while. */
constexpr uint64_t CHUNK_BLOCKS = 128;
}  // namespace

double linear_loss(const LinearProblem& problem, const std::vector<double>& at,
                   std::vector<double>& gradient) {
  if (is_cancelled(problem.cancel)) fail(MG_E_CANCELLED, "fitting a linear model: cancelled");
  const size_t size = problem.size();
  const uint64_t blocks = problem.design->blocks();
  const uint64_t chunks = (blocks + CHUNK_BLOCKS - 1) / CHUNK_BLOCKS;
  const std::vector<float> coefficients(at.begin(), at.end());
  std::vector<double> parts(chunks * size);
  std::vector<double> losses(chunks);
  parallel_tasks(problem.threads, static_cast<int64_t>(chunks), [&](int64_t task) {
    thread_local AlignedBuffer<float> sums;
    const auto chunk = static_cast<uint64_t>(task);
    const uint64_t begin = chunk * CHUNK_BLOCKS;
    const uint64_t end = std::min(blocks, begin + CHUNK_BLOCKS);
    float* const room = sums.reserve(static_cast<int64_t>((size + problem.outputs) * 16));
    losses[chunk] = MAGNET_DISPATCH(linear_chunk, problem, coefficients.data(), begin, end, room,
                                    parts.data() + chunk * size);
  });
  const auto rows = static_cast<double>(problem.design->rows);
  double loss = 0;
  gradient.assign(size, 0.0);
  for (uint64_t chunk = 0; chunk < chunks; chunk++) {
    loss += losses[chunk];
    for (size_t i = 0; i < size; i++) gradient[i] += parts[chunk * size + i];
  }
  for (double& g : gradient) g /= rows;
  return loss / rows;
}

void linear_scores(const float* tile, uint32_t features, const float* coefficients,
                   uint32_t outputs, float* scores) {
  MAGNET_DISPATCH(linear_scores, tile, features, coefficients, outputs, scores);
}

void linear_probabilities(LinearLoss loss, uint32_t outputs, float* scores) {
  MAGNET_DISPATCH(linear_probabilities, loss, outputs, scores);
}

}  // namespace magnet::learn
