// See infer_draw.hpp: the largest tokens of rows, their weight, and the block in which a draw falls. A part
// of 8192 logits stays in the registers of a block, 32 a thread: what is looked for is found by counting
// how many are above a bound, bit by bit of the bound, which needs neither atomics nor many passes over
// memory. Ranks differ from each other, so that the order in which they were found is of no consequence.
#include "infer_draw.cuh"

namespace magnet::gpu {

namespace {

constexpr int FINISH_THREADS = 512;

struct WishRow {
  const float* logits;
  const PartTop* tops;

  __device__ __forceinline__ WishRow(const WishArguments& x, int64_t index, const RowWish& wish,
                                     int parts)
      : logits(wish.changed != 0 ? x.changed + index * x.vocab
                                 : x.logits + int64_t{wish.row} * x.vocab),
        tops(wish.changed != 0 ? x.changed_tops + index * parts
                               : x.tops + int64_t{wish.row} * parts) {}
};

/** The largest bound that at least `wanted` ranks reach; count(bound) counts in the whole block. */
template <class Count>
__device__ __forceinline__ uint64_t bound_of(int wanted, Count count) {
  uint64_t bound = 0;
  for (int bit = 63; bit >= 0; bit--) {
    const uint64_t next = bound | uint64_t{1} << bit;
    const int reached = count(next);
    if (reached < wanted) continue;
    bound = next;
    if (reached == wanted) break;
  }
  return bound;
}

/** The part's largest tokens, in any order. */
__device__ __forceinline__ void put_largest(const PartLogits& mine, int64_t begin,
                                            LogitRank* ranks, int32_t* count) {
  __shared__ int scratch[LANES];
  __shared__ int taken;
  if (threadIdx.x == 0) taken = 0;
  const auto each = [&](auto visit) {
#pragma unroll
    for (int j = 0; j < THREAD_BLOCKS; j++)
#pragma unroll
      for (int q = 0; q < QUARTERS; q++) visit(rank_of(mine.of[j][q], begin + mine.place(j, q)));
  };
  const auto reach = [&](uint64_t bound) {
    int n = 0;
    each([&](LogitRank rank) { n += rank.bits >= bound ? 1 : 0; });
    return block_sum(n, scratch);
  };
  // Behind the end are -Inf too, with ids that nobody has.
  uint64_t bound = IMPOSSIBLE + 1;
  if (reach(bound) > REDUCED_TOKENS) bound = bound_of(REDUCED_TOKENS, reach);
  each([&](LogitRank rank) {
    if (rank.bits >= bound) ranks[atomicAdd(&taken, 1)] = rank;
  });
  __syncthreads();
  if (threadIdx.x == 0) *count = taken;
}

/** Sums of blocks of weights in the host's order, and the sum of those. */
__device__ __forceinline__ double put_block_sums(const PartLogits& weights, int64_t blocks,
                                                 float* sums) {
  double total = 0;
#pragma unroll
  for (int j = 0; j < THREAD_BLOCKS; j++) {
    float sum = __fadd_rn(__fadd_rn(weights.of[j][0], weights.of[j][1]),
                          __fadd_rn(weights.of[j][2], weights.of[j][3]));
#pragma unroll
    for (int half = DRAW_LANES / 2; half > 0; half /= 2)
      sum = __fadd_rn(sum, __shfl_xor_sync(FULL_WARP, sum, half));
    const int64_t block = PartLogits::place(j, 0) / DRAW_BLOCK;
    if (threadIdx.x % DRAW_LANES != 0 || block >= blocks) continue;
    sums[block] = sum;
    total += static_cast<double>(sum);
  }
  return total;
}

__global__ void __launch_bounds__(DRAW_THREADS) weigh_parts_kernel(WishArguments x) {
  static_assert(QUARTERS == 4);
  __shared__ double scratch[LANES];
  let_next_start();
  wait_for_previous();
  const int64_t index = blockIdx.y;
  const auto parts = static_cast<int>(gridDim.x);
  const RowWish wish = x.wishes[index];
  const WishRow row(x, index, wish, parts);
  const int64_t begin = int64_t{blockIdx.x} * DRAW_PART;
  const int64_t place = index * parts + blockIdx.x;
  PartLogits mine;
  mine.load(row.logits, begin, x.vocab);
  const float top = row.logits[highest_of(row.tops, parts).id()];
  if (wish.tokens != 0)
    put_largest(mine, begin, x.ranks + place * REDUCED_TOKENS, x.counts + place);
  double total = 0;
#pragma unroll
  for (int j = 0; j < THREAD_BLOCKS; j++)
#pragma unroll
    for (int q = 0; q < QUARTERS; q++) {
      float& v = mine.of[j][q];
      v = exp_as_host(__fmul_rn(__fadd_rn(v, -top), wish.inverse_temperature));
      total += static_cast<double>(v);
    }
  if (wish.block != 0) {
    const int64_t all = (x.vocab + DRAW_BLOCK - 1) / DRAW_BLOCK;
    const int64_t first = begin / DRAW_BLOCK;
    total = put_block_sums(mine, all - first, x.block_sums + index * all + first);
  }
  total = block_sum(total, scratch);
  if (threadIdx.x == 0) x.totals[place] = total;
}

/** The row's largest tokens from those of its parts, in order of rank. */
__device__ __forceinline__ int merge_tokens(const WishArguments& x, int64_t index,
                                            const float* logits, const float* raw, int parts) {
  __shared__ int scratch[LANES];
  __shared__ int taken;
  __shared__ uint64_t best[REDUCED_TOKENS];
  auto* const ranks = dynamic_shared<uint64_t>();
  const auto thread = static_cast<int>(threadIdx.x);
  if (thread == 0) taken = 0;
  int n = 0;
  for (int part = 0; part < parts; part++) {
    const int64_t place = index * parts + part;
    const int count = x.counts[place];
    for (int i = thread; i < count; i += FINISH_THREADS)
      ranks[n + i] = x.ranks[place * REDUCED_TOKENS + i].bits;
    n += count;
  }
  __syncthreads();
  uint64_t bound = 0;
  if (n > REDUCED_TOKENS)
    bound = bound_of(REDUCED_TOKENS, [&](uint64_t at_least) {
      int reached = 0;
      for (int i = thread; i < n; i += FINISH_THREADS) reached += ranks[i] >= at_least ? 1 : 0;
      return block_sum(reached, scratch);
    });
  for (int i = thread; i < n; i += FINISH_THREADS)
    if (ranks[i] >= bound) best[atomicAdd(&taken, 1)] = ranks[i];
  __syncthreads();
  const int kept = taken;
  for (int i = thread; i < kept; i += FINISH_THREADS) {
    int above = 0;
    for (int other = 0; other < kept; other++) above += best[other] > best[i] ? 1 : 0;
    const int32_t id = LogitRank{best[i]}.id();
    x.tokens[index * REDUCED_TOKENS + above] = {logits[id], raw[id], id};
  }
  return kept;
}

/** Which block the wish's number falls into, and how much lies before it. */
__device__ __forceinline__ void find_block(const float* sums, int64_t blocks, double number,
                                           RowDraw& draw) {
  __shared__ double ends[FINISH_THREADS];
  const auto thread = static_cast<int>(threadIdx.x);
  const int64_t each = (blocks + FINISH_THREADS - 1) / FINISH_THREADS;
  const int64_t first = thread * each;
  const int64_t last = first + each < blocks ? first + each : blocks;
  double own = 0;
  for (int64_t b = first; b < last; b++) own += static_cast<double>(sums[b]);
  ends[thread] = own;
  __syncthreads();
  for (int step = 1; step < FINISH_THREADS; step *= 2) {
    const double before = thread >= step ? ends[thread - step] : 0.0;
    __syncthreads();
    ends[thread] += before;
    __syncthreads();
  }
  const double target = ends[FINISH_THREADS - 1] * number;
  double before = thread == 0 ? 0.0 : ends[thread - 1];
  if (!(before <= target && target < ends[thread])) return;
  for (int64_t b = first; b < last; b++) {
    const auto sum = static_cast<double>(sums[b]);
    if (before + sum > target) {
      draw.block.number = static_cast<int32_t>(b);
      draw.block.before = before;
      draw.block.sum = sums[b];
      return;
    }
    before += sum;
  }
}

__global__ void __launch_bounds__(FINISH_THREADS) finish_wishes_kernel(WishArguments x, int parts) {
  let_next_start();
  wait_for_previous();
  const int64_t index = blockIdx.x;
  const RowWish wish = x.wishes[index];
  const WishRow row(x, index, wish, parts);
  const float* const raw = x.logits + int64_t{wish.row} * x.vocab;
  RowDraw& draw = x.draws[index];
  const int kept = wish.tokens != 0 ? merge_tokens(x, index, row.logits, raw, parts) : 0;
  if (threadIdx.x == 0) {
    double total = 0;
    for (int i = 0; i < parts; i++) total += x.totals[index * parts + i];
    draw.total = total;
    draw.top = row.logits[highest_of(row.tops, parts).id()];
    draw.n_tokens = kept;
    draw.block.number = -1;
  }
  if (wish.block == 0) return;
  __syncthreads();  // number is -1 before it is found
  const int64_t blocks = (x.vocab + DRAW_BLOCK - 1) / DRAW_BLOCK;
  find_block(x.block_sums + index * blocks, blocks, wish.number, draw);
  __syncthreads();
  const int64_t number = draw.block.number;
  if (number < 0 || threadIdx.x >= DRAW_BLOCK) return;
  const int64_t id = number * DRAW_BLOCK + threadIdx.x;
  draw.block.values[threadIdx.x] = id < x.vocab ? row.logits[id] : -INFINITY;
  draw.block.raw[threadIdx.x] = id < x.vocab ? raw[id] : -INFINITY;
}

}  // namespace

void grant_wishes(const Stream& stream, const WishArguments& x, int64_t n, int64_t n_changed) {
  if (n == 0) return;
  const int parts = draw_parts(x.vocab);
  require(parts <= DRAW_PARTS_MAX, MG_E_INTERNAL, "draws from rows that are too long for a device");
  change_rows(stream, x, n_changed);
  const dim3 grid(static_cast<unsigned>(parts), static_cast<unsigned>(n));
  MG_LAUNCH(weigh_parts_kernel, stream, {grid, DRAW_THREADS, 0, true}, x);
  const uint64_t shared = static_cast<uint64_t>(parts) * REDUCED_TOKENS * sizeof(uint64_t);
  MG_LAUNCH(finish_wishes_kernel, stream,
            {static_cast<unsigned>(n), FINISH_THREADS, shared, true}, x, parts);
}

}  // namespace magnet::gpu
