// Single logits, and what error analysis looks at: losses of every target, the size of the residual
// stream, weights and gradients by tensor.
#include <cmath>
#include <vector>

#include "../kernels/gemm.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 512;
/** Whatever the device, so that sums are the same. */
constexpr unsigned BLOCKS = 256;
static_assert(2 * BLOCKS + 2 <= WEIGHT_PARTIALS);

/** A block's part of a sum and of a maximum: partial[2 b] and [2 b + 1]. */
__device__ __forceinline__ void keep_part(double sum, double largest, double* partial) {
  __shared__ double scratch[LANES];
  sum = block_sum(sum, scratch);
  largest = block_max(largest, scratch);
  if (threadIdx.x != 0) return;
  partial[2 * blockIdx.x] = sum;
  partial[2 * blockIdx.x + 1] = largest;
}

/** Squares and largest magnitude. */
__global__ void sizes_kernel(const float* x, int64_t n, double* partial) {
  double squares = 0.0;
  double largest = 0.0;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < n; i += step) {
    const auto v = static_cast<double>(x[i]);
    squares = fma(v, v, squares);
    largest = fmax(largest, fabs(v));
  }
  keep_part(squares, largest, partial);
}

__global__ void zeros_kernel(Matrix<const int8_t> codes, double* partial) {
  double zeros = 0.0;
  for (int64_t row = blockIdx.x; row < codes.rows; row += gridDim.x)
    for (int64_t c = threadIdx.x; c < codes.columns; c += blockDim.x)
      zeros += codes.row(row)[c] == 0 ? 1.0 : 0.0;
  keep_part(zeros, 0.0, partial);
}

/** All parts: out[0] and out[1]. */
__global__ void join_parts_kernel(const double* partial, double* out) {
  const unsigned i = threadIdx.x;
  keep_part(i < BLOCKS ? partial[2 * i] : 0.0, i < BLOCKS ? partial[2 * i + 1] : 0.0, out);
}

/** Of the kernel that has written the parts. */
void read_parts(const Stream& stream, double* partial, double (&found)[2]) {
  double* const joined = partial + 2 * BLOCKS;
  MG_LAUNCH(join_parts_kernel, stream, {dim3(1), dim3(THREADS)},
            static_cast<const double*>(partial), joined);
  copy_out(stream, found, joined, sizeof found);
  stream.wait();
}

struct Sizes {
  double rms;
  double largest;
};

}  // namespace

/** Values of a tensor without padding. `partial`: WEIGHT_PARTIALS doubles. */
static Sizes sizes_of(const Stream& stream, const float* x, int64_t n, double* partial) {
  MG_LAUNCH(sizes_kernel, stream, {dim3(BLOCKS), dim3(THREADS)}, x, n, partial);
  double found[2];
  read_parts(stream, partial, found);
  return {std::sqrt(found[0] / static_cast<double>(n)), found[1]};
}

template <class T>
void TrainerOf<T>::token_losses(const int32_t* tokens, uint32_t rows, const int32_t* cancel,
                                float* out, mg_stream_stats* streams) {
  double sum = 0.0;
  uint64_t count = 0;
  evaluate(tokens, rows, cancel, &sum, &count);
  const int64_t positions = int64_t{rows} * options_.context;
  copy_out(stream_, host_.nll, storage_.work.nll,
           static_cast<uint64_t>(positions) * sizeof(float));
  stream_.wait();
  std::copy_n(host_.nll, positions, out);
  if (streams == nullptr) return;
  // Padding is zero: it adds nothing to the squares, but must not count.
  const auto stats = [&](const Matrix<float>& x) {
    const Sizes s = sizes_of(stream_, x.data, positions * x.stride, storage_.work.partials);
    const double padding = static_cast<double>(x.stride) / static_cast<double>(x.columns);
    return mg_stream_stats{s.rms * std::sqrt(padding), s.largest};
  };
  for (size_t i = 0; i < storage_.layers.size(); i++) streams[i] = stats(storage_.layers[i].x_in);
  streams[storage_.layers.size()] = stats(storage_.work.x_out);
}

template <class T>
void TrainerOf<T>::tensor_stats(mg_tensor_stats* out) {
  prepare_weights();
  double* const device = storage_.work.partials;
  size_t ternary = 0;
  for (const Tensor& t : layout_.tensors) {
    const auto n = static_cast<int64_t>(t.size());
    mg_tensor_stats s{};
    s.weight_rms = sizes_of(stream_, storage_.params + t.offset, n, device).rms;
    s.gradient_rms = sizes_of(stream_, storage_.grad + t.offset, n, device).rms;
    if (t.is_ternary && !is_plain()) {
      QuantisedWeight<T> weight{};
      storage_.weights[ternary / 7].for_each([&](const QuantisedWeight<T>& w, int index) {
        if (static_cast<size_t>(index) == ternary % 7) weight = w;
      });
      ternary++;
      MG_LAUNCH(zeros_kernel, stream_, {dim3(BLOCKS), dim3(THREADS)},
                Matrix<const int8_t>(weight.codes), device);
      double zeros[2];
      float inverse = 0.0f;
      copy_out(stream_, &inverse, weight.inverse, sizeof inverse);
      read_parts(stream_, device, zeros);
      s.scale = static_cast<double>(inverse);
      s.zero_share = zeros[0] / static_cast<double>(n);
    }
    *out++ = s;
  }
}

template <class T>
void TrainerOf<T>::logits(const int32_t* tokens, uint32_t count, float* out) {
  const Pass pass{1, count};
  TokenSlot& slot = free_slot();
  const auto vocab = static_cast<int32_t>(config_.vocab_size);
  for (uint32_t i = 0; i < count; i++) {
    if (tokens[i] < 0 || tokens[i] >= vocab)
      fail(MG_E_INVALID, "token %d is outside the vocabulary of %d", tokens[i], vocab);
    slot.at.inputs[i] = tokens[i];
    slot.at.targets[i] = IGNORED;
  }
  send_tokens(slot, pass);
  prepare_weights();
  forward(pass);
  const Workspace<T>& w = storage_.work;
  const DeviceMatrix<float> values(stream_, count, config_.vocab_size);
  gemm<T, float>(stream_, w.hidden.part(0, count), Layout::plain, w.embedding, Layout::transposed,
                 {}, values.view());
  const Matrix<float> view = values.view();
  for (uint32_t i = 0; i < count; i++)
    copy_out(stream_, out + uint64_t{i} * config_.vocab_size, view.row(i),
             config_.vocab_size * sizeof(float));
  stream_.wait();
}

template <class T>
std::string TrainerOf<T>::profile_json(uint32_t reset) {
  const std::string text = times_.json();
  if (reset != 0) times_.reset(reset == 2);
  return text;
}

#define INSTANTIATE(T)                                                                            \
  template void TrainerOf<T>::token_losses(const int32_t*, uint32_t, const int32_t*, float*,      \
                                           mg_stream_stats*);                                     \
  template void TrainerOf<T>::tensor_stats(mg_tensor_stats*);                                     \
  template void TrainerOf<T>::logits(const int32_t*, uint32_t, float*);                           \
  template std::string TrainerOf<T>::profile_json(uint32_t)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
