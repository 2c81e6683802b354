// Single logits, and what error analysis looks at: losses of every target, the size of the residual
// stream, weights and gradients by tensor.
#include <cmath>
#include <vector>

#include "../kernels/gemm.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 1024;

/** squares and largest magnitude of n values: out[0] and out[1]; the share of zeros of `codes`: out[2]. */
__global__ void tensor_stats_kernel(const float* x, int64_t n, double* out) {
  __shared__ double scratch[LANES];
  double squares = 0.0;
  double largest = 0.0;
  for (int64_t i = threadIdx.x; i < n; i += blockDim.x) {
    const auto v = static_cast<double>(x[i]);
    squares = fma(v, v, squares);
    largest = fmax(largest, fabs(v));
  }
  squares = block_sum(squares, scratch);
  largest = block_max(largest, scratch);
  if (threadIdx.x == 0) {
    out[0] = squares;
    out[1] = largest;
  }
}

__global__ void zeros_kernel(Matrix<const int8_t> codes, double* out) {
  __shared__ double scratch[LANES];
  double zeros = 0.0;
  for (int64_t row = 0; row < codes.rows; row++)
    for (int64_t c = threadIdx.x; c < codes.columns; c += blockDim.x)
      zeros += codes.row(row)[c] == 0 ? 1.0 : 0.0;
  zeros = block_sum(zeros, scratch);
  if (threadIdx.x == 0) *out = zeros;
}

struct Sizes {
  double rms;
  double largest;
};

}  // namespace

/** Values of a tensor without padding. */
static Sizes sizes_of(const Stream& stream, const float* x, int64_t n, double* device) {
  MG_LAUNCH(tensor_stats_kernel, stream, {dim3(1), dim3(THREADS)}, x, n, device);
  double found[2];
  copy_out(stream, found, device, sizeof found);
  stream.wait();
  return {std::sqrt(found[0] / static_cast<double>(n)), found[1]};
}

template <class T>
void TrainerOf<T>::token_losses(const int32_t* tokens, uint32_t rows, const int32_t* cancel,
                                float* out, mg_stream_stats* streams) {
  double sum = 0.0;
  uint64_t count = 0;
  evaluate(tokens, rows, cancel, &sum, &count);
  const int64_t positions = int64_t{rows} * options_.context;
  copy_out(stream_, pinned_nll_.data(), storage_.work.nll,
           static_cast<uint64_t>(positions) * sizeof(float));
  stream_.wait();
  std::copy_n(pinned_nll_.data(), positions, out);
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
      float inverse = 0.0f;
      double zeros = 0.0;
      MG_LAUNCH(zeros_kernel, stream_, {dim3(1), dim3(THREADS)},
                Matrix<const int8_t>(weight.codes), device);
      copy_out(stream_, &inverse, weight.inverse, sizeof inverse);
      copy_out(stream_, &zeros, device, sizeof zeros);
      stream_.wait();
      s.scale = static_cast<double>(inverse);
      s.zero_share = zeros / static_cast<double>(n);
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
    slot.inputs[i] = tokens[i];
    slot.targets[i] = IGNORED;
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
std::string TrainerOf<T>::profile_json(bool reset) {
  char text[256];
  std::snprintf(text, sizeof text,
                "{\"steps\":%llu,\"parts\":[{\"name\":\"passes\",\"seconds\":%.6f},"
                "{\"name\":\"update\",\"seconds\":%.6f}]}",
                static_cast<unsigned long long>(profile_.steps), profile_.passes_s,
                profile_.update_s);
  if (reset) profile_ = {};
  return text;
}

#define INSTANTIATE(T)                                                                            \
  template void TrainerOf<T>::token_losses(const int32_t*, uint32_t, const int32_t*, float*,      \
                                           mg_stream_stats*);                                     \
  template void TrainerOf<T>::tensor_stats(mg_tensor_stats*);                                     \
  template void TrainerOf<T>::logits(const int32_t*, uint32_t, float*);                           \
  template std::string TrainerOf<T>::profile_json(bool)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
