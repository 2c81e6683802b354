// Muon: Newton-Schulz orthogonalisation of the momentum, as cpp/cpu/muon.cpp does it. The iterate stays
// float32; its products take operands of the precision.
#include <utility>

#include "gemm.hpp"
#include "optimizer.hpp"
#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr int STEPS = 5;
/** x -> A x + B x^3 + C x^5 of every singular value (coefficients of K. Jordan's Muon). */
constexpr float A = 3.4445f;
constexpr float B = -4.7750f;
constexpr float C = 2.0315f;
constexpr unsigned THREADS = 256;
constexpr uint64_t ALIGNMENT = 256;

/** m = momentum m + g; x = g + momentum m; g is clipped. Where the step is skipped, m stays. */
__global__ void momentum_kernel(const float* g, float* m, Matrix<float> x,
                                const StepNumbers* numbers, const StepState* state) {
  const float momentum = numbers->momentum;
  const float factor = state->factor;
  for (int64_t row = blockIdx.x; row < x.rows; row += gridDim.x)
    for (int64_t c = threadIdx.x; c < x.stride; c += blockDim.x) {
      if (c >= x.columns) {
        x.row(row)[c] = 0.0f;
        continue;
      }
      const int64_t at = row * x.columns + c;
      const float gi = factor * g[at];
      const float next = momentum * m[at] + gi;
      if (state->skips == 0) m[at] = next;
      x.row(row)[c] = gi + momentum * next;
    }
}

__global__ void square_sum_kernel(const float* x, int64_t vectors, double* partial) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < vectors; i += step) {
    const float4 v = load4(x + 4 * i);
    const auto square = [](float y) { return static_cast<double>(y) * static_cast<double>(y); };
    sum += (square(v.x) + square(v.y)) + (square(v.z) + square(v.w));
  }
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

/** 1 / (||x|| + 1e-7) of the parts. */
__global__ void shrink_kernel(const double* partial, unsigned parts, float* shrink) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  for (unsigned i = threadIdx.x; i < parts; i += blockDim.x) sum += partial[i];
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) *shrink = static_cast<float>(1.0 / (sqrt(sum) + 1e-7));
}

/** x *= *factor. */
__global__ void scale_kernel(float* x, int64_t vectors, const float* factor) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  const float f = *factor;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < vectors; i += step)
    store4(x + 4 * i, map4(load4(x + 4 * i), [&](float y) { return y * f; }));
}

/** out = x in the operands' type; other = A x, which the product is added to. */
template <class T>
__global__ void operand_kernel(const float* x, int64_t vectors, T* out, float* other) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < vectors; i += step) {
    const float4 v = load4(x + 4 * i);
    if constexpr (!std::is_same_v<T, float>) store4(out + 4 * i, v);
    store4(other + 4 * i, map4(v, [](float y) { return A * y; }));
  }
}

/** polynomial = B gram + C squared. */
template <class T>
__global__ void polynomial_kernel(const float* gram, const float* squared, int64_t vectors, T* out) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < vectors; i += step)
    store4(out + 4 * i, map4(load4(gram + 4 * i), load4(squared + 4 * i),
                             [](float g, float s) { return B * g + C * s; }));
}

template <class T>
__global__ void convert_kernel(const float* x, int64_t vectors, T* out) {
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < vectors; i += step)
    store4(out + 4 * i, load4(x + 4 * i));
}

/** p = p decay - size x, with size = lr * 0.2 * sqrt(max(rows, columns)). */
__global__ void update_kernel(float* p, Matrix<const float> x, const StepNumbers* numbers,
                              const StepState* state) {
  if (state->skips != 0) return;
  const int64_t longer = x.rows > x.columns ? x.rows : x.columns;
  const auto size = static_cast<float>(static_cast<double>(numbers->lr) * 0.2 *
                                       sqrt(static_cast<double>(longer)));
  const float decay = numbers->adamw.decay;
  for (int64_t row = blockIdx.x; row < x.rows; row += gridDim.x)
    for (int64_t c = threadIdx.x; c < x.columns; c += blockDim.x) {
      const int64_t at = row * x.columns + c;
      p[at] = p[at] * decay - size * x.row(row)[c];
    }
}

unsigned blocks_for(int64_t vectors) {
  const int64_t blocks = (vectors + 4 * THREADS - 1) / (4 * THREADS);
  return static_cast<unsigned>(blocks < 1024 ? blocks : 1024);
}
unsigned row_blocks(int64_t rows) { return static_cast<unsigned>(rows < 4096 ? rows : 4096); }

/** Takes pieces of a scratch area, or only counts them. */
class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<unsigned char*>(base)) {}
  template <class T>
  T* take(int64_t count) {
    T* const piece = base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + used_);
    used_ += (static_cast<uint64_t>(count) * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return piece;
  }
  template <class T>
  Matrix<T> matrix(int64_t rows, int64_t columns) {
    return {take<T>(rows * padded(columns)), rows, columns, padded(columns)};
  }
  uint64_t used() const { return used_; }

 private:
  unsigned char* base_;
  uint64_t used_ = 0;
};

