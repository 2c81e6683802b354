// Backward of the norms. A block takes every BLOCKS-th row and keeps its part of the weights' gradient
// in shared memory, where each thread owns its columns; a second kernel adds the parts in order. The
// number of blocks depends on the rows alone, so every device gives the same sums.
#include "norm.hpp"
#include "vectors.cuh"

namespace magnet::gpu {

namespace {

/** Four on each multiprocessor of the largest devices. */
constexpr int64_t BLOCKS = 512;
constexpr unsigned THREADS = 256;

struct RowShape {
  int64_t rows;
  int64_t columns;
  int64_t vectors;
};

__device__ __forceinline__ float sigmoid(float g) { return 1.0f / (1.0f + expf(-g)); }

/** Where a norm's gradient goes: dx, and once more as the operand of the next product. */
template <class G, class T>
struct PlainBackward {
  Matrix<const float> x;
  Matrix<G> dx;
  Matrix<T> operand;
  bool accumulate;

  __device__ float4 input(int64_t row, int64_t c) const { return load4(x.row(row) + c); }
  __device__ void output(int64_t row, int64_t c, float4 d) const {
    if (accumulate)
      d = map4(d, load4(dx.row(row) + c), [](float a, float b) { return a + b; });
    store4(dx.row(row) + c, d);
    if (operand.data != nullptr) store4(operand.row(row) + c, d);
  }
};

template <class T>
struct SwigluBackward {
  Product<T> gate;
  Product<T> up;
  const float* weight_scales;
  Matrix<T> dgate;
  Matrix<T> dup;

  __device__ float4 input(int64_t row, int64_t c) const {
    return map4(gate.at(row, c), up.at(row, c),
                [](float g, float u) { return g * sigmoid(g) * u; });
  }
  __device__ void output(int64_t row, int64_t c, float4 d) const {
    const float4 g = gate.at(row, c);
    const float4 u = up.at(row, c);
    const float gate_scale = weight_scales == nullptr ? 1.0f : weight_scales[0];
    const float up_scale = weight_scales == nullptr ? 1.0f : weight_scales[1];
    store4(dup.row(row) + c, map4(d, g, [&](float dh, float x) {
             return dh * (x * sigmoid(x)) * up_scale;
           }));
    store4(dgate.row(row) + c, map4(d, g, u, [&](float dh, float x, float y) {
             const float s = sigmoid(x);
             return dh * y * fmaf(x * s, 1.0f - s, s) * gate_scale;
           }));
  }
};

/** partial (grid, columns): each block's sum of dy * x * r over its rows. */
template <class Part, class D>
__global__ void norm_backward_kernel(Part part, RowShape shape, const float* w, Matrix<const D> dy,
                                     const float* r, float* partial) {
  __shared__ float scratch[LANES];
  float4* const dw = dynamic_shared<float4>();
  for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x)
    dw[i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
  for (int64_t row = blockIdx.x; row < shape.rows; row += gridDim.x) {
    float dot = 0.0f;
    for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x) {
      const float4 g = map4(load4(dy.row(row) + 4 * i), load4_within(w, 4 * i, shape.columns),
                            [](float d, float weight) { return d * weight; });
      const float4 x = part.input(row, 4 * i);
      dot = fmaf(g.x, x.x, fmaf(g.y, x.y, fmaf(g.z, x.z, fmaf(g.w, x.w, dot))));
    }
    dot = block_sum(dot, scratch);
    const float root = r[row];
    const float shift = root * root * (dot / static_cast<float>(shape.columns));
    for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x) {
      const float4 d = load4(dy.row(row) + 4 * i);
      const float4 x = part.input(row, 4 * i);
      const float4 g = map4(d, load4_within(w, 4 * i, shape.columns),
                            [](float a, float weight) { return a * weight; });
      dw[i] = map4(d, x, dw[i], [&](float a, float b, float sum) { return fmaf(a, b * root, sum); });
      part.output(row, 4 * i,
                  map4(g, x, [&](float a, float b) { return root * fmaf(-b, shift, a); }));
    }
  }
  float* const mine = partial + blockIdx.x * shape.columns;
  for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x) {
    const float4 sum = dw[i];
    const float values[4] = {sum.x, sum.y, sum.z, sum.w};
    for (int j = 0; j < 4; j++)
      if (4 * i + j < shape.columns) mine[4 * i + j] = values[j];
  }
}

