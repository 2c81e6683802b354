// Plain products are chains of fused multiply-adds along k, like those of backward: one order for
// every path and thread count (gemm.hpp).
#include "linear.hpp"

#include <cstring>

#include "gemm.hpp"
#include "profile.hpp"
#include "thread_pool.hpp"

namespace magnet {

void linear_forward(uint32_t threads, const LinearInput& x, const LinearWeights& w, int64_t rows,
                    int64_t n, int64_t k, const float* residual, float* y) {
  if (w.values == nullptr)
    return bitlinear_forward(threads, x.codes, w.ternary, rows, n, k, residual, y);
  const KernelScope scope(Kernel::gemm_forward);
  if (residual != nullptr && residual != y)
    parallel_for(threads, rows, [&](int64_t begin, int64_t end, uint32_t) {
      std::memcpy(y + begin * n, residual + begin * n,
                  static_cast<size_t>((end - begin) * n) * sizeof(float));
    });
  gemm(threads, {rows, n, k}, {x.values, k, 1}, {w.values, 1, k}, y, n, residual != nullptr);
}

void linear_backward(uint32_t threads, const LinearInput& x, const LinearWeights& w,
                     const float* dy, int64_t rows, int64_t n, int64_t k, bool accumulate_dx,
                     float* dx, float* dw) {
  if (w.values == nullptr)
    return bitlinear_backward(threads, x.codes, w.ternary, dy, rows, n, k, accumulate_dx, dx, dw);
  {
    const KernelScope scope(Kernel::gemm_dx);
    gemm(threads, {rows, k, n}, {dy, n, 1}, {w.values, k, 1}, dx, k, accumulate_dx);
  }
  const KernelScope scope(Kernel::gemm_dw);
  gemm(threads, {n, k, rows}, {dy, 1, n}, {x.values, k, 1}, dw, k, true);
}

}  // namespace magnet
