// Embedding lookup and its gradient, cross-entropy in place of the logits, sums of losses.
#include "head.hpp"

#include <algorithm>
#include <vector>

#include "vectors.cuh"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 256;
/** A row of logits is long: many threads keep many loads under way. */
constexpr unsigned ROW_THREADS = 1024;

__global__ void embed_kernel(const float* embedding, const int32_t* ids, Matrix<float> x) {
  const int64_t row = blockIdx.x;
  const int64_t id = ids[row] == IGNORED ? 0 : ids[row];
  for (int64_t c = threadIdx.x; c < x.columns; c += blockDim.x)
    x.row(row)[c] = embedding[id * x.columns + c];
}

/** A block a token; blocks beyond the number of tokens have nothing to do. */
__global__ void embed_backward_kernel(Matrix<const float> dx, TokenOrder order, float* gradient) {
  const int32_t token = static_cast<int32_t>(blockIdx.x);
  if (token >= *order.count) return;
  const int32_t begin = order.starts[token];
  const int32_t end = order.starts[token + 1];
  float* const out = gradient + int64_t{order.ids[token]} * dx.columns;
  for (int64_t c = threadIdx.x; c < dx.columns; c += blockDim.x) {
    float sum = out[c];
    for (int32_t i = begin; i < end; i++) sum += dx.row(order.order[i])[c];
    out[c] = sum;
  }
}

/** Largest logit and sum of exp(logit - largest) of a part of a row. */
struct Softmax {
  float most;
  float sum;
};
__device__ __forceinline__ Softmax join(Softmax a, Softmax b) {
  const float most = fmaxf(a.most, b.most);
  if (most == -INFINITY) return {most, 0.0f};
  return {most, a.sum * expf(a.most - most) + b.sum * expf(b.most - most)};
}
__device__ __forceinline__ Softmax warp_join(Softmax x) {
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) {
    const Softmax other{__shfl_xor_sync(FULL_WARP, x.most, step),
                        __shfl_xor_sync(FULL_WARP, x.sum, step)};
    // The lower lane's first in both: the same bits in all lanes.
    x = (threadIdx.x & static_cast<unsigned>(step)) == 0 ? join(x, other) : join(other, x);
  }
  return x;
}
__device__ __forceinline__ void take(Softmax& x, float logit) {
  if (logit <= x.most) {
    x.sum += expf(logit - x.most);
  } else {
    x.sum = x.sum * expf(x.most - logit) + 1.0f;
    x.most = logit;
  }
}

template <class T>
__device__ Softmax row_softmax(const T* logits, int64_t vocab) {
  __shared__ Softmax parts[LANES];
  Softmax mine{-INFINITY, 0.0f};
  const int64_t whole = vocab / 4;
  for (int64_t i = threadIdx.x; i < whole; i += blockDim.x) {
    const float4 v = load4(logits + 4 * i);
    take(mine, v.x);
    take(mine, v.y);
    take(mine, v.z);
    take(mine, v.w);
  }
  const int64_t rest = 4 * whole + threadIdx.x;
  if (rest < vocab) take(mine, as_float(logits[rest]));
  mine = warp_join(mine);
  const unsigned lane = threadIdx.x % LANES;
  if (lane == 0) parts[threadIdx.x / LANES] = mine;
  __syncthreads();
  return warp_join(lane < blockDim.x / LANES ? parts[lane] : Softmax{-INFINITY, 0.0f});
}

template <class T>
__global__ void cross_entropy_kernel(Matrix<T> logits, const int32_t* targets,
                                     const float* gradient_scale, const float* row_scales,
                                     float* nll) {
  const int64_t row = blockIdx.x;
  const int32_t target = targets[row];
  T* const l = logits.row(row);
  const bool counted = target != IGNORED;
  Softmax all{0.0f, 1.0f};
  if (counted) {
    all = row_softmax(l, logits.columns);
    if (threadIdx.x == 0) nll[row] = logf(all.sum) + all.most - as_float(l[target]);
  } else if (threadIdx.x == 0) {
    nll[row] = 0.0f;
  }
  if (gradient_scale == nullptr) return;
  __syncthreads();  // the target's logit has been read
  const float factor =
      counted ? *gradient_scale * (row_scales == nullptr ? 1.0f : row_scales[row]) : 0.0f;
  const float share = factor / all.sum;
  for (int64_t i = threadIdx.x; i < logits.stride / 4; i += blockDim.x) {
    const int64_t c = 4 * i;
    float4 v = load4(l + c);
    float g[4] = {v.x, v.y, v.z, v.w};
    for (int j = 0; j < 4; j++) {
      // Factor 0 must not meet an infinite exponential; padding stays zero.
      g[j] = factor == 0.0f || c + j >= logits.columns ? 0.0f : expf(g[j] - all.most) * share;
      if (c + j == target) g[j] -= factor;
    }
    store4(l + c, make_float4(g[0], g[1], g[2], g[3]));
  }
}

