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
  float* wide;              // room for WIDE_BLOCKS blocks of keys or values
  float* out;               // (pairs, value_stride), the result
};

/** Blocks that are converted to float32 together, for many rows to use. */
inline constexpr int64_t WIDE_BLOCKS = 4;

}  // namespace magnet
