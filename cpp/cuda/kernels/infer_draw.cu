// See infer_draw.hpp: the highest logits and sums of rows, and rows as samplers change them. Reads of a row
// come from the second-level cache, where the head's product has left it; a part is read once a kernel.
#include "infer_draw.cuh"

namespace magnet::gpu {
namespace {

__global__ void __launch_bounds__(DRAW_THREADS)
    part_tops_kernel(const float* logits, int64_t vocab, PartTop* tops) {
  __shared__ uint64_t scratch[LANES];
  let_next_start();
  wait_for_previous();
  const int64_t begin = int64_t{blockIdx.x} * DRAW_PART;
  PartLogits mine;
  mine.load(logits + int64_t{blockIdx.y} * vocab, begin, vocab);
  const uint64_t best = block_max(mine.highest(begin), scratch);
  if (threadIdx.x == 0) tops[int64_t{blockIdx.y} * gridDim.x + blockIdx.x].highest = {best};
}

/** NaN and infinite where a logit is. The order of sum_exp_row in cpp/cpu/draw.inc. */
__global__ void __launch_bounds__(DRAW_THREADS)
    part_sums_kernel(const float* logits, int64_t vocab, PartTop* tops) {
  __shared__ double stripes[STRIPES];
  let_next_start();
  wait_for_previous();
  const int64_t first = int64_t{blockIdx.y} * gridDim.x;
  const float* const row = logits + int64_t{blockIdx.y} * vocab;
  const int64_t begin = int64_t{blockIdx.x} * DRAW_PART;
  PartLogits mine;
  mine.load(row, begin, vocab);
  const float top = row[highest_of(tops + first, static_cast<int>(gridDim.x)).id()];
  double sum = 0;
#pragma unroll
  for (int j = 0; j < THREAD_BLOCKS; j++)
#pragma unroll
    for (int q = 0; q < QUARTERS; q++)
      sum += static_cast<double>(exp_as_host(__fadd_rn(mine.of[j][q], -top)));
#pragma unroll
  for (int half = DRAW_LANES / 2; half > 0; half /= 2)
    sum += __shfl_xor_sync(FULL_WARP, sum, half);
  if (threadIdx.x % DRAW_LANES == 0) stripes[threadIdx.x / DRAW_LANES] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  double of_part = 0;
  for (const double stripe : stripes) of_part += stripe;
  tops[first + blockIdx.x].sum = of_part;
}

/** Applies one list of edits to the part of a row that starts at `begin`. */
template <class Change>
__device__ __forceinline__ void edit_part(float* row, const LogitEdit* edits, uint32_t from,
                                          uint32_t to, int64_t begin, Change change) {
  for (uint32_t i = from + threadIdx.x; i < to; i += DRAW_THREADS) {
    const LogitEdit edit = edits[i];
    if (edit.id < begin || edit.id >= begin + DRAW_PART) continue;
    row[edit.id] = change(row[edit.id], edit.value);
  }
  __syncthreads();  // the next list may have the same ids
}

/** In the sampler's order of operations; the mask is last there, and what it bans stays -Inf. */
__global__ void __launch_bounds__(DRAW_THREADS) change_rows_kernel(WishArguments x) {
  __shared__ uint64_t scratch[LANES];
  let_next_start();
  wait_for_previous();
  const int64_t wish_index = blockIdx.y;
  const RowWish wish = x.wishes[wish_index];
  const int64_t begin = int64_t{blockIdx.x} * DRAW_PART;
  float* const to = x.changed + wish_index * x.vocab;
  PartLogits mine;
  mine.load(x.logits + int64_t{wish.row} * x.vocab, begin, x.vocab);
#pragma unroll
  for (int j = 0; j < THREAD_BLOCKS; j++)
#pragma unroll
    for (int q = 0; q < QUARTERS; q++) {
      const int64_t id = begin + PartLogits::place(j, q);
      if (id >= x.vocab) continue;
      const bool allowed =
          wish.has_mask == 0 || (x.masks[wish.mask + id / 64] >> (id % 64) & 1) != 0;
      to[id] = allowed ? mine.of[j][q] : -INFINITY;
    }
  __syncthreads();
  edit_part(to, x.edits, wish.edits[0], wish.edits[1], begin,
            [](float v, float value) { return __fadd_rn(v, value); });
  edit_part(to, x.edits, wish.edits[1], wish.edits[2], begin, [&](float v, float) {
    return v > 0.0f ? __fdiv_rn(v, wish.penalty) : __fmul_rn(v, wish.penalty);
  });
  edit_part(to, x.edits, wish.edits[2], wish.edits[3], begin,
            [](float v, float value) { return __fadd_rn(v, -value); });
  mine.load(to, begin, x.vocab);
  const uint64_t best = block_max(mine.highest(begin), scratch);
  if (threadIdx.x == 0) x.changed_tops[wish_index * gridDim.x + blockIdx.x].highest = {best};
}

}  // namespace

void find_tops(const Stream& stream, const float* logits, int64_t rows, int64_t vocab,
               PartTop* tops) {
  if (rows == 0) return;
  const dim3 grid(static_cast<unsigned>(draw_parts(vocab)), static_cast<unsigned>(rows));
  MG_LAUNCH(part_tops_kernel, stream, {grid, DRAW_THREADS, 0, true}, logits, vocab, tops);
  MG_LAUNCH(part_sums_kernel, stream, {grid, DRAW_THREADS, 0, true}, logits, vocab, tops);
}

void change_rows(const Stream& stream, const WishArguments& x, int64_t n) {
  if (n == 0) return;
  const dim3 grid(static_cast<unsigned>(draw_parts(x.vocab)), static_cast<unsigned>(n));
  MG_LAUNCH(change_rows_kernel, stream, {grid, DRAW_THREADS, 0, true}, x);
}

}  // namespace magnet::gpu