__global__ void add_losses_kernel(const float* nll, int64_t rows, double* out) {
  __shared__ double scratch[LANES];
  double sum = 0.0;
  for (int64_t i = threadIdx.x; i < rows; i += blockDim.x) sum += static_cast<double>(nll[i]);
  sum = block_sum(sum, scratch);
  if (threadIdx.x == 0) *out += sum;
}

unsigned blocks_of(int64_t rows) { return static_cast<unsigned>(rows); }

}  // namespace

void embed(const Stream& stream, const float* embedding, const int32_t* ids, Matrix<float> x) {
  if (x.rows == 0) return;
  MG_LAUNCH(embed_kernel, stream, {dim3(blocks_of(x.rows)), dim3(THREADS)}, embedding, ids, x);
}

void token_order(const int32_t* ids, int64_t rows, int64_t vocab, int32_t* out) {
  int32_t* const tokens = out + 1;
  int32_t* const starts = tokens + rows;
  int32_t* const order = starts + rows + 1;
  const auto id_of = [&](int64_t row) {
    const int32_t id = ids[row];
    return id >= 0 && id < vocab ? id : 0;
  };
  std::vector<int32_t> sizes(static_cast<size_t>(vocab), 0);
  for (int64_t row = 0; row < rows; row++) sizes[static_cast<size_t>(id_of(row))]++;
  int32_t count = 0;
  int32_t start = 0;
  // From here on `sizes` holds where a token's next row goes.
  for (int64_t id = 0; id < vocab; id++) {
    const int32_t size = std::exchange(sizes[static_cast<size_t>(id)], start);
    if (size == 0) continue;
    tokens[count] = static_cast<int32_t>(id);
    starts[count++] = start;
    start += size;
  }
  std::fill(tokens + count, tokens + rows, 0);
  std::fill(starts + count, starts + rows + 1, start);
  for (int64_t row = 0; row < rows; row++)
    order[sizes[static_cast<size_t>(id_of(row))]++] = static_cast<int32_t>(row);
  out[0] = count;
}

TokenOrder token_order_in(const int32_t* device, int64_t rows) {
  const int32_t* const tokens = device + 1;
  const int32_t* const starts = tokens + rows;
  return {device, tokens, starts, starts + rows + 1};
}

void embed_backward(const Stream& stream, Matrix<const float> dx, const TokenOrder& order,
                    float* gradient) {
  if (dx.rows == 0) return;
  MG_LAUNCH(embed_backward_kernel, stream, {dim3(blocks_of(dx.rows)), dim3(THREADS)}, dx, order,
            gradient);
}

template <class T>
void cross_entropy(const Stream& stream, Matrix<T> logits, const int32_t* targets,
                   const float* gradient_scale, const float* row_scales, float* nll) {
  if (logits.rows == 0) return;
  const unsigned threads = logits.columns >= 4 * ROW_THREADS ? ROW_THREADS : 128;
  launch("cross_entropy", cross_entropy_kernel<T>, stream,
         {dim3(blocks_of(logits.rows)), dim3(threads)}, logits, targets, gradient_scale, row_scales,
         nll);
}

void add_losses(const Stream& stream, const float* nll, int64_t rows, double* out) {
  MG_LAUNCH(add_losses_kernel, stream, {dim3(1), dim3(ROW_THREADS)}, nll, rows, out);
}

template void cross_entropy<float>(const Stream&, Matrix<float>, const int32_t*, const float*,
                                   const float*, float*);
template void cross_entropy<bf16>(const Stream&, Matrix<bf16>, const int32_t*, const float*,
                                  const float*, float*);

}  // namespace magnet::gpu
