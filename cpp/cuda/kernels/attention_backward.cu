// Attention in bf16, backward, in two kernels that each own what they write and make the
// probabilities again from the log sums: dQ, whose blocks pass over the keys as forward does, and dK
// and dV, whose blocks own keys and pass over the group's heads and their queries. One pass for all
// three would save two of seven products, but needs float atomics or a partial dQ per block of keys.
// Queries, keys and values come as fp16. Where a product mixes them with gradients, whose range fp16
// has not, they are made bf16 in shared memory, each piece by the thread that copied it. Scores are
// made of the fp16, as forward made them: of bf16, scores of some tens give probabilities 5% off.
#include "attention_tiles.cuh"

namespace magnet::gpu {
namespace {

struct BackwardArguments {
  AttentionShape shape;
  Matrix<const fp16> q, k, v;
  Matrix<const bf16> d_o;
  const float2* stats;  // (log_sum * log2(e), rowsum(d_o * o))
  Matrix<bf16> dq, dk, dv;
  int together;  // heads_together, of dq
  float scale;
  const float* weight_scales;  // of q, k, v, or null
  Angles angles;               // given where the head fills its tiles
};

template <int HD>
__device__ __forceinline__ Tile<HD, fp16> as_fp16(Tile<HD> tile) {
  return {reinterpret_cast<fp16*>(tile.data)};
}
template <int HD>
__device__ __forceinline__ Tile<HD> as_bf16(Tile<HD, fp16> tile) {
  return {reinterpret_cast<bf16*>(tile.data)};
}
/** Whether tiles in fp16 have room beside their copies in bf16; else scores are made of bf16. */
template <int HD>
constexpr bool KEEPS = HD <= 128;
/** A tile as scores take it. */
template <bool KEPT, int HD>
__device__ __forceinline__ auto for_scores(Tile<HD, fp16> tile) {
  if constexpr (KEPT)
    return tile;
  else
    return as_bf16(tile);
}
__device__ __forceinline__ uint32_t two_as_bf16(uint32_t two) {
  const float2 x = unpack_fp16(two);
  return pack_bf16(x.x, x.y);
}
/** Rows of fp16 that load_rows with the same numbers has copied are bf16 in `to`, which may be the same
 * tile, by the thread that copied them: it needs its own copies to have arrived, others a barrier behind
 * this. */
template <int THREADS, int HD>
__device__ __forceinline__ void make_bf16(Tile<HD> to, Tile<HD, fp16> from, int row, int rows) {
  constexpr int SPREAD = Tile<HD>::SPREAD;
  const int first = static_cast<int>(threadIdx.x) % SPREAD;
  for (int r = static_cast<int>(threadIdx.x) / SPREAD; r < rows; r += THREADS / SPREAD) {
    const auto* const chunks = reinterpret_cast<const uint4*>(from.at(row + r, first));
    auto* const out = reinterpret_cast<uint4*>(to.at(row + r, first));
#pragma unroll
    for (int chunk = 0; chunk < Tile<HD>::CHUNKS; chunk += SPREAD) {
      const uint4 x = chunks[chunk];
      out[chunk] =
          make_uint4(two_as_bf16(x.x), two_as_bf16(x.y), two_as_bf16(x.z), two_as_bf16(x.w));
    }
  }
}
template <int THREADS, int HD>
__device__ __forceinline__ void make_bf16(Tile<HD> tile, int row, int rows) {
  make_bf16<THREADS>(tile, as_fp16(tile), row, rows);
}

/** Whether a thread holds both columns of each pair: not where heads are written in two parts. */
template <int HD>
constexpr bool TURNS = HD <= 128;

/** Rotates the rows of positions from `first` on by the negative angle, as rope does. */
template <int M, int C>
__device__ __forceinline__ void turn_back(Sums<M, C>& sums, const Angles& angles, int first,
                                          int context) {
  if (angles.cosines == nullptr) return;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int position = min(first + row_in(m, 2 * half), context - 1);
      const int64_t row = int64_t{position} * (4 * C);
#pragma unroll
      for (int c = 0; c < C / 2; c++) {
        const int64_t at = row + column_in(c, 0);
        const float2 cosine = *reinterpret_cast<const float2*>(angles.cosines + at);
        const float2 sine = *reinterpret_cast<const float2*>(angles.sines + at);
#pragma unroll
        for (int i = 0; i < 2; i++) {
          float& a = sums.of[m][c][2 * half + i];
          float& b = sums.of[m][c + C / 2][2 * half + i];
          const float p = a;
          const float co = i == 0 ? cosine.x : cosine.y;
          const float si = i == 0 ? sine.x : sine.y;
          a = __fmaf_rn(b, si, __fmul_rn(p, co));
          b = __fmaf_rn(-p, si, __fmul_rn(b, co));
        }
      }
    }
}

/** What a gradient is multiplied by: `scale`, and where it is given that of its weight. */
__device__ __forceinline__ float gradient_factor(const BackwardArguments& x, int part,
                                                 float scale) {
  return x.weight_scales == nullptr ? scale : scale * x.weight_scales[part];
}

// ---- dQ ----------------------------------------------------------------------------------------

constexpr int DQ_WARPS = 4;
constexpr int DQ_THREADS = DQ_WARPS * LANES;

template <int HD>
struct DqTile {
  static constexpr int M = HD <= 128 ? 2 : 1;
  static constexpr int KEYS = HD <= 32 ? 64 : HD <= 96 ? 32 : 16;
  static constexpr int ROWS = DQ_WARPS * 16 * M;
  static constexpr int TILE_ROWS = 2 * ROWS + 4 * KEYS;  // and behind them the copies of keys
  static constexpr uint64_t SHARED =
      sizeof(bf16) * Tile<HD>::elements(TILE_ROWS + (KEEPS<HD> ? 2 * KEYS : 0));
};

/** p = 2^(s * scale - log sum), 0 behind the query; s becomes p * (dp - delta). */
template <int M, int N>
__device__ __forceinline__ void score_gradients(Sums<M, N>& s, const Sums<M, N>& dp,
                                                const float2 (&stats)[M][2], float scale_log2,
                                                bool crosses, int query, int key) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float2 of = stats[m][i / 2];
        float p = exp2_approximate(__fmaf_rn(s.of[m][n][i], scale_log2, -of.x));
        if (crosses && key + column_in(n, i) > query + row_in(m, i)) p = 0;
        s.of[m][n][i] = p * (dp.of[m][n][i] - of.y);
      }
}

