// Products whose activations are shared by many panels of weights: prefill, and the head. A block has 8
// warps; weights go straight into the registers of the one or two warps that use them, a chunk or two
// ahead, activations through a ring of three stages that cp.async fills two chunks ahead. In shared
// memory odd rows have the halves of their 128 bytes exchanged: 8 lanes meet all banks once.
//
// The head at few rows is bound by its weights' bandwidth: a warp has two chunks of 2 KB under way, a
// block 32 KB, and two blocks fit on a multiprocessor (one where rows are many). Ternary tiles (128
// outputs x 64 rows) read 8 KB of activations and 4 KB of codes for a chunk of 1 million products: bound
// by the tensor cores, where an instruction's operands cost one decoded fragment for four instructions.
#include "infer_tile.hpp"

#include "infer_fragments.cuh"

namespace magnet::gpu {
namespace {

constexpr int TILE_THREADS = 256;
constexpr int TILE_STAGES = 3;

struct TernaryTile {
  using Sum = int32_t;
  static constexpr int LOADS = 1;   // of 16 bytes, a lane's weights of a chunk
  static constexpr int PLANES = 1;  // of activations
  static constexpr int SUMS = 1;
  static constexpr int AHEAD = 1;  // chunks of weights that are under way
  static constexpr bool GROUPS = false;
  static __device__ __forceinline__ void fragment(uint32_t (&a)[4], const uint4 (&w)[LOADS],
                                                  int step) {
    ternary_fragment(a, w[0], step);
  }
  static __device__ __forceinline__ void multiply(Sum (&sums)[SUMS][4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2], int) {
    mma_s8(sums[0], a, b);
  }
};

struct WholeWords {
  static constexpr int LOADS = STEPS;
  static constexpr int PLANES = 2;
  static constexpr int AHEAD = 2;
  static constexpr bool GROUPS = false;
  static __device__ __forceinline__ void fragment(uint32_t (&a)[4], const uint4 (&w)[LOADS],
                                                  int step) {
    a[0] = w[step].x;
    a[1] = w[step].y;
    a[2] = w[step].z;
    a[3] = w[step].w;
  }
};
struct Fp16Tile : WholeWords {
  using Sum = float;
  static constexpr int SUMS = 1;
  static __device__ __forceinline__ void multiply(Sum (&sums)[SUMS][4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2], int) {
    mma_fp16(sums[0], a, b);
  }
};
/** A step is a group of columns with a scale, whose product is added in float32: see add_groups. */
struct Int4Tile {
  using Sum = float;
  static constexpr int LOADS = 2;
  static constexpr int PLANES = 2;
  static constexpr int SUMS = 1;
  static constexpr int AHEAD = 3;
  static constexpr bool GROUPS = true;
  /** Codes of two's complement in the upper halves of bytes: 16 times what they stand for. */
  static __device__ __forceinline__ void fragment(uint32_t (&a)[4], const uint4 (&w)[LOADS],
                                                  int step) {
    const uint32_t first = step % 2 == 0 ? w[step / 2].x : w[step / 2].z;
    const uint32_t second = step % 2 == 0 ? w[step / 2].y : w[step / 2].w;
    a[0] = first << 4 & 0xf0f0f0f0u;
    a[1] = first & 0xf0f0f0f0u;
    a[2] = second << 4 & 0xf0f0f0f0u;
    a[3] = second & 0xf0f0f0f0u;
  }
};
/** The planes' sums apart: together they would leave int32. */
struct Int8Tile : WholeWords {
  using Sum = int32_t;
  static constexpr int SUMS = 2;
  static __device__ __forceinline__ void multiply(Sum (&sums)[SUMS][4], const uint32_t (&a)[4],
                                                  const uint32_t (&b)[2], int plane) {
    mma_s8(sums[plane], a, b);
  }
};

/** Panels and row tiles of a warp, and how many warps lie along each: 8 in all. */
template <class P, int WARP_PANELS, int WARP_TILES, int ALONG_ROWS>
struct TileShape {
  using Policy = P;
  static constexpr int PANELS = WARP_PANELS;
  static constexpr int TILES = WARP_TILES;
  static constexpr int ROW_WARPS = ALONG_ROWS;
  static constexpr int PANEL_WARPS = TILE_THREADS / LANES / ALONG_ROWS;
  static constexpr int BLOCK_PANELS = PANELS * PANEL_WARPS;
  static constexpr int BLOCK_ROWS = TILES * TILE_ROWS * ROW_WARPS;
  static constexpr int STAGE_BYTES = P::PLANES * BLOCK_ROWS * CHUNK_BYTES;
  static constexpr uint64_t SHARED = uint64_t{TILE_STAGES} * STAGE_BYTES;
  /** Blocks on a multiprocessor, whose registers they share. */
  static constexpr int TOGETHER = P::PLANES == 2 && TILES > 2 ? 1 : 2;
};

struct TileOperands {
  const uint4* weights;
  int64_t panels;
  int64_t chunks;
  const unsigned char* activations;
  int64_t row_bytes;    // from row to row
  int64_t plane_bytes;  // from plane to plane
  int64_t rows;
  const uint2* group_scales = nullptr;
};

/** Where 16 bytes of a row lie in a plane of a stage. */
__device__ __forceinline__ int piece_at(int row, int piece) {
  return row * CHUNK_BYTES + (piece ^ row % 2 * 4) * 16;
}

template <class S>
__device__ __forceinline__ void load_stage(const TileOperands& x, int64_t first, int64_t chunk,
                                           unsigned char* stage) {
  constexpr int PIECES = S::STAGE_BYTES / 16;
#pragma unroll
  for (int at = static_cast<int>(threadIdx.x); at < PIECES; at += TILE_THREADS) {
    const int piece = at % 8;
    const int row = at / 8 % S::BLOCK_ROWS;
    const int plane = at / 8 / S::BLOCK_ROWS;
    const bool valid = first + row < x.rows && chunk < x.chunks;
    const unsigned char* const from = x.activations + (first + row) * x.row_bytes +
                                      plane * x.plane_bytes + chunk * CHUNK_BYTES + piece * 16;
    cp_async_16(stage + plane * S::BLOCK_ROWS * CHUNK_BYTES + piece_at(row, piece),
                valid ? from : x.activations, valid);
  }
}

template <class S>
struct TileWeights {
  using Policy = typename S::Policy;
  uint4 of[S::PANELS][Policy::LOADS];
  struct None {};
  // Of the lane's two rows of results.
  std::conditional_t<Policy::GROUPS, uint2[S::PANELS][2], None> scales;

