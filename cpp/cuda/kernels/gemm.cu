// The faces of gemm.hpp: checks of shapes, and what becomes of the product.
#include <algorithm>

#include "gemm_choice.hpp"
#include "gemm_cublas.hpp"
#include "gemm_output.hpp"

namespace magnet::gpu {

namespace {

/** What tensor cores and 16-byte copies need of an operand. */
template <class T>
void check_operand(const Matrix<const T>& x, const char* name) {
  const bool aligned = reinterpret_cast<uintptr_t>(x.data) % 16 == 0 && x.stride % 16 == 0;
  if (!aligned || x.stride < x.columns)
    fail(MG_E_INTERNAL, "gemm: operand %s with columns %lld, stride %lld", name,
         static_cast<long long>(x.columns), static_cast<long long>(x.stride));
}

void check_shape(bool fits, int64_t m, int64_t n, int64_t k) {
  if (!fits || k < 1)
    fail(MG_E_INTERNAL, "gemm: operands that do not fit c (%lld, %lld), k %lld",
         static_cast<long long>(m), static_cast<long long>(n), static_cast<long long>(k));
}

}  // namespace

template <class Y>
void gemm_codes(const Stream& stream, Matrix<const int8_t> x, const float* x_inverse,
                Matrix<const int8_t> w, const float* w_inverse,
                const Matrix<const float>* residual, Matrix<Y> y, const Parts& parts) {
  check_shape(x.rows == y.rows && w.rows == y.columns && x.columns == w.columns, y.rows, y.columns,
              x.columns);
  check_operand(x, "x");
  check_operand(w, "w");
  if (y.rows == 0 || y.columns == 0) return;
  Output out = make_output(y);
  out.row_scale = x_inverse;
  out.scale = w_inverse;
  set_parts(out, parts, false);
  if (residual != nullptr) add_to(out, residual->data, residual->stride);
  run_tensor_cores(stream, Operands<int8_t>{x, w, false, false, x.columns}, out);
}

void gemm_sums(const Stream& stream, Matrix<const int8_t> x, Matrix<const int8_t> w,
               Matrix<sum16> y) {
  check_shape(x.rows == y.rows && w.rows == y.columns && x.columns == w.columns, y.rows, y.columns,
              x.columns);
  check_operand(x, "x");
  check_operand(w, "w");
  if (y.rows == 0 || y.columns == 0) return;
  Output out = make_output(y);
  out.inverse_step = 1.0f / sum_step(x.columns);
  run_tensor_cores(stream, Operands<int8_t>{x, w, false, false, x.columns}, out);
}

template <class T, class C>
void gemm(const Stream& stream, Matrix<const T> a, Layout a_layout, Matrix<const T> b,
          Layout b_layout, const Epilogue& epilogue, Matrix<C> c) {
  const bool a_mn = a_layout == Layout::transposed;
  const bool b_mn = b_layout == Layout::plain;
  const int64_t k = a_mn ? a.rows : a.columns;
  check_shape((a_mn ? a.columns : a.rows) == c.rows && (b_mn ? b.columns : b.rows) == c.columns &&
                  (b_mn ? b.rows : b.columns) == k,
              c.rows, c.columns, k);
  if (c.rows == 0 || c.columns == 0) return;
  Output out = make_output(c);
  out.scale = epilogue.scale;
  set_parts(out, epilogue.rows, epilogue.rows.second < c.rows);
  if constexpr (std::is_same_v<C, float>) {
    if (epilogue.accumulate) add_to(out, c.data, c.stride);
  } else if (epilogue.accumulate) {
    fail(MG_E_INTERNAL, "gemm: only a float32 c is added to");
  }
  const Operands<T> operands{a, b, a_mn, b_mn, k};
  if constexpr (std::is_same_v<T, float>) {
    gemm_simt(stream, operands, out);
  } else {
    check_operand(a, "a");
    check_operand(b, "b");
    run_tensor_cores(stream, operands, out);
  }
}

uint64_t gemm_workspace() {
  return std::max(cublas_workspace(), slot_bytes(capability().multiprocessors, LARGEST_TILE));
}

template void gemm_codes(const Stream&, Matrix<const int8_t>, const float*, Matrix<const int8_t>,
                         const float*, const Matrix<const float>*, Matrix<float>, const Parts&);
template void gemm_codes(const Stream&, Matrix<const int8_t>, const float*, Matrix<const int8_t>,
                         const float*, const Matrix<const float>*, Matrix<bf16>, const Parts&);
template void gemm_codes(const Stream&, Matrix<const int8_t>, const float*, Matrix<const int8_t>,
                         const float*, const Matrix<const float>*, Matrix<fp16>, const Parts&);
template void gemm(const Stream&, Matrix<const bf16>, Layout, Matrix<const bf16>, Layout,
                   const Epilogue&, Matrix<fp16>);
template void gemm(const Stream&, Matrix<const float>, Layout, Matrix<const float>, Layout,
                   const Epilogue&, Matrix<float>);
template void gemm(const Stream&, Matrix<const bf16>, Layout, Matrix<const bf16>, Layout,
                   const Epilogue&, Matrix<float>);
template void gemm(const Stream&, Matrix<const bf16>, Layout, Matrix<const bf16>, Layout,
                   const Epilogue&, Matrix<bf16>);

}  // namespace magnet::gpu
