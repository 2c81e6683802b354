// BitLinear: quantisers; forward in integers, backward in float32 from the quantised operands.
#include "bitlinear.hpp"

#include <algorithm>
#include <vector>

#include "gemm.hpp"
#include "profile.hpp"
#include "simd.hpp"
#include "ternary_product.hpp"
#include "thread_pool.hpp"

#define MAGNET_KERNELS "bitlinear.inc"
#include "all_paths.inc"

namespace magnet {

void quantize_row(const float* x, int64_t k, int8_t* q, float* inverse, int32_t* sum) {
  MAGNET_DISPATCH(quantize_row, x, k, q, inverse, sum);
}

float ternarize(uint32_t threads, const float* w, int64_t count, int8_t* t) {
  constexpr int64_t CHUNK = 4096;
  const int64_t chunks = (count + CHUNK - 1) / CHUNK;
  std::vector<double> sums(static_cast<size_t>(chunks));
  auto size_of = [&](int64_t chunk) { return std::min(CHUNK, count - chunk * CHUNK); };
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++)
      sums[static_cast<size_t>(c)] = MAGNET_DISPATCH(abs_sum_chunk, w + c * CHUNK, size_of(c));
  });
  double total = 0.0;
  for (const double sum : sums) total += sum;
  const auto mean = static_cast<float>(total / static_cast<double>(count));
  if (!std::isfinite(mean)) return std::nanf("");
  const float scale = 1.0f / (mean < 1e-5f ? 1e-5f : mean);
  parallel_for(threads, chunks, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t c = begin; c < end; c++)
      MAGNET_DISPATCH(ternarize_chunk, w + c * CHUNK, size_of(c), scale, t + c * CHUNK);
  });
  return 1.0f / scale;
}

void bitlinear_forward(uint32_t threads, const QuantizedRows& x, const TernaryWeights& w,
                       int64_t rows, int64_t n, int64_t k, const float* residual, float* y) {
  const KernelScope scope(Kernel::ternary_product);
  ternary_product(threads, {x, w, rows, n, k, residual, y});
}

void bitlinear_backward(uint32_t threads, const QuantizedRows& x, const TernaryWeights& w,
                        const float* dy, int64_t rows, int64_t n, int64_t k, bool accumulate_dx,
                        float* dx, float* dw) {
  {
    const KernelScope scope(Kernel::gemm_dx);
    GemmRight weights{nullptr, k, 1, w.t, w.inverse, nullptr};
    gemm(threads, {rows, k, n}, {dy, n, 1}, weights, dx, k, accumulate_dx);
  }
  const KernelScope scope(Kernel::gemm_dw);
  GemmRight inputs{nullptr, padded_codes(k), 1, x.q, 1.0f, x.inverse};
  gemm(threads, {n, k, rows}, {dy, 1, n}, inputs, dw, k, true);
}

}  // namespace magnet
