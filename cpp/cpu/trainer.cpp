// Trainer: memory, and the optimizer step around the passes of trainer_forward.cpp and
// trainer_backward.cpp. Nothing is changed in parameters or moments before loss and gradient norm
// are known to be finite.
#include "trainer.hpp"

#include <cmath>
#include <cstring>

#include "optimizer.hpp"
#include "thread_pool.hpp"

static_assert(sizeof(mg_step_result) == 32);

namespace magnet {

/** Hands out 64-byte aligned pieces of a mapping; without one it only counts. */
class Carver {
 public:
  explicit Carver(uint8_t* base) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    const uint64_t at = used_;
    used_ += (static_cast<uint64_t>(count) * sizeof(T) + 63) / 64 * 64;
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  QuantizedRows take_rows(int64_t rows, int64_t n) {
    return {take<int8_t>(rows * padded_codes(n)), take<float>(rows), take<int32_t>(rows)};
  }
  uint64_t used() const { return used_; }

 private:
  uint8_t* base_;
  uint64_t used_ = 0;
};

namespace {
uint64_t arena_bytes(uint64_t count) { return (count * sizeof(float) + 63) / 64 * 64; }

void check_finite(double loss, double norm) {
  if (!std::isfinite(loss)) fail(MG_E_NUMERIC, "the loss is not finite; nothing was changed");
  if (!std::isfinite(norm)) fail(MG_E_NUMERIC, "the gradient is not finite; nothing was changed");
}
}  // namespace

void Trainer::carve(const mg_model_config& c, const ModelLayout& layout, int64_t batch,
                    int64_t context, Carver& carver, std::vector<LayerState>& layers,
                    Workspace& w) {
  const int64_t rows = batch * context;
  const int64_t d = c.d_model;
  const int64_t q_width = int64_t{c.n_heads} * c.head_dim;
  const int64_t kv_width = int64_t{c.n_kv_heads} * c.head_dim;
  const int64_t ff = c.d_ff;
  layers.resize(layout.layers.size());
  for (LayerState& s : layers) {
    s.x_in = carver.take<float>(rows * d);
    s.norm_in = carver.take<float>(rows);
    s.a_in = carver.take_rows(rows, d);
    s.q = carver.take<float>(rows * q_width);
    s.k = carver.take<float>(rows * kv_width);
    s.v = carver.take<float>(rows * kv_width);
    s.stats = carver.take<float>(rows * c.n_heads * 2);
    s.o = carver.take<float>(rows * q_width);
    s.norm_attn = carver.take<float>(rows);
    s.a_attn = carver.take_rows(rows, q_width);
    s.x_mid = carver.take<float>(rows * d);
    s.norm_mid = carver.take<float>(rows);
    s.a_mid = carver.take_rows(rows, d);
    s.gate = carver.take<float>(rows * ff);
    s.up = carver.take<float>(rows * ff);
    s.norm_ffn = carver.take<float>(rows);
    s.a_ffn = carver.take_rows(rows, ff);
  }
  w.x_out = carver.take<float>(rows * d);
  w.norm_final = carver.take<float>(rows);
  w.hidden = carver.take<float>(rows * d);
  w.nll = carver.take<double>(rows);
  w.scales = carver.take<float>(rows);
  w.inputs = carver.take<int32_t>(rows);
  w.targets = carver.take<int32_t>(rows);
  w.dx = carver.take<float>(rows * d);
  w.d_norm = carver.take<float>(rows * d);
  w.d_attn = carver.take<float>(rows * q_width);
  w.dq = carver.take<float>(rows * q_width);
  w.dk = carver.take<float>(rows * kv_width);
  w.dv = carver.take<float>(rows * kv_width);
  w.h = carver.take<float>(rows * ff);
  w.dh = carver.take<float>(rows * ff);
}

uint64_t Trainer::bytes_needed(const mg_model_config& c, uint32_t batch, uint32_t context) {
  if (batch < 1 || batch > 65536)
    fail(MG_E_INVALID, "trainer: batch is %u, must be 1..65536", batch);
  if (context < 1 || context > c.context)
    fail(MG_E_INVALID, "trainer: context is %u, must be 1..%u", context, c.context);
  constexpr int64_t ROWS_MAX = 1 << 22;  // 4M positions: sizes in bytes stay far below 2^63
  if (int64_t{batch} * context > ROWS_MAX)
    fail(MG_E_INVALID, "trainer: batch * context is over %lld", static_cast<long long>(ROWS_MAX));
  const ModelLayout layout = model_layout(c);
  Carver counter(nullptr);
  std::vector<LayerState> layers;
  Workspace work;
  carve(c, layout, batch, context, counter, layers, work);
  const int64_t chunk = std::min(int64_t{batch} * context, head_chunk_rows(c.vocab_size));
  const auto logits = static_cast<uint64_t>(chunk) * c.vocab_size * sizeof(float);
  return 4 * arena_bytes(layout.count) + layout.count + 64 + counter.used() + logits;
}

Trainer::Trainer(const mg_model_config& config, uint32_t batch, uint32_t context, uint32_t threads)
    : config_(config),
      layout_(model_layout(config)),
      batch_(batch),
      context_(context),
      threads_(resolve_threads(threads)),
      rope_(context, config.head_dim, static_cast<double>(config.rope_theta)) {
  const uint64_t arena_size = arena_bytes(layout_.count);
  arenas_ = std::make_unique<Mapping>(4 * arena_size, "parameters, gradient and moments");
  auto* const base = arenas_->as<uint8_t>();
  params_ = reinterpret_cast<float*>(base);
  m_ = reinterpret_cast<float*>(base + arena_size);
  v_ = reinterpret_cast<float*>(base + 2 * arena_size);
  grad_ = reinterpret_cast<float*>(base + 3 * arena_size);
  Carver counter(nullptr);
  carve(config_, layout_, batch, context, counter, layers_, work_);
  const uint64_t codes = (layout_.count + 63) / 64 * 64;
  state_ = std::make_unique<Mapping>(codes + counter.used(), "activations");
  ternary_ = state_->as<int8_t>();
  Carver carver(state_->as<uint8_t>() + codes);
  carve(config_, layout_, batch, context, carver, layers_, work_);
}

float* Trainer::arena(uint32_t which) {
  require(which <= 3, MG_E_INVALID, "trainer: arena must be 0 params, 1 m, 2 v or 3 grad");
  float* const arenas[] = {params_, m_, v_, grad_};
  return arenas[which];
}

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
  const int64_t batch_tokens = int64_t{batch_} * (context_ + 1);
  // The mean is over the targets of all micro-batches, so accumulating equals a bigger batch.
  uint64_t counted = 0;
  for (uint32_t a = 0; a < accumulate; a++)
    counted += load_tokens(tokens + a * batch_tokens, batch_, context_);
  require(counted > 0, MG_E_INVALID, "trainer: no target is counted");
  quantize_weights();
  zero_gradient();
  const auto scale = static_cast<float>(1.0 / static_cast<double>(counted));
  const int64_t rows = int64_t{batch_} * context_;
  double nll = 0.0;
  for (uint32_t a = 0; a < accumulate; a++) {
    load_tokens(tokens + a * batch_tokens, batch_, context_);
    forward(batch_, context_, cancel);
    nll += head_loss(threads_, head(), work_.hidden, work_.targets, rows, scale, work_.nll,
                     work_.d_norm, grad_ + layout_.embedding);
    backward(batch_, context_, cancel);
  }
  const auto n = static_cast<int64_t>(layout_.count);
  return {nll / static_cast<double>(counted), l2_norm(threads_, grad_, n), counted, 0};
}

mg_step_result Trainer::step(const int32_t* tokens, uint32_t accumulate, const mg_adamw& adamw,
                             const int32_t* cancel) {
  const ProfiledStep profiled(profile);
  const mg_step_result result = gradient(tokens, accumulate, cancel);
  update(adamw, result.loss, result.grad_norm, cancel);
  return result;
}

void Trainer::update(const mg_adamw& adamw, double loss, double norm, const int32_t* cancel) {
  check_finite(loss, norm);
  if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "cancelled");
  const float clip = clip_factor(norm, adamw.clip);
  for (const Tensor& t : layout_.tensors)
    adamw_step(threads_, adamw, t.is_matrix ? adamw.weight_decay : 0.0f, clip, grad_ + t.offset,
               params_ + t.offset, m_ + t.offset, v_ + t.offset, static_cast<int64_t>(t.size()));
}

void Trainer::evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel, double* nll_sum,
                       uint64_t* count) {
  const uint64_t counted = load_tokens(tokens, rows, context_);
  quantize_weights();
  forward(rows, context_, cancel);
  const double sum = head_loss(threads_, head(), work_.hidden, work_.targets,
                               int64_t{rows} * context_, 0.0f, work_.nll, nullptr, nullptr);
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
  quantize_weights();
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
