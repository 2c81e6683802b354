// Attention of a few rows over the cached blocks of their sequence: what the kernels of
// infer_attention.inc take.
#pragma once
#include <cstdint>

namespace magnet {

/** Rows at consecutive positions within one block, with all query heads of one kv head. A pair is a
 * row and a head: pair r * heads + g. E is what the pool keeps: uint16_t (binary16) or float. */
template <class E>
struct AttentionTask {
  int64_t rows;
  int64_t heads;         // query heads of the kv head
  int64_t first;         // position of the first row
  int64_t head_dim;
  int64_t value_stride;  // head_dim in whole lanes
  float scale;
  const float* q;           // (pairs, head_dim), rotated
  const E* const* keys;     // of the blocks up to the rows' own: (head_dim, 16)
  const E* const* values;   // (16, value_stride)
  float* scores;            // room for (pairs, score_stride)
  int64_t score_stride;     // at least the blocks' positions
  float* wide;              // room for WIDE_BLOCKS blocks of keys or values; null: never converted
  float* factors;           // room for one a pair
  float* out;               // (pairs, value_stride), the result
};

/** Blocks that are converted to float32 together, for many rows to use. */
inline constexpr int64_t WIDE_BLOCKS = 4;

/** Stages of a task of one row that several threads share: scores by blocks of positions, weights
 * by pairs, mixes by columns. Each unit computes what it owns as one thread would. */
enum class AttentionStage { score, weigh, mix };
inline constexpr int64_t SPLIT_BLOCKS = 16;
/** Of 16 columns: two binary16 rows of them are a line of the cache. */
inline constexpr int64_t SPLIT_GROUPS = 2;

/** Runs a task, whole or a unit of one of its stages, on the CPU path in force. */
void run_attention(const AttentionTask<uint16_t>& task);
void run_attention(const AttentionTask<float>& task);
void run_attention(const AttentionTask<uint16_t>& task, AttentionStage stage, int64_t unit);
void run_attention(const AttentionTask<float>& task, AttentionStage stage, int64_t unit);

}  // namespace magnet
