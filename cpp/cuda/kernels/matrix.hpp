// How matrices lie in device memory, and what the two precisions of training store.
//
// precision bf16: activations and gradients of activations that enter products are bfloat16 (the
//   tensor cores' operands); the residual stream, its gradient, statistics, latent weights, gradients
//   of weights and moments are float32. What forward keeps before a quantiser loses nothing that
//   matters there, see Activation.
// precision float32: all of that is float32 and products with gradients are fused multiply-adds; slow,
//   for audits and tests.
// In both, forward products of the blocks are int8 x int8 in int32: exact, the same sums as on a CPU.
#pragma once
#include <cstdint>

#include "../platform/runtime.hpp"

namespace magnet::gpu {

/** Rows of `columns` elements, `stride` apart. Operands of tensor cores: stride is a multiple of 16
 * elements, the data 16-byte aligned, and what lies between columns and padded(columns) is zero: whoever
 * writes a row writes those zeros too. */
template <class T>
struct Matrix {
  T* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;

  operator Matrix<const T>() const { return {data, rows, columns, stride}; }
  __host__ __device__ T* row(int64_t i) const { return data + i * stride; }
  /** `count` rows from `first` on. */
  Matrix part(int64_t first, int64_t count) const {
    return {data + first * stride, count, columns, stride};
  }
  /** The same of columns; `first` is a multiple of 16. */
  Matrix slice(int64_t first, int64_t count) const { return {data + first, rows, count, stride}; }
};

__host__ __device__ constexpr int64_t padded(int64_t columns) { return (columns + 15) / 16 * 16; }

/** A Matrix with padded stride in device memory of its own, zeroed. */
template <class T>
class DeviceMatrix {
 public:
  DeviceMatrix() = default;
  DeviceMatrix(const Stream& stream, int64_t rows, int64_t columns)
      : array_(static_cast<uint64_t>(rows * padded(columns))), rows_(rows), columns_(columns) {
    fill_bytes(stream, array_.data(), 0, array_.size() * sizeof(T));
  }
  Matrix<T> view() const { return {array_.data(), rows_, columns_, padded(columns_)}; }
  /** The first rows. */
  Matrix<T> view(int64_t rows) const { return view().part(0, rows); }

 private:
  DeviceArray<T> array_;
  int64_t rows_ = 0;
  int64_t columns_ = 0;
};

__host__ __device__ __forceinline__ float as_float(float x) { return x; }
__host__ __device__ __forceinline__ float as_float(bf16 x) { return to_float(x); }
__host__ __device__ __forceinline__ float as_float(fp16 x) { return to_float(x); }
template <class T>
__host__ __device__ __forceinline__ T from_float(float x) {
  if constexpr (std::is_same_v<T, float>)
    return x;
  else if constexpr (std::is_same_v<T, fp16>)
    return to_fp16(x);
  else
    return to_bf16(x);
}

/** What queries, keys, values, gate and up are stored in at the precision that stores T. Behind each of
 * them a quantiser decides between neighbouring codes, and a rounding before it costs the square root of
 * its size, again at every quantiser: one rounding to fp16 left among them, whichever, takes the logits
 * of the tiny golden model from 3e-3 (the head's bf16) to 1.1e-2 or more, and single gradients beyond
 * 2e-2. So quantised models keep none before attention's own: the 16 bits are sums (sums.cuh), as they
 * are of gate and up for good; of queries, keys and values they become fp16, beside which forward's
 * attention has what that loses. Its output is float32. Of the 618M model that is 3 KB more of the 64 KB
 * that a token leaves in a layer, 9 KB of traffic for what fp16 loses, and three times the products of
 * forward's attention: 2.8% more operations in a step at 1024 positions. Plain models, whose roundings
 * nothing multiplies, store fp16 values: eight times bf16's precision, at the same speed; its range does
 * for activations behind a norm, and what is written saturates. Gradients need bf16's range. */
template <class T>
using Activation = std::conditional_t<std::is_same_v<T, float>, float, fp16>;

/** An input of a ternary layer: what forward multiplies with, and what the gradient of the weights
 * does. T as the precision stores. Plain (unquantised) models use `values` alone. */
template <class T>
struct QuantisedInput {
  Matrix<int8_t> codes;  // (rows, k) rint(x * s), clamped
  float* inverse;        // (rows) 1 / s = max(absmax, 1e-5) / 127
  Matrix<T> values;      // (rows, k) codes * inverse
};

/** A ternary weight (n, k). */
template <class T>
struct QuantisedWeight {
  Matrix<int8_t> codes;    // -1, 0, 1
  Matrix<T> values;        // the codes as T: exact. Plain models: the latent weights as T
  float* inverse;          // one: max(mean |w|, 1e-5). Plain models: one, holding 1
  float* scale = nullptr;  // where it is given: 1 / *inverse
};

}  // namespace magnet::gpu
