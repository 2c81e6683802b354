// Sessions: one sequence with a KV pool of its own. What evaluation, comparisons and tests use;
// servers run batches over one pool (infer_batch.cpp).
#pragma once
#include <memory>
#include <vector>

#include "infer_forward.hpp"

namespace magnet {

struct Session : LiveHandle {
  std::shared_ptr<Model> model;
  uint32_t context = 0;
  uint32_t rounding = MG_ROUNDING_BITNET;
  uint32_t length = 0;
  std::unique_ptr<KvPool> pool;
  std::vector<uint32_t> table;  // block i is the pool's block i
};

}  // namespace magnet
