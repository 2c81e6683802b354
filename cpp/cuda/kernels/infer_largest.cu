// See infer_largest.hpp. Two kernels: parts of rows, and their merge, both in fixed order.
#include "infer_largest.hpp"

namespace magnet::gpu {
namespace {

constexpr int PART_THREADS = 256;

/** Above that of every smaller logit, and of equal ones with a higher id; 0 is below all. */
__device__ __forceinline__ uint64_t rank_of(float logit, int64_t id) {
  const unsigned bits = __float_as_uint(logit + 0.0f);  // -0 equals 0
  const unsigned ordered = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return uint64_t{ordered} << 32 | (0xffffffffu - static_cast<unsigned>(id));
}

__global__ void __launch_bounds__(PART_THREADS)
    largest_part_kernel(const float* logits, int64_t vocab, LargestPart* parts) {
  __shared__ uint64_t rank_scratch[LANES];
  __shared__ float sum_scratch[LANES];
  let_next_start();
  wait_for_previous();
  const float* const row = logits + int64_t{blockIdx.y} * vocab;
  const int64_t each = (vocab + LARGEST_PARTS - 1) / LARGEST_PARTS;
  const int64_t begin = int64_t{blockIdx.x} * each;
  const int64_t end = begin + each < vocab ? begin + each : vocab;
  uint64_t best = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += PART_THREADS)
    if (row[i] == row[i]) best = max(best, rank_of(row[i], i));  // NaN shows in the sum
  best = block_max(best, rank_scratch);
  const auto id = static_cast<int32_t>(0xffffffffu - static_cast<unsigned>(best));
  const float most = best == 0 ? -INFINITY : row[id];
  const float base = most == -INFINITY ? 0.0f : most;
  float sum = 0.0f;
  for (int64_t i = begin + threadIdx.x; i < end; i += PART_THREADS) sum += expf(row[i] - base);
  sum = block_sum(sum, sum_scratch);
  if (threadIdx.x == 0)
    parts[int64_t{blockIdx.y} * LARGEST_PARTS + blockIdx.x] = {most, sum, id};
}

/** A warp a row. */
__global__ void __launch_bounds__(LANES) merge_largest_kernel(const LargestPart* parts,
                                                              Largest* found) {
  let_next_start();
  wait_for_previous();
  const auto lane = static_cast<int>(threadIdx.x);
  LargestPart mine{-INFINITY, 0.0f, -1};
  if (lane < LARGEST_PARTS) mine = parts[int64_t{blockIdx.x} * LARGEST_PARTS + lane];
  const float top = warp_max(mine.most);
  // A part that is not a number is seen even where all others weigh nothing.
  const float factor = mine.most == -INFINITY ? 1.0f : expf(mine.most - top);
  const float sum = warp_sum(mine.sum * factor);
  const unsigned holders = __ballot_sync(FULL_WARP, mine.most == top);
  int first = 0;
  while ((holders >> first & 1u) == 0 && first < LANES - 1) first++;
  const int32_t id = __shfl_sync(FULL_WARP, mine.id, first);
  if (lane != 0) return;
  const bool finite = top > -INFINITY && top < INFINITY && sum < INFINITY && sum >= 1.0f;
  found[blockIdx.x] = {finite ? id : -1, finite ? -logf(sum) : 0.0f};
}

}  // namespace

void find_largest(const Stream& stream, const float* logits, int64_t rows, int64_t vocab,
                  const LargestBuffers& buffers) {
  if (rows == 0) return;
  const auto count = static_cast<unsigned>(rows);
  MG_LAUNCH(largest_part_kernel, stream, {dim3(LARGEST_PARTS, count), PART_THREADS, 0, true},
            logits, vocab, buffers.parts.data());
  MG_LAUNCH(merge_largest_kernel, stream, {count, LANES, 0, true}, buffers.parts.data(),
            buffers.found.data());
}

}  // namespace magnet::gpu
