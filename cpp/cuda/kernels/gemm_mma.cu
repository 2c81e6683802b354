// Products by warp-wide mma: bf16 in float32, int8 in int32. For every device from compute
// capability 8.0 on; Hopper has a faster path (gemm_wgmma.cu).
//
// A block of 8 warps computes 128 x 128 elements, a warp 32 x 64. Steps of 128 bytes along k pass
// through a ring of three stages in shared memory, filled by cp.async two steps ahead. Rows of 128
// bytes whose 16-byte pieces are permuted by the row (piece ^ row % 8) keep ldmatrix and the
// copies free of bank conflicts. An operand with m or n along memory lies as two halves of 64
// columns and is transposed by ldmatrix. 96 KB: one block on a multiprocessor of 8.0 or 12.0, so it
// may take all registers.
#include "../platform/tensor_core.hpp"
#include "gemm_paths.hpp"

namespace magnet::gpu {

namespace {

constexpr int TILE = 128;  // m and n
constexpr int THREADS = 256;
constexpr int STAGES = 3;
constexpr int STEP_BYTES = 128;
constexpr int OPERAND_BYTES = TILE * STEP_BYTES;
constexpr int STAGE_BYTES = 2 * OPERAND_BYTES;
constexpr uint64_t SHARED_BYTES = STAGES * STAGE_BYTES;
constexpr int WARP_M = 32;
constexpr int WARP_N = 64;

template <class T>
constexpr int STEP = STEP_BYTES / static_cast<int>(sizeof(T));

template <class T>
using Sum = std::conditional_t<sizeof(T) == 1, int32_t, float>;

/** Starts the copies of one step of an operand, from row or column `first` of the product on. */
template <class T, bool MN>
__device__ __forceinline__ void load_operand(const Matrix<const T>& x, int64_t first, int64_t k,
                                             unsigned char* stage) {
  constexpr int PIECE = 16 / static_cast<int>(sizeof(T));
#pragma unroll
  for (int i = 0; i < OPERAND_BYTES / 16 / THREADS; i++) {
    const int at = static_cast<int>(threadIdx.x) + i * THREADS;
    // Rows of shared memory: of the product, or (MN) k of the first half, then of the second.
    const int row = MN ? at / 16 + at % 16 / 8 * STEP<T> : at / 8;
    const int piece = at % 8;
    const int64_t from_row = MN ? k + at / 16 : first + row;
    const int64_t column = MN ? first + at % 16 * PIECE : k + piece * PIECE;
    const bool valid = from_row < x.rows && column < x.columns;
    const T* const from = valid ? x.row(from_row) + column : x.data;
    cp_async_16(stage + row * STEP_BYTES + (piece ^ row % 8) * 16, from, valid);
  }
}

/** The place of a 16-byte piece: along k for rows of the product, along m or n for rows of k. */
template <class T, bool MN>
__device__ __forceinline__ const unsigned char* piece_at(const unsigned char* operand, int row,
                                                         int k_piece, int mn_piece, int k) {
  if constexpr (MN) {
    const int r = k + mn_piece / 8 * STEP<T>;
    return operand + r * STEP_BYTES + (mn_piece % 8 ^ r % 8) * 16;
  } else {
    return operand + row * STEP_BYTES + (k_piece ^ row % 8) * 16;
  }
}

/** A fragment of a (16 rows x 32 bytes of k) at `row`, and two of b (8 columns each) at `row`.
 * `kk` counts 32 bytes, for MN 16 rows of k. */
template <class T, bool MN>
__device__ __forceinline__ void load_a(uint32_t (&a)[4], const unsigned char* operand, int row,
                                       int kk) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int upper = lane / 8 % 2;  // rows 8..15
  const int later = lane / 16;     // second half of k
  const unsigned char* const p =
      piece_at<T, MN>(operand, row + lane % 8 + 8 * upper, 2 * kk + later, row / 8 + upper,
                      16 * kk + lane % 8 + 8 * later);
  if constexpr (MN)
    ldmatrix_x4_transposed(a, p);
  else
    ldmatrix_x4(a, p);
}
template <class T, bool MN>
__device__ __forceinline__ void load_b(uint32_t (&b)[4], const unsigned char* operand, int row,
                                       int kk) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int later = lane / 8 % 2;
  const int upper = lane / 16;
  const unsigned char* const p =
      piece_at<T, MN>(operand, row + lane % 8 + 8 * upper, 2 * kk + later, row / 8 + upper,
                      16 * kk + lane % 8 + 8 * later);
  if constexpr (MN)
    ldmatrix_x4_transposed(b, p);
  else
    ldmatrix_x4(b, p);
}

