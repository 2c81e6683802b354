// See infer_rows.hpp. Rows are short and few: what these kernels cost is their start, so each does all
// that can be done without another row.
#include "infer_rows.hpp"

#include "infer_rows.cuh"

namespace magnet::gpu {
namespace {

/** Four bytes (two columns) a thread, out of the order of fragments. */
__global__ void __launch_bounds__(ROW_THREADS)
    embed_rows_kernel(const uint32_t* words, int64_t chunks, const fp16* lost,
                      const mg_batch_row* rows, Matrix<float> x) {
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const int64_t token = rows[row].token;
  for (int64_t i = threadIdx.x; i < (x.columns + 1) / 2; i += ROW_THREADS) {
    const int64_t chunk = 4 * i / CHUNK_BYTES;
    const FragmentPlace at = fragment_place(static_cast<int>(token % PANEL_ROWS),
                                            static_cast<int>(4 * i % CHUNK_BYTES));
    const int64_t lane =
        ((token / PANEL_ROWS * chunks + chunk) * 4 + at.step) * LANES + at.lane;
    const uint32_t two = words[lane * 4 + at.word];
    const auto set = [&](int64_t c, uint32_t bits) {
      const float low = lost == nullptr ? 0.0f : to_float(lost[token * x.columns + c]);
      x.row(row)[c] = to_float(fp16{static_cast<uint16_t>(bits)}) + low;
    };
    set(2 * i, two);
    if (2 * i + 1 < x.columns) set(2 * i + 1, two >> 16);
  }
}

__device__ __forceinline__ float root_of_row(const float* row, int64_t stride, const RowNorm& norm,
                                             float* scratch) {
  if (norm.w == nullptr) return 1.0f;
  return root_of(block_sum(squares_of(row, stride), scratch), norm);
}

__global__ void __launch_bounds__(ROW_THREADS)
    quantise_rows_kernel(Matrix<const float> x, RowNorm norm, CodeTarget out) {
  __shared__ float scratch[LANES];
  __shared__ unsigned most_scratch[LANES];
  __shared__ int32_t sum_scratch[LANES];
  let_next_start();
  wait_for_previous();
  const int64_t row = blockIdx.x;
  const float* const from = x.row(row);
  const float root = root_of_row(from, x.stride, norm, scratch);
  unsigned most = 0;
  for (int64_t i = threadIdx.x; i < x.stride / 4; i += ROW_THREADS)
    most = max(most, most_of(norm.of(load4(from + 4 * i), root, 4 * i)));
  const float scale = scale_of_row(block_max(most, most_scratch));
  int32_t sum = 0;
  for (int64_t i = threadIdx.x; i < out.codes.stride / 4; i += ROW_THREADS) {
    const bool inside = 4 * i < x.stride;
    const float4 y = inside ? norm.of(load4(from + 4 * i), root, 4 * i) : make_float4(0, 0, 0, 0);
    *reinterpret_cast<uint32_t*>(out.codes.row(row) + 4 * i) = codes_of(y, scale, sum);
  }
  sum = block_sum(sum, sum_scratch);
  if (threadIdx.x != 0) return;
  out.inverse[row] = __fdiv_rn(1.0f, scale);
  out.sums[row] = sum;
}

__global__ void __launch_bounds__(ROW_THREADS)
    normed_rows_kernel(Matrix<const float> x, const uint32_t* chosen, RowNorm norm, float* out) {
  __shared__ float scratch[LANES];
  let_next_start();
  wait_for_previous();
  const float* const from = x.row(chosen[blockIdx.x]);
  const float root = root_of_row(from, x.stride, norm, scratch);
  float* const to = out + int64_t{blockIdx.x} * x.columns;
  for (int64_t i = threadIdx.x; i < x.columns; i += ROW_THREADS)
    to[i] = __fmul_rn(__fmul_rn(from[i], root), norm.w[i]);
}

/** Two planes of fp16: what is left of a value after the first, in the second. */
__device__ __forceinline__ void put_halves(unsigned char* planes, int64_t stride, int64_t i,
                                           float4 y) {
  const float4 high = map4(y, [](float v) { return to_float(to_fp16(v)); });
  const float4 low = map4(y, high, [](float v, float h) { return __fadd_rn(v, -h); });
  auto* const to = reinterpret_cast<uint2*>(planes + 8 * i);
  *to = make_uint2(pack_fp16(high.x, high.y), pack_fp16(high.z, high.w));
  *reinterpret_cast<uint2*>(planes + stride + 8 * i) =
      make_uint2(pack_fp16(low.x, low.y), pack_fp16(low.z, low.w));
}

constexpr float INT15_MOST = 127 * 128 + 63;
__device__ __forceinline__ void put_int15(unsigned char* planes, int64_t stride, int64_t at,
                                          float4 y, float inverse) {
  const float values[4] = {y.x, y.y, y.z, y.w};
  uint32_t high = 0;
  uint32_t low = 0;
#pragma unroll
  for (int j = 0; j < 4; j++) {
    const float v =
        fmaxf(fminf(rintf(__fmul_rn(values[j], inverse)), INT15_MOST), -INT15_MOST);
    const int whole = static_cast<int>(v);
    const int h = (whole + 64) >> 7;
    high |= (static_cast<uint32_t>(h) & 255u) << (8 * j);
    low |= (static_cast<uint32_t>(whole - 128 * h) & 255u) << (8 * j);
  }
  *reinterpret_cast<uint32_t*>(planes + at) = high;
  *reinterpret_cast<uint32_t*>(planes + stride + at) = low;
}

template <HeadKind KIND>
__global__ void __launch_bounds__(ROW_THREADS)
    head_rows_kernel(Matrix<const float> x, const uint32_t* chosen, RowNorm norm,
                     unsigned char* planes, int64_t stride, float* scales) {
  constexpr int WIDTH = KIND == HeadKind::fp16 ? 2 : 1;
  __shared__ float scratch[LANES];
  __shared__ unsigned most_scratch[LANES];
  let_next_start();
  wait_for_previous();
  const float* const from = x.row(chosen[blockIdx.x]);
  const float root = root_of_row(from, x.stride, norm, scratch);
  const auto value = [&](int64_t i) {
    return 4 * i < x.stride ? norm.of(load4(from + 4 * i), root, 4 * i) : make_float4(0, 0, 0, 0);
  };
  float inverse = 0.0f;
  if constexpr (KIND != HeadKind::fp16) {
    unsigned most = 0;
    for (int64_t i = threadIdx.x; i < x.stride / 4; i += ROW_THREADS)
      most = max(most, most_of(value(i)));
    most = block_max(most, most_scratch);
    const float largest = __uint_as_float(most);
    inverse = __fdiv_rn(INT15_MOST, largest > 1e-30f ? largest : 1e-30f);
    if (threadIdx.x == 0)
      scales[blockIdx.x] =
          most >= 0x7f800000u ? __uint_as_float(0x7fc00000u) : __fdiv_rn(1.0f, inverse);
  }
  unsigned char* const to = planes + int64_t{blockIdx.x} * 2 * stride;
  for (int64_t i = threadIdx.x; i < stride / (4 * WIDTH); i += ROW_THREADS) {
    if constexpr (KIND == HeadKind::fp16)
      put_halves(to, stride, i, value(i));
    else if constexpr (KIND == HeadKind::int8)
      put_int15(to, stride, 4 * i, value(i), inverse);
    else
      put_int15(to, stride,
                4 * i / CHUNK_BYTES * CHUNK_BYTES + grouped_byte(static_cast<int>(4 * i % CHUNK_BYTES)),
                value(i), inverse);
  }
}

}  // namespace

void embed_rows(const Stream& stream, const HeadWeight& embedding, const fp16* lost,
                const mg_batch_row* rows, Matrix<float> x) {
  if (x.rows == 0) return;
  MG_LAUNCH(embed_rows_kernel, stream, {static_cast<unsigned>(x.rows), ROW_THREADS, 0, true},
            reinterpret_cast<const uint32_t*>(embedding.values), embedding.chunks(), lost, rows,
            x);
}

void quantise_rows(const Stream& stream, Matrix<const float> x, const float* w, float eps,
                   const CodeTarget& out) {
  if (x.rows == 0) return;
  MG_LAUNCH(quantise_rows_kernel, stream, {static_cast<unsigned>(x.rows), ROW_THREADS, 0, true}, x,
            RowNorm{w, eps, x.columns}, out);
}

void normed_rows(const Stream& stream, Matrix<const float> x, const uint32_t* chosen, int64_t n,
                 const float* w, float eps, float* out) {
  if (n == 0) return;
  MG_LAUNCH(normed_rows_kernel, stream, {static_cast<unsigned>(n), ROW_THREADS, 0, true}, x, chosen,
            RowNorm{w, eps, x.columns}, out);
}

void head_rows(const Stream& stream, Matrix<const float> x, const uint32_t* chosen, int64_t n,
               const float* w, float eps, HeadKind kind, unsigned char* planes, int64_t stride,
               float* scales) {
  if (n == 0) return;
  const Geometry geometry{static_cast<unsigned>(n), ROW_THREADS, 0, true};
  const RowNorm norm{w, eps, x.columns};
  const auto start = [&](auto kernel) {
    launch("head_rows", kernel, stream, geometry, x, chosen, norm, planes, stride, scales);
  };
  if (kind == HeadKind::fp16) return start(head_rows_kernel<HeadKind::fp16>);
  if (kind == HeadKind::int8) return start(head_rows_kernel<HeadKind::int8>);
  start(head_rows_kernel<HeadKind::int4>);
}

}  // namespace magnet::gpu
