// Products of float32 by fused multiply-adds, each sum in the order of k: for audits and tests.
//
// A block of 256 threads computes 128 x 128 elements in steps of 8 along k, a thread 8 x 8 of them
// as four squares of 4 x 4, 64 apart, so that its shared reads are 16 bytes and free of conflicts.
// The next step's elements wait in registers while this one is multiplied.
#include "gemm_paths.hpp"

namespace magnet::gpu {

namespace {

constexpr int TILE = 128;
constexpr int STEP = 8;
constexpr int THREADS = 256;
constexpr int EACH = TILE * STEP / THREADS;  // elements of an operand that a thread moves
constexpr int PITCH = TILE + 4;              // k-rows start 4 banks apart

/** Element i of this thread: row (or column) of the tile and k, neighbours in memory to
 * neighbours. */
template <bool MN>
__device__ __forceinline__ void place(int i, int& row, int& k) {
  const int at = static_cast<int>(threadIdx.x) + i * THREADS;
  row = MN ? at % TILE : at / STEP;
  k = MN ? at / TILE : at % STEP;
}

template <bool MN>
__device__ __forceinline__ void fetch(const Matrix<const float>& x, int64_t first, int64_t k0,
                                      float (&r)[EACH]) {
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int row = 0;
    int k = 0;
    place<MN>(i, row, k);
    const int64_t from_row = MN ? k0 + k : first + row;
    const int64_t column = MN ? first + row : k0 + k;
    r[i] = from_row < x.rows && column < x.columns ? x.row(from_row)[column] : 0.0f;
  }
}

template <bool MN>
__device__ __forceinline__ void keep(const float (&r)[EACH], float (*tile)[PITCH]) {
#pragma unroll
  for (int i = 0; i < EACH; i++) {
    int row = 0;
    int k = 0;
    place<MN>(i, row, k);
    tile[k][row] = r[i];
  }
}

/** Eight of a row of k: at `at` and 64 further on. */
__device__ __forceinline__ void read_eight(const float* row, int at, float (&x)[8]) {
  const float4 low = *reinterpret_cast<const float4*>(row + at);
  const float4 high = *reinterpret_cast<const float4*>(row + at + TILE / 2);
  x[0] = low.x, x[1] = low.y, x[2] = low.z, x[3] = low.w;
  x[4] = high.x, x[5] = high.y, x[6] = high.z, x[7] = high.w;
}

template <bool A_MN, bool B_MN>
__global__ void __launch_bounds__(THREADS)
    gemm_simt_kernel(Matrix<const float> a, Matrix<const float> b, int64_t k, Output out) {
  __shared__ __align__(16) float tile_a[STEP][PITCH];
  __shared__ __align__(16) float tile_b[STEP][PITCH];
  const int64_t m = static_cast<int64_t>(blockIdx.y) * TILE;
  const int64_t n = static_cast<int64_t>(blockIdx.x) * TILE;
  const int row = static_cast<int>(threadIdx.x) / 16 * 4;
  const int column = static_cast<int>(threadIdx.x) % 16 * 4;
  float sums[8][8] = {};
  float next_a[EACH];
  float next_b[EACH];
  fetch<A_MN>(a, m, 0, next_a);
  fetch<B_MN>(b, n, 0, next_b);
  for (int64_t k0 = 0; k0 < k; k0 += STEP) {
    __syncthreads();
    keep<A_MN>(next_a, tile_a);
    keep<B_MN>(next_b, tile_b);
    __syncthreads();
    fetch<A_MN>(a, m, k0 + STEP, next_a);
    fetch<B_MN>(b, n, k0 + STEP, next_b);
#pragma unroll
    for (int kk = 0; kk < STEP; kk++) {
      float x[8];
      float y[8];
      read_eight(tile_a[kk], row, x);
      read_eight(tile_b[kk], column, y);
#pragma unroll
      for (int i = 0; i < 8; i++)
#pragma unroll
        for (int j = 0; j < 8; j++) sums[i][j] = __fmaf_rn(x[i], y[j], sums[i][j]);
    }
  }
#pragma unroll
  for (int i = 0; i < 8; i++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int64_t at_row = m + row + i % 4 + i / 4 * (TILE / 2);
      const int64_t at_column = n + column + half * (TILE / 2);
      float four[4];
#pragma unroll
      for (int j = 0; j < 4; j++) four[j] = sums[i][4 * half + j];
      finish_four(out, at_row, at_column, take_four(out, at_row, at_column), four);
    }
}

template <bool A_MN, bool B_MN>
void start(const Stream& stream, const Operands<float>& x, const Output& out) {
  const auto tiles = [](int64_t n) { return static_cast<unsigned>((n + TILE - 1) / TILE); };
  // Rows of tiles are few: 65535 of them are 8M rows.
  const Geometry geometry{dim3(tiles(out.columns), tiles(out.rows)), dim3(THREADS)};
  launch("gemm_simt", gemm_simt_kernel<A_MN, B_MN>, stream, geometry, x.a, x.b, x.k, out);
}

}  // namespace

void gemm_simt(const Stream& stream, const Operands<float>& x, const Output& out) {
  if (x.a_mn && x.b_mn) return start<true, true>(stream, x, out);
  if (x.a_mn) return start<true, false>(stream, x, out);
  if (x.b_mn) return start<false, true>(stream, x, out);
  start<false, false>(stream, x, out);
}

}  // namespace magnet::gpu
