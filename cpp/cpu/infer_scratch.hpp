// Buffers of forward passes. A model keeps those of the passes that have ended, so that a decoded
// token allocates nothing; passes that run at the same time have their own.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "aligned_buffer.hpp"

namespace magnet {

/** Rows of one sequence within one block of positions: they share keys and values. */
struct Tile {
  uint32_t row;
  uint32_t rows;
};

struct Scratch {
  AlignedBuffer<float> x, norm, q, k, v, attention, gate, up, delta, rounded, cosine, sine;
  AlignedBuffer<float> outputs;  // normed hidden states of the rows with logits
  AlignedBuffer<float> logits;   // of some of them, where the caller takes none
  AlignedBuffer<int8_t> q8;
  AlignedBuffer<int16_t> sums16;
  AlignedBuffer<float> block_scale, scale;
  AlignedBuffer<int32_t> sum;
  AlignedBuffer<int8_t> high, low;  // what a packed head multiplies
  AlignedBuffer<int16_t> high_shift, low_shift;
  std::vector<Tile> tiles;
};

class ScratchShelf {
 public:
  std::unique_ptr<Scratch> take();
  void put(std::unique_ptr<Scratch> scratch);

 private:
  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> free_;
};

}  // namespace magnet
