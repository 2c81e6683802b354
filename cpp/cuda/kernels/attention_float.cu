// Attention in float32, for audits and tests: sums in order of the columns or positions. A warp owns
// four rows (queries, or keys for dK and dV); lanes are the other side's positions while scores are
// made and the head's columns while rows are mixed. Tiles of 32 positions go through shared memory.
#include <cmath>

#include "attention_stats.cuh"

namespace magnet::gpu {
namespace {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * LANES;
constexpr int ROWS = 4;  // of a warp
constexpr int OWN = WARPS * ROWS;
constexpr int TILE = LANES;
/** Blocks of a multiprocessor at least: with registers for more, ptxas spills what it keeps of a row. */
constexpr int TOGETHER = 2;

/** Head_dim up to 32 * C. Rows of shared memory are an odd number of 16-byte units apart, so that
 * lanes reading a column of them meet no bank conflict. */
template <int C>
struct Side {
  static constexpr int STRIDE = LANES * C + 4;
  float* rows;

  __device__ float* row(int i) const { return rows + i * STRIDE; }
  /** `n` rows from `first` on, zeros beyond `end` and beyond head_dim. */
  __device__ void load(Matrix<const float> from, int64_t base, int first, int n, int end,
                       int64_t column, int head_dim) const {
    for (int i = static_cast<int>(threadIdx.x); i < n * LANES * C; i += THREADS) {
      const int r = i / (LANES * C);
      const int c = i % (LANES * C);
      row(r)[c] = first + r < end && c < head_dim ? from.row(base + first + r)[column + c] : 0.0f;
    }
  }
};

/** Products of the warp's rows with the lane's row of a tile. */
template <int C>
__device__ void products(const Side<C>& own, const Side<C>& tile, int head_dim,
                         float (&s)[ROWS]) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
#pragma unroll
  for (int r = 0; r < ROWS; r++) s[r] = 0;
  for (int j = 0; j < head_dim; j += 4) {
    const float4 b = *reinterpret_cast<const float4*>(tile.row(lane) + j);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const float4 a = *reinterpret_cast<const float4*>(own.row(warp * ROWS + r) + j);
      s[r] = __fmaf_rn(a.x, b.x, s[r]);
      s[r] = __fmaf_rn(a.y, b.y, s[r]);
      s[r] = __fmaf_rn(a.z, b.z, s[r]);
      s[r] = __fmaf_rn(a.w, b.w, s[r]);
    }
  }
}

/** sum[r][c] += over the tile's rows of the weight that lane holds, times its columns. */
template <int C>
__device__ void mix(const float (&weights)[ROWS], const Side<C>& tile, float (&sum)[ROWS][C]) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  for (int j = 0; j < TILE; j++) {
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const float w = __shfl_sync(FULL_WARP, weights[r], j);
#pragma unroll
      for (int c = 0; c < C; c++)
        sum[r][c] = __fmaf_rn(w, tile.row(j)[lane + LANES * c], sum[r][c]);
    }
  }
}

template <int C>
__device__ void clear(float (&sum)[ROWS][C]) {
#pragma unroll
  for (int r = 0; r < ROWS; r++)
#pragma unroll
    for (int c = 0; c < C; c++) sum[r][c] = 0;
}

__device__ __forceinline__ void fill(float (&factor)[ROWS], float value) {
#pragma unroll
  for (int r = 0; r < ROWS; r++) factor[r] = value;
}

/** The warp's rows of one head, and the zeros behind the last head. */
template <int C>
__device__ void store(Matrix<float> to, int64_t base, int first, int end, int64_t column,
                      int head_dim, const float (&sum)[ROWS][C], const float (&factor)[ROWS]) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    if (first + r >= end) break;
    float* const row = to.row(base + first + r);
#pragma unroll
    for (int c = 0; c < C; c++)
      if (lane + LANES * c < head_dim) row[column + lane + LANES * c] = sum[r][c] * factor[r];
    if (column + head_dim == to.columns)
      for (int64_t i = to.columns + lane; i < padded(to.columns); i += LANES) row[i] = 0;
  }
}