template <class T>
struct Workspace {
  Matrix<float> x, other, gram, squared;
  Matrix<T> x_operand, gram_operand, polynomial;
  double* partial;
  float* shrink;
  uint64_t bytes;
};

template <class T>
Workspace<T> carve(int64_t rows, int64_t columns, void* scratch) {
  Carver from(scratch);
  const int64_t least = rows < columns ? rows : columns;
  Workspace<T> w;
  w.x = from.matrix<float>(rows, columns);
  w.other = from.matrix<float>(rows, columns);
  w.gram = from.matrix<float>(least, least);
  w.squared = from.matrix<float>(least, least);
  if constexpr (std::is_same_v<T, float>) {
    w.x_operand = w.x;  // moves along with x
    w.gram_operand = w.gram;
    w.polynomial = w.squared;
  } else {
    w.x_operand = from.matrix<T>(rows, columns);
    w.gram_operand = from.matrix<T>(least, least);
    w.polynomial = from.matrix<T>(least, least);
  }
  w.partial = from.take<double>(static_cast<int64_t>(NORM_PARTIALS));
  w.shrink = from.take<float>(1);
  w.bytes = from.used();
  return w;
}

template <class T>
void iterate(const Stream& stream, Workspace<T>& w) {
  const bool wide = w.x.rows <= w.x.columns;
  const int64_t vectors = w.x.rows * w.x.stride / 4;
  const int64_t square_vectors = w.gram.rows * w.gram.stride / 4;
  const dim3 threads(THREADS);
  if constexpr (std::is_same_v<T, float>) w.x_operand = w.x;
  launch("operand", operand_kernel<T>, stream, {dim3(blocks_for(vectors)), threads},
         static_cast<const float*>(w.x.data), vectors, w.x_operand.data, w.other.data);
  const Matrix<const T> x = w.x_operand;
  // gram = X X^T of a wide matrix, X^T X of a tall one.
  const Layout left = wide ? Layout::plain : Layout::transposed;
  const Layout right = wide ? Layout::transposed : Layout::plain;
  gemm<T, float>(stream, x, left, x, right, {}, w.gram);
  if constexpr (!std::is_same_v<T, float>)
    launch("convert", convert_kernel<T>, stream, {dim3(blocks_for(square_vectors)), threads},
           static_cast<const float*>(w.gram.data), square_vectors, w.gram_operand.data);
  const Matrix<const T> gram = w.gram_operand;
  gemm<T, float>(stream, gram, Layout::plain, gram, Layout::plain, {}, w.squared);
  launch("polynomial", polynomial_kernel<T>, stream, {dim3(blocks_for(square_vectors)), threads},
         static_cast<const float*>(w.gram.data), static_cast<const float*>(w.squared.data),
         square_vectors, w.polynomial.data);
  const Matrix<const T> polynomial = w.polynomial;
  const Epilogue added{nullptr, true};
  if (wide)
    gemm<T, float>(stream, polynomial, Layout::plain, x, Layout::plain, added, w.other);
  else
    gemm<T, float>(stream, x, Layout::plain, polynomial, Layout::plain, added, w.other);
  std::swap(w.x, w.other);
}

}  // namespace

template <class T>
uint64_t muon_scratch(int64_t rows, int64_t columns) {
  return carve<T>(rows, columns, nullptr).bytes;
}

template <class T>
void muon(const Stream& stream, const float* g, float* p, float* m, int64_t rows, int64_t columns,
          const StepNumbers* numbers, const StepState* state, void* scratch) {
  Workspace<T> w = carve<T>(rows, columns, scratch);
  const int64_t vectors = rows * w.x.stride / 4;
  const unsigned blocks = blocks_for(vectors);
  // The products write columns, not the padding, which the element-wise kernels read.
  const Matrix<float> parts[] = {w.other, w.gram, w.squared};
  for (const Matrix<float>& part : parts)
    fill_bytes(stream, part.data, 0, static_cast<uint64_t>(part.rows * part.stride) * sizeof(float));
  MG_LAUNCH(momentum_kernel, stream, {dim3(row_blocks(rows)), dim3(THREADS)}, g, m, w.x, numbers,
            state);
  MG_LAUNCH(square_sum_kernel, stream, {dim3(blocks), dim3(THREADS)},
            static_cast<const float*>(w.x.data), vectors, w.partial);
  MG_LAUNCH(shrink_kernel, stream, {dim3(1), dim3(THREADS)},
            static_cast<const double*>(w.partial), blocks, w.shrink);
  MG_LAUNCH(scale_kernel, stream, {dim3(blocks), dim3(THREADS)}, w.x.data, vectors,
            static_cast<const float*>(w.shrink));
  for (int step = 0; step < STEPS; step++) iterate(stream, w);
  MG_LAUNCH(update_kernel, stream, {dim3(row_blocks(rows)), dim3(THREADS)}, p,
            Matrix<const float>(w.x), numbers, state);
}

#define INSTANTIATE(T)                                                                         \
  template uint64_t muon_scratch<T>(int64_t, int64_t);                                         \
  template void muon<T>(const Stream&, const float*, float*, float*, int64_t, int64_t,         \
                        const StepNumbers*, const StepState*, void*)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
