// RMSNorm, SwiGLU and the quantisers, fused where they follow each other. Formulas:
// tests/golden/bitnet/README.md. One block of threads per row; sums by one fixed tree.
#pragma once
#include <vector>

#include "sums.cuh"

namespace magnet::gpu {

/** out = quantised(norm(x) * w). w null: no norm. r (rows): 1 / sqrt(mean(x^2) + eps). quantise false
 * (plain models, and the norm before the head): out.values alone is written. A row with NaN or infinity
 * gets an inverse, or values, of NaN. */
template <class T>
void norm_quantise(const Stream& stream, Matrix<const float> x, const float* w, float eps,
                   bool quantise, float* r, QuantisedInput<T> out);

/** The same for h = silu(gate) * up, which is not kept. gate, up (rows, d_ff). */
template <class T>
void swiglu_norm_quantise(const Stream& stream, const Product<T>& gate, const Product<T>& up,
                          const float* w, float eps, bool quantise, float* r,
                          QuantisedInput<T> out);

/**
 * Backward of a norm: dx = (or +=) r * (g - x * r^2 * mean(g * x)) with g = dy * w; dw (n) += sum over
 * rows of dy * x * r, in one fixed order whatever the device. dx may be dy unless accumulating. G: float
 * (of the residual stream) or T.
 * `partial`: norm_partials(n) floats of scratch. dx_operand, where its data is given: dx once more as T,
 * the next product's operand.
 */
template <class D, class G, class T>
void norm_backward(const Stream& stream, Matrix<const float> x, const float* w, Matrix<const D> dy,
                   const float* r, bool accumulate, Matrix<G> dx, Matrix<T> dx_operand, float* dw,
                   float* partial);
/** Floats that norm_backward and swiglu_norm_backward need as scratch. */
uint64_t norm_partials(int64_t columns);

/** Backward of swiglu_norm_quantise through the straight-through quantiser, from dh (rows, d_ff), the
 * gradient of the normed h; h is made again. dgate and dup may lie where gate and up do; they are
 * multiplied by weight_scales[0] and [1] where these are given. w null: no norm. */
template <class T>
void swiglu_norm_backward(const Stream& stream, const Product<T>& gate, const Product<T>& up,
                          const float* w, Matrix<const T> dh, const float* r,
                          const float* weight_scales, Matrix<T> dgate, Matrix<T> dup, float* dw,
                          float* partial);

/** Latent weights (n, k) without padding, and where their codes, values and scale go. */
template <class T>
struct WeightTask {
  const float* latent;
  QuantisedWeight<T> out;
};
/** All tasks in three launches: alone many are too small to keep a GPU busy. `on_device`: the same tasks;
 * `partial`: WEIGHT_PARTIALS doubles for each. The mean of |w| is summed in double by one fixed tree; where
 * it is not finite, inverse is NaN. */
template <class T>
void ternarise(const Stream& stream, const std::vector<WeightTask<T>>& tasks,
               const WeightTask<T>* on_device, double* partial);
constexpr uint64_t WEIGHT_PARTIALS = 1024;
/** Plain models and the head: latent weights without padding as T. */
template <class T>
void weights_as(const Stream& stream, const float* w, Matrix<T> out);

}  // namespace magnet::gpu
