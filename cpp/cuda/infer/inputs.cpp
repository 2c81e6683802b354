// See inputs.hpp.
#include "inputs.hpp"

#include <algorithm>
#include <cstring>

namespace magnet::gpu {

PassInputs::PassInputs(const mg_batch_row* from, uint32_t n, const uint32_t* from_tables,
                       const uint32_t* from_starts, fp16* const* from_pools)
    : starts{0} {
  for (uint32_t i = 0; i < n; i++) {
    mg_batch_row row = from[i];
    const bool last = i + 1 == n || from[i + 1].sequence != row.sequence;
    row.sequence = static_cast<uint32_t>(starts.size()) - 1;
    rows.push_back(row);
    if (row.output == MG_OUTPUT_LOGITS) chosen.push_back(i);
    if (!last) continue;
    const uint32_t* const table = from_tables + from_starts[from[i].sequence];
    tables.insert(tables.end(), table, table + row.position / MG_KV_BLOCK + 1);
    starts.push_back(static_cast<uint32_t>(tables.size()));
    pools.push_back(from_pools[from[i].sequence]);
  }
  logits = static_cast<uint32_t>(chosen.size());
  for (uint32_t i = 0; i < n; i++)
    if (rows[i].output == MG_OUTPUT_HIDDEN) chosen.push_back(i);
}

void PassInputs::fill_up(uint32_t count, fp16* spare_blocks, const KvCache& cache) {
  for (uint32_t i = 0; rows.size() < count; i++) {
    const auto sequence = static_cast<uint32_t>(starts.size()) - 1;
    tables.push_back(i / MG_KV_BLOCK);
    // Of a pool that begins so many positions later, position 0 is that one of the block.
    pools.push_back(spare_blocks + i % MG_KV_BLOCK * cache.width());
    starts.push_back(static_cast<uint32_t>(tables.size()));
    chosen.push_back(static_cast<uint32_t>(rows.size()));
    rows.push_back({0, 0, sequence, MG_OUTPUT_LOGITS});
  }
}

void PassInputs::cut(uint32_t heads, uint32_t kv_heads) {
  attention = attention_tiles(rows.data(), static_cast<uint32_t>(rows.size()), heads, kv_heads);
}

bool PassInputs::is_decode() const {
  return logits == rows.size() && starts.size() == rows.size() + 1;
}

uint64_t InputLayout::most_bytes(uint32_t context) {
  const uint64_t blocks = (uint64_t{context} + MG_KV_BLOCK - 1) / MG_KV_BLOCK;
  return InputLayout(MG_BATCH_ROWS).tables + MG_BATCH_ROWS * blocks * 4;
}

void InputBuffers::send(const Stream& stream, const PassInputs& in) const {
  const InputLayout layout(static_cast<uint32_t>(in.rows.size()));
  const auto put = [&](uint64_t offset, const auto& values) {
    std::memcpy(pinned_.data() + offset, values.data(), values.size() * sizeof(values[0]));
  };
  put(0, in.rows);
  put(layout.pools, in.pools);
  put(layout.tiles, in.attention.tiles);
  put(layout.chosen, in.chosen);
  put(layout.starts, in.starts);
  put(layout.tables, in.tables);
  copy_in(stream, device_.data(), pinned_.data(), layout.tables + in.tables.size() * 4);
}

KvBatch InputBuffers::batch(uint32_t rows) const {
  const InputLayout layout(rows);
  return {at<mg_batch_row>(0), at<fp16*>(layout.pools), at<uint32_t>(layout.tables), at<uint32_t>(layout.starts)};
}

}  // namespace magnet::gpu
