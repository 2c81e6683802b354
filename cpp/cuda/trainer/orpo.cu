// ORPO, twin of cpp/cpu/trainer_orpo.cpp. Each micro-batch takes one forward pass, a pass over its
// logits for the log-probs of the responses, the odds ratios, then a second pass over the logits with a
// gradient scale for every row, and one backward pass; all in the stream as a step of training is.
#include <cmath>

#include "trainer_of.hpp"

namespace magnet::gpu {

namespace {

uint64_t labels_counted(const int32_t* labels, int64_t width) {
  uint64_t count = 0;
  for (int64_t t = 1; t < width; t++) count += labels[t] != IGNORED;
  return count;
}

}  // namespace

template <class T>
void TrainerOf<T>::load_labelled(const LabelledTokens& batch, TokenSlot& slot) const {
  const auto vocab = static_cast<int32_t>(config_.vocab_size);
  const int64_t context = batch.width - 1;
  for (int64_t s = 0; s < batch.sequences; s++) {
    const int32_t* const tokens = batch.tokens + s * batch.width;
    const int32_t* const labels = batch.labels + s * batch.width;
    for (int64_t t = 0; t < batch.width; t++) {
      if (tokens[t] < 0 || tokens[t] >= vocab)
        fail(MG_E_INVALID, "token %d of sequence %lld is outside the vocabulary of %d", tokens[t],
             static_cast<long long>(s), vocab);
      const auto at = static_cast<uint64_t>(s * context + t);
      if (t < context) slot.at.inputs[at] = tokens[t];
      if (t == 0) continue;
      if (labels[t] != IGNORED && labels[t] != tokens[t])
        fail(MG_E_INVALID, "label %d of sequence %lld is neither its token nor -100", labels[t],
             static_cast<long long>(s));
      slot.at.targets[at - 1] = labels[t];
    }
    if (labels_counted(labels, batch.width) == 0)
      fail(MG_E_INVALID, "sequence %lld counts no label", static_cast<long long>(s));
  }
}

template <class T>
void TrainerOf<T>::log_probs(const LabelledTokens& batch, const int32_t* cancel, double* sums,
                             uint64_t* counts) {
  const Pass pass{batch.sequences, batch.width - 1};
  TokenSlot& slot = free_slot();
  load_labelled(batch, slot);
  stop_if_cancelled(cancel);
  send_tokens(slot, pass);
  prepare_weights();
  forward(pass);
  head(pass, HeadPass::losses);
  copy_out(stream_, host_.nll, storage_.work.nll,
           static_cast<uint64_t>(pass.rows()) * sizeof(float));
  stream_.wait();
  for (int64_t s = 0; s < batch.sequences; s++) {
    counts[s] = labels_counted(batch.labels + s * batch.width, batch.width);
    sums[s] = 0.0;
    for (int64_t t = 0; t < pass.context; t++)
      sums[s] -= static_cast<double>(host_.nll[s * pass.context + t]);
    if (!std::isfinite(sums[s])) fail(MG_E_NUMERIC, "a log-probability is not finite");
  }
}

// Not captured: batches are as wide as their longest pair, hardly two steps' alike.
template <class T>
void TrainerOf<T>::pair_micro_batch(const Pass& pass) {
  const Workspace<T>& w = storage_.work;
  if (!pass.adds) clear_norm_gradients();
  forward(pass);
  head(pass, HeadPass::losses);
  timed_as(Kernel::cross_entropy);
  weigh_pairs(stream_, w.nll, w.targets, pass.sequences / 2, pass.context, w.pair_scales,
              w.row_scales, w.pairs, w.loss);
  head(pass, HeadPass::gradient_by_row);
  backward(pass);
}

template <class T>
mg_orpo_result TrainerOf<T>::orpo(const PairBatch& pairs, float beta, const mg_optimizer* optimizer,
                                  const int32_t* cancel) {
  const Pass pass{2 * pairs.pairs, pairs.width - 1};
  const int64_t stride = pass.sequences * pairs.width;
  const Workspace<T>& w = storage_.work;
  require(optimizer == nullptr || optimizer->kind == options_.optimizer, MG_E_INVALID,
          "trainer: it was made for the other optimizer");
  // The means are over all micro-batches, so accumulating equals a bigger batch.
  const auto micro_batch_at = [&](uint32_t a) {
    return LabelledTokens{pairs.tokens + a * stride, pairs.labels + a * stride, pass.sequences,
                          pairs.width};
  };
  mg_orpo_result total{};
  uint64_t chosen_tokens = 0;
  for (uint32_t a = 0; a < pairs.accumulate; a++) load_labelled(micro_batch_at(a), free_slot());
  for (int64_t s = 0; s < pass.sequences * pairs.accumulate; s++) {
    const uint64_t counted = labels_counted(pairs.labels + s * pairs.width, pairs.width);
    total.tokens += counted;
    if (s % 2 == 0) chosen_tokens += counted;
  }
  require(chosen_tokens > 0, MG_E_INVALID, "trainer: no label is counted");
  *host_.pair_scales = {1.0 / static_cast<double>(chosen_tokens),
                            1.0 / (static_cast<double>(pairs.pairs) * pairs.accumulate),
                            static_cast<double>(beta)};
  copy_in(stream_, w.pair_scales, host_.pair_scales, sizeof(PairScales));
  fill_bytes(stream_, w.pairs, 0, sizeof(PairTotals));
  set_gradient_scale(1.0);
  prepare_weights();
  for (uint32_t a = 0; a < pairs.accumulate; a++) {
    TokenSlot& slot = free_slot();
    stop_if_cancelled(cancel);
    load_labelled(micro_batch_at(a), slot);
    send_tokens(slot, pass);
    pair_micro_batch({pass.sequences, pass.context, a > 0});
  }
  measure_gradient();
  if (optimizer != nullptr) {
    stop_if_cancelled(cancel);
    update(*optimizer);
  }
  copy_out(stream_, host_.pairs, w.pairs, sizeof(PairTotals));
  total.grad_norm = read_state(&total.loss).norm;
  const PairTotals& found = *host_.pairs;
  total.nll = found.nll;
  total.odds_loss = found.odds_loss;
  total.log_odds = found.log_odds;
  total.logp_chosen = found.logp_chosen;
  total.logp_rejected = found.logp_rejected;
  total.wins = found.wins;
  if (optimizer == nullptr) return total;
  // As the device has decided by itself.
  if (!std::isfinite(total.loss)) fail(MG_E_NUMERIC, "the loss is not finite; nothing was changed");
  if (!std::isfinite(total.grad_norm))
    fail(MG_E_NUMERIC, "the gradient is not finite; nothing was changed");
  return total;
}

#define INSTANTIATE(T)                                                                        \
  template void TrainerOf<T>::load_labelled(const LabelledTokens&, TokenSlot&) const;         \
  template void TrainerOf<T>::log_probs(const LabelledTokens&, const int32_t*, double*,       \
                                        uint64_t*);                                           \
  template void TrainerOf<T>::pair_micro_batch(const Pass&);                                  \
  template mg_orpo_result TrainerOf<T>::orpo(const PairBatch&, float, const mg_optimizer*,    \
                                             const int32_t*)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
