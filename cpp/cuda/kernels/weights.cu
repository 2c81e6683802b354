// What the products of a step take of the latent weights: ternary codes with their scale, or the
// weights themselves in the operands' type.
#include <algorithm>

#include "norm.hpp"
#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 256;
constexpr int64_t EACH = 4096;  // weights of a block, at least

__host__ __device__ __forceinline__ int64_t parts_of(int64_t count) {
  const int64_t parts = (count + EACH - 1) / EACH;
  return parts < static_cast<int64_t>(WEIGHT_PARTIALS) ? parts : WEIGHT_PARTIALS;
}

template <class T>
__device__ __forceinline__ int64_t count_of(const WeightTask<T>& task) {
  return task.out.codes.rows * task.out.codes.columns;
}

/** Parts of the task blockIdx.y. */
template <class T>
__global__ void abs_sum_kernel(const WeightTask<T>* tasks, double* partial) {
  __shared__ double scratch[LANES];
  const WeightTask<T>& task = tasks[blockIdx.y];
  const int64_t count = count_of(task);
  const int64_t parts = parts_of(count);
  if (blockIdx.x >= parts) return;
  const float* const w = task.latent;
  double sum = 0.0;
  const int64_t step = parts * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < count; i += step)
    sum += static_cast<double>(fabsf(w[i]));
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.y * WEIGHT_PARTIALS + blockIdx.x] = sum;
}

/** The mean of |w| from its parts; every thread of the block has it. */
__device__ __forceinline__ float mean_of(const double* partial, int64_t count) {
  __shared__ double scratch[LANES];
  const int64_t parts = parts_of(count);
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  return static_cast<float>(sum / static_cast<double>(count));
}
__device__ __forceinline__ float scale_of(float mean) {
  return 1.0f / (mean < 1e-5f ? 1e-5f : mean);
}

/** inverse = 1 / (1 / max(mean, 1e-5)), in this order: what the CPU rounds. */
template <class T>
__global__ void scale_kernel(const WeightTask<T>* tasks, const double* partial) {
  const WeightTask<T>& task = tasks[blockIdx.x];
  const float mean = mean_of(partial + blockIdx.x * WEIGHT_PARTIALS, count_of(task));
  if (threadIdx.x != 0) return;
  const bool finite = (__float_as_uint(mean) & 0x7fffffffu) < 0x7f800000u;
  const float inverse = finite ? 1.0f / scale_of(mean) : __uint_as_float(0x7fc00000u);
  *task.out.inverse = inverse;
  if (task.out.scale != nullptr) *task.out.scale = 1.0f / inverse;
}

/** Four weights of a row without padding; zeros behind its end. Rows that are all aligned come as
 * vectors. */
struct LatentRows {
  const float* w;
  int64_t columns;
  bool aligned;

  __host__ __device__ LatentRows(const float* weights, int64_t count)
      : w(weights),
        columns(count),
        aligned(reinterpret_cast<uintptr_t>(weights) % sizeof(float4) == 0 && count % 4 == 0) {}
  __device__ __forceinline__ float4 at(int64_t row, int64_t c) const {
    return aligned ? load4(w + row * columns + c) : load4_within(w + row * columns, c, columns);
  }
};

/** What lies behind the columns becomes zero, as a Matrix wants it. */
template <class T>
__global__ void ternarise_kernel(const WeightTask<T>* tasks, const double* partial) {
  const WeightTask<T>& task = tasks[blockIdx.z];
  const QuantisedWeight<T> out = task.out;
  const int64_t first = 4 * int64_t{blockIdx.x} * blockDim.x;
  if (first >= out.codes.columns || blockIdx.y >= out.codes.rows) return;
  // The scale once more from the parts: 1 / inverse would not be the same bits.
  const float scale =
      scale_of(mean_of(partial + blockIdx.z * WEIGHT_PARTIALS, count_of(task)));
  const LatentRows w(task.latent, out.codes.columns);
  const int64_t c = first + 4 * int64_t{threadIdx.x};
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
void ternarise(const Stream& stream, const std::vector<WeightTask<T>>& tasks,
               const WeightTask<T>* on_device, double* partial) {
  if (tasks.empty()) return;
  int64_t parts = 1;
  int64_t columns = 1;
  int64_t rows = 1;
  for (const auto& [latent, out] : tasks) {
    parts = std::max(parts, parts_of(out.codes.rows * out.codes.columns));
    columns = std::max(columns, out.codes.columns);
    rows = std::max(rows, out.codes.rows);
  }
  const auto count = static_cast<unsigned>(tasks.size());
  const double* const sums = partial;
  launch("abs_sum", abs_sum_kernel<T>, stream,
         {dim3(static_cast<unsigned>(parts), count), dim3(THREADS)}, on_device, partial);
  launch("scale", scale_kernel<T>, stream, {dim3(count), dim3(THREADS)}, on_device, sums);
  const auto across = static_cast<unsigned>((columns + 4 * THREADS - 1) / (4 * THREADS));
  const auto down = static_cast<unsigned>(rows < 512 ? rows : 512);
  launch("ternarise", ternarise_kernel<T>, stream, {dim3(across, down, count), dim3(THREADS)},
         on_device, sums);
}

template <class T>
void weights_as(const Stream& stream, const float* w, Matrix<T> out) {
  const auto blocks = static_cast<unsigned>(out.rows < 4096 ? out.rows : 4096);
  launch("weights_as", weights_as_kernel<T>, stream, {dim3(blocks), dim3(THREADS)},
         LatentRows(w, out.columns), out);
}

template void ternarise<float>(const Stream&, const std::vector<WeightTask<float>>&,
                               const WeightTask<float>*, double*);
template void ternarise<bf16>(const Stream&, const std::vector<WeightTask<bf16>>&,
                              const WeightTask<bf16>*, double*);
template void weights_as<float>(const Stream&, const float*, Matrix<float>);
template void weights_as<bf16>(const Stream&, const float*, Matrix<bf16>);

}  // namespace magnet::gpu
