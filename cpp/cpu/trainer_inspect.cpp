// What error analysis looks at (autoresearch, paper 5): the loss of every target, the size of the
// residual stream from block to block, and weights and gradients by tensor.
#include <algorithm>
#include <cmath>
#include <vector>

#include "bitlinear.hpp"
#include "optimizer.hpp"
#include "trainer.hpp"

namespace magnet {
namespace {

mg_stream_stats stream_stats(const float* x, int64_t rows, int64_t width) {
  double squares = 0.0;
  float largest = 0.0f;
  for (int64_t i = 0; i < rows * width; i++) {
    squares += static_cast<double>(x[i]) * static_cast<double>(x[i]);
    largest = std::max(largest, std::fabs(x[i]));
  }
  return {std::sqrt(squares / static_cast<double>(rows * width)), static_cast<double>(largest)};
}

double root_mean_square(uint32_t threads, const float* x, int64_t n) {
  return l2_norm(threads, x, n) / std::sqrt(static_cast<double>(n));
}

}  // namespace

void Trainer::token_losses(const int32_t* tokens, uint32_t rows, const int32_t* cancel, float* out,
                           mg_stream_stats* streams) {
  load_tokens(tokens, rows, context());
  prepare_weights();
  forward(rows, context(), cancel);
  const int64_t positions = int64_t{rows} * context();
  const double sum = head_loss(threads_, head(), work_.hidden, work_.targets, positions, 0.0f,
                               work_.nll, nullptr, nullptr);
  if (!std::isfinite(sum)) fail(MG_E_NUMERIC, "the loss is not finite");
  for (int64_t i = 0; i < positions; i++) out[i] = static_cast<float>(work_.nll[i]);
  if (streams == nullptr) return;
  for (size_t i = 0; i < layers_.size(); i++)
    streams[i] = stream_stats(layers_[i].x_in, positions, config_.d_model);
  streams[layers_.size()] = stream_stats(work_.x_out, positions, config_.d_model);
}

void Trainer::tensor_stats(mg_tensor_stats* out) {
  std::vector<int8_t> codes;
  for (const Tensor& t : layout_.tensors) {
    const auto n = static_cast<int64_t>(t.size());
    mg_tensor_stats s{};
    s.weight_rms = root_mean_square(threads_, params_ + t.offset, n);
    s.gradient_rms = root_mean_square(threads_, grad_ + t.offset, n);
    if (t.is_ternary && !is_plain()) {
      codes.resize(t.size());
      s.scale = ternarize(threads_, params_ + t.offset, n, codes.data());
      const auto zeros = std::count(codes.begin(), codes.end(), int8_t{0});
      s.zero_share = static_cast<double>(zeros) / static_cast<double>(n);
    }
    *out++ = s;
  }
}

}  // namespace magnet