template <int C>
__global__ void __launch_bounds__(THREADS, TOGETHER)
    attention_float_forward(AttentionShape shape, Matrix<const float> q, Matrix<const float> k,
                            Matrix<const float> v, Matrix<float> o, float* log_sums, float scale) {
  float* const shared = dynamic_shared<float>();
  const Side<C> queries{shared};
  const Side<C> keys{queries.row(OWN)};
  const Side<C> values{keys.row(TILE)};
  const Place at = place_of(shape, shape.heads, OWN, Longest::last_rows);
  const int head_dim = static_cast<int>(shape.head_dim);
  const int context = static_cast<int>(shape.context);
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int first = at.first + static_cast<int>(threadIdx.x) / LANES * ROWS;
  const int64_t kv = at.head / (shape.heads / shape.kv_heads) * shape.head_dim;
  queries.load(q, at.base, at.first, OWN, context, at.head * shape.head_dim, head_dim);
  float top[ROWS], sum[ROWS], out[ROWS][C];
  clear(out);
#pragma unroll
  for (int r = 0; r < ROWS; r++) top[r] = -INFINITY, sum[r] = 0;
  for (int tile = 0; tile < min(at.first + OWN, context); tile += TILE) {
    __syncthreads();
    keys.load(k, at.base, tile, TILE, context, kv, head_dim);
    values.load(v, at.base, tile, TILE, context, kv, head_dim);
    __syncthreads();
    float s[ROWS];
    products(queries, keys, head_dim, s);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      s[r] = tile + lane <= first + r ? s[r] * scale : -INFINITY;
      const float now = max(top[r], warp_max(s[r]));
      const float factor = expf(top[r] - now);
      s[r] = expf(s[r] - now);
      sum[r] = sum[r] * factor + s[r];
      top[r] = now;
#pragma unroll
      for (int c = 0; c < C; c++) out[r][c] *= factor;
    }
    mix(s, values, out);
  }
  float inverse[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; r++) {
    const float total = warp_sum(sum[r]);
    inverse[r] = 1.0f / total;
    if (lane == 0 && first + r < context)
      log_sums[at.stats * context + first + r] = top[r] + logf(total);
  }
  store(o, at.base, first, context, at.head * shape.head_dim, head_dim, out, inverse);
}

template <int C>
__global__ void __launch_bounds__(THREADS, TOGETHER)
    attention_float_dq(AttentionShape shape, Matrix<const float> q, Matrix<const float> k,
                       Matrix<const float> v, Matrix<const float> d_o, const float2* stats,
                       const float* weight_scales, Matrix<float> dq, float scale) {
  float* const shared = dynamic_shared<float>();
  const Side<C> queries{shared};
  const Side<C> gradients{queries.row(OWN)};
  const Side<C> keys{gradients.row(OWN)};
  const Side<C> values{keys.row(TILE)};
  const Place at = place_of(shape, shape.heads, OWN, Longest::last_rows);
  const int head_dim = static_cast<int>(shape.head_dim);
  const int context = static_cast<int>(shape.context);
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int first = at.first + static_cast<int>(threadIdx.x) / LANES * ROWS;
  const int64_t kv = at.head / (shape.heads / shape.kv_heads) * shape.head_dim;
  queries.load(q, at.base, at.first, OWN, context, at.head * shape.head_dim, head_dim);
  gradients.load(d_o, at.base, at.first, OWN, context, at.head * shape.head_dim, head_dim);
  float out[ROWS][C];
  clear(out);
  for (int tile = 0; tile < min(at.first + OWN, context); tile += TILE) {
    __syncthreads();
    keys.load(k, at.base, tile, TILE, context, kv, head_dim);
    values.load(v, at.base, tile, TILE, context, kv, head_dim);
    __syncthreads();
    float s[ROWS], dp[ROWS];
    products(queries, keys, head_dim, s);
    products(gradients, values, head_dim, dp);
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      const float2 of = stats[at.stats * stats_stride(shape) + first + r];
      const float p = tile + lane <= first + r ? expf(s[r] * scale - of.x) : 0.0f;
      s[r] = p * (dp[r] - of.y);
    }
    mix(s, keys, out);
  }
  float factor[ROWS];
  fill(factor, weight_scales == nullptr ? scale : scale * weight_scales[0]);
  store(dq, at.base, first, context, at.head * shape.head_dim, head_dim, out, factor);
}

