// Attention of single rows over the paged cache. Bound by the memory that holds keys and values: all
// query heads of a kv head use what is loaded once (rows of one tensor-core tile), every warp has 64
// positions under way at a time, and where there are few rows, blocks share the positions of one.
// Warps leave the results of their units in memory; they are merged in order of positions.
#include "infer_attention_units.cuh"

namespace magnet::gpu {
namespace {

constexpr int DECODE_WARPS = 4;
constexpr uint64_t DECODE_SHARED = 99 * 1024;  // what every device has
/** Fewer blocks than this leave multiprocessors without work. */
constexpr uint32_t DECODE_BLOCKS = 256;

/** A warp's unit in shared memory: for each pair top, sum, two factors, and its columns. */
template <int HD>
struct UnitResult {
  static constexpr int FLOATS = HD + 4;
  float* data;
  __device__ float* of(int pair) const { return data + pair * FLOATS; }
};

template <int HD>
constexpr uint64_t decode_bytes(int warps, int heads) {
  const uint64_t tiles = static_cast<uint64_t>(HalfTile<HD>::elements(PAIRS + warps * 2 * UNIT));
  const uint64_t results = static_cast<uint64_t>((warps + 1) * heads * UnitResult<HD>::FLOATS);
  return tiles * sizeof(fp16) + results * sizeof(float);
}
template <int HD>
constexpr int decode_warps(int heads) {
  int warps = DECODE_WARPS;
  while (warps > 1 && decode_bytes<HD>(warps, heads) > DECODE_SHARED) warps /= 2;
  return warps;
}

/** A unit's weights mixed with its values, to `result` (row stride FLOATS, from column 4 on). */
template <int HD>
__device__ __forceinline__ void put_unit(const Sums<1, UNIT / 8>& weights, HalfTile<HD> values,
                                         const UnitSums& sums, int heads, UnitResult<HD> result) {
  constexpr int C = MIXED<HD>;
#pragma unroll
  for (int begin = 0; begin < HD / 8; begin += C) {
    Sums<1, C> mixed;
    mixed.clear();
    add_split_mixed<false>(mixed, weights, values, values, begin);
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int pair = row_in(0, 2 * half);
      if (pair >= heads) continue;
#pragma unroll
      for (int c = 0; c < C; c++)
        *reinterpret_cast<float2*>(result.of(pair) + 4 + column_in(begin + c, 0)) =
            float2{mixed.of[0][c][2 * half], mixed.of[0][c][2 * half + 1]};
    }
  }
#pragma unroll
  for (int half = 0; half < 2; half++) {
    const int pair = row_in(0, 2 * half);
    if (pair >= heads || lane_index() % 4 != 0) continue;
    result.of(pair)[0] = sums.top[half];
    result.of(pair)[1] = sums.sum[half];
  }
}

/** Merges the results of `n` units into the block's `total`, in order. All threads. */
template <int HD>
__device__ __forceinline__ void merge_round(const UnitResult<HD> total, float* results, int n,
                                            int heads) {
  constexpr int FLOATS = UnitResult<HD>::FLOATS;
  const int threads = static_cast<int>(blockDim.x);
  const int thread = static_cast<int>(threadIdx.x);
  __syncthreads();
  if (thread < heads)
    for (int w = 0; w < n; w++) {
      float* const next = results + (w * heads + thread) * FLOATS;
      float* const row = total.of(thread);
      const MergeFactors factors = merge(row[0], row[1], next[0], next[1]);
      next[2] = factors.old;
      next[3] = factors.next;
    }
  __syncthreads();
  for (int i = thread; i < heads * HD; i += threads) {
    float& out = total.of(i / HD)[4 + i % HD];
    float x = out;
    for (int w = 0; w < n; w++) {
      const float* const next = results + (w * heads + i / HD) * FLOATS;
      x = merged(x, next[4 + i % HD], {next[2], next[3]});
    }
    out = x;
  }
  __syncthreads();  // before the next round's results
}

/** A warp's result to memory, for merge_split_kernel. */
template <int HD>
__device__ __forceinline__ void store_partial(const InferArguments& x, const InferPlace& at,
                                              int unit, UnitResult<HD> result) {
  const int head_dim = static_cast<int>(x.cache.head_dim);
  __syncwarp();
  for (int g = 0; g < at.heads; g++) {
    const uint64_t i = (uint64_t{at.index} * x.heads + static_cast<uint32_t>(at.first_head + g)) *
                           x.units + static_cast<uint32_t>(unit);
    const float* const from = result.of(g);
    if (lane_index() == 0) x.partial[i] = float2{from[0], from[1]};
    for (int c = 2 * lane_index(); c < head_dim; c += 2 * LANES)
      *reinterpret_cast<float2*>(x.partial_out + i * static_cast<uint64_t>(head_dim) + c) =
          *reinterpret_cast<const float2*>(from + 4 + c);
  }
}

/** A row that has just been computed: its queries to shared memory, with zeros around them, and from the
 * block that attends to the row's own position its key and value to the cache. */
template <int HD>
__device__ __forceinline__ void take_fresh(HalfTile<HD> queries, const InferArguments& x,
                                           const InferPlace& at, bool is_owner) {
  const auto thread = static_cast<int>(threadIdx.x);
  const auto threads = static_cast<int>(blockDim.x);
  const int head_dim = static_cast<int>(x.cache.head_dim);
  const int half = head_dim / 2;
  const int64_t angles = int64_t{at.position} * half;
  const float* const cosines = x.fresh.cosines + angles;
  const float* const sines = x.fresh.sines + angles;
  const float* const q = x.fresh.q.row(at.tile.row) + int64_t{at.first_head} * head_dim;
  for (int i = thread; i < PAIRS * HD; i += threads) {
    const int pair = i / HD;
    const int c = i % HD;
    const bool inside = pair < at.heads && c < head_dim;
    const int j = c < half ? c : c - half;
    queries.at(pair, c / 8)[c % 8] =
        inside ? turned(q + pair * head_dim, c, half, cosines[j], sines[j]) : fp16{0};
  }
  if (!is_owner) return;
  const int width = static_cast<int>(x.cache.width());
  const int within = at.position % MG_KV_BLOCK * width;
  const uint32_t number = at.table[at.position / MG_KV_BLOCK];
  fp16* const key = x.cache.keys(at.pool, number, x.layer, at.kv_head) + within;
  fp16* const value = x.cache.values(at.pool, number, x.layer, at.kv_head) + within;
  const int64_t head = int64_t{at.kv_head} * head_dim;
  for (int c = thread; c < width; c += threads) {
    const int j = c < half ? c : c - half;
    const bool inside = c < head_dim;
    key[c] = inside ? turned(x.fresh.k.row(at.tile.row) + head, c, half, cosines[j], sines[j])
                    : fp16{0};
    // A value is not turned.
    value[c] = inside ? turned(x.fresh.v.row(at.tile.row) + head, c, half, 1.0f, 0.0f) : fp16{0};
  }
}

/** blockIdx.y: which positions, where rows are split. */
template <int HD>
__global__ void __launch_bounds__(DECODE_WARPS* LANES, 3)
    decode_attention_kernel(InferArguments x) {
  fp16* const shared = dynamic_shared<fp16>();
  const int warps = static_cast<int>(blockDim.x) / LANES;
  const int warp = warp_index();
  const HalfTile<HD> queries{shared};
  const HalfTile<HD> keys{shared + HalfTile<HD>::elements(PAIRS + 2 * warp * UNIT)};
  const HalfTile<HD> values{shared + HalfTile<HD>::elements(PAIRS + (2 * warp + 1) * UNIT)};
  auto* const results =
      reinterpret_cast<float*>(shared + HalfTile<HD>::elements(PAIRS + 2 * warps * UNIT));
  let_next_start();
  wait_for_previous();
  const InferPlace at = infer_place(x, cut_group(x.heads, x.cache.kv_heads));
  const int end = at.position + 1;
  const int units = (end + UNIT - 1) / UNIT;
  const bool split = gridDim.y > 1;
  const int begin = static_cast<int>(blockIdx.y) * warps;
  if (begin >= units) return;
  const int stop = split ? min(begin + warps, units) : units;
  const UnitResult<HD> mine{results + warp * at.heads * UnitResult<HD>::FLOATS};
  const UnitResult<HD> total{results + warps * at.heads * UnitResult<HD>::FLOATS};
  const auto load = [&](HalfTile<HD> to, bool of_values, int unit) {
    if (unit < stop) load_unit(to, x, at, of_values, unit, end, lane_index(), LANES);
    cp_async_commit();
  };
  if (x.takes_fresh) {
    take_fresh(queries, x, at, stop == units);
    __syncthreads();  // before the row's key and value are copied with the others
  } else if (warp == 0) {
    load_queries(queries, 0, x, at, 0, 1);
  }
  load(keys, false, begin + warp);
  load(values, true, begin + warp);
  for (int i = static_cast<int>(threadIdx.x); i < at.heads * UnitResult<HD>::FLOATS;
       i += static_cast<int>(blockDim.x))
    total.data[i] = i % UnitResult<HD>::FLOATS == 0 ? -INFINITY : 0.0f;
  for (int round = begin; round < stop; round += warps) {
    const int unit = round + warp;
    cp_async_wait<1>();
    // The queries are another warp's copy; later rounds have merge_round's barriers before them.
    if (round == begin) __syncthreads(); else __syncwarp();
    Sums<1, UNIT / 8> s;
    s.clear();
    if (unit < stop) add_products(s, queries, 0, keys);
    __syncwarp();
    load(keys, false, unit + warps);
    const int pair_last[2] = {at.position - unit * UNIT, at.position - unit * UNIT};
    const UnitSums sums = weigh(s, pair_last, x.scale_log2);
    cp_async_wait<1>();
    __syncwarp();
    if (unit < stop) put_unit(s, values, sums, at.heads, mine);
    __syncwarp();
    load(values, true, unit + warps);
    if (!split)
      merge_round(total, results, min(warps, stop - round), at.heads);
    else if (unit < stop)
      store_partial(x, at, unit, mine);
  }
  if (split) return;
  const int head_dim = static_cast<int>(x.cache.head_dim);
  float* const out = x.out.row(at.tile.row) + static_cast<int64_t>(at.first_head) * head_dim;
  for (int i = static_cast<int>(threadIdx.x); i < at.heads * head_dim;
       i += static_cast<int>(blockDim.x)) {
    const float* const row = total.of(i / head_dim);
    out[i] = row[4 + i % head_dim] * __fdiv_rn(1.0f, row[1]);
  }
}

constexpr int MERGE_THREADS = 128;

/** One block a row and head: merges its units as merge_round does. */
__global__ void __launch_bounds__(MERGE_THREADS) merge_split_kernel(InferArguments x) {
  let_next_start();
  wait_for_previous();
  const uint32_t head = blockIdx.x % x.heads;
  const AttentionTile tile = x.tiles[blockIdx.x / x.heads];
  const int head_dim = static_cast<int>(x.cache.head_dim);
  const uint32_t units = x.batch.rows[tile.row].position / UNIT + 1;
  const float2* const partial = x.partial + uint64_t{blockIdx.x} * x.units;
  const float* const from = x.partial_out + uint64_t{blockIdx.x} * x.units * x.cache.head_dim;
  for (int c = static_cast<int>(threadIdx.x); c < head_dim; c += MERGE_THREADS) {
    float top = -INFINITY;
    float sum = 0;
    float out = 0;
    for (uint32_t unit = 0; unit < units; unit++) {
      const float2 next = partial[unit];
      const MergeFactors factors = merge(top, sum, next.x, next.y);
      out = merged(out, from[unit * x.cache.head_dim + static_cast<uint32_t>(c)], factors);
    }
    x.out.row(tile.row)[static_cast<int64_t>(head) * head_dim + c] = out * __fdiv_rn(1.0f, sum);
  }
}

}  // namespace

