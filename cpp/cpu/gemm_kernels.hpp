// What a SIMD path gives the matrix product of gemm.cpp: packing into panels and a register tile.
#pragma once
#include <cstdint>

#include "gemm.hpp"

namespace magnet {

/**
 * The left operand is packed in panels of at most `rows` rows (see Ranges), a panel of R rows as
 * (k, R); the right one in panels of `columns` columns, (k, columns) each, zeros past the end.
 */
struct GemmKernels {
  int64_t rows;
  int64_t columns;
  /** Rows [m0, m0 + m), k in [k0, k0 + k). Writes up to PACK_SLACK floats past the m * k. */
  void (*pack_left)(const GemmLeft& a, int64_t m0, int64_t m, int64_t k0, int64_t k, float* out);
  /** Columns [n0, n0 + n), k in [k0, k0 + k); panels are `stride` floats apart. */
  void (*pack_right)(const GemmRight& b, int64_t n0, int64_t n, int64_t k0, int64_t k, float* out,
                     int64_t stride);
  /** c (m, n) = or += product of packed panels; `stride` as in pack_right. */
  void (*block)(int64_t m, int64_t n, int64_t k, const float* left, const float* right,
                int64_t stride, float* c, int64_t ldc, bool fresh);
  /** The same with the left operand as it lies (its row or its col is 1). */
  void (*block_unpacked)(int64_t m, int64_t n, int64_t k, const GemmLeft& left, const float* right,
                         int64_t stride, float* c, int64_t ldc, bool fresh);
};

inline constexpr int64_t PACK_SLACK = 16;

/** How `total` rows (or k, or panels) are cut into `count` ranges of nearly equal length: no panel
 * is so low that its chains of multiply-adds leave the units idle. */
struct Ranges {
  Ranges(int64_t total, int64_t count) : base(total / count), longer(total % count) {}
  /** Start of range i; the first `longer` ranges have one more. */
  int64_t at(int64_t i) const { return i * base + (i < longer ? i : longer); }
  int64_t size(int64_t i) const { return base + (i < longer ? 1 : 0); }
  int64_t base;
  int64_t longer;
};

#if defined(__x86_64__)
namespace avx512 {
extern const GemmKernels GEMM_KERNELS;
}
namespace avx2 {
extern const GemmKernels GEMM_KERNELS;
}
#elif defined(__aarch64__)
namespace neon {
extern const GemmKernels GEMM_KERNELS;
}
#endif

}  // namespace magnet
