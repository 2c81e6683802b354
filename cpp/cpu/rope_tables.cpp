// See rope_tables.hpp.
#include "rope_tables.hpp"

#include "math.hpp"

namespace magnet {

RopeTables::RopeTables(int64_t positions, int64_t head_dim, double theta)
    : half(head_dim / 2),
      cos(static_cast<size_t>(positions * half)),
      sin(static_cast<size_t>(positions * half)) {
  const double log_theta = log_fixed(theta);
  for (int64_t j = 0; j < half; j++) {
    const auto fraction = -2.0 * static_cast<double>(j) / static_cast<double>(head_dim);
    const double frequency = exp_fixed(fraction * log_theta);
    for (int64_t t = 0; t < positions; t++) {
      const SinCos pair = sincos_fixed(static_cast<double>(t) * frequency);
      cos[static_cast<size_t>(t * half + j)] = static_cast<float>(pair.cos);
      sin[static_cast<size_t>(t * half + j)] = static_cast<float>(pair.sin);
    }
  }
}

}  // namespace magnet
