// Attention of inference over a paged cache of keys and values, as mg_batch_eval describes batches
// (magnet_infer.h). A row's bits depend on its own sequence alone: not on the batch, on how a sequence is
// cut into calls, nor on which of the two kernels takes the row.
#pragma once
#include <vector>

#include "../../include/magnet.h"
#include "matrix.hpp"

namespace magnet::gpu {

/** The shape of blocks of MG_KV_BLOCK positions, all layers and kv heads of a position in one. A slice, of
 * one layer and kv head, holds the keys (16, width), rotated, and then the values (16, width). */
struct KvCache {
  uint32_t layers;
  uint32_t kv_heads;
  uint32_t head_dim;

  /** Of a row: whole 16-byte units, zeros behind head_dim. */
  __host__ __device__ uint32_t width() const { return (head_dim + 7) / 8 * 8; }
  __host__ __device__ uint64_t slice() const { return uint64_t{2} * MG_KV_BLOCK * width(); }
  __host__ __device__ uint64_t block() const { return slice() * kv_heads * layers; }
  /** Of block `number` of a pool, whose memory is 16-byte aligned. */
  __host__ __device__ fp16* keys(fp16* pool, uint32_t number, uint32_t layer,
                                 uint32_t kv_head) const {
    return pool + number * block() + (uint64_t{layer} * kv_heads + kv_head) * slice();
  }
  __host__ __device__ fp16* values(fp16* pool, uint32_t number, uint32_t layer,
                                   uint32_t kv_head) const {
    return keys(pool, number, layer, kv_head) + MG_KV_BLOCK * width();
  }
};

/** A batch on the device. Its sequences may lie in different pools: a captured graph knows of none. */
struct KvBatch {
  const mg_batch_row* rows;
  fp16* const* pools;  // of each sequence
  const uint32_t* tables;
  const uint32_t* starts;
};

/** Rows as the products leave them, whose queries and keys are to be turned. cosines, sines: (positions,
 * head_dim / 2). */
struct FreshRows {
  Matrix<const float> q, k, v;
  const float* cosines;
  const float* sines;
};

/** Rows of a batch that are computed together: of one sequence, at consecutive positions. */
struct AttentionTile {
  uint32_t row;
  uint32_t rows;
};
/** Tiles of a batch: those of several rows first, longest sequences first, then single rows. */
struct AttentionTiles {
  std::vector<AttentionTile> tiles;
  uint32_t prefill = 0;       // how many have several rows
  uint32_t last_position = 0;  // of single rows
};
AttentionTiles attention_tiles(const mg_batch_row* rows, uint32_t n, uint32_t heads,
                               uint32_t kv_heads);

/** Tiles on the device. A captured graph keeps these numbers: last_position is then the largest that
 * single rows will have. */
struct AttentionWork {
  const AttentionTile* tiles;
  uint32_t prefill;
  uint32_t single;
  uint32_t last_position;
  float* scratch;  // attention_work_scratch floats
};
/** 0 where single rows are not split over positions. */
uint64_t attention_work_scratch(const KvCache& cache, uint32_t heads, uint32_t single,
                                uint32_t last_position);

/** Keys and values into their places in the cache, and out (rows, heads * head_dim): every row over the
 * positions of its sequence up to its own. queries: room for (rows, heads * cache.width()). Where all rows
 * are single ones, attention takes them fresh: a kernel less in every layer of a decode step. */
void infer_attention(const Stream& stream, const KvCache& cache, uint32_t layer,
                     const KvBatch& batch, const AttentionWork& work, uint32_t heads,
                     const FreshRows& rows, Matrix<fp16> queries, Matrix<float> out);

}  // namespace magnet::gpu