template <int HD>
__global__ void __launch_bounds__(DQ_THREADS, 2) attention_dq_kernel(BackwardArguments x) {
  using Shape = DqTile<HD>;
  constexpr int M = Shape::M;
  constexpr int KEYS = Shape::KEYS;
  bf16* const shared = dynamic_shared<bf16>();
  const Tile<HD> queries{shared};
  const Tile<HD> gradients{shared + Tile<HD>::elements(Shape::ROWS)};
  const int head_dim = static_cast<int>(x.shape.head_dim);
  const int context = static_cast<int>(x.shape.context);
  const QueryRows own = query_rows(x.shape, x.together, Shape::ROWS, 16 * M);
  const int64_t base = own.at.base;
  const int end = min(own.at.first + own.positions, context);
  const KeyStages<DQ_THREADS, KEYS, HD, fp16> stages{
      reinterpret_cast<fp16*>(shared + Tile<HD>::elements(2 * Shape::ROWS)),
      x.k, x.v, base, own.kv, context, head_dim};
  // Two, as of the stages: one may still be read while the next is made.
  const auto mixed = [&](int key) {
    return KEEPS<HD> ? Tile<HD>{shared + Tile<HD>::elements(Shape::TILE_ROWS + key % (2 * KEYS))}
                     : as_bf16(stages.keys(key));
  };
  load_heads<DQ_THREADS>(as_fp16(queries), own, x.together, x.q, context, head_dim);
  load_heads<DQ_THREADS>(gradients, own, x.together, x.d_o, context, head_dim);
  stages.load(0, end);

  // The statistics end at a whole block.
  const float2* const of =
      x.stats + (own.at.sequence * x.shape.heads + own.head) * stats_stride(x.shape) + own.first;
  float2 stats[M][2];
  float factor[M][2];
  const float q_factor = gradient_factor(x, 0, x.scale);
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      stats[m][half] = of[row_in(m, 2 * half)];
      factor[m][half] = q_factor;
    }
  Sums<M, HD / 8> out;
  out.clear();
  for (int key = 0; key < end; key += KEYS) {
    const Tile<HD> values = as_bf16(stages.values(key));
    cp_async_wait<0>();
    if (!KEEPS<HD> && key == 0)
      for (int h = 0; h < x.together; h++)
        make_bf16<DQ_THREADS>(queries, h * own.positions, own.positions);
    make_bf16<DQ_THREADS>(mixed(key), stages.keys(key), 0, KEYS);
    make_bf16<DQ_THREADS>(values, 0, KEYS);
    __syncthreads();  // they are there, and the tiles before them are done with
    stages.load(key + KEYS, end);
    if (key > own.first + 16 * M - 1) continue;
    Sums<M, KEYS / 8> s, dp;
    s.clear();
    dp.clear();
    add_products(s, for_scores<KEEPS<HD>>(as_fp16(queries)), own.own,
                 for_scores<KEEPS<HD>>(stages.keys(key)));
    add_products(dp, gradients, own.own, values);
    score_gradients(s, dp, stats, x.scale * LOG2_E, key + KEYS - 1 > own.first, own.first, key);
    add_mixed(out, s, mixed(key), 0);
  }
  if constexpr (TURNS<HD>) turn_back(out, x.angles, own.first, context);
  put_sums(queries, own.own, 0, out, factor);
  store_rows(queries, own.own, min(16 * M, context - own.first), 0, HD / 8, x.dq, base + own.first,
             own.head * head_dim, head_dim);
}

