// Random numbers as a function of a seed and a place (SplitMix64's finaliser, Steele, Lea and Flood
// 2014): rows and columns are drawn without a state, so threads and order change nothing.
#pragma once
#include <cstdint>

namespace magnet::learn {

inline uint64_t mix(uint64_t seed, uint64_t place) {
  uint64_t z = seed + (place + 1) * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/** Uniform in [0, 1). */
inline double uniform(uint64_t seed, uint64_t place) {
  return static_cast<double>(mix(seed, place) >> 11) * 0x1p-53;
}

/** Uniform in [0, limit), limit below 2^32: the upper half of a product. */
inline uint32_t below(uint32_t limit, uint64_t seed, uint64_t place) {
  return static_cast<uint32_t>((mix(seed, place) >> 32) * limit >> 32);
}

}  // namespace magnet::learn
