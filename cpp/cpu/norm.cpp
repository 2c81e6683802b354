// RMSNorm: rows in parallel, the weight gradient in parallel over columns so that rows add up in
// order.
#include "norm.hpp"

#include <algorithm>

#include "profile.hpp"
#include "simd.hpp"
#include "thread_pool.hpp"

#define MAGNET_KERNELS "norm.inc"
#include "all_paths.inc"

namespace magnet {

float rmsnorm_row(const float* x, const float* w, int64_t n, float eps, float* out) {
  return MAGNET_DISPATCH(rmsnorm_row, x, w, n, eps, out);
}

void rmsnorm(uint32_t threads, const float* x, const float* w, int64_t rows, int64_t n, float eps,
             float* out, float* r) {
  const KernelScope scope(Kernel::norm_forward);
  parallel_for(threads, rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++) r[i] = rmsnorm_row(x + i * n, w, n, eps, out + i * n);
  });
}

void rmsnorm_backward(uint32_t threads, const float* x, const float* w, const float* dy,
                      const float* r, int64_t rows, int64_t n, bool accumulate, float* dx,
                      float* dw) {
  const KernelScope scope(Kernel::norm_backward);
  const int64_t blocks = (n + 15) / 16;
  parallel_for(threads, blocks, [&](int64_t begin, int64_t end, uint32_t) {
    const int64_t last = std::min(n, end * 16);
    MAGNET_DISPATCH(rmsnorm_weight_gradient, x, dy, r, rows, n, begin * 16, last, dw);
  });
  parallel_for(threads, rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++)
      MAGNET_DISPATCH(rmsnorm_backward_row, x + i * n, w, dy + i * n, r[i], n, accumulate,
                      dx + i * n);
  });
}

}  // namespace magnet
