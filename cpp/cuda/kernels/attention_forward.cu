// Attention in fp16, forward: tiles of keys and values stream through shared memory (two stages,
// copied while the tile before is used), scores and sums stay in registers, softmax is float32 and
// online. A warp has 32 query rows (16 for wide heads): with 16 its loads of keys from shared memory
// would take longer than the tensor cores need. Two blocks of 4 warps fit a multiprocessor. With low
// parts of queries, keys and values all products are of 22 bits; their tiles lie beside the others, and
// fewer keys come at a time, so that a block still fits the 99 KB that every device has.
#include "attention_tiles.cuh"

namespace magnet::gpu {
namespace {

constexpr int WARPS = 4;
constexpr int THREADS = WARPS * LANES;

template <int HD, bool SPLIT>
struct ForwardTile {
  static constexpr int M = HD <= (SPLIT ? 96 : 128) ? 2 : 1;
  static constexpr int KEYS = HD <= (SPLIT ? 32 : 96) ? 64 : 32;
  static constexpr int ROWS = WARPS * 16 * M;
  static constexpr int PLANES = SPLIT ? 2 : 1;
  static constexpr uint64_t SHARED =
      sizeof(fp16) * Tile<HD, fp16>::elements(PLANES * (ROWS + 4 * KEYS));
};

struct ForwardArguments {
  AttentionShape shape;
  AttentionInput<fp16> in;
  Matrix<float> o;
  float* log_sums;
  int together;      // heads_together
  float scale_log2;  // of scores, as exponents of 2
};

/** A larger maximum is taken up only where it exceeds the one in use by this many powers of 2: the
 * sums, which are multiplied by 2^(old - new) then, mostly stay as they are. Probabilities are at
 * most 2^8 meanwhile, which fp16 holds, and the sum divides that out. */
constexpr float SLACK = 8;

/** Maximum and sum of the rows of a thread. */
template <int M>
struct Softmax {
  float top[M][2];
  float sum[M][2];

  /** Scores become weights 2^(s * scale - top); `out` follows a change of top. */
  template <int N, int C>
  __device__ __forceinline__ void take(Sums<M, N>& s, float scale, Sums<M, C>& out) {
    float now[M][2];
    bool grows = false;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float x = s.of[m][0][2 * half];
#pragma unroll
        for (int n = 0; n < N; n++)
          x = fmaxf(x, fmaxf(s.of[m][n][2 * half], s.of[m][n][2 * half + 1]));
        x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 1));
        x = fmaxf(x, __shfl_xor_sync(FULL_WARP, x, 2)) * scale;
        now[m][half] = x;
        grows = grows || x > top[m][half] + SLACK;
      }
    if (__any_sync(FULL_WARP, grows)) raise(now, out);
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const float p = exp2_approximate(__fmaf_rn(s.of[m][n][i], scale, -top[m][i / 2]));
          s.of[m][n][i] = p;
          sum[m][i / 2] += p;
        }
  }

  /** Writes the log sums of the head's positions from `first` on. */
  __device__ __forceinline__ void finish(float* log_sums, int first, int context,
                                         float (&inverse)[M][2]) const {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        float total = sum[m][half];
        total += __shfl_xor_sync(FULL_WARP, total, 1);
        total += __shfl_xor_sync(FULL_WARP, total, 2);
        inverse[m][half] = 1.0f / total;
        const int position = first + row_in(m, 2 * half);
        if (lane_index() % 4 == 0 && position < context)
          log_sums[position] = (top[m][half] + log2f(total)) * LN_2;
      }
  }

  template <int C>
  __device__ __forceinline__ void raise(const float (&now)[M][2], Sums<M, C>& out) {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float higher = fmaxf(top[m][half], now[m][half]);
        const float factor = exp2_approximate(top[m][half] - higher);
        top[m][half] = higher;
        sum[m][half] *= factor;
#pragma unroll
        for (int c = 0; c < C; c++) {
          out.of[m][c][2 * half] *= factor;
          out.of[m][c][2 * half + 1] *= factor;
        }
      }
  }
};

/** Scores of keys behind the query become -infinity. */
template <int M, int N>
__device__ __forceinline__ void mask(Sums<M, N>& s, int query, int key) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (key + column_in(n, i) > query + row_in(m, i)) s.of[m][n][i] = -INFINITY;
}

