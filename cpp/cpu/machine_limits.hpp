// Kernels that do nothing but keep one kind of unit busy, for machine_limits.cpp.
#pragma once
#include <cstdint>

namespace magnet {

inline constexpr int64_t STREAMS = 4;

struct PeakKernels {
  /** float32 fused multiply-adds on independent accumulators; `fma_flops` a round (2 each). */
  void (*fma)(int64_t rounds);
  int64_t fma_flops;
  /** int8 activation times ternary code, added up: the best instructions that the path has for it;
   * `integer_ops` a round (a multiplication and an addition each). */
  void (*integer)(int64_t rounds);
  int64_t integer_ops;
  /** Loads every byte once, as STREAMS streams at a time: one alone is limited by its prefetcher,
   * and kernels have several. `bytes` is a multiple of 4096. */
  void (*read)(const uint8_t* data, int64_t bytes);
};

PeakKernels portable_peaks();
#if defined(__x86_64__)
PeakKernels avx2_peaks();
PeakKernels avx512_peaks();
#elif defined(__aarch64__)
PeakKernels neon_peaks();
#endif

}  // namespace magnet
