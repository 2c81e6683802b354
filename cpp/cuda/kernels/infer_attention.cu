// What leads to the attention kernels of inference: rows into the cache, tiles of a batch, and the
// choice of kernels.
#include "infer_attention.hpp"

#include <algorithm>
#include <cmath>

#include "infer_attention_units.cuh"

namespace magnet::gpu {

namespace {

constexpr int CACHE_THREADS = 128;

struct CacheArguments {
  KvCache cache;
  uint32_t layer;
  uint32_t heads;
  KvBatch batch;
  FreshRows fresh;
  Matrix<fp16> queries;
};

/** Pair j of a rotated head, and its share of the zeros behind the head. */
__device__ __forceinline__ void rotate_pair(const float* x, float c, float s, int j, int half,
                                            int width, fp16* out) {
  out[j] = turned(x, j, half, c, s);
  out[j + half] = turned(x, j + half, half, c, s);
  for (int i = 2 * half + j; i < width; i += half) out[i] = fp16{0};
}

/** A block per row. */
__global__ void __launch_bounds__(CACHE_THREADS) cache_rows_kernel(CacheArguments x) {
  let_next_start();
  wait_for_previous();
  const int64_t r = blockIdx.x;
  const mg_batch_row row = x.batch.rows[r];
  const int half = static_cast<int>(x.cache.head_dim) / 2;
  const int width = static_cast<int>(x.cache.width());
  const int kv_heads = static_cast<int>(x.cache.kv_heads);
  const int heads = static_cast<int>(x.heads);
  fp16* const pool = x.batch.pools[row.sequence];
  const uint32_t block =
      x.batch.tables[x.batch.starts[row.sequence] + row.position / MG_KV_BLOCK];
  const uint32_t within = row.position % MG_KV_BLOCK * x.cache.width();
  const float* const cosines = x.fresh.cosines + uint64_t{row.position} * static_cast<uint32_t>(half);
  const float* const sines = x.fresh.sines + uint64_t{row.position} * static_cast<uint32_t>(half);
  // Pairs of all query heads, of the keys, and of the values.
  for (int i = static_cast<int>(threadIdx.x); i < (heads + 2 * kv_heads) * half;
       i += CACHE_THREADS) {
    const int j = i % half;
    int head = i / half;
    if (head < heads) {
      rotate_pair(x.fresh.q.row(r) + head * 2 * half, cosines[j], sines[j], j, half, width,
                  x.queries.row(r) + head * width);
      continue;
    }
    head -= heads;
    const auto kv_head = static_cast<uint32_t>(head % kv_heads);
    if (head < kv_heads) {
      rotate_pair(x.fresh.k.row(r) + head * 2 * half, cosines[j], sines[j], j, half, width,
                  x.cache.keys(pool, block, x.layer, kv_head) + within);
      continue;
    }
    // A value is not turned.
    rotate_pair(x.fresh.v.row(r) + (head - kv_heads) * 2 * half, 1.0f, 0.0f, j, half, width,
                x.cache.values(pool, block, x.layer, kv_head) + within);
  }
}

/** Rotates queries and keys, and puts keys and values in their places in the cache. */
void cache_rows(const Stream& stream, const CacheArguments& x) {
  const auto rows = static_cast<unsigned>(x.fresh.q.rows);
  MG_LAUNCH(cache_rows_kernel, stream, {rows, CACHE_THREADS, 0, true}, x);
}

}  // namespace

AttentionTiles attention_tiles(const mg_batch_row* rows, uint32_t n, uint32_t heads,
                               uint32_t kv_heads) {
  const uint32_t most = prefill_rows(heads, kv_heads);
  AttentionTiles out;
  for (uint32_t i = 0; i < n; i++) {
    const bool follows = i > 0 && rows[i].sequence == rows[i - 1].sequence &&
                         rows[i].position == rows[i - 1].position + 1;
    if (follows && out.tiles.back().rows < most)
      out.tiles.back().rows++;
    else
      out.tiles.push_back({i, 1});
  }
  const auto single = std::stable_partition(out.tiles.begin(), out.tiles.end(),
                                            [](const AttentionTile& t) { return t.rows > 1; });
  std::stable_sort(out.tiles.begin(), single, [&](const AttentionTile& a, const AttentionTile& b) {
    return rows[a.row].position > rows[b.row].position;
  });
  out.prefill = static_cast<uint32_t>(single - out.tiles.begin());
  for (auto tile = single; tile != out.tiles.end(); ++tile)
    out.last_position = std::max(out.last_position, rows[tile->row].position);
  return out;
}

uint64_t attention_work_scratch(const KvCache& cache, uint32_t heads, uint32_t single,
                                uint32_t last_position) {
  if (!splits_decode(cache, heads, single, last_position)) return 0;
  return uint64_t{single} * heads * (last_position / UNIT + 1) * (cache.head_dim + 2);
}

void infer_attention(const Stream& stream, const KvCache& cache, uint32_t layer,
                     const KvBatch& batch, const AttentionWork& work, uint32_t heads,
                     const FreshRows& rows, Matrix<fp16> queries, Matrix<float> out) {
  if (rows.q.rows == 0) return;
  // Blocks that share a kv head would both write its keys.
  const bool takes_fresh = work.prefill == 0 && cut_group(heads, cache.kv_heads).pieces == 1;
  if (!takes_fresh) cache_rows(stream, {cache, layer, heads, batch, rows, queries});
  const double scale = 1.0 / std::sqrt(static_cast<double>(cache.head_dim));
  const uint32_t units = work.last_position / UNIT + 1;
  auto* const partial = reinterpret_cast<float2*>(work.scratch);
  const uint64_t partials = uint64_t{work.single} * heads * units;
  float* const partial_out = work.scratch == nullptr ? nullptr : work.scratch + 2 * partials;
  InferArguments arguments = {cache,   layer,       heads,
                              batch,   work.tiles,  queries,
                              out,     static_cast<float>(scale) * LOG2_E,
                              units,   partial_out, partial,
                              rows,    takes_fresh};
  if (work.prefill > 0) prefill_attention(stream, arguments, work.prefill);
  arguments.tiles += work.prefill;
  if (work.single > 0) decode_attention(stream, arguments, work.single, work.last_position);
}

}  // namespace magnet::gpu