/** A warp's rows of one head, zeros behind the last head's: 32 bytes of a row at a time. */
template <int M, int C>
__device__ __forceinline__ void store_sums(const Sums<M, C>& sums, const float (&factor)[M][2],
                                           int rows, Matrix<float> to, int64_t to_row,
                                           int64_t column, int head_dim) {
  const bool last = column + head_dim == to.columns;
  const int end = last ? head_dim + static_cast<int>(padded(to.columns) - to.columns) : head_dim;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      if (row_in(m, 2 * half) >= rows) continue;
      float* const out = to.row(to_row + row_in(m, 2 * half)) + column;
#pragma unroll
      for (int c = 0; c < C; c++) {
        const float* const x = sums.of[m][c] + 2 * half;
        if (column_in(c, 0) < end)
          *reinterpret_cast<float2*>(out + column_in(c, 0)) =
              float2{x[0] * factor[m][half], x[1] * factor[m][half]};
      }
      for (int c = 8 * C + 2 * (lane_index() % 4); c < end; c += 8)
        *reinterpret_cast<float2*>(out + c) = float2{0.0f, 0.0f};
    }
}

template <int HD, bool SPLIT>
__global__ void __launch_bounds__(THREADS, 2) attention_forward_kernel(ForwardArguments x) {
  using Shape = ForwardTile<HD, SPLIT>;
  constexpr int M = Shape::M;
  constexpr int KEYS = Shape::KEYS;
  using Rows = Tile<HD, fp16>;
  fp16* const shared = dynamic_shared<fp16>();
  const Rows queries{shared};
  const Rows low_queries{shared + Rows::elements(Shape::ROWS)};
  const int head_dim = static_cast<int>(x.shape.head_dim);
  const int context = static_cast<int>(x.shape.context);
  const QueryRows own = query_rows(x.shape, x.together, Shape::ROWS, 16 * M);
  const int64_t base = own.at.base;
  const int end = min(own.at.first + own.positions, context);
  const KeyStages<THREADS, KEYS, HD, fp16, SPLIT> stages{
      shared + Rows::elements(Shape::PLANES * Shape::ROWS),
      x.in.k, x.in.v, base, own.kv, context, head_dim, x.in.low_k, x.in.low_v};
  load_heads<THREADS>(queries, own, x.together, x.in.q, context, head_dim);
  if constexpr (SPLIT)
    load_heads<THREADS>(low_queries, own, x.together, x.in.low_q, context, head_dim);
  stages.load(0, end);

  Sums<M, HD / 8> out;
  out.clear();
  Softmax<M> softmax;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) softmax.top[m][half] = -INFINITY, softmax.sum[m][half] = 0;
  for (int key = 0; key < end; key += KEYS) {
    stages.step(key, end);
    if (key > own.first + 16 * M - 1) continue;
    Sums<M, KEYS / 8> s;
    s.clear();
    if constexpr (SPLIT)
      add_split_products(s, queries, low_queries, own.own, stages.keys(key), stages.tile(key, 2));
    else
      add_products(s, queries, own.own, stages.keys(key));
    if (key + KEYS - 1 > own.first) mask(s, own.first, key);
    softmax.take(s, x.scale_log2, out);
    if constexpr (SPLIT)
      add_split_mixed<true>(out, s, stages.values(key), stages.tile(key, 3), 0);
    else
      add_mixed(out, s, stages.values(key), 0);
  }

  float* const log_sums = x.log_sums + (own.at.sequence * x.shape.heads + own.head) * context;
  float inverse[M][2];
  softmax.finish(log_sums, own.first, context, inverse);
  store_sums(out, inverse, min(16 * M, context - own.first), x.o, base + own.first,
             own.head * head_dim, head_dim);
}

template <int HD, bool SPLIT>
void start(const Stream& stream, const ForwardArguments& x) {
  using Rows = ForwardTile<HD, SPLIT>;
  const dim3 blocks = places(x.shape, x.shape.heads / x.together, Rows::ROWS / x.together);
  MG_LAUNCH((attention_forward_kernel<HD, SPLIT>), stream, {blocks, THREADS, Rows::SHARED}, x);
}

}  // namespace

template <>
void attention_forward(const Stream& stream, const AttentionShape& shape,
                       const AttentionInput<fp16>& in, Matrix<float> o, float* log_sums) {
  check_attention(shape);
  const ForwardArguments arguments = {shape,    in,
                                      o,        log_sums,
                                      heads_together(shape, WARPS), score_scale(shape) * LOG2_E};
  with_head_dim(shape.head_dim, [&](auto size) {
    constexpr int HD = decltype(size)::value;
    // Of wider heads the tiles do not fit the shared memory that every device has.
    if (HD <= 128 && in.low_q.data != nullptr)
      start<HD, HD <= 128>(stream, arguments);
    else
      start<HD, false>(stream, arguments);
  });
}

}  // namespace magnet::gpu
