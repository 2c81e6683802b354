// From sums in registers to c. A warp holds 16 rows x 64 columns of sums in the layout that mma
// and wgmma share (fragments of 16 x 8, see tensor_core.hpp); they pass through 4 KB of shared
// memory of its own, so that rows are written 256 (float) or 128 (bf16) bytes at a time.
#pragma once
#include <algorithm>

#include "gemm.hpp"
#include "gemm_schedule.hpp"

namespace magnet::gpu {

enum class Element : uint8_t { float32, bf16, fp16, sum16 };
template <class C>
constexpr Element ELEMENT = std::is_same_v<C, float>   ? Element::float32
                            : std::is_same_v<C, fp16>  ? Element::fp16
                            : std::is_same_v<C, sum16> ? Element::sum16
                                                       : Element::bf16;

/** p becomes p * row_scale[row] * scale[part] + addend, each where it is given, rounded after each. The
 * type of c is told at run time: it would only double the kernels. */
struct Output {
  void* data;
  Element element;
  int64_t rows;
  int64_t columns;
  int64_t written;  // columns and, for an operand of tensor cores, the zeros behind them
  int64_t stride;
  const float* row_scale;
  const float* scale;  // one for each part
  int second_part;     // where it begins, INT32_MAX: nowhere
  int third_part;
  bool parts_of_rows;  // else of columns
  const float* addend;
  int64_t addend_stride;
  bool sums_only;  // of a slot: without scales and addend
  bool vectors;  // four elements at a multiple of 4 are aligned to their size
  float inverse_step;  // of sum16
};

template <class T>
bool takes_vectors(const T* data, int64_t stride) {
  return reinterpret_cast<uintptr_t>(data) % (4 * sizeof(T)) == 0 && stride % 4 == 0;
}

template <class C>
Output make_output(Matrix<C> c) {
  constexpr Element E = ELEMENT<C>;
  const int64_t written =
      E == Element::float32 ? c.columns : std::min(padded(c.columns), c.stride);
  return {c.data,
          E,
          c.rows,
          c.columns,
          written,
          c.stride,
          nullptr,
          nullptr,
          INT32_MAX,
          INT32_MAX,
          false,
          nullptr,
          0,
          false,
          takes_vectors(c.data, c.stride),
          1.0f};
}
inline void set_parts(Output& out, const Parts& parts, bool of_rows) {
  out.second_part = static_cast<int>(std::min<int64_t>(parts.second, INT32_MAX));
  out.third_part = static_cast<int>(std::min<int64_t>(parts.third, INT32_MAX));
  out.parts_of_rows = of_rows;
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
/** SUMS: c may be of sums; a product of bf16 has none, and no registers to spare. */
template <bool SUMS>
__device__ __forceinline__ void store_vector(const Output& out, int64_t at, const float (&x)[4]) {
  if (out.element == Element::float32)
    *reinterpret_cast<float4*>(static_cast<float*>(out.data) + at) =
        make_float4(x[0], x[1], x[2], x[3]);
  else if (out.element == Element::bf16)
    *reinterpret_cast<uint2*>(static_cast<bf16*>(out.data) + at) =
        make_uint2(pack_bf16(x[0], x[1]), pack_bf16(x[2], x[3]));
  else if (SUMS && out.element == Element::sum16)
    *reinterpret_cast<uint2*>(static_cast<sum16*>(out.data) + at) =
        make_uint2(pack_sums(x[0], x[1], out.inverse_step),
                   pack_sums(x[2], x[3], out.inverse_step));
  else
    *reinterpret_cast<uint2*>(static_cast<fp16*>(out.data) + at) =
        make_uint2(pack_fp16(saturated(x[0]), saturated(x[1])),
                   pack_fp16(saturated(x[2]), saturated(x[3])));
}
template <bool SUMS>
__device__ __forceinline__ void store_one(const Output& out, int64_t at, float x) {
  if (out.element == Element::float32)
    static_cast<float*>(out.data)[at] = x;
  else if (out.element == Element::bf16)
    static_cast<bf16*>(out.data)[at] = to_bf16(x);
  else if (SUMS && out.element == Element::sum16)
    static_cast<sum16*>(out.data)[at].code =
        static_cast<int16_t>(to_sum_code(x, out.inverse_step));
  else
    static_cast<fp16*>(out.data)[at] = to_fp16(saturated(x));
}

/** Of a row or a column, by what the parts are of. */
__device__ __forceinline__ float scale_at(const Output& out, int64_t row, int64_t column) {
  if (out.sums_only || out.scale == nullptr) return 1.0f;
  const int at = static_cast<int>(out.parts_of_rows ? row : column);
  return out.scale[(at >= out.second_part ? 1 : 0) + (at >= out.third_part ? 1 : 0)];
}

/** What four elements take from memory besides their sums. */
struct Taken {
  float row_scale = 1.0f;
  float scale = 1.0f;
  float addend[4] = {};
};
__device__ __forceinline__ Taken take_four(const Output& out, int64_t row, int64_t column) {
  Taken taken;
  if (out.sums_only || row >= out.rows || column >= out.columns) return taken;
  if (out.row_scale != nullptr) taken.row_scale = out.row_scale[row];
  taken.scale = scale_at(out, row, column);
  if (out.addend == nullptr) return taken;
  const float* const from = out.addend + row * out.addend_stride + column;
  if (out.vectors && column + 4 <= out.columns) {
    load_four(from, taken.addend);
  } else {
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (column + i < out.columns) taken.addend[i] = from[i];
  }
  return taken;
}

/** Four sums at (row, column), a multiple of 4. */
template <bool SUMS = true>
__device__ __forceinline__ void finish_four(const Output& out, int64_t row, int64_t column,
                                            const Taken& taken, float (&x)[4]) {
  if (row >= out.rows || column >= out.written) return;
#pragma unroll
  for (int i = 0; i < 4; i++) {
    // Never contracted to a fused operation, as on the CPU. Times 1 changes nothing.
    x[i] = __fmul_rn(__fmul_rn(x[i], taken.row_scale), taken.scale);
    if (!out.sums_only && out.addend != nullptr) x[i] = __fadd_rn(x[i], taken.addend[i]);
    if (column + i >= out.columns) x[i] = 0.0f;
  }
  const int64_t at = row * out.stride + column;
  if (out.vectors && column + 4 <= out.written) return store_vector<SUMS>(out, at, x);
#pragma unroll
  for (int i = 0; i < 4; i++)
    if (column + i < out.written) store_one<SUMS>(out, at + i, x[i]);
}

constexpr int STRIP_ROWS = 16;
constexpr int STRIP_COLUMNS = 64;
constexpr int STRIP_FLOATS = STRIP_ROWS * STRIP_COLUMNS;

/** Where a row's piece of 16 bytes lies: moved by twice the row, the four rows of half a warp use
 * all banks. */
__device__ __forceinline__ int strip_place(int row, int piece) {
  return row * STRIP_COLUMNS + 4 * (piece ^ (2 * (row % 4)));
}

/** Writes a warp's strip, whose first element is (row, column) of c. `sums`: 8 fragments of 4.
 * `stage`: STRIP_FLOATS of shared memory of this warp. */
template <class Sum>
__device__ __forceinline__ void store_strip(const Output& out, int64_t row, int64_t column,
                                            const Sum (&sums)[32], float* stage) {
  constexpr bool SUMS = std::is_same_v<Sum, int32_t>;
  const int lane = static_cast<int>(threadIdx.x) % LANES;
  const int g = lane / 4;
  const int t = lane % 4;
  const int first = lane / 16;  // then every second row
  const int piece = lane % 16;
  const bool inside =
      out.vectors && row + STRIP_ROWS <= out.rows && column + STRIP_COLUMNS <= out.columns;
  // Lane i keeps that of row i.
  const bool adds = !out.sums_only && out.addend != nullptr;
  const bool scaled = !out.sums_only && out.row_scale != nullptr && row + piece < out.rows;
  const float row_scales = scaled              ? out.row_scale[row + piece]
                           : out.parts_of_rows ? scale_at(out, row + piece, 0)
                                               : 1.0f;
  // All loads before the first store, which the compiler could not move them over: one latency.
  float addend[8][4] = {};
  if (inside && adds) {
    const float* const from = out.addend + (row + first) * out.addend_stride + column + 4 * piece;
#pragma unroll
    for (int i = 0; i < 8; i++) load_four(from + 2 * i * out.addend_stride, addend[i]);
  }
  __syncwarp();  // the strip before has been read
#pragma unroll
  for (int j = 0; j < 8; j++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float* const to = stage + strip_place(g + 8 * half, 2 * j + t / 2) + 2 * (t % 2);
      *reinterpret_cast<float2*>(to) = make_float2(static_cast<float>(sums[4 * j + 2 * half]),
                                                   static_cast<float>(sums[4 * j + 2 * half + 1]));
    }
  __syncwarp();
  if (inside) {
    // Of the lane's columns; not earlier, where it would be one register too many.
    const float column_scale = out.parts_of_rows ? 1.0f : scale_at(out, 0, column + 4 * piece);
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int r = first + 2 * i;
      float x[4];
      load_four(stage + strip_place(r, piece), x);
      const float row_scale = __shfl_sync(FULL_WARP, row_scales, r);
#pragma unroll
      for (int e = 0; e < 4; e++) {
        x[e] = __fmul_rn(__fmul_rn(x[e], row_scale), column_scale);
        if (adds) x[e] = __fadd_rn(x[e], addend[i][e]);
      }
      store_vector<SUMS>(out, (row + r) * out.stride + column + 4 * piece, x);
    }
  } else {
    // Small code instead of speed: this is there once for every strip of a tile.
#pragma unroll 1
    for (int r = first; r < STRIP_ROWS; r += 2) {
      float x[4];
      load_four(stage + strip_place(r, piece), x);
      finish_four<SUMS>(out, row + r, column + 4 * piece,
                        take_four(out, row + r, column + 4 * piece), x);
    }
  }
}

/** Where a segment goes, and the first element of its tile there. */
struct Target {
  Output out;
  int64_t row;
  int64_t column;
};
template <int TILE_M, int TILE_N>
__device__ __forceinline__ Target target_of(const Segment& segment, const Output& out,
                                            float* slots) {
  Target target{out, static_cast<int64_t>(segment.tile_m) * TILE_M,
                static_cast<int64_t>(segment.tile_n) * TILE_N};
  if (segment.slot < 0) return target;
  // What a slot makes no use of stays as it is: a choice between the two would take registers.
  target.out.data = slots + static_cast<int64_t>(segment.slot) * TILE_M * TILE_N;
  target.out.element = Element::float32;
  target.out.rows = TILE_M;
  target.out.columns = target.out.written = target.out.stride = TILE_N;
  target.out.sums_only = true;
  target.out.vectors = true;
  target.row = target.column = 0;
  return target;
}

constexpr int COMBINE_THREADS = 256;

/** Adds the parts of streamed tiles in the order of k. Grid: (streamed tiles, elements of a tile
 * by four and threads). */
template <int TILE_M, int TILE_N>
__global__ void __launch_bounds__(COMBINE_THREADS)
    gemm_combine(Schedule s, const float* slots, Output out) {
  const int tile = static_cast<int>(blockIdx.x);
  const int64_t begin = static_cast<int64_t>(tile) * s.steps;
  const int first = s.block_of(begin);
  const int last = s.block_of(begin + s.steps - 1);
  if (first == last) return;  // that block has written c
  const int at = (static_cast<int>(blockIdx.y * COMBINE_THREADS + threadIdx.x)) * 4;
  float sum[4] = {};
  for (int b = first; b <= last; b++) {
    float part[4];
    load_four(slots + static_cast<int64_t>(s.slot(b, b == first)) * TILE_M * TILE_N + at, part);
#pragma unroll
    for (int i = 0; i < 4; i++) sum[i] += part[i];
  }
  int m = 0;
  int n = 0;
  place_tile(s, s.whole + tile, m, n);
  const int64_t row = static_cast<int64_t>(m) * TILE_M + at / TILE_N;
  const int64_t column = static_cast<int64_t>(n) * TILE_N + at % TILE_N;
  finish_four(out, row, column, take_four(out, row, column), sum);
}

template <int TILE_M, int TILE_N>
void combine(const Stream& stream, const Schedule& s, const float* slots, const Output& out) {
  if (s.streamed == 0) return;
  const Geometry geometry{
      dim3(static_cast<unsigned>(s.streamed), TILE_M * TILE_N / (4 * COMBINE_THREADS)),
      dim3(COMBINE_THREADS)};
  launch("gemm_combine", gemm_combine<TILE_M, TILE_N>, stream, geometry, s, slots, out);
}

/** Of the tiles of all paths. */
constexpr uint64_t LARGEST_TILE = 128 * 256;
constexpr uint64_t slot_bytes(int blocks, uint64_t tile) {
  return 2 * static_cast<uint64_t>(blocks) * tile * sizeof(float);
}
/** Slots for every block. */
inline float* workspace_slots(const Stream& stream, const Schedule& s, int tile_m, int tile_n) {
  if (s.streamed == 0) return nullptr;
  const auto floats = static_cast<uint64_t>(tile_m) * static_cast<uint64_t>(tile_n);
  require(floats <= LARGEST_TILE, MG_E_INTERNAL, "gemm: a tile is over LARGEST_TILE");
  return static_cast<float*>(stream.workspace(slot_bytes(s.blocks, floats)));
}

}  // namespace magnet::gpu