// ---- dK and dV ---------------------------------------------------------------------------------

/** Rows of products are keys here (a warp has 16 of them), columns are queries: probabilities and
 * their gradients are then operands of the products that follow as they lie in registers. Wide heads
 * are written in two parts, by blocks that make the scores twice: registers hold no more. */
template <int HD, bool KEPT>
struct DkvTile {
  static constexpr int WARPS = HD <= 128 ? 8 : 4;
  static constexpr int THREADS = WARPS * LANES;
  static constexpr int KEYS = 16 * WARPS;
  static constexpr int QUERIES = HD <= 96 ? 64 : HD <= 128 ? 32 : 16;
  static constexpr int PARTS = TURNS<HD> ? 1 : 2;
  static constexpr int COLUMNS = HD / 8 / PARTS;  // fragments of a part
  static constexpr int TILE_ROWS = 2 * KEYS + 4 * QUERIES;  // and behind them the copies of queries
  static constexpr int STATS_AT =
      Tile<HD>::elements(TILE_ROWS + (KEPT ? 2 * QUERIES : 0));
  static constexpr uint64_t SHARED = sizeof(bf16) * STATS_AT + 2 * QUERIES * sizeof(float2);
};

/** s becomes p, dp becomes p * (dp - delta); a statistic belongs to a column. */
template <int N>
__device__ __forceinline__ void gradients_by_key(Sums<1, N>& s, Sums<1, N>& dp, const float2* stats,
                                                 float scale_log2, bool crosses, int query,
                                                 int key) {
#pragma unroll
  for (int n = 0; n < N; n++) {
    const float4 of = *reinterpret_cast<const float4*>(stats + column_in(n, 0));
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float log_sum = i % 2 == 0 ? of.x : of.z;
      const float delta = i % 2 == 0 ? of.y : of.w;
      float p = exp2_approximate(__fmaf_rn(s.of[0][n][i], scale_log2, -log_sum));
      if (crosses && key + row_in(0, i) > query + column_in(n, i)) p = 0;
      s.of[0][n][i] = p;
      dp.of[0][n][i] = p * (dp.of[0][n][i] - delta);
    }
  }
}

