// See infer_fused.hpp. Every block prepares all rows for itself: they are a few kilobytes in the second-
// level cache, where another kernel would cost microseconds. Weights do not depend on the kernel before
// this one, so their loads start before it has ended (launches that overlap, runtime.hpp): what is left
// between two kernels is the way of the rows, not that of the weights.
#include "infer_fused.hpp"

#include "infer_rows.cuh"
#include "infer_skinny.cuh"

namespace magnet::gpu {
namespace {

static_assert(ROW_THREADS == SKINNY_THREADS);
/** More rows are not worth preparing in every block. */
constexpr int64_t FUSED_ROWS = 4;
constexpr uint64_t FUSED_SHARED = 64 * 1024;

struct FusedRows {
  Matrix<const float> x;
  RowNorm norm;
  int row_bytes;  // of codes in shared memory: half a line more than chunks, against bank conflicts
};

/** What a block knows of its rows. */
struct PreparedRows {
  float partial[TILE_ROWS][ROW_WARPS];
  unsigned most[TILE_ROWS][ROW_WARPS];
  float root[TILE_ROWS];
  float scale[TILE_ROWS];
  float inverse[TILE_ROWS];
  int32_t sums[TILE_ROWS];
};

/** Roots of all rows; the tree of root_of_row in infer_rows.cu. */
__device__ __forceinline__ void find_roots(const FusedRows& in, PreparedRows& out) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  const auto rows = static_cast<int>(in.x.rows);
  for (int r = 0; r < rows; r++) {
    const float squares = warp_sum(squares_of(in.x.row(r), in.x.stride));
    if (lane == 0) out.partial[r][warp] = squares;
  }
  __syncthreads();
  if (warp < rows) {
    const float squares = warp_sum(lane < ROW_WARPS ? out.partial[warp][lane] : 0.0f);
    if (lane == 0) out.root[warp] = root_of(squares, in.norm);
  }
  __syncthreads();
}

__device__ __forceinline__ float4 value_of(const FusedRows& in, const PreparedRows& rows, int r,
                                           int64_t i) {
  const float root = in.norm.w == nullptr ? 1.0f : rows.root[r];
  return in.norm.of(load4(in.x.row(r) + 4 * i), root, 4 * i);
}

__device__ __forceinline__ void find_scales(const FusedRows& in, PreparedRows& out) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  const auto rows = static_cast<int>(in.x.rows);
  for (int r = 0; r < rows; r++) {
    unsigned most = 0;
    for (int64_t i = threadIdx.x; i < in.x.stride / 4; i += ROW_THREADS)
      most = max(most, most_of(value_of(in, out, r, i)));
    most = warp_max(most);
    if (lane == 0) out.most[r][warp] = most;
  }
  __syncthreads();
  if (warp < rows) {
    const unsigned most = warp_max(lane < ROW_WARPS ? out.most[warp][lane] : 0u);
    if (lane == 0) {
      out.scale[warp] = scale_of_row(most);
      out.inverse[warp] = __fdiv_rn(1.0f, out.scale[warp]);
      out.sums[warp] = 0;
    }
  }
  __syncthreads();
}

/** Codes with zeros behind them, and their sums. Others see them after a barrier. */
__device__ __forceinline__ void put_codes(const FusedRows& in, PreparedRows& rows, int64_t chunks,
                                          int8_t* codes) {
  for (int r = 0; r < static_cast<int>(in.x.rows); r++) {
    int32_t sum = 0;
    for (int64_t i = threadIdx.x; i < chunks * (CHUNK_BYTES / 4); i += ROW_THREADS) {
      const float4 y = 4 * i < in.x.stride ? value_of(in, rows, r, i) : make_float4(0, 0, 0, 0);
      *reinterpret_cast<uint32_t*>(codes + r * in.row_bytes + 4 * i) =
          codes_of(y, rows.scale[r], sum);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % LANES == 0) atomicAdd(&rows.sums[r], sum);
  }
}

template <int PANELS>
__global__ void __launch_bounds__(SKINNY_THREADS) fused_kernel(SkinnyArguments x, FusedRows in) {
  constexpr int SUMS = TILE_ROWS * SUM_STRIDE<PANELS>;
  __shared__ int32_t sums[SUMS];
  __shared__ PreparedRows rows;
  int8_t* const codes = dynamic_shared<int8_t>();
  const int64_t panel = int64_t{blockIdx.x} * PANELS;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  PanelLoads<PANELS> loads;
  loads.start(x, panel, warp);
  for (int i = static_cast<int>(threadIdx.x); i < SUMS; i += SKINNY_THREADS) sums[i] = 0;
  let_next_start();
  wait_for_previous();
  if (in.norm.w != nullptr) find_roots(in, rows);
  find_scales(in, rows);
  put_codes(in, rows, x.chunks, codes);
  __syncthreads();
  WarpSums<1, PANELS> mine = {};
  for (int64_t first = warp; first < x.chunks; first += SKINNY_AHEAD * SKINNY_WARPS) {
    if (first != warp) loads.start(x, panel, first);
#pragma unroll
    for (int i = 0; i < SKINNY_AHEAD; i++) {
      const int64_t chunk = first + i * SKINNY_WARPS;
      if (chunk >= x.chunks) break;
      mine.add(loads.of[i], [&](int row) -> const int8_t* {
        return row < in.x.rows ? codes + row * in.row_bytes + chunk * CHUNK_BYTES : nullptr;
      });
    }
  }
  mine.join(sums);
  __syncthreads();
  finish_panels<PANELS>(x, panel, sums, rows.inverse, rows.sums);
}

/** False where there are too many rows, or they are too long for shared memory. */
template <int PANELS>
bool start_fused(const Stream& stream, const FloatRows& rows, const TernaryWeight& w, bool add,
                 GateFunction activation, Matrix<float> y) {
  const int64_t row_bytes = w.chunks() * CHUNK_BYTES + CHUNK_BYTES / 2;
  const auto shared = static_cast<uint64_t>(rows.x.rows * row_bytes);
  if (rows.x.rows > FUSED_ROWS || shared > FUSED_SHARED) return false;
  const SkinnyArguments arguments = {{}, w, y, w.chunks(), add, activation};
  const FusedRows in = {rows.x, {rows.norm, rows.eps, rows.x.columns},
                        static_cast<int>(row_bytes)};
  Geometry geometry = {static_cast<unsigned>(w.panels() / PANELS), SKINNY_THREADS, shared};
  geometry.overlaps = true;
  MG_LAUNCH(fused_kernel<PANELS>, stream, geometry, arguments, in);
  return true;
}

CodeRows quantised(const Stream& stream, const FloatRows& rows, const CodeTarget& scratch) {
  quantise_rows(stream, rows.x, rows.norm, rows.eps, scratch);
  return {scratch.codes, scratch.inverse, scratch.sums};
}

}  // namespace

void ternary_product_of(const Stream& stream, const FloatRows& rows, const CodeTarget& scratch,
                        const TernaryWeight& w, bool add, Matrix<float> y) {
  if (start_fused<1>(stream, rows, w, add, GateFunction::silu, y)) return;
  ternary_product(stream, quantised(stream, rows, scratch), w, add, y);
}

void gated_product_of(const Stream& stream, const FloatRows& rows, const CodeTarget& scratch,
                      const TernaryWeight& w, GateFunction activation, Matrix<float> h) {
  if (start_fused<2>(stream, rows, w, false, activation, h)) return;
  gated_product(stream, quantised(stream, rows, scratch), w, activation, h);
}

}  // namespace magnet::gpu