__device__ __forceinline__ void multiply(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  mma_bf16(*reinterpret_cast<float (*)[4]>(d), a, b);
}
__device__ __forceinline__ void multiply(int32_t (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
  mma_s8(*reinterpret_cast<int32_t (*)[4]>(d), a, b);
}

template <class T, bool A_MN, bool B_MN>
__device__ __forceinline__ void multiply_stage(const unsigned char* stage, int row_a, int row_b,
                                               Sum<T> (&sums)[2][8][4]) {
#pragma unroll
  for (int kk = 0; kk < STEP_BYTES / 32; kk++) {
    uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; i++) load_a<T, A_MN>(a[i], stage, row_a + 16 * i, kk);
#pragma unroll
    for (int j = 0; j < 4; j++) {
      uint32_t b[4];
      load_b<T, B_MN>(b, stage + OPERAND_BYTES, row_b + 16 * j, kk);
      const uint32_t low[2] = {b[0], b[1]};
      const uint32_t high[2] = {b[2], b[3]};
#pragma unroll
      for (int i = 0; i < 2; i++) {
        multiply(sums[i][2 * j], a[i], low);
        multiply(sums[i][2 * j + 1], a[i], high);
      }
    }
  }
}

template <class S>
__device__ __forceinline__ void store_rows(const Target& target, int row, int column,
                                           const S (&sums)[8][4], float* stage) {
  S strip[32];
#pragma unroll
  for (int i = 0; i < 32; i++) strip[i] = sums[i / 4][i % 4];
  store_strip(target.out, target.row + row, target.column + column, strip, stage);
}

template <class T, bool A_MN, bool B_MN>
__global__ void __launch_bounds__(THREADS)
    gemm_mma_kernel(Matrix<const T> a, Matrix<const T> b, Schedule schedule, float* slots,
                    Output out) {
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  const int row_a = warp % 4 * WARP_M;
  const int row_b = warp / 4 * WARP_N;
  float* const stage_out = reinterpret_cast<float*>(shared) + warp * STRIP_FLOATS;
  Segments segments(schedule, static_cast<int>(blockIdx.x));
  Segment now;
  while (segments.next(now)) {
    const int64_t m = static_cast<int64_t>(now.tile_m) * TILE;
    const int64_t n = static_cast<int64_t>(now.tile_n) * TILE;
    auto load = [&](int step) {
      unsigned char* const stage = shared + (step - now.begin) % STAGES * STAGE_BYTES;
      const int64_t k = static_cast<int64_t>(step) * STEP<T>;
      if (step < now.end) {
        load_operand<T, A_MN>(a, m, k, stage);
        load_operand<T, B_MN>(b, n, k, stage + OPERAND_BYTES);
      }
      cp_async_commit();  // also where there is nothing: the groups are counted
    };
    Sum<T> sums[2][8][4];
#pragma unroll
    for (int i = 0; i < 64; i++) sums[i / 32][i / 4 % 8][i % 4] = 0;
    __syncthreads();  // the strips of the tile before are written
#pragma unroll
    for (int i = 0; i < STAGES - 1; i++) load(now.begin + i);
    for (int step = now.begin; step < now.end; step++) {
      cp_async_wait<STAGES - 2>();
      __syncthreads();  // this step is there for all, and the stage of the step before is free
      load(step + STAGES - 1);
      multiply_stage<T, A_MN, B_MN>(shared + (step - now.begin) % STAGES * STAGE_BYTES, row_a,
                                    row_b, sums);
    }
    cp_async_wait<0>();
    __syncthreads();  // strips go where stages were
    const Target target = target_of<TILE, TILE>(now, out, slots);
    // Not a loop: the compiler would not unroll it, and index registers in memory.
    store_rows(target, row_a, row_b, sums[0], stage_out);
    store_rows(target, row_a + 16, row_b, sums[1], stage_out);
  }
}

template <class T, bool A_MN, bool B_MN>
void start(const Stream& stream, const Operands<T>& x, const Output& out) {
  // Cutting tiles writes and reads about 64 KB a block and starts a kernel: some 20 steps.
  const ScheduleLimits limits{capability().multiprocessors, 20, std::is_same_v<T, bf16>};
  const Schedule schedule = make_schedule(out.rows, out.columns, x.k, TILE, TILE, STEP<T>, limits);
  float* const slots = workspace_slots(stream, schedule, TILE, TILE);
  const Geometry geometry{dim3(static_cast<unsigned>(schedule.blocks)), dim3(THREADS),
                          SHARED_BYTES};
  launch("gemm_mma", gemm_mma_kernel<T, A_MN, B_MN>, stream, geometry, x.a, x.b, schedule, slots,
         out);
  combine<TILE, TILE>(stream, schedule, slots, out);
}

}  // namespace

template <class T>
void gemm_mma(const Stream& stream, const Operands<T>& x, const Output& out) {
  if constexpr (std::is_same_v<T, bf16>) {
    if (x.a_mn && x.b_mn) return start<T, true, true>(stream, x, out);
    if (x.a_mn) return start<T, true, false>(stream, x, out);
    if (x.b_mn) return start<T, false, true>(stream, x, out);
  }
  start<T, false, false>(stream, x, out);
}

template void gemm_mma(const Stream&, const Operands<bf16>&, const Output&);
template void gemm_mma(const Stream&, const Operands<int8_t>&, const Output&);

}  // namespace magnet::gpu
