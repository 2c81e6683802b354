// What a pass reads of the host: rows, tables, tiles and the choice of outputs, in one piece of memory
// that one copy sends. Its layout depends on the number of rows alone, so that a captured graph finds
// everything at its place.
#pragma once
#include <vector>

#include "../kernels/infer_attention.hpp"

namespace magnet::gpu {

/** A batch in the order of the device, with the blocks that its rows reach. */
struct PassInputs {
  std::vector<mg_batch_row> rows;  // sequences numbered from 0
  std::vector<fp16*> pools;        // of each
  std::vector<uint32_t> tables;
  std::vector<uint32_t> starts;
  std::vector<uint32_t> chosen;  // rows with logits, then those with hidden states
  uint32_t logits = 0;
  AttentionTiles attention;

  /** from_pools: of each of the caller's sequences. */
  PassInputs(const mg_batch_row* from, uint32_t n, const uint32_t* from_tables,
             const uint32_t* from_starts, fp16* const* from_pools);
  /** Rows of token 0 up to `count`, with logits that nobody reads. Each is a sequence of its own, whose
   * only position is another one of the spare blocks: no two write the same place. */
  void fill_up(uint32_t count, fp16* spare_blocks, const KvCache& cache);
  /** Blocks that this takes: counts are powers of two. */
  static constexpr uint32_t SPARE_BLOCKS = MG_BATCH_ROWS / 2 / MG_KV_BLOCK;
  void cut(uint32_t heads, uint32_t kv_heads);
  uint32_t single() const {
    return static_cast<uint32_t>(attention.tiles.size()) - attention.prefill;
  }
  /** Whether every row is a sequence's only one and has logits. */
  bool is_decode() const;
};

/** Where they lie from a base on, for `rows` rows. */
struct InputLayout {
  explicit InputLayout(uint32_t rows)
      : pools(uint64_t{rows} * sizeof(mg_batch_row)),
        tiles(pools + uint64_t{rows} * sizeof(fp16*)),
        chosen(tiles + uint64_t{rows} * sizeof(AttentionTile)),
        starts(chosen + uint64_t{rows} * 4),
        tables(starts + (uint64_t{rows} + 1) * 4) {}
  uint64_t pools, tiles, chosen, starts, tables;  // bytes; rows come first
  /** Of a batch of the most rows in sequences of the longest context. */
  static uint64_t most_bytes(uint32_t context);
};

class InputBuffers {
 public:
  explicit InputBuffers(uint32_t context)
      : pinned_(InputLayout::most_bytes(context)), device_(pinned_.size()) {}
  /** The last copy must have ended. */
  void send(const Stream& stream, const PassInputs& inputs) const;
  KvBatch batch(uint32_t rows) const;
  const AttentionTile* tiles(uint32_t rows) const {
    return at<AttentionTile>(InputLayout(rows).tiles);
  }
  const uint32_t* chosen(uint32_t rows) const { return at<uint32_t>(InputLayout(rows).chosen); }

 private:
  template <class T>
  const T* at(uint64_t offset) const {
    return reinterpret_cast<const T*>(device_.data() + offset);
  }
  PinnedArray<unsigned char> pinned_;
  DeviceArray<unsigned char> device_;
};

}  // namespace magnet::gpu