template <int HD, bool KEPT>
__global__ void __launch_bounds__(DkvTile<HD, KEPT>::THREADS, 1)
    attention_dkv_kernel(BackwardArguments x) {
  using Shape = DkvTile<HD, KEPT>;
  constexpr int QUERIES = Shape::QUERIES;
  constexpr int THREADS = Shape::THREADS;
  bf16* const shared = dynamic_shared<bf16>();
  const Tile<HD> keys{shared};
  const Tile<HD> values{shared + Tile<HD>::elements(Shape::KEYS)};
  const auto stage = [&](int i) {
    return Tile<HD>{shared + Tile<HD>::elements(2 * Shape::KEYS + i * QUERIES)};
  };
  const auto mixed = [&](int i) {
    return KEPT ? Tile<HD>{shared + Tile<HD>::elements(Shape::TILE_ROWS + i * QUERIES)}
                : stage(2 * i);
  };
  auto* const stats = reinterpret_cast<float2*>(shared + Shape::STATS_AT);
  const int head_dim = static_cast<int>(x.shape.head_dim);
  const int context = static_cast<int>(x.shape.context);
  const int group = static_cast<int>(x.shape.heads / x.shape.kv_heads);
  const Place at = place_of(x.shape, x.shape.kv_heads, Shape::KEYS, Longest::first_rows);
  const int64_t kv = at.head * head_dim;
  const int begin = at.first / QUERIES * QUERIES;  // queries before it see none of the keys
  const int tiles = (context - begin + QUERIES - 1) / QUERIES;
  const auto load = [&](int turn) {
    const int i = turn % 2;
    const int query = begin + turn % tiles * QUERIES;
    const int64_t head = at.head * group + turn / tiles;
    const int64_t row = at.base + query;
    const int64_t column = head * head_dim;
    const int valid = context - query;
    load_rows<THREADS>(as_fp16(stage(2 * i)), 0, QUERIES, x.q, row, column, valid, head_dim);
    load_rows<THREADS>(stage(2 * i + 1), 0, QUERIES, x.d_o, row, column, valid, head_dim);
    const float2* const from =
        x.stats + (at.sequence * x.shape.heads + head) * stats_stride(x.shape) + query;
    const int pair = 2 * static_cast<int>(threadIdx.x);
    if (pair < QUERIES) cp_async_16(stats + i * QUERIES + pair, from + pair);
  };
  const int64_t base = at.base + at.first;
  const int left = context - at.first;
  load_rows<THREADS>(as_fp16(keys), 0, Shape::KEYS, x.k, base, kv, left, head_dim);
  load_rows<THREADS>(as_fp16(values), 0, Shape::KEYS, x.v, base, kv, left, head_dim);
  load(0);
  cp_async_commit();

  const int own = warp_index() * 16;
  const int first = at.first + own;
  const int part = Shape::PARTS == 1 ? 0 : static_cast<int>(blockIdx.y) * Shape::COLUMNS;
  Sums<1, Shape::COLUMNS> dk, dv;
  dk.clear();
  dv.clear();
  for (int turn = 0; turn < group * tiles; turn++) {
    cp_async_wait<0>();
    const int i = turn % 2;
    if (turn == 0) {
      if (!KEPT) make_bf16<THREADS>(keys, 0, Shape::KEYS);
      make_bf16<THREADS>(values, 0, Shape::KEYS);
    }
    make_bf16<THREADS>(mixed(i), as_fp16(stage(2 * i)), 0, QUERIES);
    __syncthreads();  // the tile is there, and the one before it is done with
    if (turn + 1 < group * tiles) load(turn + 1);
    cp_async_commit();
    const int query = begin + turn % tiles * QUERIES;
    if (query + QUERIES - 1 < first) continue;
    Sums<1, QUERIES / 8> s, dp;
    s.clear();
    dp.clear();
    add_products(s, for_scores<KEPT>(as_fp16(keys)), own,
                 for_scores<KEPT>(as_fp16(stage(2 * i))));
    add_products(dp, values, own, stage(2 * i + 1));
    gradients_by_key(s, dp, stats + i * QUERIES, x.scale * LOG2_E, first + 15 > query, query,
                     first);
    add_mixed(dv, s, stage(2 * i + 1), part);
    add_mixed(dk, dp, mixed(i), part);
  }
  if constexpr (TURNS<HD>) turn_back(dk, x.angles, first, context);
  const float k_factor = gradient_factor(x, 1, x.scale);
  const float v_factor = gradient_factor(x, 2, 1.0f);
  put_sums(keys, own, part, dk, {{k_factor, k_factor}});
  put_sums(values, own, part, dv, {{v_factor, v_factor}});
  const int end = part + Shape::COLUMNS;
  const int rows = min(16, context - first);
  store_rows(keys, own, rows, part, end, x.dk, at.base + first, kv, head_dim);
  store_rows(values, own, rows, part, end, x.dv, at.base + first, kv, head_dim);
}

