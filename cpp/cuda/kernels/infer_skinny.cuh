// Ternary products of few rows: a block computes one panel of outputs (or a panel of gate and one of up)
// for all rows, its 8 warps share k. What bounds it is the latency of the weights' one trip from memory:
// matrices are small, so every lane has up to four 16-byte loads of weights under way before anything
// else, and blocks are many and light. int32 sums meet in shared memory; their order does not matter.
#pragma once
#include "infer_fragments.cuh"

namespace magnet::gpu {

constexpr int SKINNY_WARPS = 8;
constexpr int SKINNY_THREADS = SKINNY_WARPS * LANES;
/** Chunks of a warp that are loaded ahead: with 8 warps all of 4096 columns. */
constexpr int SKINNY_AHEAD = 4;

struct SkinnyArguments {
  CodeRows x;
  TernaryWeight w;
  Matrix<float> y;
  int64_t chunks;
  bool add;
  GateFunction activation;
};

/** Sums of a block: row of the panels fastest; 4 more, so that fragments meet no bank twice. */
template <int PANELS>
constexpr int SUM_STRIDE = PANELS * PANEL_ROWS + 4;

template <int PANELS>
struct PanelLoads {
  uint4 of[SKINNY_AHEAD][PANELS];

  /** Chunks first, first + SKINNY_WARPS, .. of the block's panels. */
  __device__ __forceinline__ void start(const SkinnyArguments& x, int64_t panel, int64_t first) {
    const int lane = static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
    for (int i = 0; i < SKINNY_AHEAD; i++) {
      const int64_t chunk = first + i * SKINNY_WARPS;
      if (chunk >= x.chunks) break;
#pragma unroll
      for (int p = 0; p < PANELS; p++)
        of[i][p] = load_weights(x.w.codes + ((panel + p) * x.chunks + chunk) * LANES + lane);
    }
  }
};

/** Sums of a warp, over its chunks. */
template <int TILES, int PANELS>
struct WarpSums {
  int32_t of[PANELS][TILES][4];

  /** One chunk: `row(r)` points at its 128 bytes of row r, or is null. */
  template <class RowAt>
  __device__ __forceinline__ void add(const uint4 (&codes)[PANELS], const RowAt& row) {
    const int lane = static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint4 x[TILES];
#pragma unroll
      for (int tile = 0; tile < TILES; tile++) {
        const int8_t* const from = row(tile * TILE_ROWS + lane / 4);
        x[tile] = from == nullptr ? make_uint4(0, 0, 0, 0)
                                  : load16(from + half * 64 + lane % 4 * 16);
      }
#pragma unroll
      for (int step = 2 * half; step < 2 * half + 2; step++)
#pragma unroll
        for (int p = 0; p < PANELS; p++) {
          uint32_t a[4];
          ternary_fragment(a, codes[p], step);
#pragma unroll
          for (int tile = 0; tile < TILES; tile++) {
            uint32_t b[2];
            activation_fragment(b, x[tile], step);
            mma_s8(of[p][tile], a, b);
          }
        }
    }
  }

  /** Into the block's sums. */
  __device__ __forceinline__ void join(int32_t* sums) const {
#pragma unroll
    for (int p = 0; p < PANELS; p++)
#pragma unroll
      for (int tile = 0; tile < TILES; tile++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          atomicAdd(sums + (tile * TILE_ROWS + result_column(i)) * SUM_STRIDE<PANELS> +
                        p * PANEL_ROWS + result_row(i),
                    of[p][tile][i]);
  }
};

/** Scale of row r of the matrices that lie one below the other. */
__device__ __forceinline__ float scale_of(const TernaryWeight& w, int64_t r) {
  return r < w.ends[0] ? w.scales[0] : r < w.ends[1] ? w.scales[1] : w.scales[2];
}

/** Outputs of the block's panels from the sums of codes; inverse and row_sums: of the rows. */
template <int PANELS>
__device__ __forceinline__ void finish_panels(const SkinnyArguments& x, int64_t panel,
                                              const int32_t* sums, const float* inverse,
                                              const int32_t* row_sums) {
  const auto rows = static_cast<int>(x.y.rows);
  for (int i = static_cast<int>(threadIdx.x); i < rows * PANEL_ROWS; i += SKINNY_THREADS) {
    const int row = i / PANEL_ROWS;
    const int within = i % PANEL_ROWS;
    const int32_t* const sum = sums + row * SUM_STRIDE<PANELS> + within;
    const int64_t column = panel / PANELS * PANEL_ROWS + within;
    if (column >= x.y.columns) continue;
    float* const out = x.y.row(row) + column;
    if constexpr (PANELS == 2) {
      const float gate = dequantised(sum[0], row_sums[row], inverse[row], x.w.scales[0]);
      const float up = dequantised(sum[PANEL_ROWS], row_sums[row], inverse[row], x.w.scales[1]);
      *out = gated(x.activation, gate, up);
    } else {
      const float y = dequantised(sum[0], row_sums[row], inverse[row], scale_of(x.w, column));
      *out = x.add ? __fadd_rn(y, *out) : y;
    }
  }
}

}  // namespace magnet::gpu
