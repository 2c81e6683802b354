// The largest of a row of logits and its log-probability, where they are: greedy draws need no more, and
// a row of 128,256 logits takes 10 microseconds to the host.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

/** id: the lowest of equals; -1 where a logit is NaN or +Inf, or all are -Inf. */
struct Largest {
  int32_t id;
  float logprob;
};

/** Parts of a row, by a block each: one row alone keeps several multiprocessors busy. */
constexpr int LARGEST_PARTS = 16;
struct LargestPart {
  float most;
  float sum;  // of exp(logit - most)
  int32_t id;
};

struct LargestBuffers {
  explicit LargestBuffers(uint64_t rows) : parts(rows * LARGEST_PARTS), found(rows) {}
  DeviceArray<LargestPart> parts;
  DeviceArray<Largest> found;
};

/** buffers.found of `rows` rows of logits, one after the other. */
void find_largest(const Stream& stream, const float* logits, int64_t rows, int64_t vocab,
                  const LargestBuffers& buffers);

}  // namespace magnet::gpu
