// Random numbers of one tree: SplitMix64 (Steele, Lea and Flood 2014) on a state made of the fit's
// seed and the tree's number, so trees can be grown in any order.
#pragma once
#include <cstdint>

namespace magnet::learn {

class TreeRandom {
 public:
  TreeRandom(uint64_t seed, uint64_t tree)
      : state_(mix(seed ^ 0x6A09'E667'F3BC'C908ull) + mix(tree + 0xBB67'AE85'84CA'A73Bull)) {}

  uint64_t next() { return mix(state_ += 0x9E37'79B9'7F4A'7C15ull); }
  /** Uniform in [0, limit), limit >= 1; off by less than 2^-32. */
  uint32_t below(uint32_t limit) {
    return static_cast<uint32_t>(((next() >> 32) * limit) >> 32);
  }

 private:
  static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58'476D'1CE4'E5B9ull;
    z = (z ^ (z >> 27)) * 0x94D0'49BB'1331'11EBull;
    return z ^ (z >> 31);
  }
  uint64_t state_;
};

}  // namespace magnet::learn