  __device__ __forceinline__ void load(const TileOperands& x, int64_t panel, int64_t chunk) {
    if (chunk >= x.chunks) return;
    const int lane = static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
    for (int p = 0; p < S::PANELS; p++) {
      const int64_t real = panel + p < x.panels ? panel + p : x.panels - 1;
#pragma unroll
      for (int i = 0; i < Policy::LOADS; i++)
        of[p][i] = load_weights(
            x.weights + ((real * x.chunks + chunk) * Policy::LOADS + i) * LANES + lane);
      if constexpr (Policy::GROUPS)
#pragma unroll
        for (int i = 0; i < 2; i++)
          scales[p][i] =
              x.group_scales[(real * x.chunks + chunk) * PANEL_ROWS + i * 8 + lane / 4];
    }
  }
};

template <class S>
struct TileSums {
  using Policy = typename S::Policy;
  typename Policy::Sum of[S::PANELS][S::TILES][Policy::SUMS][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int p = 0; p < S::PANELS; p++)
#pragma unroll
      for (int tile = 0; tile < S::TILES; tile++)
#pragma unroll
        for (int i = 0; i < Policy::SUMS * 4; i++) of[p][tile][i / 4][i % 4] = 0;
  }

  /** Of a step: its integer sum is exact, and what it adds is rounded once, in the order of columns. */
  __device__ __forceinline__ void add_group(int p, int tile, int step, const TileWeights<S>& w,
                                            const uint32_t (&a)[4], const uint32_t (&high)[2],
                                            const uint32_t (&low)[2]) {
    int32_t sums[2][4] = {};
    mma_s8(sums[0], a, high);
    mma_s8(sums[1], a, low);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint2 four = w.scales[p][i / 2];
      const uint32_t two = step < 2 ? four.x : four.y;
      const float scale = to_float(fp16{static_cast<uint16_t>(step % 2 == 0 ? two : two >> 16)});
      float& sum = of[p][tile][0][i];
      sum = __fmaf_rn(static_cast<float>((128 * sums[0][i] + sums[1][i]) / 16), scale, sum);
    }
  }

