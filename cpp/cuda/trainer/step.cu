// The optimizer step around the passes of forward.cu and backward.cu: what goes to the device and comes
// back. A step is put into the stream as a whole, the host preparing tokens while the device works, and
// waited for once, for its result. Parameters and moments stay as they are where loss or gradient norm
// is not finite: the update's kernels look at the state that the device found itself.
#include <algorithm>
#include <cmath>

#include "../../cpu/rope_tables.hpp"
#include "../kernels/gemm_choice.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

template <class T>
TrainerOf<T>::TrainerOf(const mg_model_config& config, const mg_trainer_options& options)
    : Trainer(options),
      config_(config),
      layout_(model_layout(config)),
      area_(carve<T>(config, options, nullptr).bytes()),
      storage_(carve<T>(config, options, area_.data())),
      host_area_(carve_host(options, nullptr).bytes),
      host_(carve_host(options, host_area_.data())),
      relay_(stream_, host_.relay),
      rounds_(relay_, storage_.params, layout_.count) {
  // Zeros: the padding that products count on, moments, and an arena as the CPU's.
  fill_bytes(stream_, area_.data(), 0, area_.size());
  stream_.workspace(workspace_of<T>());
  for (const TokenPlaces& places : host_.slots) slots_.emplace_back(places);
  const RopeTables tables(options.context, config.head_dim, config.rope_theta);
  const uint64_t bytes = tables.cos.size() * sizeof(float);
  send_tables();
  copy_in(stream_, storage_.work.cosines, tables.cos.data(), bytes);
  copy_in(stream_, storage_.work.sines, tables.sin.data(), bytes);
  stream_.wait();
}

template <class T>
void TrainerOf<T>::send_tables() {
  const Workspace<T>& w = storage_.work;
  const std::vector<AdamwPiece> pieces = adamw_pieces_of(layout_, options_);
  adamw_pieces_ = pieces.size();
  copy_in(stream_, w.adamw_pieces, pieces.data(), pieces.size() * sizeof(AdamwPiece));
  if (is_plain()) return;
  for (size_t i = 0; i < storage_.weights.size(); i++) {
    const std::array<uint64_t, 7> offsets = weight_offsets(layout_.layers[i]);
    storage_.weights[i].for_each([&](const QuantisedWeight<T>& out, int index) {
      weight_tasks_.push_back({storage_.params + offsets[static_cast<size_t>(index)], out});
    });
  }
  copy_in(stream_, w.weight_tasks, weight_tasks_.data(),
          weight_tasks_.size() * sizeof(WeightTask<T>));
}

template <class T>
TrainerOf<T>::~TrainerOf() {
  try {
    stream_.wait();
    copies_.wait();
  } catch (...) {
    // A device that failed has told so; nothing of it is used any more.
  }
}

template <class T>
typename TrainerOf<T>::TokenSlot& TrainerOf<T>::free_slot() {
  TokenSlot& slot = slots_[next_slot_++ % slots_.size()];
  slot.sent.wait();
  return slot;
}

template <class T>
uint64_t TrainerOf<T>::load_tokens(const int32_t* tokens, const Pass& pass,
                                   TokenSlot& slot) const {
  uint64_t counted = 0;
  const auto vocab = static_cast<int32_t>(config_.vocab_size);
  for (int64_t s = 0; s < pass.sequences; s++) {
    const int32_t* const from = tokens + s * (pass.context + 1);
    for (int64_t t = 0; t <= pass.context; t++) {
      const int32_t id = from[t];
      if (id != IGNORED && (id < 0 || id >= vocab))
        fail(MG_E_INVALID, "token %d of sequence %lld is outside the vocabulary of %d", id,
             static_cast<long long>(s), vocab);
      const auto at = static_cast<uint64_t>(s * pass.context + t);
      if (t < pass.context) slot.at.inputs[at] = id;
      if (t == 0) continue;
      slot.at.targets[at - 1] = id;
      if (id != IGNORED) counted++;
    }
  }
  return counted;
}

template <class T>
void TrainerOf<T>::send_tokens(TokenSlot& slot, const Pass& pass) {
  const Workspace<T>& w = storage_.work;
  const auto rows = static_cast<uint64_t>(pass.rows());
  token_order(slot.at.inputs, pass.rows(), config_.vocab_size, slot.at.order);
  // In the stream of the passes: microseconds beside a pass of milliseconds.
  copy_in(stream_, w.inputs, slot.at.inputs, rows * sizeof(int32_t));
  copy_in(stream_, w.targets, slot.at.targets, rows * sizeof(int32_t));
  copy_in(stream_, w.order, slot.at.order, token_order_size(pass.rows()) * sizeof(int32_t));
  slot.sent.record(stream_);
}

template <class T>
void TrainerOf<T>::set_gradient_scale(double scale) {
  *host_.gradient_scale = static_cast<float>(scale);
  copy_in(stream_, storage_.work.gradient_scale, host_.gradient_scale, sizeof(float));
}

