// Ternary products of 1 to 64 rows whose codes are in memory, and the choice of the kernel.
#include "infer_product.hpp"

#include "infer_skinny.cuh"
#include "infer_tile.hpp"

namespace magnet::gpu {
namespace {

template <int TILES, int PANELS>
__global__ void __launch_bounds__(SKINNY_THREADS) skinny_kernel(SkinnyArguments x) {
  constexpr int SUMS = TILES * TILE_ROWS * SUM_STRIDE<PANELS>;
  __shared__ int32_t sums[SUMS];
  const int64_t panel = int64_t{blockIdx.x} * PANELS;
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  PanelLoads<PANELS> loads;
  loads.start(x, panel, warp);
  for (int i = static_cast<int>(threadIdx.x); i < SUMS; i += SKINNY_THREADS) sums[i] = 0;
  let_next_start();
  wait_for_previous();
  WarpSums<TILES, PANELS> mine = {};
  for (int64_t first = warp; first < x.chunks; first += SKINNY_AHEAD * SKINNY_WARPS) {
    if (first != warp) loads.start(x, panel, first);
#pragma unroll
    for (int i = 0; i < SKINNY_AHEAD; i++) {
      const int64_t chunk = first + i * SKINNY_WARPS;
      if (chunk >= x.chunks) break;
      mine.add(loads.of[i], [&](int row) -> const int8_t* {
        return row < x.x.codes.rows ? x.x.codes.row(row) + chunk * CHUNK_BYTES : nullptr;
      });
    }
  }
  __syncthreads();
  mine.join(sums);
  __syncthreads();
  finish_panels<PANELS>(x, panel, sums, x.x.inverse, x.x.sums);
}

template <int PANELS>
void skinny(const Stream& stream, const SkinnyArguments& x) {
  const auto blocks = static_cast<unsigned>(x.w.panels() / PANELS);
  const auto start = [&](auto kernel) {
    launch("ternary_product", kernel, stream, {blocks, SKINNY_THREADS, 0, true}, x);
  };
  const int64_t rows = x.y.rows;
  if (rows <= 8) return start(skinny_kernel<1, PANELS>);
  if (rows <= 16) return start(skinny_kernel<2, PANELS>);
  if (rows <= 32) return start(skinny_kernel<4, PANELS>);
  start(skinny_kernel<8, PANELS>);
}

void check_product(const CodeRows& x, const TernaryWeight& w, Matrix<float> y) {
  require(x.codes.rows == y.rows && x.codes.columns == w.columns &&
              x.codes.stride == w.chunks() * CHUNK_BYTES,
          MG_E_INTERNAL, "a ternary product of shapes that do not fit");
}

}  // namespace

void ternary_product(const Stream& stream, const CodeRows& x, const TernaryWeight& w, bool add,
                     Matrix<float> y) {
  check_product(x, w, y);
  if (y.rows == 0) return;
  if (y.rows > SKINNY_ROWS) return ternary_tiles(stream, x, w, add, y);
  skinny<1>(stream, {x, w, y, w.chunks(), add, GateFunction::silu});
}

void gated_product(const Stream& stream, const CodeRows& x, const TernaryWeight& w,
                   GateFunction activation, Matrix<float> h) {
  check_product(x, w, h);
  if (h.rows == 0) return;
  if (h.rows > SKINNY_ROWS) return gated_tiles(stream, x, w, activation, h);
  skinny<2>(stream, {x, w, h, w.chunks(), false, activation});
}

}  // namespace magnet::gpu
