// Attention of many rows of a sequence over the paged cache: a block has four warps of 16 pairs of
// a position and a query head, all of one kv head, which share units of 64 keys and values in shared
// memory. The next unit is copied while one is used (wide heads: one at a time).
#include "infer_attention_units.cuh"

namespace magnet::gpu {
namespace {

constexpr int PREFILL_WARPS = 4;
constexpr int PREFILL_THREADS = PREFILL_WARPS * LANES;

template <int HD>
struct PrefillTile {
  static constexpr int STAGES = HD <= 128 ? 2 : 1;
  static constexpr int QUERY_ROWS = PREFILL_WARPS * PAIRS;
  static constexpr uint64_t SHARED =
      sizeof(fp16) * HalfTile<HD>::elements(QUERY_ROWS + STAGES * 2 * UNIT);
};

/** Mixes a unit's values for a warp and merges them into its rows. */
template <int HD>
__device__ __forceinline__ void mix_unit(const Sums<1, UNIT / 8>& weights, HalfTile<HD> values,
                                         const MergeFactors (&factors)[2], Sums<1, HD / 8>& out) {
  constexpr int C = MIXED<HD>;
#pragma unroll
  for (int begin = 0; begin < HD / 8; begin += C) {
    Sums<1, C> mixed;
    mixed.clear();
    add_split_mixed<false>(mixed, weights, values, values, begin);
#pragma unroll
    for (int c = 0; c < C; c++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        out.of[0][begin + c][i] =
            merged(out.of[0][begin + c][i], mixed.of[0][c][i], factors[i / 2]);
  }
}

template <int HD>
__device__ __forceinline__ void store_pairs(const InferArguments& x, const InferPlace& at,
                                            int first, int positions, const float (&sum)[2],
                                            const Sums<1, HD / 8>& out) {
  const int head_dim = static_cast<int>(x.cache.head_dim);
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int pair = row_in(0, 2 * half);
    const int p = pair / at.heads;
    if (p >= positions || first + p >= static_cast<int>(at.tile.rows)) continue;
    const float inverse = __fdiv_rn(1.0f, sum[half]);
    float* const row = x.out.row(at.tile.row + first + p) +
                       static_cast<int64_t>(at.first_head + pair % at.heads) * head_dim;
#pragma unroll
    for (int c = 0; c < HD / 8; c++)
      if (column_in(c, 0) < head_dim)
        *reinterpret_cast<float2*>(row + column_in(c, 0)) =
            float2{out.of[0][c][2 * half] * inverse, out.of[0][c][2 * half + 1] * inverse};
  }
}

template <int HD>
__global__ void __launch_bounds__(PREFILL_THREADS, 2) prefill_attention_kernel(InferArguments x) {
  using Shape = PrefillTile<HD>;
  fp16* const shared = dynamic_shared<fp16>();
  const HalfTile<HD> queries{shared};
  const auto stage = [&](int i) {
    return HalfTile<HD>{shared + HalfTile<HD>::elements(Shape::QUERY_ROWS + i * UNIT)};
  };
  let_next_start();
  wait_for_previous();
  const GroupCut cut = cut_group(x.heads, x.cache.kv_heads);
  const InferPlace at = infer_place(x, cut);
  const int first = warp_index() * cut.positions;  // of the tile's rows
  const int own = warp_index() * PAIRS;
  const int end = at.position + static_cast<int>(at.tile.rows);
  const int units = (end + UNIT - 1) / UNIT;
  const auto load = [&](int unit) {
    const int i = unit % Shape::STAGES * 2;
    const int thread = static_cast<int>(threadIdx.x);
    load_unit(stage(i), x, at, false, unit, end, thread, PREFILL_THREADS);
    load_unit(stage(i + 1), x, at, true, unit, end, thread, PREFILL_THREADS);
    cp_async_commit();
  };
  load_queries(queries, own, x, at, first, cut.positions);
  load(0);

  int position[2];  // of the thread's pairs; negative: none
  float top[2], sum[2];
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int p = row_in(0, 2 * half) / at.heads;
    const bool real = p < cut.positions && first + p < static_cast<int>(at.tile.rows);
    position[half] = real ? at.position + first + p : -1;
    top[half] = -INFINITY;
    sum[half] = 0;
  }
  const int last = at.position + min(first + cut.positions, static_cast<int>(at.tile.rows)) - 1;
  Sums<1, HD / 8> out;
  out.clear();
  for (int unit = 0; unit < units; unit++) {
    cp_async_wait<0>();
    __syncthreads();  // the unit is there, and the one before it is done with
    if (Shape::STAGES == 2 && unit + 1 < units) load(unit + 1);
    const bool sees = first < static_cast<int>(at.tile.rows) && unit * UNIT <= last;
    if (sees) {
      const int i = unit % Shape::STAGES * 2;
      Sums<1, UNIT / 8> s;
      s.clear();
      add_products(s, queries, own, stage(i));
      const int within[2] = {position[0] - unit * UNIT, position[1] - unit * UNIT};
      const UnitSums next = weigh(s, within, x.scale_log2);
      MergeFactors factors[2];
#pragma unroll
      for (int half = 0; half < 2; half++)
        factors[half] = merge(top[half], sum[half], next.top[half], next.sum[half]);
      mix_unit(s, stage(i + 1), factors, out);
    }
    if (Shape::STAGES == 1 && unit + 1 < units) {
      __syncthreads();
      load(unit + 1);
    }
  }
  store_pairs<HD>(x, at, first, cut.positions, sum, out);
}

}  // namespace

void prefill_attention(const Stream& stream, const InferArguments& arguments, uint32_t tiles) {
  const GroupCut cut = cut_group(arguments.heads, arguments.cache.kv_heads);
  const uint32_t blocks = tiles * arguments.cache.kv_heads * static_cast<uint32_t>(cut.pieces);
  with_head_dim(arguments.cache.head_dim, [&](auto size) {
    constexpr int HD = decltype(size)::value;
    MG_LAUNCH(prefill_attention_kernel<HD>, stream,
              {blocks, PREFILL_THREADS, PrefillTile<HD>::SHARED, true}, arguments);
  });
}

uint32_t prefill_rows(uint32_t heads, uint32_t kv_heads) {
  return static_cast<uint32_t>(PREFILL_WARPS * cut_group(heads, kv_heads).positions);
}

}  // namespace magnet::gpu