  __device__ __forceinline__ void add_groups(const TileWeights<S>& w, const unsigned char* stage,
                                             int first_row) {
    const int lane = static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint32_t a[2][S::PANELS][4];
#pragma unroll
      for (int i = 0; i < 2 * S::PANELS; i++)
        Policy::fragment(a[i % 2][i / 2], w.of[i / 2], 2 * half + i % 2);
#pragma unroll
      for (int tile = 0; tile < S::TILES; tile++) {
        const int row = first_row + tile * TILE_ROWS + lane / 4;
        const unsigned char* const from = stage + piece_at(row, half * 4 + lane % 4);
        const uint4 high = load16(from);
        const uint4 low = load16(from + S::BLOCK_ROWS * CHUNK_BYTES);
#pragma unroll
        for (int step = 0; step < 2; step++) {
          uint32_t b[2][2];
          activation_fragment(b[0], high, step);
          activation_fragment(b[1], low, step);
#pragma unroll
          for (int p = 0; p < S::PANELS; p++)
            add_group(p, tile, 2 * half + step, w, a[step][p], b[0], b[1]);
        }
      }
    }
  }

  __device__ __forceinline__ void add(const TileWeights<S>& w, const unsigned char* stage,
                                      int first_row) {
    if constexpr (Policy::GROUPS)
      add_groups(w, stage, first_row);
    else
      add_steps(w, stage, first_row);
  }

  __device__ __forceinline__ void add_steps(const TileWeights<S>& w, const unsigned char* stage,
                                            int first_row) {
    const int lane = static_cast<int>(threadIdx.x) % LANES;
#pragma unroll
    for (int half = 0; half < 2; half++) {
      uint32_t a[2][S::PANELS][4];
#pragma unroll
      for (int i = 0; i < 2 * S::PANELS; i++)
        Policy::fragment(a[i % 2][i / 2], w.of[i / 2], 2 * half + i % 2);
#pragma unroll
      for (int tile = 0; tile < S::TILES; tile++)
#pragma unroll
        for (int plane = 0; plane < Policy::PLANES; plane++) {
          const int row = first_row + tile * TILE_ROWS + lane / 4;
          const uint4 x = load16(stage + plane * S::BLOCK_ROWS * CHUNK_BYTES +
                                 piece_at(row, half * 4 + lane % 4));
#pragma unroll
          for (int step = 0; step < 2; step++) {
            uint32_t b[2];
            activation_fragment(b, x, step);
#pragma unroll
            for (int p = 0; p < S::PANELS; p++)
              Policy::multiply(of[p][tile], a[step][p], b, plane);
          }
        }
    }
  }
};

