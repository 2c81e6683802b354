// Rotary positions in place, and on the way from sums to two fp16. Bound by memory: a thread owns pairs
// whose halves are 16 bytes each where head_dim allows it, single pairs otherwise.
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

struct SplitShape {
  uint32_t context;
  uint32_t heads;     // of queries
  uint32_t kv_heads;  // of keys, and of values
  uint32_t runs;
  uint32_t count;
};

/** x as two fp16. */
__device__ __forceinline__ void split(float x, fp16& high, fp16& low) {
  high = to_fp16(saturated(x));
  low = to_fp16(saturated(x - to_float(high)));
}

/** Angle and order of operations as above. Reads and writes the same 16-bit elements. */
template <int WIDTH>
__global__ void __launch_bounds__(THREADS)
    rope_split_kernel(QkvSums x, SplitShape shape, const float* cosines, const float* sines) {
  const uint32_t i = blockIdx.x * THREADS + threadIdx.x;
  if (i >= shape.count) return;
  const uint32_t run = i % shape.runs;
  const uint32_t all = shape.heads + 2 * shape.kv_heads;
  const uint32_t row = i / (shape.runs * all);
  uint32_t head = i / shape.runs % all;
  const uint32_t part = head < shape.heads ? 0 : head < shape.heads + shape.kv_heads ? 1 : 2;
  head -= part == 0 ? 0 : shape.heads + (part - 1) * shape.kv_heads;
  const uint32_t half = shape.runs * WIDTH;
  const int64_t column = (part == 0   ? 0
                          : part == 1 ? x.first_k
                                      : x.first_v) +
                         int64_t{head} * 2 * half + run * WIDTH;
  const uint64_t at = static_cast<uint64_t>(row % shape.context) * half + run * WIDTH;
  const float row_scale = x.row_scale[row];
  const float scale = x.scales[part];
  using Values = Run<fp16, WIDTH>;
  fp16* const first = x.of.row(row) + column;
  fp16* const low = x.low.row(row) + column;
  Values a = *reinterpret_cast<const Values*>(first);
  Values b = *reinterpret_cast<const Values*>(first + half);
  Values low_a, low_b;
  const auto value = [&](fp16 code) {
    const float sum = from_sum_code(static_cast<int16_t>(code.bits), x.step);
    return __fmul_rn(__fmul_rn(sum, row_scale), scale);
  };
#pragma unroll
  for (int j = 0; j < WIDTH; j++) {
    const float c = part == 2 ? 1.0f : cosines[at + static_cast<uint32_t>(j)];
    const float s = part == 2 ? 0.0f : sines[at + static_cast<uint32_t>(j)];
    const float p = value(a.of[j]);
    const float q = value(b.of[j]);
    split(__fmaf_rn(-q, s, __fmul_rn(p, c)), a.of[j], low_a.of[j]);
    split(__fmaf_rn(p, s, __fmul_rn(q, c)), b.of[j], low_b.of[j]);
  }
  *reinterpret_cast<Values*>(first) = a;
  *reinterpret_cast<Values*>(first + half) = b;
  *reinterpret_cast<Values*>(low) = low_a;
  *reinterpret_cast<Values*>(low + half) = low_b;
}

template <int WIDTH>
void start_split(const Stream& stream, const AttentionShape& a, const QkvSums& x,
                 const float* cosines, const float* sines) {
  const int64_t runs = a.head_dim / 2 / WIDTH;
  const int64_t count = x.of.rows * (a.heads + 2 * a.kv_heads) * runs;
  if (count > INT32_MAX) fail(MG_E_SHAPE, "rotary positions of too many rows at once");
  const SplitShape shape = {static_cast<uint32_t>(a.context), static_cast<uint32_t>(a.heads),
                            static_cast<uint32_t>(a.kv_heads), static_cast<uint32_t>(runs),
                            static_cast<uint32_t>(count)};
  const dim3 grid((shape.count + THREADS - 1) / THREADS);
  MG_LAUNCH(rope_split_kernel<WIDTH>, stream, {grid, THREADS}, x, shape, cosines, sines);
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
void rope_split(const Stream& stream, const AttentionShape& shape, const QkvSums& sums,
                const float* cosines, const float* sines) {
  if (sums.of.rows == 0) return;
  if (shape.head_dim % 16 == 0)
    start_split<8>(stream, shape, sums, cosines, sines);
  else
    start_split<1>(stream, shape, sums, cosines, sines);
}

template void rope(const Stream&, Matrix<float>, int64_t, int64_t, int64_t, const float*,
                   const float*, bool);
template void rope(const Stream&, Matrix<fp16>, int64_t, int64_t, int64_t, const float*,
                   const float*, bool);
template void rope(const Stream&, Matrix<bf16>, int64_t, int64_t, int64_t, const float*,
                   const float*, bool);

}  // namespace magnet::gpu
