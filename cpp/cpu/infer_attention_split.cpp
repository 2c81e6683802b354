// Attention of a few long sequences with fewer kv heads than threads: every task of a kv head is
// split over all threads, in stages whose units compute what one thread would, bit by bit.
#include <algorithm>
#include <cmath>
#include <vector>

#include "infer_attention.hpp"
#include "infer_pass.hpp"

namespace magnet {
namespace {

/** The tasks of a layer and what they point to; kept by the thread that calls. */
template <class E>
struct SplitRoom {
  AlignedBuffer<float> q, scores, factors, out;
  std::vector<const E*> keys, values;
  std::vector<AttentionTask<E>> tasks;
};
template <class E>
SplitRoom<E>& split_room() {
  thread_local SplitRoom<E> mine;
  return mine;
}

}  // namespace

/** Stores every row's key and value and lays out the tasks: (row, kv head). */
template <class E>
void Pass::begin_split(uint32_t index, std::vector<AttentionTask<E>>& tasks) {
  SplitRoom<E>& room = split_room<E>();
  const uint32_t heads = c_.n_heads / c_.n_kv_heads;
  uint32_t blocks = 0;
  for (uint32_t t = 0; t < n_; t++)
    blocks = std::max(blocks, rows_[t].position / MG_KV_BLOCK + 1);
  const int64_t count = int64_t{n_} * c_.n_kv_heads;
  const int64_t stride = int64_t{blocks} * MG_KV_BLOCK + 16;
  const int64_t width = rows_[0].pool->value_stride();
  float* const q = room.q.reserve(count * heads * c_.head_dim);
  float* const scores = room.scores.reserve(count * heads * stride);
  float* const factors = room.factors.reserve(count * heads);
  float* const out = room.out.reserve(count * heads * width);
  room.keys.resize(static_cast<size_t>(count) * blocks);
  room.values.resize(static_cast<size_t>(count) * blocks);
  tasks.clear();
  for (int64_t i = 0; i < count; i++) {
    const auto t = static_cast<uint32_t>(i / c_.n_kv_heads);
    const auto kv_head = static_cast<uint32_t>(i % c_.n_kv_heads);
    const Row& row = rows_[t];
    store_row(index, t, kv_head);
    float* const own = q + i * heads * c_.head_dim;
    std::copy_n(rotated_queries(t, 1, kv_head), heads * c_.head_dim, own);
    const E** const keys = room.keys.data() + i * blocks;
    const E** const values = room.values.data() + i * blocks;
    for (uint32_t b = 0; b <= row.position / MG_KV_BLOCK; b++) {
      keys[b] = row.pool->keys<E>(row.table[b], index, kv_head);
      values[b] = row.pool->values<E>(row.table[b], index, kv_head);
    }
    tasks.push_back({1, heads, row.position, c_.head_dim, width,
                     1.0f / std::sqrt(static_cast<float>(c_.head_dim)), own, keys, values,
                     scores + i * heads * stride, stride, nullptr, factors + i * heads,
                     out + i * heads * width});
  }
}

template <class E>
void Pass::attend_split(uint32_t index) {
  std::vector<AttentionTask<E>>& tasks = split_room<E>().tasks;
  begin_split<E>(index, tasks);
  const auto count = static_cast<int64_t>(tasks.size());
  const int64_t heads = tasks[0].heads;
  const auto run = [&](AttentionStage stage, int64_t units) {
    team_.each(static_cast<uint64_t>(count * units), 1, [&](uint64_t begin, uint64_t end) {
      for (auto i = static_cast<int64_t>(begin); i < static_cast<int64_t>(end); i++)
        run_attention(tasks[static_cast<size_t>(i / units)], stage, i % units);
    });
  };
  const int64_t blocks = tasks[0].score_stride / MG_KV_BLOCK;
  run(AttentionStage::score, (blocks + SPLIT_BLOCKS - 1) / SPLIT_BLOCKS);
  run(AttentionStage::weigh, heads);
  run(AttentionStage::mix, (tasks[0].value_stride / 16 + SPLIT_GROUPS - 1) / SPLIT_GROUPS);
  for (int64_t i = 0; i < count * heads; i++)
    std::copy_n(tasks[static_cast<size_t>(i / heads)].out + i % heads * tasks[0].value_stride,
                c_.head_dim, s_.attention.data() + i * c_.head_dim);
}

template void Pass::attend_split<uint16_t>(uint32_t index);
template void Pass::attend_split<float>(uint32_t index);

}  // namespace magnet
