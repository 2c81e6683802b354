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

/** Four weights of a row without padding; zeros behind its end. Rows that are all aligned come as
 * vectors. */
struct LatentRows {
  const float* w;
  int64_t columns;
  bool aligned;

  LatentRows(const float* weights, int64_t count)
      : w(weights),
        columns(count),
        aligned(reinterpret_cast<uintptr_t>(weights) % sizeof(float4) == 0 && count % 4 == 0) {}
  __device__ __forceinline__ float4 at(int64_t row, int64_t c) const {
    return aligned ? load4(w + row * columns + c) : load4_within(w + row * columns, c, columns);
  }
};

/** What lies behind the columns becomes zero, as a Matrix wants it. */
template <class T>
__global__ void ternarise_kernel(LatentRows w, const double* partial, int64_t parts, int64_t count,
                                 QuantisedWeight<T> out) {
  __shared__ double scratch[LANES];
  // The scale once more from the parts: 1 / inverse would not be the same bits.
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  const auto mean = static_cast<float>(sum / static_cast<double>(count));
  const float scale = 1.0f / (mean < 1e-5f ? 1e-5f : mean);
  const int64_t c = 4 * (int64_t{blockIdx.x} * blockDim.x + threadIdx.x);
  if (c >= w.columns) return;
  for (int64_t row = blockIdx.y; row < out.codes.rows; row += gridDim.y) {
    const float4 t = map4(w.at(row, c), [&](float x) {
      return fminf(fmaxf(rintf(x * scale), -1.0f), 1.0f);
    });
    *reinterpret_cast<char4*>(out.codes.row(row) + c) =
        make_char4(static_cast<signed char>(t.x), static_cast<signed char>(t.y),
                   static_cast<signed char>(t.z), static_cast<signed char>(t.w));
    store4(out.values.row(row) + c, t);
  }
}

template <class T>
__global__ void weights_as_kernel(LatentRows w, Matrix<T> out) {
  for (int64_t row = blockIdx.x; row < out.rows; row += gridDim.x)
    for (int64_t c = 4 * int64_t{threadIdx.x}; c < out.columns; c += 4 * int64_t{blockDim.x})
      store4(out.row(row) + c, w.at(row, c));
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
  const auto across = static_cast<unsigned>((out.codes.columns + 4 * THREADS - 1) / (4 * THREADS));
  const auto down = static_cast<unsigned>(out.codes.rows < 512 ? out.codes.rows : 512);
  launch("ternarise", ternarise_kernel<T>, stream, {dim3(across, down), dim3(THREADS)},
         LatentRows(w, out.codes.columns), sums, parts, count, out);
}

template <class T>
void weights_as(const Stream& stream, const float* w, Matrix<T> out) {
  const auto blocks = static_cast<unsigned>(out.rows < 4096 ? out.rows : 4096);
  launch("weights_as", weights_as_kernel<T>, stream, {dim3(blocks), dim3(THREADS)},
         LatentRows(w, out.columns), out);
}

template void ternarise<float>(const Stream&, const float*, double*, QuantisedWeight<float>);
template void ternarise<bf16>(const Stream&, const float*, double*, QuantisedWeight<bf16>);
template void weights_as<float>(const Stream&, const float*, Matrix<float>);
template void weights_as<bf16>(const Stream&, const float*, Matrix<bf16>);

}  // namespace magnet::gpu
