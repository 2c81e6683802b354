// Angles of the rotary positions, for every backend: computed in the library, so that all hosts agree.
#pragma once
#include <cstdint>
#include <vector>

namespace magnet {

/** cos and sin of t * theta^(-2j/head_dim), (positions, head_dim / 2) each, computed in float64. */
struct RopeTables {
  RopeTables(int64_t positions, int64_t head_dim, double theta);
  int64_t half;
  std::vector<float> cos;
  std::vector<float> sin;
};

}  // namespace magnet