bool splits_decode(const KvCache& cache, uint32_t heads, uint32_t single, uint32_t last_position) {
  const GroupCut cut = cut_group(heads, cache.kv_heads);
  const uint64_t blocks = uint64_t{single} * cache.kv_heads * static_cast<uint32_t>(cut.pieces);
  return blocks < DECODE_BLOCKS && last_position / UNIT >= DECODE_WARPS;
}

void decode_attention(const Stream& stream, const InferArguments& arguments, uint32_t rows,
                      uint32_t last_position) {
  const KvCache& cache = arguments.cache;
  const GroupCut cut = cut_group(arguments.heads, cache.kv_heads);
  const uint32_t blocks = rows * cache.kv_heads * static_cast<uint32_t>(cut.pieces);
  const bool split = splits_decode(cache, arguments.heads, rows, last_position);
  with_head_dim(cache.head_dim, [&](auto size) {
    constexpr int HD = decltype(size)::value;
    const int warps = decode_warps<HD>(cut.heads);
    const uint32_t units = last_position / UNIT + 1;
    const auto threads = static_cast<unsigned>(warps * LANES);
    const unsigned parts = split ? (units + static_cast<uint32_t>(warps) - 1) /
                                       static_cast<uint32_t>(warps)
                                 : 1;
    MG_LAUNCH(decode_attention_kernel<HD>, stream,
              {dim3(blocks, parts), threads, decode_bytes<HD>(warps, cut.heads), true}, arguments);
  });
  if (split)
    MG_LAUNCH(merge_split_kernel, stream, {rows * arguments.heads, MERGE_THREADS, 0, true},
              arguments);
}

}  // namespace magnet::gpu
