// Rotary positions and causal grouped-query attention, forward and backward.
// Formulas: tests/golden/bitnet/README.md.
#pragma once
#include <cstdint>

#include "rope_tables.hpp"

namespace magnet {

/**
 * Rotates the pairs (j, j + head_dim/2) of every head in place; row i of x (rows, heads * head_dim)
 * is at position i % context. `backward` rotates by the negative angle, which is the gradient.
 */
void rope(uint32_t threads, const RopeTables& tables, float* x, int64_t rows, int64_t context,
          int64_t heads, bool backward);

struct AttentionShape {
  int64_t sequences;
  int64_t context;
  int64_t heads;
  int64_t kv_heads;
  int64_t head_dim;
};

/**
 * q, o: (sequences * context, heads * head_dim); k, v: (.., kv_heads * head_dim). stats: per
 * sequence, head and position the row maximum and 1 / sum of exponentials, from which backward
 * makes the same probabilities again.
 */
void attention_forward(uint32_t threads, const AttentionShape& shape, const float* q,
                       const float* k, const float* v, float* o, float* stats);

/** dq, dk, dv (overwritten) from d_o. */
void attention_backward(uint32_t threads, const AttentionShape& shape, const float* q,
                        const float* k, const float* v, const float* stats, const float* d_o,
                        float* dq, float* dk, float* dv);

}  // namespace magnet