template <class T>
void TrainerOf<T>::run_captured(std::map<Pass, std::unique_ptr<Graph>>& graphs, const Pass& pass,
                                const std::function<void()>& work) {
  const auto [at, is_first] = graphs.try_emplace(pass);
  if (is_first) {
    // Not captured, as it measures which kernels its products take.
    const MeasuredProducts scope;
    return work();
  }
  if (times_.is_on()) return work();
  std::unique_ptr<Graph>& graph = at->second;
  if (!graph) graph = std::make_unique<Graph>(stream_, work);
  graph->start(stream_);
}

template <class T>
void TrainerOf<T>::stop_if_cancelled(const int32_t* cancel) {
  if (!is_cancelled(cancel)) return;
  stream_.wait();
  fail(MG_E_CANCELLED, "cancelled");
}

template <class T>
void TrainerOf<T>::micro_batch(const Pass& pass) {
  run_captured(micro_batches_, pass, [&] {
    if (!pass.adds) {
      timed_as(Kernel::zero_gradient);
      clear_norm_gradients();
    }
    forward(pass);
    head(pass, HeadPass::gradient);
    timed_as(Kernel::cross_entropy);
    add_losses(stream_, storage_.work.nll, pass.rows(), storage_.work.loss);
    backward(pass);
  });
}

template <class T>
void TrainerOf<T>::measure_gradient() {
  const Workspace<T>& w = storage_.work;
  timed_as(Kernel::gradient_norm);
  global_norm(stream_, storage_.grad, layout_.count, w.partials, w.state);
}

template <class T>
StepState TrainerOf<T>::read_state(double* loss) {
  copy_out(stream_, host_.loss, storage_.work.loss, sizeof(double));
  copy_out(stream_, host_.state, storage_.work.state, sizeof(StepState));
  stream_.wait();
  *loss = *host_.loss;
  return *host_.state;
}

template <class T>
uint64_t TrainerOf<T>::start_gradient(const int32_t* tokens, uint32_t accumulate,
                                      const int32_t* cancel) {
  Pass pass = whole();
  const int64_t stride = pass.sequences * (pass.context + 1);
  // The mean is over the targets of all micro-batches, so accumulating equals a bigger batch.
  uint64_t counted = 0;
  for (uint32_t a = 0; a < accumulate; a++)
    counted += load_tokens(tokens + a * stride, pass, free_slot());
  require(counted > 0, MG_E_INVALID, "trainer: no target is counted");
  started_.record(stream_);
  times_.start();
  timed_as(Kernel::zero_gradient);
  fill_bytes(stream_, storage_.work.loss, 0, sizeof(double));
  set_gradient_scale(1.0 / static_cast<double>(counted));
  prepare_weights();
  for (uint32_t a = 0; a < accumulate; a++) {
    TokenSlot& slot = free_slot();
    stop_if_cancelled(cancel);
    load_tokens(tokens + a * stride, pass, slot);
    send_tokens(slot, pass);
    pass.adds = a > 0;
    micro_batch(pass);
  }
  passed_.record(stream_);
  measure_gradient();
  return counted;
}

template <class T>
mg_step_result TrainerOf<T>::gradient(const int32_t* tokens, uint32_t accumulate,
                                      const int32_t* cancel) {
  const uint64_t counted = start_gradient(tokens, accumulate, cancel);
  double loss = 0.0;
  const StepState state = read_state(&loss);
  return {loss / static_cast<double>(counted), state.norm, counted, 0};
}

template <class T>
void TrainerOf<T>::check_scales() {
  if (is_plain()) return;
  for (size_t i = 0; i < storage_.weights.size(); i++) {
    const std::array<uint64_t, 7> offsets = weight_offsets(layout_.layers[i]);
    storage_.weights[i].for_each([&](const QuantisedWeight<T>& w, int index) {
      copy_out(stream_, host_.inverse, w.inverse, sizeof(float));
      stream_.wait();
      if (std::isfinite(*host_.inverse)) return;
      for (const Tensor& t : layout_.tensors)
        if (t.offset == offsets[static_cast<size_t>(index)])
          fail(MG_E_NUMERIC, "%s holds NaN or infinity", t.name.c_str());
    });
  }
}

template <class T>
void TrainerOf<T>::update(const mg_optimizer& optimizer) {
  *host_.numbers = step_numbers(optimizer);
  copy_in(stream_, storage_.work.numbers, host_.numbers, sizeof(StepNumbers));
  after_snapshot();
  const auto work = [&] {
    const Workspace<T>& w = storage_.work;
    clip_and_check(stream_, w.loss, w.numbers, w.state);
    adamw(stream_, storage_.grad, storage_.params, storage_.m, storage_.v, w.adamw_pieces,
          adamw_pieces_, w.numbers, w.state);
    if (options_.optimizer != MG_OPTIMIZER_MUON) return;
    for (const Tensor& t : layout_.tensors)
      if (t.is_ternary)
        muon<T>(stream_, storage_.grad + t.offset, storage_.params + t.offset, storage_.m + t.offset,
                t.rows, t.cols, w.numbers, w.state, w.muon);
  };
  weights_ready_ = false;
  timed_as(Kernel::optimizer);
  if (times_.is_on()) return work();
  if (!update_graph_) update_graph_ = std::make_unique<Graph>(stream_, work);
  update_graph_->start(stream_);
}

