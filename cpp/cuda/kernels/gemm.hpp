// Matrix products of training. Everything is row-major; formulas in tests/golden/bitnet/README.md.
#pragma once
#include "sums.cuh"

namespace magnet::gpu {

/** Where the second and the third of up to three parts of rows or columns begin, each with a scale of
 * its own: multiples of 16. */
struct Parts {
  int64_t second = INT64_MAX;
  int64_t third = INT64_MAX;
};

/** y (m, n) = x.codes (m, k) w.codes (n, k)^T * x.inverse[row] * *w.inverse [+ residual]: sums are exact,
 * then float32 in this order. residual (m, n) may be y. Y: float, bf16 or fp16. Columns in parts: an
 * inverse of w for each. */
template <class Y>
void gemm_codes(const Stream& stream, Matrix<const int8_t> x, const float* x_inverse,
                Matrix<const int8_t> w, const float* w_inverse, const Matrix<const float>* residual,
                Matrix<Y> y, const Parts& parts = {});

/** y = x w^T, the sums alone; see Product. */
void gemm_sums(const Stream& stream, Matrix<const int8_t> x, Matrix<const int8_t> w,
               Matrix<sum16> y);

enum class Layout { plain, transposed };

/** What becomes of a product p (m, n). */
struct Epilogue {
  const float* scale = nullptr;  // on the device: p *= *scale
  bool accumulate = false;       // c += p instead of c = p (float32 c only)
  Parts rows = {};               // of p, with as many scales
};

/**
 * c (m, n) = a b, `a` given as (m, k) or transposed as (k, m), `b` as (k, n) or transposed as (n, k).
 * T bf16: tensor cores, float32 sums; T float: fused multiply-adds, k in order. c: float, whose stride
 * and alignment are free (a gradient in the arena), or T, or fp16 for bf16 operands. The same bits for
 * the same shapes on one kind of device, whatever else runs.
 */
template <class T, class C>
void gemm(const Stream& stream, Matrix<const T> a, Layout a_layout, Matrix<const T> b,
          Layout b_layout, const Epilogue& epilogue, Matrix<C> c);

/** What products of bf16 take of their stream's workspace, at most, on the calling thread's device. */
uint64_t gemm_workspace();

}  // namespace magnet::gpu