template <int HD, bool KEPT>
void launch_dkv(const Stream& stream, const AttentionShape& shape, const BackwardArguments& x) {
  using Dkv = DkvTile<HD, KEPT>;
  dim3 blocks = places(shape, shape.kv_heads, Dkv::KEYS);
  blocks.y = Dkv::PARTS;
  const Geometry geometry = {blocks, Dkv::THREADS, Dkv::SHARED};
  const auto kernel = attention_dkv_kernel<HD, KEPT>;
  MG_LAUNCH(kernel, stream, geometry, x);
}

/** Not heads over 64 on devices of compute capability 12, whose blocks have 99 KiB. */
template <class Shape>
bool fits() {
  constexpr uint64_t RESERVED = 1024;  // of each block
  return Shape::SHARED + RESERVED <= capability().shared_bytes;
}

}  // namespace

template <>
void attention_backward(const Stream& stream, const AttentionShape& shape, Matrix<const fp16> q,
                        Matrix<const fp16> k, Matrix<const fp16> v, Matrix<const float> o,
                        Matrix<const bf16> d_o, const float* log_sums, const float* weight_scales,
                        const Angles& angles, Matrix<bf16> dq, Matrix<bf16> dk, Matrix<bf16> dv,
                        float* scratch) {
  check_attention(shape);
  const float2* const stats = attention_stats<bf16>(stream, shape, o, d_o, log_sums, LOG2_E, scratch);
  const int together = heads_together(shape, DQ_WARPS);
  BackwardArguments arguments = {shape, q,  k,  v,        d_o,
                                 stats, dq, dk, dv,       together,
                                 score_scale(shape), weight_scales, {}};
  with_head_dim(shape.head_dim, [&](auto size) {
    constexpr int HD = decltype(size)::value;
    using Dq = DqTile<HD>;
    const bool turns = TURNS<HD> && shape.head_dim == HD;
    if (turns) arguments.angles = angles;
    const dim3 blocks = places(shape, shape.heads / together, Dq::ROWS / together);
    MG_LAUNCH(attention_dq_kernel<HD>, stream, {blocks, DQ_THREADS, Dq::SHARED}, arguments);
    if constexpr (KEEPS<HD>) {
      if (fits<DkvTile<HD, true>>())
        launch_dkv<HD, true>(stream, shape, arguments);
      else
        launch_dkv<HD, false>(stream, shape, arguments);
    } else {
      launch_dkv<HD, false>(stream, shape, arguments);
    }
    if (!turns) turn_gradients(stream, shape, angles, dq, dk);
  });
}

}  // namespace magnet::gpu
