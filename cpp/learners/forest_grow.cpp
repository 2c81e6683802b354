// Compiles the growing of trees for every CPU path.
#include "forest_grow.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <utility>
#include <vector>

#include "../cpu/simd.hpp"
#include "byte_masks.hpp"
#include "tree_random.hpp"

#define MAGNET_KERNELS "../learners/forest_grow.inc"
#include "../cpu/all_paths.inc"

namespace magnet::learn {

GrownTree grow_tree(const ForestPlan& plan, uint64_t tree) {
  return MAGNET_DISPATCH(grow_tree, plan, tree);
}

}  // namespace magnet::learn
