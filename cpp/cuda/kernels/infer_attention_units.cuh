// The arithmetic that both attention kernels of inference share, bit by bit. The positions of a sequence
// are cut into units of 64. A unit's weights are relative to the row's maximum in that unit; units are
// merged in order of positions. Nothing of a row's result depends on the other rows of its tile.
// Weights are mixed as two fp16: as one, their rounding would add to the cache's in front of the next
// quantiser (matrix.hpp, Activation), for half of the products.
#pragma once
#include "attention_tiles.cuh"
#include "infer_attention.hpp"

namespace magnet::gpu {

constexpr int UNIT = 64;
/** Rows of a warp: pairs of a position and a query head of the group. */
constexpr int PAIRS = 16;

template <int HD>
using HalfTile = Tile<HD, fp16>;

/** Heads of a group that a warp takes at once, and positions that fit beside each other then. */
struct GroupCut {
  int heads;
  int positions;
  int pieces;  // of the group
};
__host__ __device__ __forceinline__ GroupCut cut_group(uint32_t heads, uint32_t kv_heads) {
  const int group = static_cast<int>(heads / kv_heads);
  const int together = group < PAIRS ? group : PAIRS;
  return {together, PAIRS / together, (group + together - 1) / together};
}

struct InferArguments {
  KvCache cache;
  uint32_t layer;
  uint32_t heads;
  KvBatch batch;
  const AttentionTile* tiles;
  Matrix<const fp16> queries;
  Matrix<float> out;
  float scale_log2;
  // Of split rows, by (tile * heads + head) * units + unit.
  uint32_t units;
  float* partial_out;  // (.., head_dim)
  float2* partial;     // (top, sum)
  FreshRows fresh;
  bool takes_fresh;  // else queries and the cache have them
};

/** Column c of a turned head of 2 * half columns. Rounded as on the CPU. */
__device__ __forceinline__ fp16 turned(const float* x, int c, int half, float cosine, float sine) {
  const float own = __fmul_rn(x[c], cosine);
  return to_fp16(c < half ? __fadd_rn(own, -__fmul_rn(x[c + half], sine))
                          : __fadd_rn(own, __fmul_rn(x[c - half], sine)));
}

/** Tiles of at most prefill_rows rows. */
void prefill_attention(const Stream& stream, const InferArguments& arguments, uint32_t tiles);
uint32_t prefill_rows(uint32_t heads, uint32_t kv_heads);
/** Tiles of one row; last_position as AttentionWork has it. */
void decode_attention(const Stream& stream, const InferArguments& arguments, uint32_t rows,
                      uint32_t last_position);
/** Whether it splits the positions of rows: few rows, long sequences. Both ways give the same bits. */
bool splits_decode(const KvCache& cache, uint32_t heads, uint32_t single, uint32_t last_position);

/** What a block works on: a tile, a kv head, and a piece of its query heads. */
struct InferPlace {
  AttentionTile tile;
  uint32_t index;       // of the tile
  uint32_t kv_head;
  int first_head;       // query head
  int heads;            // of this piece
  int position;         // of the tile's first row
  const uint32_t* table;
  fp16* pool;
};
__device__ __forceinline__ InferPlace infer_place(const InferArguments& x, const GroupCut& cut) {
  const uint32_t per_tile = x.cache.kv_heads * static_cast<uint32_t>(cut.pieces);
  const uint32_t within = blockIdx.x % per_tile;
  const int piece = static_cast<int>(within) % cut.pieces;
  const int group = static_cast<int>(x.heads / x.cache.kv_heads);
  InferPlace at;
  at.index = blockIdx.x / per_tile;
  at.tile = x.tiles[at.index];
  at.kv_head = within / static_cast<uint32_t>(cut.pieces);
  at.first_head = static_cast<int>(at.kv_head) * group + piece * cut.heads;
  at.heads = min(cut.heads, group - piece * cut.heads);
  const mg_batch_row row = x.batch.rows[at.tile.row];
  at.position = static_cast<int>(row.position);
  at.table = x.batch.tables + x.batch.starts[row.sequence];
  at.pool = x.batch.pools[row.sequence];
  return at;
}

/** Starts to copy 64 keys or values from position 64 * unit on; zeros from position `end` on, where
 * the cache may hold anything. Threads index, index + step, .. */
template <int HD>
__device__ __forceinline__ void load_unit(HalfTile<HD> to, const InferArguments& x,
                                          const InferPlace& at, bool values, int unit, int end,
                                          int index, int step) {
  constexpr int CHUNKS = HalfTile<HD>::CHUNKS;
  constexpr int SPREAD = HalfTile<HD>::SPREAD;
  const int width = static_cast<int>(x.cache.width());
  const int first = index % SPREAD;
  for (int r = index / SPREAD; r < UNIT; r += step / SPREAD) {
    const int position = unit * UNIT + r;
    const bool inside = position < end;
    const fp16* source = at.pool;
    if (inside) {
      const uint32_t number = at.table[position / MG_KV_BLOCK];
      source = values ? x.cache.values(at.pool, number, x.layer, at.kv_head)
                      : x.cache.keys(at.pool, number, x.layer, at.kv_head);
      source += r % MG_KV_BLOCK * width + first * 8;
    }
    fp16* const target = to.at(r, first);
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk += SPREAD) {
      const bool real = inside && (first + chunk) * 8 < width;
      cp_async_16(target + chunk * 8, real ? source + chunk * 8 : at.pool, real);
    }
  }
}