template <int C>
__global__ void __launch_bounds__(THREADS, TOGETHER)
    attention_float_dkv(AttentionShape shape, Matrix<const float> q, Matrix<const float> k,
                        Matrix<const float> v, Matrix<const float> d_o, const float2* stats,
                        const float* weight_scales, Matrix<float> dk, Matrix<float> dv,
                        float scale) {
  float* const shared = dynamic_shared<float>();
  const Side<C> keys{shared};
  const Side<C> values{keys.row(OWN)};
  const Side<C> queries{values.row(OWN)};
  const Side<C> gradients{queries.row(TILE)};
  const Place at = place_of(shape, shape.kv_heads, OWN, Longest::first_rows);
  const int head_dim = static_cast<int>(shape.head_dim);
  const int context = static_cast<int>(shape.context);
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int first = at.first + static_cast<int>(threadIdx.x) / LANES * ROWS;
  const int64_t group = shape.heads / shape.kv_heads;
  const int64_t kv = at.head * shape.head_dim;
  keys.load(k, at.base, at.first, OWN, context, kv, head_dim);
  values.load(v, at.base, at.first, OWN, context, kv, head_dim);
  float key_sum[ROWS][C], value_sum[ROWS][C];
  clear(key_sum);
  clear(value_sum);
  for (int64_t head = at.head * group; head < (at.head + 1) * group; head++) {
    const float2* const of = stats + (at.sequence * shape.heads + head) * stats_stride(shape);
    for (int tile = at.first / TILE * TILE; tile < context; tile += TILE) {
      __syncthreads();
      queries.load(q, at.base, tile, TILE, context, head * shape.head_dim, head_dim);
      gradients.load(d_o, at.base, tile, TILE, context, head * shape.head_dim, head_dim);
      __syncthreads();
      float s[ROWS], dp[ROWS];
      products(keys, queries, head_dim, s);
      products(values, gradients, head_dim, dp);
      const float2 mine = of[tile + lane];
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        s[r] = first + r <= tile + lane ? expf(s[r] * scale - mine.x) : 0.0f;
        dp[r] = s[r] * (dp[r] - mine.y);
      }
      mix(s, gradients, value_sum);
      mix(dp, queries, key_sum);
    }
  }
  float factor[ROWS];
  fill(factor, weight_scales == nullptr ? scale : scale * weight_scales[1]);
  store(dk, at.base, first, context, kv, head_dim, key_sum, factor);
  fill(factor, weight_scales == nullptr ? 1.0f : weight_scales[2]);
  store(dv, at.base, first, context, kv, head_dim, value_sum, factor);
}

template <int C>
uint64_t shared_bytes(int own_sides) {
  return static_cast<uint64_t>(own_sides * OWN + 2 * TILE) * Side<C>::STRIDE * sizeof(float);
}

/** run(std::integral_constant<int, C>) with the least C that holds the head. */
template <class Run>
void with_columns(int64_t head_dim, const Run& run) {
  if (head_dim <= LANES) return run(std::integral_constant<int, 1>{});
  if (head_dim <= 2 * LANES) return run(std::integral_constant<int, 2>{});
  if (head_dim <= 4 * LANES) return run(std::integral_constant<int, 4>{});
  run(std::integral_constant<int, 8>{});
}

}  // namespace

template <>
void attention_forward(const Stream& stream, const AttentionShape& shape,
                       const AttentionInput<float>& in, Matrix<float> o, float* log_sums) {
  check_attention(shape);
  with_columns(shape.head_dim, [&](auto columns) {
    constexpr int C = decltype(columns)::value;
    const Geometry geometry = {places(shape, shape.heads, OWN), THREADS, shared_bytes<C>(1)};
    MG_LAUNCH(attention_float_forward<C>, stream, geometry, shape, in.q, in.k, in.v, o, log_sums,
              score_scale(shape));
  });
}

template <>
void attention_backward(const Stream& stream, const AttentionShape& shape, Matrix<const float> q,
                        Matrix<const float> k, Matrix<const float> v, Matrix<const float> o,
                        Matrix<const float> d_o, const float* log_sums,
                        const float* weight_scales, const Angles& angles, Matrix<float> dq,
                        Matrix<float> dk, Matrix<float> dv, float* scratch) {
  check_attention(shape);
  const float2* const stats = attention_stats<float>(stream, shape, o, d_o, log_sums, 1.0f, scratch);
  with_columns(shape.head_dim, [&](auto columns) {
    constexpr int C = decltype(columns)::value;
    const uint64_t bytes = shared_bytes<C>(2);
    const float scale = score_scale(shape);
    MG_LAUNCH(attention_float_dq<C>, stream, {places(shape, shape.heads, OWN), THREADS, bytes},
              shape, q, k, v, d_o, stats, weight_scales, dq, scale);
    MG_LAUNCH(attention_float_dkv<C>, stream, {places(shape, shape.kv_heads, OWN), THREADS, bytes},
              shape, q, k, v, d_o, stats, weight_scales, dk, dv, scale);
  });
  turn_gradients(stream, shape, angles, dq, dk);
}

}  // namespace magnet::gpu