template <class T>
mg_step_result TrainerOf<T>::step(const int32_t* tokens, uint32_t accumulate,
                                  const mg_optimizer& optimizer, const int32_t* cancel) {
  require(optimizer.kind == options_.optimizer, MG_E_INVALID,
          "trainer: it was made for the other optimizer");
  const uint64_t counted = start_gradient(tokens, accumulate, cancel);
  stop_if_cancelled(cancel);
  update(optimizer);
  times_.leave(stream_);
  updated_.record(stream_);
  double loss = 0.0;
  const StepState state = read_state(&loss);
  const mg_step_result result{loss / static_cast<double>(counted), state.norm, counted, 0};
  // As the device has decided by itself.
  if (!std::isfinite(result.loss)) {
    check_scales();
    fail(MG_E_NUMERIC, "the loss is not finite; nothing was changed");
  }
  if (!std::isfinite(result.grad_norm))
    fail(MG_E_NUMERIC, "the gradient is not finite; nothing was changed");
  if (times_.is_on())
    times_.collect();
  else
    times_.add_step(passed_.seconds_since(started_), updated_.seconds_since(passed_));
  times_.count_step();
  return result;
}

template <class T>
void TrainerOf<T>::evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel,
                            double* nll_sum, uint64_t* count) {
  const Pass pass{rows, options_.context};
  TokenSlot& slot = free_slot();
  const uint64_t counted = load_tokens(tokens, pass, slot);
  stop_if_cancelled(cancel);
  send_tokens(slot, pass);
  fill_bytes(stream_, storage_.work.loss, 0, sizeof(double));
  prepare_weights();
  forward(pass);
  head(pass, HeadPass::losses);
  add_losses(stream_, storage_.work.nll, pass.rows(), storage_.work.loss);
  double sum = 0.0;
  read_state(&sum);
  if (!std::isfinite(sum)) fail(MG_E_NUMERIC, "the loss is not finite");
  *nll_sum = sum;
  *count = counted;
}

template <class T>
float* TrainerOf<T>::device_arena(uint32_t which) {
  if (which >= Rounds::BASE) return rounds_.arena(which);
  float* const arenas[] = {storage_.params, storage_.m, storage_.v, storage_.grad};
  return arenas[which];
}

template <class T>
float* TrainerOf<T>::arena(uint32_t which) {
  device_arena(which);
  if (arenas_[which].data() == nullptr) {
    arenas_[which] = PinnedArray<float>(layout_.count);
    std::fill_n(arenas_[which].data(), layout_.count, 0.0f);
  }
  return arenas_[which].data();
}

template <class T>
void TrainerOf<T>::pull(uint32_t which) {
  after_snapshot();
  copy_out(stream_, arena(which), device_arena(which), layout_.count * sizeof(float));
  stream_.wait();
}

template <class T>
void TrainerOf<T>::push(uint32_t which) {
  after_snapshot();
  weights_ready_ = false;
  copy_in(stream_, device_arena(which), arena(which), layout_.count * sizeof(float));
  stream_.wait();
}

template <class T>
void TrainerOf<T>::copy(uint32_t from, uint32_t to) {
  const float* const source = device_arena(from);
  float* const target = device_arena(to);
  if (source == target) return;
  after_snapshot();
  weights_ready_ = false;
  copy_on_device(stream_, target, source, layout_.count * sizeof(float));
  stream_.wait();
}

template <class T>
void TrainerOf<T>::release(uint32_t which) {
  rounds_.release(which);
  arenas_[which] = PinnedArray<float>();
}

// The copies go beside forward and backward passes, which write none of the three arenas, and take no
// memory of the device.
template <class T>
void TrainerOf<T>::start_snapshot() {
  for (uint32_t which = 0; which < STATE_ARENAS; which++) arena(which);
  boundary_.record(stream_);
  copies_.wait_for(boundary_);
  for (uint32_t which = 0; which < STATE_ARENAS; which++)
    copy_out(copies_, arena(which), device_arena(which), layout_.count * sizeof(float));
  copied_.record(copies_);
}

template <class T>
void TrainerOf<T>::wait_for_snapshot() {
  copied_.wait();
}

template class TrainerOf<float>;
template class TrainerOf<bf16>;

std::unique_ptr<Trainer> make_trainer(const mg_model_config& config,
                                      const mg_trainer_options& options) {
  check_options(config, options);
  if (options.precision == MG_PRECISION_FLOAT32)
    return std::make_unique<TrainerOf<float>>(config, options);
  return std::make_unique<TrainerOf<bf16>>(config, options);
}

}  // namespace magnet::gpu
