// What attention's backward pass takes besides d_o: statistics of the queries, for which a warp per
// query and head reads o and d_o once.
#include "attention_stats.cuh"

namespace magnet::gpu {
namespace {

constexpr int WARPS = 8;

template <class E>
struct __align__(2 * sizeof(E)) Pair {
  E first, second;
};

template <class T>
__global__ void __launch_bounds__(WARPS* LANES)
    attention_stats_kernel(AttentionShape shape, Matrix<const float> o, Matrix<const T> d_o,
                           const float* log_sums, float factor, float2* stats) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int64_t i = int64_t{blockIdx.x} * WARPS + threadIdx.x / LANES;
  const int64_t position = i % stats_stride(shape);
  const int64_t head = i / stats_stride(shape);  // of all sequences
  if (position >= shape.context) {
    if (lane == 0) stats[i] = {INFINITY, 0};
    return;
  }
  const int64_t row = head / shape.heads * shape.context + position;
  const int64_t column = head % shape.heads * shape.head_dim;
  const float* const a = o.row(row) + column;
  const T* const b = d_o.row(row) + column;
  float sum = 0;
  // Pairs: head_dim is even, rows are aligned.
  for (int j = 2 * lane; j < shape.head_dim; j += 2 * LANES) {
    const float2 x = *reinterpret_cast<const float2*>(a + j);
    const Pair<T> y = *reinterpret_cast<const Pair<T>*>(b + j);
    sum = __fmaf_rn(x.x, as_float(y.first), sum);
    sum = __fmaf_rn(x.y, as_float(y.second), sum);
  }
  sum = warp_sum(sum);
  if (lane == 0) stats[i] = {log_sums[head * shape.context + position] * factor, sum};
}

}  // namespace

void check_attention(const AttentionShape& shape) {
  const bool fits = shape.head_dim >= 2 && shape.head_dim <= 256 && shape.head_dim % 2 == 0 &&
                    shape.kv_heads >= 1 && shape.heads % shape.kv_heads == 0 &&
                    shape.context >= 1 && shape.context <= INT32_MAX / 2 && shape.sequences >= 1;
  if (!fits || shape.sequences * shape.heads * stats_stride(shape) > INT32_MAX)
    fail(MG_E_SHAPE,
         "attention of %lld sequences of %lld positions, %lld heads of %lld, %lld kv heads",
         static_cast<long long>(shape.sequences), static_cast<long long>(shape.context),
         static_cast<long long>(shape.heads), static_cast<long long>(shape.head_dim),
         static_cast<long long>(shape.kv_heads));
}

uint64_t attention_scratch(const AttentionShape& shape) {
  return static_cast<uint64_t>(2 * shape.sequences * shape.heads * stats_stride(shape));
}

template <class T>
const float2* attention_stats(const Stream& stream, const AttentionShape& shape,
                              Matrix<const float> o, Matrix<const T> d_o,
                              const float* log_sums, float factor, float* scratch) {
  auto* const stats = reinterpret_cast<float2*>(scratch);
  const int64_t rows = shape.sequences * shape.heads * stats_stride(shape);
  // stats_stride is a multiple of the warps of a block.
  MG_LAUNCH(attention_stats_kernel<T>, stream,
            {static_cast<unsigned>(rows / WARPS), WARPS * LANES}, shape, o, d_o, log_sums, factor,
            stats);
  return stats;
}
template const float2* attention_stats<float>(const Stream&, const AttentionShape&,
                                              Matrix<const float>, Matrix<const float>,
                                              const float*, float, float*);
template const float2* attention_stats<bf16>(const Stream&, const AttentionShape&,
                                             Matrix<const float>, Matrix<const bf16>, const float*,
                                             float, float*);

}  // namespace magnet::gpu