/** Output: store(first panel, row of the panels, row of activations, sums of the warp's panels). */
template <class S, class Output>
__global__ void __launch_bounds__(TILE_THREADS, S::TOGETHER)
    tile_kernel(TileOperands x, Output output) {
  unsigned char* const shared = dynamic_shared<unsigned char>();
  const int warp = static_cast<int>(threadIdx.x) / LANES;
  const int64_t panel =
      int64_t{blockIdx.x} * S::BLOCK_PANELS + warp / S::ROW_WARPS * S::PANELS;
  const int64_t block_row = int64_t{blockIdx.y} * S::BLOCK_ROWS;
  const int warp_row = warp % S::ROW_WARPS * S::TILES * TILE_ROWS;
  const auto stage = [&](int64_t chunk) { return shared + chunk % TILE_STAGES * S::STAGE_BYTES; };
  constexpr int AHEAD = S::Policy::AHEAD;
  TileWeights<S> next[AHEAD];
#pragma unroll
  for (int i = 0; i < AHEAD; i++) next[i].load(x, panel, i);
  let_next_start();
  wait_for_previous();
  for (int chunk = 0; chunk < TILE_STAGES - 1; chunk++) {
    load_stage<S>(x, block_row, chunk, stage(chunk));
    cp_async_commit();
  }
  TileSums<S> sums;
  sums.clear();
  for (int64_t chunk = 0; chunk < x.chunks; chunk++) {
    const TileWeights<S> now = next[0];
#pragma unroll
    for (int i = 1; i < AHEAD; i++) next[i - 1] = next[i];
    next[AHEAD - 1].load(x, panel, chunk + AHEAD);
    cp_async_wait<TILE_STAGES - 2>();
    __syncthreads();  // the chunk is there for all, and the stage before it is free
    load_stage<S>(x, block_row, chunk + TILE_STAGES - 1, stage(chunk + TILE_STAGES - 1));
    cp_async_commit();
    sums.add(now, stage(chunk), warp_row);
  }
  cp_async_wait<0>();
  if (panel >= x.panels) return;
#pragma unroll
  for (int tile = 0; tile < S::TILES; tile++)
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const int64_t row = block_row + warp_row + tile * TILE_ROWS + result_column(i);
      if (row < x.rows) output.store(panel, result_row(i), row, sums, tile, i);
    }
}

struct TernaryOutput {
  CodeRows x;
  TernaryWeight w;
  Matrix<float> y;
  bool add;

  template <class S>
  __device__ void store(int64_t panel, int r, int64_t row, const TileSums<S>& sums, int tile,
                        int i) const {
#pragma unroll
    for (int p = 0; p < S::PANELS; p++) {
      const int64_t column = (panel + p) * PANEL_ROWS + r;
      if (column >= y.columns) continue;
      const float scale = column < w.ends[0]   ? w.scales[0]
                          : column < w.ends[1] ? w.scales[1]
                                               : w.scales[2];
      const float value =
          dequantised(sums.of[p][tile][0][i], x.sums[row], x.inverse[row], scale);
      float* const out = y.row(row) + column;
      *out = add ? __fadd_rn(value, *out) : value;
    }
  }
};

struct GatedOutput {
  CodeRows x;
  TernaryWeight w;
  Matrix<float> h;
  GateFunction activation;

  template <class S>
  __device__ void store(int64_t panel, int r, int64_t row, const TileSums<S>& sums, int tile,
                        int i) const {
    static_assert(S::PANELS == 2);
    const int64_t column = panel / 2 * PANEL_ROWS + r;
    if (column >= h.columns) return;
    const float gate =
        dequantised(sums.of[0][tile][0][i], x.sums[row], x.inverse[row], w.scales[0]);
    const float up = dequantised(sums.of[1][tile][0][i], x.sums[row], x.inverse[row], w.scales[1]);
    h.row(row)[column] = gated(activation, gate, up);
  }
};

struct HeadOutput {
  const float* row_scales;  // of activations
  const float* scales;      // of the weights' rows
  int64_t vocab;
  float* logits;

