// Integer product: the weights are packed once for all threads, which then share the rows.
#include "ternary_product.hpp"

#include <algorithm>

#include "aligned_buffer.hpp"
#include "common.hpp"
#include "cpu_detect.hpp"
#include "profile.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/** The path's kernels; none for the scalar path. */
const TernaryKernels* kernels() {
  switch (cpu_path()) {
#if defined(__x86_64__)
    case CpuPath::avx512:
      return &avx512::TERNARY_KERNELS;
    case CpuPath::avx2:
      return &avx2::TERNARY_KERNELS;
#elif defined(__aarch64__)
    case CpuPath::neon:
      return cpu_has_dot_products() ? &neon::TERNARY_DOT_KERNELS : &neon::TERNARY_KERNELS;
#endif
    default:
      return nullptr;
  }
}

void naive(const TernaryProduct& p, int64_t begin, int64_t end) {
  const int64_t stride = padded_codes(p.k);
  for (int64_t i = begin; i < end; i++)
    for (int64_t j = 0; j < p.n; j++) {
      int32_t sum = 0;
      for (int64_t k = 0; k < p.k; k++) sum += p.x.q[i * stride + k] * p.w.t[j * p.k + k];
      const int64_t at = i * p.n + j;
      p.y[at] = finish(sum, p.x.inverse[i] * p.w.inverse, p.residual ? p.residual + at : nullptr);
    }
}

}  // namespace

void ternary_product(uint32_t threads, const TernaryProduct& p) {
  const TernaryKernels* const kernel = kernels();
  if (kernel == nullptr) {
    parallel_for(threads, p.rows,
                 [&](int64_t begin, int64_t end, uint32_t) { naive(p, begin, end); });
    return;
  }
  thread_local AlignedBuffer<uint8_t> scratch;
  const int64_t panels = ceil_div(p.n, kernel->columns);
  const int64_t panel_bytes = ceil_div(p.k, 4) * 4 * kernel->columns;
  uint8_t* const packed = scratch.reserve(panels * panel_bytes);
  {
    const PackingScope packing;
    parallel_for(threads, panels, [&](int64_t begin, int64_t end, uint32_t) {
      const int64_t n0 = begin * kernel->columns;
      const int64_t n = std::min(p.n, end * kernel->columns) - n0;
      kernel->pack(p.w, n0, n, p.k, packed + begin * panel_bytes);
    });
  }
  // A block of rows meets all panels: the rows stay in the second-level cache.
  constexpr int64_t TILES_PER_TASK = 8;
  const int64_t unit = kernel->rows * TILES_PER_TASK;
  parallel_tasks(threads, ceil_div(p.rows, unit), [&](int64_t task) {
    kernel->product(p, packed, task * unit, std::min(p.rows, (task + 1) * unit));
  });
}

}  // namespace magnet
