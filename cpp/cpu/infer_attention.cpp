// The attention part of a forward pass: queries and keys are rotated, keys and values go to their
// place in the cache, and every row attends to the positions of its sequence up to its own.
#include <algorithm>
#include <cmath>

#include "infer_attention.hpp"
#include "infer_llamacpp.hpp"
#include "infer_pass.hpp"

namespace magnet {
namespace {

/** What a thread needs for one task, kept for the next one. */
struct Room {
  AlignedBuffer<float> q, scores, wide, factors, out;
  AlignedBuffer<uint16_t> half, half_values;
  std::vector<const uint16_t*> half_blocks[2];
  std::vector<const float*> float_blocks[2];
  template <class E>
  std::vector<const E*>& blocks(int i) {
    if constexpr (sizeof(E) == 2)
      return half_blocks[i];
    else
      return float_blocks[i];
  }
};
Room& room() {
  thread_local Room mine;
  return mine;
}

/** Scores of a task stay in a thread's second-level cache: rows are taken in pieces where the
 * sequence is long. */
constexpr uint64_t SCORE_FLOATS = uint64_t{1} << 18;

uint32_t blocks_of(uint32_t position) { return position / MG_KV_BLOCK + 1; }

}  // namespace

void Pass::cut_tiles() {
  s_.tiles.clear();
  lone_tiles_ = true;
  for (uint32_t t = 0; t < n_; t++) {
    const bool same = t > 0 && rows_[t].sequence == rows_[t - 1].sequence;
    const bool opens = rows_[t].position % MG_KV_BLOCK == 0;
    if (same && !opens)
      s_.tiles.back().rows++;
    else
      s_.tiles.push_back({t, 1});
    if (same && opens) lone_tiles_ = false;
  }
  splits_ = is_uneven();
}

/** Whether tasks of a kv head each would leave threads without work beside a long sequence. */
bool Pass::is_uneven() const {
  constexpr uint32_t LONG_BLOCKS = 32;
  const uint64_t tasks = uint64_t{n_} * c_.n_kv_heads;
  const uint64_t rounds = (tasks + team_.threads() - 1) / team_.threads();
  if (llamacpp_ || 4 * tasks > 3 * rounds * team_.threads()) return false;
  uint32_t longest = 0;
  for (uint32_t t = 0; t < n_; t++) {
    if (rows_[t].pool->bits() != rows_[0].pool->bits()) return false;
    if (t > 0 && rows_[t].sequence == rows_[t - 1].sequence) return false;
    longest = std::max(longest, blocks_of(rows_[t].position));
  }
  return longest >= LONG_BLOCKS;
}

/** Rotates one head in place (half-split pairs). */
void Pass::rotate(float* x, uint32_t t) const {
  const uint32_t half = c_.head_dim / 2;
  const float* cosine = s_.cosine.data() + uint64_t{t} * half;
  const float* sine = s_.sine.data() + uint64_t{t} * half;
  if (llamacpp_) return llamacpp::rotate(x, cosine, sine, half, c_.variant == 0);
  for (uint32_t j = 0; j < half; j++) {
    const float a = x[j];
    const float b = x[j + half];
    x[j] = a * cosine[j] - b * sine[j];
    x[j + half] = b * cosine[j] + a * sine[j];
  }
}

/** Rotates a row's key of one kv head and puts key and value in their place. */
void Pass::store_row(uint32_t index, uint32_t t, uint32_t kv_head) {
  const Row& row = rows_[t];
  const KvPool& pool = *row.pool;
  const uint64_t from = uint64_t{t} * kv_width_ + uint64_t{kv_head} * c_.head_dim;
  float* const k = s_.k.data() + from;
  const float* const v = s_.v.data() + from;
  rotate(k, t);
  const uint32_t block = row.table[row.position / MG_KV_BLOCK];
  const uint32_t at = row.position % MG_KV_BLOCK;
  const uint64_t value_at = uint64_t{at} * pool.value_stride();
  if (pool.bits() == 32) {
    float* const keys = pool.keys<float>(block, index, kv_head) + at;
    for (uint32_t j = 0; j < c_.head_dim; j++) keys[uint64_t{j} * MG_KV_BLOCK] = k[j];
    std::copy_n(v, c_.head_dim, pool.values<float>(block, index, kv_head) + value_at);
    return;
  }
  uint16_t* const half = room().half.reserve(c_.head_dim);
  kernels_.to_half_row(k, c_.head_dim, half);
  uint16_t* const keys = pool.keys<uint16_t>(block, index, kv_head) + at;
  for (uint32_t j = 0; j < c_.head_dim; j++) keys[uint64_t{j} * MG_KV_BLOCK] = half[j];
  kernels_.to_half_row(v, c_.head_dim, pool.values<uint16_t>(block, index, kv_head) + value_at);
}

/** The queries of rows [first, first + rows) for one kv head, rotated: (rows * heads, head_dim). */
float* Pass::rotated_queries(uint32_t first, uint32_t rows, uint32_t kv_head) const {
  const uint32_t heads = c_.n_heads / c_.n_kv_heads;
  float* const q = room().q.reserve(int64_t{rows} * heads * c_.head_dim);
  float* out = q;
  for (uint32_t t = first; t < first + rows; t++)
    for (uint32_t g = 0; g < heads; g++, out += c_.head_dim) {
      const uint64_t at = uint64_t{t} * q_width_ + uint64_t{kv_head * heads + g} * c_.head_dim;
      std::copy_n(s_.q.data() + at, c_.head_dim, out);
      rotate(out, t);
      if (llamacpp_) kernels_.round_half(out, c_.head_dim);
    }
  return q;
}

/** Attention of a tile's rows in pieces whose scores stay in the cache. */
template <class E>
void Pass::attend(uint32_t index, const Tile& tile, uint32_t kv_head) {
  const Row& first = rows_[tile.row];
  const KvPool& pool = *first.pool;
  const uint32_t heads = c_.n_heads / c_.n_kv_heads;
  const uint32_t blocks = blocks_of(first.position);
  // No power of two, or the rows of a tile would meet in one cache set.
  const int64_t stride = int64_t{blocks} * MG_KV_BLOCK + 16;
  Room& mine = room();
  std::vector<const E*>& keys = mine.blocks<E>(0);
  std::vector<const E*>& values = mine.blocks<E>(1);
  keys.resize(blocks);
  values.resize(blocks);
  for (uint32_t b = 0; b < blocks; b++) {
    keys[b] = pool.keys<E>(first.table[b], index, kv_head);
    values[b] = pool.values<E>(first.table[b], index, kv_head);
  }
  const auto piece = static_cast<uint32_t>(std::clamp<uint64_t>(
      SCORE_FLOATS / (static_cast<uint64_t>(stride) * heads), 1, tile.rows));
  const int64_t width = pool.value_stride();
  const int64_t pairs = int64_t{piece} * heads;
  float* const scores = mine.scores.reserve(pairs * stride);
  float* const wide = mine.wide.reserve(WIDE_BLOCKS * MG_KV_BLOCK * width);
  float* const factors = mine.factors.reserve(pairs);
  float* const out = mine.out.reserve(pairs * width);
  for (uint32_t r = 0; r < tile.rows; r += piece) {
    const uint32_t rows = std::min(piece, tile.rows - r);
    const float* const q = rotated_queries(tile.row + r, rows, kv_head);
    const AttentionTask<E> task = {rows, heads, int64_t{first.position} + r, c_.head_dim, width,
                                   1.0f / std::sqrt(static_cast<float>(c_.head_dim)), q,
                                   keys.data(), values.data(), scores, stride, wide, factors, out};
    run_attention(task);
    for (uint32_t i = 0; i < rows * heads; i++)
      std::copy_n(out + int64_t{i} * width, c_.head_dim,
                  s_.attention.data() + uint64_t{tile.row + r + i / heads} * q_width_ +
                      uint64_t{kv_head * heads + i % heads} * c_.head_dim);
  }
}

/** llama.cpp sums over all positions of its cache, 256 at a time: those behind the last token weigh
 * 0. Here a row ends at the next multiple of 32, which gives the same lanes. Its sums run over
 * whole rows of keys and columns of values, which are gathered from the blocks. */
void Pass::attend_llamacpp(uint32_t index, const Tile& tile, uint32_t kv_head) {
  const Row& first = rows_[tile.row];
  const KvPool& pool = *first.pool;
  const uint32_t heads = c_.n_heads / c_.n_kv_heads;
  const uint32_t hd = c_.head_dim;
  const uint32_t last = first.position + tile.rows;
  const uint64_t padded = (uint64_t{last} + 31) / 32 * 32;
  Room& mine = room();
  uint16_t* const keys = mine.half.reserve(static_cast<int64_t>(uint64_t{last} * hd));
  uint16_t* const values = mine.half_values.reserve(static_cast<int64_t>(padded * hd));
  for (uint32_t p = 0; p < last; p++) {
    const uint32_t block = first.table[p / MG_KV_BLOCK];
    const uint32_t at = p % MG_KV_BLOCK;
    const uint16_t* k = pool.keys<uint16_t>(block, index, kv_head) + at;
    const uint16_t* v =
        pool.values<uint16_t>(block, index, kv_head) + uint64_t{at} * pool.value_stride();
    for (uint32_t j = 0; j < hd; j++) {
      keys[uint64_t{p} * hd + j] = k[uint64_t{j} * MG_KV_BLOCK];
      values[j * padded + p] = v[j];
    }
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(hd));
  const float* const q = rotated_queries(tile.row, tile.rows, kv_head);
  float* const weights = mine.scores.reserve(static_cast<int64_t>(padded));
  for (uint32_t i = 0; i < tile.rows * heads; i++) {
    const uint32_t count = first.position + i / heads + 1;
    const uint32_t length = (count + 31) / 32 * 32;
    for (uint32_t p = 0; p < count; p++)
      weights[p] = kernels_.llamacpp.dot_half(keys + uint64_t{p} * hd, q + uint64_t{i} * hd, hd);
    std::fill(weights + count, weights + length, 0.0f);
    kernels_.llamacpp.softmax(weights, scale, count);
    kernels_.round_half(weights, count);
    float* const out = s_.attention.data() + uint64_t{tile.row + i / heads} * q_width_ +
                       uint64_t{kv_head * heads + i % heads} * hd;
    for (uint32_t j = 0; j < hd; j++) {
      uint16_t* const column = values + j * padded;
      std::fill(column + last, column + padded, uint16_t{0});
      out[j] = kernels_.llamacpp.dot_half(column, weights, length);
    }
  }
}

/** q, k, v of all rows to mixed values. Where every sequence has one tile, its tasks store what
 * they alone read; else all keys and values are stored first. */
void Pass::attention(uint32_t index) {
  const std::vector<Tile>& tiles = s_.tiles;
  if (splits_) return rows_[0].pool->bits() == 16 ? attend_split<uint16_t>(index)
                                                   : attend_split<float>(index);
  if (!lone_tiles_)
    for_rows([&](uint32_t t) {
      for (uint32_t h = 0; h < c_.n_kv_heads; h++) store_row(index, t, h);
    });
  team_.each(tiles.size() * c_.n_kv_heads, 1, 1, [&](uint64_t begin, uint64_t end) {
    for (uint64_t i = begin; i < end; i++) {
      // The last tile of a sequence has most to do: it comes first.
      const Tile& tile = tiles[tiles.size() - 1 - i / c_.n_kv_heads];
      const auto kv_head = static_cast<uint32_t>(i % c_.n_kv_heads);
      if (lone_tiles_)
        for (uint32_t t = tile.row; t < tile.row + tile.rows; t++) store_row(index, t, kv_head);
      if (llamacpp_)
        attend_llamacpp(index, tile, kv_head);
      else if (rows_[tile.row].pool->bits() == 16)
        attend<uint16_t>(index, tile, kv_head);
      else
        attend<float>(index, tile, kv_head);
    }
  });
}

}  // namespace magnet
