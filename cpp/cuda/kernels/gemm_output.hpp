// From sums in registers to c. A warp holds 16 rows x 64 columns of sums in the layout that mma
// and wgmma share (fragments of 16 x 8, see tensor_core.hpp); they pass through 4 KB of shared
// memory of its own, so that rows are written 256 (float) or 128 (bf16) bytes at a time.
#pragma once
#include <algorithm>

#include "gemm.hpp"
#include "gemm_schedule.hpp"

namespace magnet::gpu {

/** p becomes p * row_scale[row] * *scale + addend, each where it is given, rounded after each. The
 * type of c is told at run time: it would only double the kernels. */
struct Output {
  void* data;
  bool narrow;  // bf16, else float
  int64_t rows;
  int64_t columns;
  int64_t written;  // columns and, for an operand of tensor cores, the zeros behind them
  int64_t stride;
  const float* row_scale;
  const float* scale;
  const float* addend;
  int64_t addend_stride;
  bool vectors;  // four elements at a multiple of 4 are aligned to their size
};

template <class T>
bool takes_vectors(const T* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % (4 * sizeof(T)) == 0 && stride % 4 == 0;
}

template <class C>
Output make_output(Matrix<C> c) {
  constexpr bool NARROW = std::is_same_v<C, bf16>;
  const int64_t written = NARROW ? std::min(padded(c.columns), c.stride) : c.columns;
  return {c.data,
          NARROW,
          c.rows,
          c.columns,
          written,
          c.stride,
          nullptr,
          nullptr,
          nullptr,
          0,
          takes_vectors(c.data, c.stride)};
}
inline void add_to(Output& out, const float* addend, int64_t stride) {
  out.addend = addend;
  out.addend_stride = stride;
  out.vectors = out.vectors && takes_vectors(addend, stride);
}

__device__ __forceinline__ void load_four(const float* from, float (&x)[4]) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
/** The first `count` of four at element `at` of c. */
__device__ __forceinline__ void store_four(const Output& out, int64_t at, int64_t count,
                                           bool vector, const float (&x)[4]) {
  if (out.narrow) {
    bf16* const to = static_cast<bf16*>(out.data) + at;
    if (vector) {
      *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]));
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (i < count) to[i] = to_bf16(x[i]);
  } else {
    float* const to = static_cast<float*>(out.data) + at;
    if (vector) {
      *reinterpret_cast<float4*>(to) = make_float4(x[0], x[1], x[2], x[3]);
      return;
    }
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (i < count) to[i] = x[i];
  }
}

/** Four sums at (row, column), a multiple of 4. scale: what out.scale points at. */
__device__ __forceinline__ void finish_four(const Output& out, int64_t row, int64_t column,
                                            float scale, float (&x)[4]) {
  if (row >= out.rows || column >= out.written) return;
  const bool whole = out.vectors && column + 4 <= out.columns;
  const float* const addend =
      out.addend == nullptr ? nullptr : out.addend + row * out.addend_stride + column;
  float add[4] = {};
  if (addend != nullptr) {
    if (whole) {
      load_four(addend, add);
    } else {
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (column + i < out.columns) add[i] = addend[i];
    }
  }
  const float row_scale = out.row_scale == nullptr ? 1.0f : out.row_scale[row];
#pragma unroll
  for (int i = 0; i < 4; i++) {
    // Never contracted to a fused operation, as on the CPU. Times 1 changes nothing.
    x[i] = __fmul_rn(__fmul_rn(x[i], row_scale), scale);
    if (addend != nullptr) x[i] = __fadd_rn(x[i], add[i]);
    if (column + i >= out.columns) x[i] = 0.0f;
  }
  const int64_t left = out.written - column;
  store_four(out, row * out.stride + column, left, out.vectors && left >= 4, x);
}

constexpr int STRIP_ROWS = 16;
constexpr int STRIP_COLUMNS = 64;
constexpr int STRIP_FLOATS = STRIP_ROWS * STRIP_COLUMNS;

/** Writes a warp's strip, whose first element is (row, column) of c. `sums`: 8 fragments of 4.
 * `stage`: STRIP_FLOATS of shared memory of this warp. */
