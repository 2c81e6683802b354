// Products on Hopper: bf16 in float32 and int8 in int32 by warpgroups (wgmma), fed by bulk copies.
//
// A persistent block on each multiprocessor: one warpgroup whose first thread starts copies into a
// ring of four stages (128 bytes along k, 48 KB), two that multiply. The tile is 128 x 256, a
// warpgroup 64 x 256, or, where columns would be left empty, 256 x 128 and 128 x 128: both need
// 128 sums a thread and move 48 KB for 4.2 MFLOP, less than what the L2 cache delivers. The copies
// for the next tile go on while this one is written; strips for writing have shared memory of
// their own (32 KB). 225 KB of 227.
#include "../platform/wgmma.hpp"
#include "gemm_paths.hpp"

namespace magnet::gpu {

namespace {

constexpr int CONSUMERS = 2;  // warpgroups that multiply
constexpr int THREADS = (CONSUMERS + 1) * WARPGROUP;
constexpr int STAGES = 4;
constexpr int STEP_BYTES = 128;
constexpr int STRIPS_AT = STAGES * 48 * 1024;
constexpr int BARRIERS_AT = STRIPS_AT + CONSUMERS * 4 * STRIP_FLOATS * 4;
constexpr uint64_t SHARED_BYTES = BARRIERS_AT + 1024;
// 168 at the start (65536 / 384, in eights); together no more than at the start.
constexpr int PRODUCER_REGISTERS = 40;
constexpr int CONSUMER_REGISTERS = 232;

/** What a warpgroup multiplies: ROWS times 64 rows by COLUMNS. */
template <class Element, bool A_ALONG_M, bool B_ALONG_N, int ROWS, int COLUMNS>
struct Plan {
  using T = Element;
  using Sum = std::conditional_t<sizeof(T) == 1, int32_t, float>;
  static constexpr bool A_MN = A_ALONG_M;
  static constexpr bool B_MN = B_ALONG_N;
  static constexpr int STEP = STEP_BYTES / static_cast<int>(sizeof(T));
  static constexpr int R = ROWS;
  static constexpr int N = COLUMNS;
  static constexpr int TILE_M = CONSUMERS * R * 64;
  static constexpr int TILE_N = N;
  static constexpr int A_BYTES = TILE_M * STEP_BYTES;
  static constexpr int STAGE_BYTES = A_BYTES + TILE_N * STEP_BYTES;
  static_assert(STAGES * STAGE_BYTES <= STRIPS_AT);
};

/** The ring's next stage; parity: of the round. */
struct Ring {
  int stage = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void advance() {
    if (++stage < STAGES) return;
    stage = 0;
    parity ^= 1;
  }
};

struct Barriers {
  Mbarrier full[STAGES];   // the producer, and all bytes
  Mbarrier empty[STAGES];  // every warp that multiplies
};

template <bool MN, int SIZE>
__device__ __forceinline__ void copy_operand(unsigned char* to, const TensorMap* map,
                                             Mbarrier* full, int first, int k) {
  if constexpr (MN) {
#pragma unroll
    for (int i = 0; i < SIZE / 64; i++)
      copy_tile(to + i * MN_BLOCK_BYTES, map, full, first + 64 * i, k);
  } else {
    copy_tile(to, map, full, k, first);
  }
}

template <class P>
__device__ __forceinline__ void produce(const TensorMap* a, const TensorMap* b, const Schedule& s,
                                        unsigned char* shared, Barriers* barriers) {
  prefetch_map(a);
  prefetch_map(b);
  Ring ring;
  Segments segments(s, static_cast<int>(blockIdx.x));
  Segment now;
  while (segments.next(now)) {
    for (int step = now.begin; step < now.end; step++) {
      mbarrier_wait(&barriers->empty[ring.stage], ring.parity ^ 1);
      Mbarrier* const full = &barriers->full[ring.stage];
      mbarrier_arrive_expect(full, P::STAGE_BYTES);
      unsigned char* const stage = shared + ring.stage * P::STAGE_BYTES;
      copy_operand<P::A_MN, P::TILE_M>(stage, a, full, now.tile_m * P::TILE_M, step * P::STEP);
      copy_operand<P::B_MN, P::TILE_N>(stage + P::A_BYTES, b, full, now.tile_n * P::TILE_N,
                                       step * P::STEP);
      ring.advance();
    }
  }
}

/** Starts the products of a stage; group: which of the warpgroups. */
template <class P>
__device__ __forceinline__ void multiply_stage(const unsigned char* stage, int group,
                                               typename P::Sum (&sums)[P::R][P::N / 2]) {
  // Along k 64 rows are 8192 bytes; along m that is a block.
  const unsigned char* const tile_a = stage + group * P::R * MN_BLOCK_BYTES;
  const uint64_t b = matrix_descriptor<P::B_MN>(stage + P::A_BYTES);
  wgmma_fence();
#pragma unroll
  for (int kk = 0; kk < STEP_BYTES / 32; kk++)
#pragma unroll
    for (int i = 0; i < P::R; i++) {
      const uint64_t a = matrix_descriptor<P::A_MN>(tile_a + i * MN_BLOCK_BYTES);
      wgmma<P::N, P::A_MN, P::B_MN>(sums[i], advance<P::A_MN>(a, kk), advance<P::B_MN>(b, kk),
                                    typename P::T{});
    }
  wgmma_commit();
}

/** Writes a warp's 16 rows of each 64, strip by strip. */
template <class P>
__device__ __forceinline__ void store_tile(const Output& out, int64_t m, int64_t n,
                                           const typename P::Sum (&sums)[P::R][P::N / 2],
                                           float* strip) {
#pragma unroll
  for (int i = 0; i < P::R; i++)
#pragma unroll
    for (int j = 0; j < P::N / STRIP_COLUMNS; j++) {
      typename P::Sum part[32];
#pragma unroll
      for (int e = 0; e < 32; e++) part[e] = sums[i][32 * j + e];
      store_strip(out, m + 64 * i, n + STRIP_COLUMNS * j, part, strip);
    }
}

template <class P>
__device__ __forceinline__ void consume(const Schedule& s, unsigned char* shared,
                                        Barriers* barriers, float* slots, const Output& out) {
  const int group = static_cast<int>(threadIdx.x) / WARPGROUP;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  const bool first_lane = threadIdx.x % LANES == 0;
  const int row = group * P::R * 64 + warp % 4 * STRIP_ROWS;
  float* const strip = reinterpret_cast<float*>(shared + STRIPS_AT) + warp * STRIP_FLOATS;
  Ring ring;
  Segments segments(s, static_cast<int>(blockIdx.x));
  Segment now;
  while (segments.next(now)) {
    typename P::Sum sums[P::R][P::N / 2];
#pragma unroll
    for (int i = 0; i < P::R * P::N / 2; i++) sums[i / (P::N / 2)][i % (P::N / 2)] = 0;
    int before = 0;
    for (int step = now.begin; step < now.end; step++) {
      mbarrier_wait(&barriers->full[ring.stage], ring.parity);
      multiply_stage<P>(shared + ring.stage * P::STAGE_BYTES, group, sums);
      if (step > now.begin) {
        wgmma_wait<1>();  // the stage before has been read
        if (first_lane) mbarrier_arrive(&barriers->empty[before]);
      }
      before = ring.stage;
      ring.advance();
    }
    wgmma_wait<0>();
    if (first_lane) mbarrier_arrive(&barriers->empty[before]);
#pragma unroll
    for (int i = 0; i < P::R; i++) wgmma_results(sums[i]);
    const Target target = target_of<P::TILE_M, P::TILE_N>(now, out, slots);
    store_tile<P>(target.out, target.row + row, target.column, sums, strip);
  }
}

template <class P>
__global__ void __launch_bounds__(THREADS, 1)
    gemm_wgmma_kernel(const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b,
                      Schedule schedule, float* slots, Output out) {
  if constexpr (HAS_WGMMA) {
    unsigned char* const shared = dynamic_shared<unsigned char>();
    auto* const barriers = reinterpret_cast<Barriers*>(shared + BARRIERS_AT);
    if (threadIdx.x == 0) {
      for (int i = 0; i < STAGES; i++) {
        mbarrier_init(&barriers->full[i], 1);
        mbarrier_init(&barriers->empty[i], CONSUMERS * 4);
      }
      mbarrier_init_done();
    }
    __syncthreads();
    if (threadIdx.x >= CONSUMERS * WARPGROUP) {
      keep_registers<PRODUCER_REGISTERS>();
      if (threadIdx.x == CONSUMERS * WARPGROUP) produce<P>(&a, &b, schedule, shared, barriers);
    } else {
      take_registers<CONSUMER_REGISTERS>();
      consume<P>(schedule, shared, barriers, slots, out);
    }
  } else {
    refuse_device();
  }
}

template <class P>
void start(const Stream& stream, const Operands<typename P::T>& x, const Output& out) {
  constexpr int BYTES = static_cast<int>(sizeof(typename P::T));
  // Cutting tiles writes and reads up to 256 KB a block and starts a kernel: some 30 steps of 0.7
  // us.
  const ScheduleLimits limits{capability().multiprocessors, 30, BYTES == 2};
  const Schedule schedule =
      make_schedule(out.rows, out.columns, x.k, P::TILE_M, P::TILE_N, P::STEP, limits);
  float* const slots = workspace_slots(stream, schedule, P::TILE_M, P::TILE_N);
  const TensorMap a = make_tensor_map(x.a.data, BYTES, x.a.columns, x.a.rows, x.a.stride,
                                      P::A_MN ? P::STEP : P::TILE_M);
  const TensorMap b = make_tensor_map(x.b.data, BYTES, x.b.columns, x.b.rows, x.b.stride,
                                      P::B_MN ? P::STEP : P::TILE_N);
  const Geometry geometry{dim3(static_cast<unsigned>(schedule.blocks)), dim3(THREADS),
                          SHARED_BYTES};
  launch("gemm_wgmma", gemm_wgmma_kernel<P>, stream, geometry, a, b, schedule, slots, out);
  combine<P::TILE_M, P::TILE_N>(stream, schedule, slots, out);
}

/** The tile whose multiples cover c with less: 128 x 256 or 256 x 128. */
template <class T, bool A_MN, bool B_MN>
void start_shape(const Stream& stream, const Operands<T>& x, const Output& out) {
  const auto up = [](int64_t size, int64_t tile) { return (size + tile - 1) / tile * tile; };
  const int64_t wide = up(out.rows, 128) * up(out.columns, 256);
  const int64_t high = up(out.rows, 256) * up(out.columns, 128);
  if (wide <= high)
    start<Plan<T, A_MN, B_MN, 1, 256>>(stream, x, out);
  else
    start<Plan<T, A_MN, B_MN, 2, 128>>(stream, x, out);
}

}  // namespace

template <class T>
bool gemm_wgmma(const Stream& stream, const Operands<T>& x, const Output& out) {
  if (capability().major != 9) return false;
  if constexpr (std::is_same_v<T, bf16>) {
    if (x.a_mn && !x.b_mn) return false;  // no product of training: not worth the kernels
    if (x.a_mn)
      start_shape<T, true, true>(stream, x, out);
    else if (x.b_mn)
      start_shape<T, false, true>(stream, x, out);
    else
      start_shape<T, false, false>(stream, x, out);
  } else {
    start_shape<T, false, false>(stream, x, out);
  }
  return true;
}

template bool gemm_wgmma(const Stream&, const Operands<bf16>&, const Output&);
template bool gemm_wgmma(const Stream&, const Operands<int8_t>&, const Output&);

}  // namespace magnet::gpu