  template <class S>
  __device__ void store(int64_t panel, int r, int64_t row, const TileSums<S>& sums, int tile,
                        int i) const {
#pragma unroll
    for (int p = 0; p < S::PANELS; p++) {
      const int64_t column = (panel + p) * PANEL_ROWS + r;
      if (column >= vocab) continue;
      const auto& both = sums.of[p][tile];
      if constexpr (S::Policy::SUMS == 2)
        logits[row * vocab + column] =
            __fmul_rn(__fmaf_rn(static_cast<float>(both[0][i]), 128.0f,
                                static_cast<float>(both[1][i])),
                      __fmul_rn(scales[column], row_scales[row]));
      else if constexpr (S::Policy::GROUPS)
        logits[row * vocab + column] = __fmul_rn(both[0][i], row_scales[row]);
      else
        logits[row * vocab + column] = both[0][i];
    }
  }
};

template <class S, class Output>
void start(const Stream& stream, const TileOperands& x, const Output& output) {
  const dim3 grid(static_cast<unsigned>((x.panels + S::BLOCK_PANELS - 1) / S::BLOCK_PANELS),
                  static_cast<unsigned>((x.rows + S::BLOCK_ROWS - 1) / S::BLOCK_ROWS));
  launch("tile_product", tile_kernel<S, Output>, stream, {grid, TILE_THREADS, S::SHARED, true},
         x, output);
}

TileOperands operands_of(const CodeRows& x, const TernaryWeight& w) {
  return {w.codes,
          w.panels(),
          w.chunks(),
          reinterpret_cast<const unsigned char*>(x.codes.data),
          x.codes.stride,
          0,
          x.codes.rows};
}

template <class Policy>
void head_tiles(const Stream& stream, const HeadRows& x, const HeadWeight& w, float* logits) {
  const TileOperands operands = {w.values, panels_of(w.rows), w.chunks(), x.planes,
                                 2 * x.stride, x.stride,      x.rows,     w.group_scales};
  const HeadOutput output = {x.scales, w.scales, w.rows, logits};
  if (x.rows <= 8) return start<TileShape<Policy, 1, 1, 1>>(stream, operands, output);
  if (x.rows <= 16) return start<TileShape<Policy, 1, 2, 1>>(stream, operands, output);
  if (x.rows <= 32) return start<TileShape<Policy, 1, 4, 1>>(stream, operands, output);
  start<TileShape<Policy, 1, 8, 1>>(stream, operands, output);
}

}  // namespace

void ternary_tiles(const Stream& stream, const CodeRows& x, const TernaryWeight& w, bool add,
                   Matrix<float> y) {
  using Large = TileShape<TernaryTile, 2, 4, 2>;
  const TileOperands operands = operands_of(x, w);
  const int64_t blocks = (operands.panels + Large::BLOCK_PANELS - 1) / Large::BLOCK_PANELS *
                         ((operands.rows + Large::BLOCK_ROWS - 1) / Large::BLOCK_ROWS);
  // Narrow matrices, and prompts of few rows: half the outputs a block, so that none has no work.
  if (blocks < capability().multiprocessors)
    return start<TileShape<TernaryTile, 1, 4, 2>>(stream, operands, TernaryOutput{x, w, y, add});
  start<Large>(stream, operands, TernaryOutput{x, w, y, add});
}

void gated_tiles(const Stream& stream, const CodeRows& x, const TernaryWeight& w,
                 GateFunction activation, Matrix<float> h) {
  start<TileShape<TernaryTile, 2, 4, 2>>(stream, operands_of(x, w),
                                         GatedOutput{x, w, h, activation});
}

void head_product(const Stream& stream, const HeadRows& x, const HeadWeight& w, float* logits) {
  require(x.rows <= SKINNY_ROWS && x.stride == w.chunks() * CHUNK_BYTES, MG_E_INTERNAL,
          "a product with the head of shapes that do not fit");
  if (x.rows == 0) return;
  if (w.kind == HeadKind::fp16)
    head_tiles<Fp16Tile>(stream, x, w, logits);
  else if (w.kind == HeadKind::int8)
    head_tiles<Int8Tile>(stream, x, w, logits);
  else
    head_tiles<Int4Tile>(stream, x, w, logits);
}

}  // namespace magnet::gpu
