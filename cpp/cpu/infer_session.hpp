// Sessions (one sequence and its KV cache) and the forward pass over a batch of rows, each row
// being one token of one session. A row is computed from its own session only and in fixed order,
// so that its bits do not depend on which other rows run beside it: prefill, decode and batches of
// sessions agree.
#pragma once
#include <memory>
#include <vector>

#include "infer_model.hpp"

namespace magnet {

/** Keys and values of one session: per layer and position n_kv_heads * head_dim numbers, f16 or
 * float32. Memory is reserved for the whole context but touched only as positions are written. */
struct KvCache {
  std::unique_ptr<uint16_t[]> k16, v16;
  std::unique_ptr<float[]> k32, v32;
};

struct Session {
  std::shared_ptr<Model> model;
  uint32_t context = 0;
  uint32_t rounding = MG_ROUNDING_BITNET;
  uint32_t length = 0;
  KvCache cache;
};

/** One token at position `position` of a session. */
struct Row {
  Session* session;
  uint32_t position;
  int32_t token;
  float* logits;  // (vocab), or null
};

/** Rows per forward pass: activations stay in the second-level cache, cancel is answered within it.
 */
inline constexpr uint64_t ROWS_MAX = 64;

/** Runs rows of sessions of one model and rounding; does not move the sessions' lengths. Throws
 *  MG_E_CANCELLED between layers. */
void forward(const Model& model, uint32_t rounding, const std::vector<Row>& rows,
             const int32_t* cancel);

}  // namespace magnet