/** The queries of a warp's pairs: row p * heads + g is the tile's row first + p, head g; zeros behind. */
template <int HD>
__device__ __forceinline__ void load_queries(HalfTile<HD> to, int to_row, const InferArguments& x,
                                             const InferPlace& at, int first, int positions) {
  constexpr int CHUNKS = HalfTile<HD>::CHUNKS;
  const int width = static_cast<int>(x.cache.width());
  for (int i = lane_index(); i < PAIRS * CHUNKS; i += LANES) {
    const int pair = i / CHUNKS;
    const int chunk = i % CHUNKS;
    const int p = pair / at.heads;
    const bool inside = p < positions && first + p < static_cast<int>(at.tile.rows) &&
                        chunk * 8 < width;
    const fp16* const from = x.queries.row(at.tile.row + (inside ? first + p : 0));
    const int column = (at.first_head + pair % at.heads) * width + chunk * 8;
    cp_async_16(to.at(to_row + pair, chunk), inside ? from + column : from, inside);
  }
}

/** Maximum (as an exponent of 2) and sum of the weights of a thread's two rows in a unit. */
struct UnitSums {
  float top[2];
  float sum[2];
};

/** Scores become weights. `last`: the row's own position within the unit; all that is behind it, or
 * everything where it is negative, weighs 0. */
template <int N>
__device__ __forceinline__ UnitSums weigh(Sums<1, N>& s, const int (&last)[2], float scale) {
  UnitSums out;
#pragma unroll
  for (int half = 0; half < 2; half++) {
    float top = -INFINITY;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        if (column_in(n, i) > last[half]) s.of[0][n][i] = -INFINITY;
        top = fmaxf(top, s.of[0][n][i]);
      }
    top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 1));
    top = fmaxf(top, __shfl_xor_sync(FULL_WARP, top, 2)) * scale;
    const float finite = top == -INFINITY ? 0.0f : top;
    float sum = 0;
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 2 * half; i < 2 * half + 2; i++) {
        const float p = exp2_approximate(__fmaf_rn(s.of[0][n][i], scale, -finite));
        s.of[0][n][i] = p;
        sum += p;
      }
    sum += __shfl_xor_sync(FULL_WARP, sum, 1);
    sum += __shfl_xor_sync(FULL_WARP, sum, 2);
    out.top[half] = top;
    out.sum[half] = sum;
  }
  return out;
}

/** What the sums so far and those of the next unit are multiplied with. */
struct MergeFactors {
  float old;
  float next;
};
/** Takes the next unit's maximum and sum up into a row's. One without weights changes nothing; the first
 * has some. */
__device__ __forceinline__ MergeFactors merge(float& top, float& sum, float next_top,
                                              float next_sum) {
  const float higher = fmaxf(top, next_top);
  const MergeFactors factors = {exp2_approximate(top - higher),
                                exp2_approximate(next_top - higher)};
  top = higher;
  sum = __fmaf_rn(sum, factors.old, __fmul_rn(next_sum, factors.next));
  return factors;
}
__device__ __forceinline__ float merged(float out, float next, const MergeFactors& factors) {
  return __fmaf_rn(out, factors.old, __fmul_rn(next, factors.next));
}

/** Fragments of columns that are mixed at once: registers hold no more of wide heads. */
template <int HD>
constexpr int MIXED = HD / 8 <= 8 ? HD / 8 : HD / 8 % 8 == 0 ? 4 : 6;

}  // namespace magnet::gpu
