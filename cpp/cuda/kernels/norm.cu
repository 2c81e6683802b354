// Forward: norm, SwiGLU and quantiser of a row in one kernel. The row stays in shared memory as float32,
// so device memory is read once and written once: what bounds these kernels is its bandwidth.
#include "norm.hpp"

#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr float LEAST_MAX = 1e-5f;
/** Of a row that shared memory holds as float32. */
constexpr int64_t COLUMNS_MAX = 57344;

struct RowShape {
  int64_t columns;
  int64_t vectors;  // of four, padding included
};

struct Plain {
  Matrix<const float> x;
  __device__ float4 at(int64_t row, int64_t c) const { return load4(x.row(row) + c); }
};

__device__ __forceinline__ float sigmoid(float g) { return 1.0f / (1.0f + expf(-g)); }

template <class T>
struct Swiglu {
  Product<T> gate;
  Product<T> up;
  __device__ float4 at(int64_t row, int64_t c) const {
    return map4(gate.at(row, c), up.at(row, c),
                [](float g, float u) { return g * sigmoid(g) * u; });
  }
};

/** Order of the bits of |x|: that of the magnitudes, NaN above all. */
__device__ __forceinline__ unsigned magnitude(float x) {
  return __float_as_uint(x) & 0x7fffffffu;
}

/** The row's values into shared memory; 1 / sqrt(mean square + eps) where there is a norm. */
template <class Source>
__device__ float gather(const Source& source, int64_t row, const RowShape& shape, float eps,
                        bool normed, float4* kept, float* scratch) {
  float squares = 0.0f;
  for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x) {
    const float4 v = source.at(row, 4 * i);
    kept[i] = v;
    squares = fmaf(v.x, v.x, fmaf(v.y, v.y, fmaf(v.z, v.z, fmaf(v.w, v.w, squares))));
  }
  if (!normed) return 1.0f;
  squares = block_sum(squares, scratch);
  return 1.0f / sqrtf(squares / static_cast<float>(shape.columns) + eps);
}

template <class T>
__device__ void quantise_row(int64_t row, const RowShape& shape, const float4* kept, unsigned most,
                             const QuantisedInput<T>& out) {
  const float absmax = __uint_as_float(most);
  // NaN and infinity must not end as a finite scale.
  const float scale = most >= 0x7f800000u ? __uint_as_float(0x7fc00000u)
                                          : 127.0f / (absmax < LEAST_MAX ? LEAST_MAX : absmax);
  const float inverse = 1.0f / scale;
  if (threadIdx.x == 0) out.inverse[row] = inverse;
  for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x) {
    const float4 q = map4(kept[i], [&](float y) {
      return fminf(fmaxf(rintf(y * scale), -128.0f), 127.0f);
    });
    *reinterpret_cast<char4*>(out.codes.row(row) + 4 * i) =
        make_char4(static_cast<signed char>(q.x), static_cast<signed char>(q.y),
                   static_cast<signed char>(q.z), static_cast<signed char>(q.w));
    store4(out.values.row(row) + 4 * i, map4(q, [&](float code) { return code * inverse; }));
  }
}

template <class Source, class T, bool QUANTISE>
__global__ void norm_kernel(Source source, RowShape shape, const float* w, float eps, float* r,
                            QuantisedInput<T> out) {
  __shared__ float scratch[LANES];
  __shared__ unsigned most_scratch[LANES];
  float4* const kept = dynamic_shared<float4>();
  const int64_t row = blockIdx.x;
  const float root = gather(source, row, shape, eps, w != nullptr, kept, scratch);
  if (threadIdx.x == 0 && w != nullptr) r[row] = root;
  unsigned most = 0;
  // Each thread reads back what it wrote: no barrier.
  for (int64_t i = threadIdx.x; i < shape.vectors; i += blockDim.x) {
    float4 y = kept[i];
    if (w != nullptr)
      y = map4(y, load4_within(w, 4 * i, shape.columns),
               [&](float x, float weight) { return x * root * weight; });
    if constexpr (QUANTISE) {
      kept[i] = y;
      most = max(max(max(most, magnitude(y.x)), max(magnitude(y.y), magnitude(y.z))),
                 magnitude(y.w));
    } else {
      store4(out.values.row(row) + 4 * i, y);
    }
  }
  if constexpr (QUANTISE) quantise_row(row, shape, kept, block_max(most, most_scratch), out);
}

/** Threads of a block: about two vectors each. */
unsigned threads_for(int64_t vectors) {
  unsigned threads = 64;
  while (threads < 512 && threads * 2 < vectors) threads *= 2;
  return threads;
}

template <class Source, class T>
void launch_norm(const Stream& stream, const Source& source, int64_t rows, int64_t columns,
                 const float* w, float eps, bool quantise, float* r,
                 const QuantisedInput<T>& out) {
  if (columns > COLUMNS_MAX)
    fail(MG_E_UNSUPPORTED, "rows of %lld elements: a GPU's norm takes at most %lld",
         static_cast<long long>(columns), static_cast<long long>(COLUMNS_MAX));
  if (rows == 0) return;
  const RowShape shape{columns, padded(columns) / 4};
  const Geometry geometry{dim3(static_cast<unsigned>(rows)), dim3(threads_for(shape.vectors)),
                          static_cast<uint64_t>(shape.vectors) * sizeof(float4)};
  if (quantise)
    launch("norm_quantise", norm_kernel<Source, T, true>, stream, geometry, source, shape, w, eps, r,
           out);
  else
    launch("norm", norm_kernel<Source, T, false>, stream, geometry, source, shape, w, eps, r, out);
}

}  // namespace

template <class T>
void norm_quantise(const Stream& stream, Matrix<const float> x, const float* w, float eps,
                   bool quantise, float* r, QuantisedInput<T> out) {
  launch_norm(stream, Plain{x}, x.rows, x.columns, w, eps, quantise, r, out);
}

template <class T>
void swiglu_norm_quantise(const Stream& stream, const Product<T>& gate, const Product<T>& up,
                          const float* w, float eps, bool quantise, float* r,
                          QuantisedInput<T> out) {
  launch_norm(stream, Swiglu<T>{gate, up}, gate.of.rows, gate.of.columns, w, eps, quantise, r, out);
}

#define INSTANTIATE(T)                                                                            \
  template void norm_quantise<T>(const Stream&, Matrix<const float>, const float*, float, bool,   \
                                 float*, QuantisedInput<T>);                                      \
  template void swiglu_norm_quantise<T>(const Stream&, const Product<T>&, const Product<T>&,      \
                                        const float*, float, bool, float*, QuantisedInput<T>)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
