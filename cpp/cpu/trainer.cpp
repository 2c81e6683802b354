// The optimizer step around the passes of trainer_forward.cpp and trainer_backward.cpp. Nothing is
// changed in parameters or moments before loss and gradient norm are known to be finite.
#include "trainer.hpp"

#include <cmath>
#include <cstring>

#include "muon.hpp"
#include "optimizer.hpp"
#include "thread_pool.hpp"

static_assert(sizeof(mg_step_result) == 32);

namespace magnet {

namespace {
void check_finite(double loss, double norm) {
  if (!std::isfinite(loss)) fail(MG_E_NUMERIC, "the loss is not finite; nothing was changed");
  if (!std::isfinite(norm)) fail(MG_E_NUMERIC, "the gradient is not finite; nothing was changed");
}
}  // namespace

uint64_t Trainer::load_tokens(const int32_t* tokens, int64_t sequences, int64_t context) {
  uint64_t counted = 0;
  const auto vocab = static_cast<int32_t>(config_.vocab_size);
  for (int64_t s = 0; s < sequences; s++) {
    const int32_t* const from = tokens + s * (context + 1);
    for (int64_t t = 0; t <= context; t++) {
      const int32_t id = from[t];
      if (id != IGNORED_TARGET && (id < 0 || id >= vocab))
        fail(MG_E_INVALID, "token %d of sequence %lld is outside the vocabulary of %d", id,
             static_cast<long long>(s), vocab);
      if (t < context) work_.inputs[s * context + t] = id;
      if (t == 0) continue;
      work_.targets[s * context + t - 1] = id;
      if (id != IGNORED_TARGET) counted++;
    }
  }
  return counted;
}

void Trainer::zero_gradient() {
  const KernelScope scope(Kernel::zero_gradient);
  parallel_for(threads_, static_cast<int64_t>(layout_.count),
               [&](int64_t from, int64_t to, uint32_t) {
                 std::memset(grad_ + from, 0, static_cast<size_t>(to - from) * sizeof(float));
               });
}

mg_step_result Trainer::gradient(const int32_t* tokens, uint32_t accumulate,
                                 const int32_t* cancel) {
  const int64_t batch_tokens = int64_t{options_.batch} * (options_.context + 1);
  // The mean is over the targets of all micro-batches, so accumulating equals a bigger batch.
  uint64_t counted = 0;
  for (uint32_t a = 0; a < accumulate; a++)
    counted += load_tokens(tokens + a * batch_tokens, batch(), context());
  require(counted > 0, MG_E_INVALID, "trainer: no target is counted");
  prepare_weights();
  zero_gradient();
  const auto scale = static_cast<float>(1.0 / static_cast<double>(counted));
  const int64_t rows = int64_t{batch()} * context();
  double nll = 0.0;
  for (uint32_t a = 0; a < accumulate; a++) {
    load_tokens(tokens + a * batch_tokens, batch(), context());
    forward(batch(), context(), cancel);
    nll += head_loss(threads_, head(), work_.hidden, work_.targets, rows, scale, work_.nll,
                     work_.d_norm, grad_ + layout_.embedding);
    backward(batch(), context(), cancel);
  }
  const auto n = static_cast<int64_t>(layout_.count);
  return {nll / static_cast<double>(counted), l2_norm(threads_, grad_, n), counted, 0};
}

mg_step_result Trainer::step(const int32_t* tokens, uint32_t accumulate,
                             const mg_optimizer& optimizer, const int32_t* cancel) {
  const ProfiledStep profiled(profile);
  const mg_step_result result = gradient(tokens, accumulate, cancel);
  update(optimizer, result.loss, result.grad_norm, cancel);
  return result;
}

void Trainer::update(const mg_optimizer& optimizer, double loss, double norm,
                     const int32_t* cancel) {
  require(optimizer.kind == options_.optimizer, MG_E_INVALID,
          "trainer: it was made for the other optimizer");
  check_finite(loss, norm);
  if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "cancelled");
  const float clip = clip_factor(norm, optimizer.clip);
  for (const Tensor& t : layout_.tensors) {
    const float decay = t.is_matrix ? optimizer.weight_decay : 0.0f;
    const float* const g = grad_ + t.offset;
    if (optimizer.kind == MG_OPTIMIZER_MUON && t.is_ternary) {
      muon_step(threads_, optimizer, decay, clip, g, params_ + t.offset, m_ + t.offset, t.rows,
                t.cols, activations_);
    } else {
      adamw_step(threads_, optimizer, decay, clip, g, params_ + t.offset, m_ + t.offset,
                 v_ + t.offset, static_cast<int64_t>(t.size()));
    }
  }
}

void Trainer::evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel, double* nll_sum,
                       uint64_t* count) {
  const uint64_t counted = load_tokens(tokens, rows, context());
  prepare_weights();
  forward(rows, context(), cancel);
  const double sum = head_loss(threads_, head(), work_.hidden, work_.targets,
                               int64_t{rows} * context(), 0.0f, work_.nll, nullptr, nullptr);
  if (!std::isfinite(sum)) fail(MG_E_NUMERIC, "the loss is not finite");
  *nll_sum = sum;
  *count = counted;
}

void Trainer::logits(const int32_t* tokens, uint32_t count, float* out) {
  const auto vocab = static_cast<int32_t>(config_.vocab_size);
  for (uint32_t i = 0; i < count; i++) {
    if (tokens[i] < 0 || tokens[i] >= vocab)
      fail(MG_E_INVALID, "token %d is outside the vocabulary of %d", tokens[i], vocab);
    work_.inputs[i] = tokens[i];
  }
  prepare_weights();
  forward(1, count, nullptr);
  head_logits(threads_, head(), work_.hidden, count, out);
}

Head Trainer::head() const {
  return {params_ + layout_.embedding, config_.vocab_size, config_.d_model};
}

AttentionShape Trainer::attention_shape(int64_t sequences, int64_t context) const {
  return {sequences, context, config_.n_heads, config_.n_kv_heads, config_.head_dim};
}

}  // namespace magnet