template <class Sum>
__device__ __forceinline__ void store_strip(const Output& out, int64_t row, int64_t column,
                                            const Sum* sums, float* stage) {
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int g = lane / 4;
  const int t = lane % 4;
  const float scale = out.scale == nullptr ? 1.0f : *out.scale;
  __syncwarp();  // the strip before has been read
#pragma unroll
  for (int j = 0; j < 8; j++) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      const int r = g + 8 * half;
      // Pieces of 16 bytes move by twice the row: the four rows of half a warp use all banks.
      const int piece = (2 * j + t / 2) ^ (2 * (r % 4));
      *reinterpret_cast<float2*>(stage + r * STRIP_COLUMNS + 4 * piece + 2 * (t % 2)) =
          make_float2(static_cast<float>(sums[4 * j + 2 * half]),
                      static_cast<float>(sums[4 * j + 2 * half + 1]));
    }
  }
  __syncwarp();
  const int piece = lane % 16;
#pragma unroll
  for (int i = 0; i < STRIP_ROWS / 2; i++) {
    const int r = 2 * i + lane / 16;
    float x[4];
    load_four(stage + r * STRIP_COLUMNS + 4 * (piece ^ (2 * (r % 4))), x);
    finish_four(out, row + r, column + 4 * piece, scale, x);
  }
}

/** A slot of the workspace as a c of its own. */
__device__ __forceinline__ Output slot_output(float* slots, int slot, int tile_m, int tile_n) {
  float* const data = slots + static_cast<int64_t>(slot) * tile_m * tile_n;
  return {data, false, tile_m, tile_n, tile_n, tile_n, nullptr, nullptr, nullptr, 0, true};
}

constexpr int COMBINE_THREADS = 256;

/** Adds the parts of streamed tiles in the order of k. Grid: (streamed tiles, TILE_M * TILE_N /
 * 1024). */
template <int TILE_M, int TILE_N>
__global__ void __launch_bounds__(COMBINE_THREADS)
    gemm_combine(Schedule s, const float* slots, Output out) {
  const int tile = static_cast<int>(blockIdx.x);
  const int64_t begin = static_cast<int64_t>(tile) * s.steps;
  const int64_t end = begin + s.steps;
  const int64_t all = static_cast<int64_t>(s.streamed) * s.steps;
  // The blocks with this tile's first and last step; rounding can be off by one.
  auto block_of = [&](int64_t step) {
    int b = static_cast<int>(step * s.blocks / all);
    while (b + 1 < s.blocks && s.first_step(b + 1) <= step) b++;
    while (s.first_step(b) > step) b--;
    return b;
  };
  const int first = block_of(begin);
  const int last = block_of(end - 1);
  if (first == last) return;  // that block has written c
  const int at = (static_cast<int>(blockIdx.y * COMBINE_THREADS + threadIdx.x)) * 4;
  float sum[4] = {};
  for (int b = first; b <= last; b++) {
    const int slot = 2 * b + (b == first ? 1 : 0);  // as Segments numbers them
    float part[4];
    load_four(slots + static_cast<int64_t>(slot) * TILE_M * TILE_N + at, part);
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] += part[i];
  }
  int m = 0;
  int n = 0;
  place_tile(s, s.whole + tile, m, n);
  const float scale = out.scale == nullptr ? 1.0f : *out.scale;
  finish_four(out, static_cast<int64_t>(m) * TILE_M + at / TILE_N,
              static_cast<int64_t>(n) * TILE_N + at % TILE_N, scale, sum);
}

template <int TILE_M, int TILE_N>
void combine(const Stream& stream, const Schedule& s, const float* slots, const Output& out) {
  if (s.streamed == 0) return;
  const Geometry geometry{
      dim3(static_cast<unsigned>(s.streamed), TILE_M * TILE_N / (4 * COMBINE_THREADS)),
      dim3(COMBINE_THREADS)};
  launch("gemm_combine", gemm_combine<TILE_M, TILE_N>, stream, geometry, s, slots, out);
}

/** Slots for every block. */
inline float* workspace_slots(const Stream& stream, const Schedule& s, int tile_m, int tile_n) {
  if (s.streamed == 0) return nullptr;
  const auto slots = static_cast<uint64_t>(2 * s.blocks);
  const auto floats = static_cast<uint64_t>(tile_m) * static_cast<uint64_t>(tile_n);
  return static_cast<float*>(stream.workspace(slots * floats * sizeof(float)));
}

}  // namespace magnet::gpu