/** Without a norm the gradient goes straight through. */
template <class Part, class D>
__global__ void pass_backward_kernel(Part part, RowShape shape, Matrix<const D> dy) {
  for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x)
    part.output(blockIdx.x, 4 * i, load4(dy.row(blockIdx.x) + 4 * i));
}

__global__ void add_partials_kernel(const float* partial, int64_t parts, int64_t columns,
                                    float* dw) {
  const int64_t column = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (column >= columns) return;
  float sum = 0.0f;
  for (int64_t part = 0; part < parts; part++) sum += partial[part * columns + column];
  dw[column] += sum;
}

template <class Part, class D>
void launch_backward(const Stream& stream, const Part& part, int64_t rows, const float* w,
                     Matrix<const D> dy, const float* r, float* dw, float* partial) {
  if (rows == 0) return;
  const RowShape shape{rows, dy.columns, padded(dy.columns) / 4};
  if (w == nullptr) {
    launch("pass_backward", pass_backward_kernel<Part, D>, stream,
           {dim3(static_cast<unsigned>(rows)), dim3(THREADS)}, part, shape, dy);
    return;
  }
  const int64_t blocks = rows < BLOCKS ? rows : BLOCKS;
  launch("norm_backward", norm_backward_kernel<Part, D>, stream,
         {dim3(static_cast<unsigned>(blocks)), dim3(THREADS),
          static_cast<uint64_t>(shape.vectors) * sizeof(float4)},
         part, shape, w, dy, r, partial);
  const auto column_blocks = static_cast<unsigned>((dy.columns + 127) / 128);
  launch("add_partials", add_partials_kernel, stream, {dim3(column_blocks), dim3(128)},
         static_cast<const float*>(partial), blocks, dy.columns, dw);
}

}  // namespace

uint64_t norm_partials(int64_t columns) { return static_cast<uint64_t>(BLOCKS * columns); }

template <class D, class G, class T>
void norm_backward(const Stream& stream, Matrix<const float> x, const float* w, Matrix<const D> dy,
                   const float* r, bool accumulate, Matrix<G> dx, Matrix<T> dx_operand, float* dw,
                   float* partial) {
  launch_backward(stream, PlainBackward<G, T>{x, dx, dx_operand, accumulate}, x.rows, w, dy, r, dw,
                  partial);
}

template <class T>
void swiglu_norm_backward(const Stream& stream, const Product<T>& gate, const Product<T>& up,
                          const float* w, Matrix<const T> dh, const float* r,
                          const float* weight_scales, Matrix<T> dgate, Matrix<T> dup, float* dw,
                          float* partial) {
  launch_backward(stream, SwigluBackward<T>{gate, up, weight_scales, dgate, dup}, dh.rows, w, dh, r,
                  dw, partial);
}

#define INSTANTIATE(D, G, T)                                                               \
  template void norm_backward<D, G, T>(const Stream&, Matrix<const float>, const float*,   \
                                       Matrix<const D>, const float*, bool, Matrix<G>,     \
                                       Matrix<T>, float*, float*)
INSTANTIATE(float, float, float);
INSTANTIATE(float, float, bf16);
INSTANTIATE(bf16, float, bf16);
INSTANTIATE(bf16, bf16, bf16);
#undef INSTANTIATE
#define INSTANTIATE(T)                                                                            \
  template void swiglu_norm_backward<T>(const Stream&, const Product<T>&, const Product<T>&,      \
                                        const float*, Matrix<const T>, const float*,              \
                                        const float*, Matrix<T>, Matrix<T>, float*, float*)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
