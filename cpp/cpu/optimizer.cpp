// AdamW as torch 1.13 does it, and the global norm.
#include "optimizer.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "profile.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

constexpr int64_t CHUNK = 16384;

}  // namespace
}  // namespace magnet

#define MAGNET_KERNELS "optimizer.inc"
#include "all_paths.inc"

namespace magnet {

double l2_norm(uint32_t threads, const float* x, int64_t n) {
  const KernelScope scope(Kernel::gradient_norm);
  const int64_t chunks = (n + CHUNK - 1) / CHUNK;
  std::vector<double> sums(static_cast<size_t>(chunks));
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++)
      sums[static_cast<size_t>(c)] =
          MAGNET_DISPATCH(square_sum_chunk, x + c * CHUNK, std::min(CHUNK, n - c * CHUNK));
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  return std::sqrt(total);
}

void adamw_step(uint32_t threads, const mg_optimizer& o, float weight_decay, float clip,
                const float* g, float* p, float* m, float* v, int64_t n) {
  const KernelScope scope(Kernel::optimizer);
  AdamwFactors f = adamw_factors(o, weight_decay);
  f.clip = clip;
  const int64_t chunks = (n + CHUNK - 1) / CHUNK;
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    const int64_t from = begin * CHUNK;
    const int64_t size = std::min(n, end * CHUNK) - from;
    MAGNET_DISPATCH(adamw_chunk, f, g + from, p + from, m + from, v + from, size);
  });
}

}  // namespace magnet
