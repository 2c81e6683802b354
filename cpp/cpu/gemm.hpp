// Matrix products of training. Every element of C is one chain of fused multiply-adds along k in
// order, starting from 0 or from C: blocking and threads change nothing in the bits.
#pragma once
#include <cstdint>

namespace magnet {

/** Left operand: A(m, k) = data[m * row + k * col]. */
struct GemmLeft {
  const float* data;
  int64_t row;
  int64_t col;
};

/**
 * Right operand: B(k, n) = data[k * row + n * col]; or, where `codes` is set, int8 codes that are
 * scaled while they are packed: codes[k * row + n * col] * scale, times row_scale[k] if that is
 * set.
 */
struct GemmRight {
  const float* data;
  int64_t row;
  int64_t col;
  const int8_t* codes = nullptr;
  float scale = 1.0f;
  const float* row_scale = nullptr;
};

struct GemmShape {
  int64_t m;
  int64_t n;
  int64_t k;
};

/** C (m, n; row stride ldc) = A B, or += where `accumulate`. C is split among threads. */
void gemm(uint32_t threads, GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c,
          int64_t ldc, bool accumulate);

/** A right operand (k, n) that is packed once and used in several small products. */
struct PackedRight {
  const float* data;
  int64_t n;
  int64_t k;
};
/** Floats that packing (k, n) takes; a multiple of 16. */
int64_t packed_floats(int64_t n, int64_t k);
/** Into `out`, 64-byte aligned. On the caller's thread, like gemm_packed. */
PackedRight gemm_pack(const GemmRight& b, int64_t n, int64_t k, float* out);
/** C (m, n) = or += A times rows [k0, k0 + shape.k) of b, of which the first shape.n columns count.
 * A is read as it lies (its row or its col is 1), so it should fit in the cache. */
void gemm_packed(GemmShape shape, const GemmLeft& a, const PackedRight& b, int64_t k0, float* c,
                 int64_t ldc, bool accumulate);

}  // namespace magnet
