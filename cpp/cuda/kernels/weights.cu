// What the products of a step take of the latent weights: ternary codes with their scale, or the
// weights themselves in the operands' type.
#include "norm.hpp"
#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 256;
constexpr int64_t EACH = 4096;  // weights of a block, at least

int64_t parts_of(int64_t count) {
  const int64_t parts = (count + EACH - 1) / EACH;
  return parts < static_cast<int64_t>(WEIGHT_PARTIALS) ? parts : WEIGHT_PARTIALS;
}

__global__ void abs_sum_kernel(const float* w, int64_t count, double* partial) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    sum += static_cast<double>(fabsf(w[i]));
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/** inverse = 1 / (1 / max(mean, 1e-5)), in this order: what the CPU rounds. */
__global__ void scale_kernel(const double* partial, int64_t parts, int64_t count, float* inverse,
                             float* scale_out) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x != 0) return;
  const auto mean = static_cast<float>(sum / static_cast<double>(count));
  const float scale = 1.0f / (mean < 1e-5f ? 1e-5f : mean);
  const bool finite = (__float_as_uint(mean) & 0x7fffffffu) < 0x7f800000u;
  *inverse = finite ? 1.0f / scale : __uint_as_float(0x7fc00000u);
  if (scale_out != nullptr) *scale_out = 1.0f / *inverse;
}

/** Rows of w are not padded, those of `out` are; its padding was zeroed when it was made. */
template <class T>
__global__ void ternarise_kernel(const float* w, const double* partial, int64_t parts, int64_t count,
                                 QuantisedWeight<T> out) {
  __shared__ double scratch[LANES];
  // The scale once more from the parts: 1 / inverse would not be the same bits.
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  const auto mean = static_cast<float>(sum / static_cast<double>(count));
  const float scale = 1.0f / (mean < 1e-5f ? 1e-5f : mean);
  const int64_t row = blockIdx.y;
  const int64_t columns = out.codes.columns;
  for (int64_t c = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; c < columns;
       c += int64_t{gridDim.x} * blockDim.x)
    for (int64_t i = row; i < out.codes.rows; i += gridDim.y) {
      const float t = fminf(fmaxf(rintf(w[i * columns + c] * scale), -1.0f), 1.0f);
      out.codes.row(i)[c] = static_cast<int8_t>(t);
      out.values.row(i)[c] = from_float<T>(t);
    }
}

template <class T>
__global__ void weights_as_kernel(const float* w, Matrix<T> out) {
  for (int64_t row = blockIdx.x; row < out.rows; row += gridDim.x)
    for (int64_t c = threadIdx.x; c < out.columns; c += blockDim.x)
      out.row(row)[c] = from_float<T>(w[row * out.columns + c]);
}

}  // namespace

template <class T>
void ternarise(const Stream& stream, const float* w, double* partial, QuantisedWeight<T> out) {
  const int64_t count = out.codes.rows * out.codes.columns;
  const int64_t parts = parts_of(count);
  const double* const sums = partial;
  MG_LAUNCH(abs_sum_kernel, stream, {dim3(static_cast<unsigned>(parts)), dim3(THREADS)}, w, count,
            partial);
  MG_LAUNCH(scale_kernel, stream, {dim3(1), dim3(THREADS)}, sums, parts, count, out.inverse,
            out.scale);
  const auto across = static_cast<unsigned>((out.codes.columns + THREADS - 1) / THREADS);
  const auto down = static_cast<unsigned>(out.codes.rows < 512 ? out.codes.rows : 512);
  launch("ternarise", ternarise_kernel<T>, stream, {dim3(across, down), dim3(THREADS)}, w, sums,
         parts, count, out);
}

template <class T>
void weights_as(const Stream& stream, const float* w, Matrix<T> out) {
  const auto blocks = static_cast<unsigned>(out.rows < 4096 ? out.rows : 4096);
  launch("weights_as", weights_as_kernel<T>, stream, {dim3(blocks), dim3(THREADS)}, w, out);
}

template void ternarise<float>(const Stream&, const float*, double*, QuantisedWeight<float>);
template void ternarise<bf16>(const Stream&, const float*, double*, QuantisedWeight<bf16>);
template void weights_as<float>(const Stream&, const float*, Matrix<float>);
template void weights_as<bf16>(const Stream&, const float*, Matrix<bf16>);

}  // namespace magnet::gpu
