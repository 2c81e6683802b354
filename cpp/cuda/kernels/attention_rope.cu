// Rotary positions in place. Bound by memory: a thread owns pairs whose halves are 16 bytes each
// where head_dim allows it, single pairs otherwise.
#include "attention.hpp"

namespace magnet::gpu {
namespace {

constexpr unsigned THREADS = 256;

template <class T, int WIDTH>
struct __align__(sizeof(T) * WIDTH) Run {
  T of[WIDTH];
};

struct RopeShape {
  uint32_t context;
  uint32_t heads;
  uint32_t runs;  // of a head: head_dim / 2 / WIDTH
  uint32_t count;
};

/** The fused order of operations is the CPU's: float32 gives the same bits. */
template <class T, int WIDTH>
__global__ void __launch_bounds__(THREADS)
    rope_kernel(Matrix<T> x, RopeShape shape, const float* cosines, const float* sines,
                float sign) {
  const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= shape.count) return;
  const uint32_t run = i % shape.runs;
  const uint32_t head = i / shape.runs % shape.heads;
  const uint32_t row = i / (shape.runs * shape.heads);
  const uint32_t half = shape.runs * WIDTH;
  const uint64_t at = static_cast<uint64_t>(row % shape.context) * half + run * WIDTH;
  using Values = Run<T, WIDTH>;
  using Angles = Run<float, WIDTH % 4 == 0 ? 4 : 1>;
  constexpr int ANGLES = sizeof(Angles) / sizeof(float);
  T* const first = x.row(row) + uint64_t{head} * 2 * half + run * WIDTH;
  Values a = *reinterpret_cast<const Values*>(first);
  Values b = *reinterpret_cast<const Values*>(first + half);
#pragma unroll
  for (int j = 0; j < WIDTH; j += ANGLES) {
    const Angles c = *reinterpret_cast<const Angles*>(cosines + at + j);
    const Angles s = *reinterpret_cast<const Angles*>(sines + at + j);
#pragma unroll
    for (int n = 0; n < ANGLES; n++) {
      const float p = as_float(a.of[j + n]);
      const float q = as_float(b.of[j + n]);
      const float sine = sign * s.of[n];
      a.of[j + n] = from_float<T>(__fmaf_rn(-q, sine, __fmul_rn(p, c.of[n])));
      b.of[j + n] = from_float<T>(__fmaf_rn(p, sine, __fmul_rn(q, c.of[n])));
    }
  }
  *reinterpret_cast<Values*>(first) = a;
  *reinterpret_cast<Values*>(first + half) = b;
}

template <class T, int WIDTH>
void start(const Stream& stream, Matrix<T> x, int64_t context, int64_t heads, int64_t half,
           const float* cosines, const float* sines, bool backward) {
  const int64_t count = x.rows * heads * (half / WIDTH);
  if (count > INT32_MAX) fail(MG_E_SHAPE, "rotary positions of too many rows at once");
  const RopeShape shape = {static_cast<uint32_t>(context), static_cast<uint32_t>(heads),
                           static_cast<uint32_t>(half / WIDTH), static_cast<uint32_t>(count)};
  const dim3 grid((shape.count + THREADS - 1) / THREADS);
  MG_LAUNCH((rope_kernel<T, WIDTH>), stream, {grid, THREADS}, x, shape, cosines, sines,
            backward ? -1.0f : 1.0f);
}

}  // namespace

template <class T>
void rope(const Stream& stream, Matrix<T> x, int64_t context, int64_t heads, int64_t head_dim,
          const float* cosines, const float* sines, bool backward) {
  constexpr int WIDTH = 16 / sizeof(T);
  if (x.rows == 0) return;
  const int64_t half = head_dim / 2;
  if (half % WIDTH == 0)
    start<T, WIDTH>(stream, x, context, heads, half, cosines, sines, backward);
  else
    start<T, 1>(stream, x, context, heads, half, cosines, sines, backward);
}
template void rope(const Stream&, Matrix<float>, int64_t, int64_t, int64_t, const float*,
                   const float*, bool);
template void rope(const Stream&, Matrix<fp16>, int64_t, int64_t, int64_t, const float*,
                   const float*, bool);
template void rope(const Stream&, Matrix<bf16>, int64_t, int64_t, int64_t, const float*,
                   const float*, bool);

}  // namespace magnet::gpu
