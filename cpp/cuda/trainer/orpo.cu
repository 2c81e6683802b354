// ORPO, twin of cpp/cpu/trainer_orpo.cpp. Each micro-batch takes one forward pass, a pass over its
// logits for the log-probs of the responses, the odds ratios on the host, then a second pass over the
// logits with a gradient scale for every row, and one backward pass.
#include <algorithm>
#include <cmath>

#include "../../cpu/odds_ratio.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

namespace {

uint64_t labels_counted(const int32_t* labels, int64_t width) {
  uint64_t count = 0;
  for (int64_t t = 1; t < width; t++) count += labels[t] != IGNORED;
  return count;
}

/** What the means of a step divide by. */
struct Scales {
  double chosen_token;  // 1 / labels of all chosen sequences
  double pair;          // 1 / pairs
  double beta;
};

/** Adds the figures of a micro-batch to `total` and writes its rows' gradient scales. */
void weigh_pairs(const LabelledTokens& batch, const float* nll, const Scales& scales,
                 float* row_scales, mg_orpo_result& total) {
  const int64_t context = batch.width - 1;
  for (int64_t s = 0; s < batch.sequences; s += 2) {
    double sums[2];
    uint64_t counts[2];
    for (int64_t i = 0; i < 2; i++) {
      counts[i] = labels_counted(batch.labels + (s + i) * batch.width, batch.width);
      sums[i] = 0.0;
      // Where no label counts, the loss is 0.
      for (int64_t t = 0; t < context; t++)
        sums[i] -= static_cast<double>(nll[(s + i) * context + t]);
    }
    const auto chosen_count = static_cast<double>(counts[0]);
    const auto rejected_count = static_cast<double>(counts[1]);
    const double chosen = sums[0] / chosen_count;
    const double rejected = sums[1] / rejected_count;
    const OddsRatio odds = odds_ratio(chosen, rejected);
    const double weight = scales.beta * scales.pair;
    const double scale = scales.chosen_token - weight * odds.d_chosen / chosen_count;
    const double other = -weight * odds.d_rejected / rejected_count;
    std::fill_n(row_scales + s * context, context, static_cast<float>(scale));
    std::fill_n(row_scales + (s + 1) * context, context, static_cast<float>(other));
    total.nll -= sums[0] * scales.chosen_token;
    total.odds_loss += odds.loss * scales.pair;
    total.log_odds += odds.log_odds * scales.pair;
    total.logp_chosen += chosen * scales.pair;
    total.logp_rejected += rejected * scales.pair;
    total.wins += chosen > rejected;
    total.tokens += counts[0] + counts[1];
  }
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
      if (t < context) slot.inputs[at] = tokens[t];
      if (t == 0) continue;
      if (labels[t] != IGNORED && labels[t] != tokens[t])
        fail(MG_E_INVALID, "label %d of sequence %lld is neither its token nor -100", labels[t],
             static_cast<long long>(s));
      slot.targets[at - 1] = labels[t];
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
  head(pass.rows(), false, false);
  copy_out(stream_, pinned_nll_.data(), storage_.work.nll,
           static_cast<uint64_t>(pass.rows()) * sizeof(float));
  stream_.wait();
  for (int64_t s = 0; s < batch.sequences; s++) {
    counts[s] = labels_counted(batch.labels + s * batch.width, batch.width);
    sums[s] = 0.0;
    for (int64_t t = 0; t < pass.context; t++)
      sums[s] -= static_cast<double>(pinned_nll_[static_cast<uint64_t>(s * pass.context + t)]);
    if (!std::isfinite(sums[s])) fail(MG_E_NUMERIC, "a log-probability is not finite");
  }
}

template <class T>
mg_orpo_result TrainerOf<T>::orpo(const PairBatch& pairs, float beta, const mg_optimizer* optimizer,
                                  const int32_t* cancel) {
  const Pass pass{2 * pairs.pairs, pairs.width - 1};
  const int64_t stride = pass.sequences * pairs.width;
  const auto row_bytes = static_cast<uint64_t>(pass.rows()) * sizeof(float);
  const Workspace<T>& w = storage_.work;
  require(optimizer == nullptr || optimizer->kind == options_.optimizer, MG_E_INVALID,
          "trainer: it was made for the other optimizer");
  // The means are over all micro-batches, so accumulating equals a bigger batch.
  const auto micro_batch_at = [&](uint32_t a) {
    return LabelledTokens{pairs.tokens + a * stride, pairs.labels + a * stride, pass.sequences,
                          pairs.width};
  };
  for (uint32_t a = 0; a < pairs.accumulate; a++) load_labelled(micro_batch_at(a), free_slot());
  uint64_t chosen_tokens = 0;
  for (int64_t s = 0; s < pass.sequences * pairs.accumulate; s += 2)
    chosen_tokens += labels_counted(pairs.labels + s * pairs.width, pairs.width);
  require(chosen_tokens > 0, MG_E_INVALID, "trainer: no label is counted");
  const Scales scales{1.0 / static_cast<double>(chosen_tokens),
                      1.0 / (static_cast<double>(pairs.pairs) * pairs.accumulate),
                      static_cast<double>(beta)};
  fill_bytes(stream_, storage_.grad, 0, layout_.count * sizeof(float));
  set_gradient_scale(1.0);
  prepare_weights();
  mg_orpo_result total{};
  for (uint32_t a = 0; a < pairs.accumulate; a++) {
    stop_if_cancelled(cancel);
    const LabelledTokens batch = micro_batch_at(a);
    // While the device is still in the backward pass of the micro-batch before.
    TokenSlot& slot = free_slot();
    load_labelled(batch, slot);
    send_tokens(slot, pass);
    forward(pass);
    head(pass.rows(), false, false);
    copy_out(stream_, pinned_nll_.data(), w.nll, row_bytes);
    stream_.wait();
    weigh_pairs(batch, pinned_nll_.data(), scales, pinned_scales_.data(), total);
    copy_in(stream_, w.row_scales, pinned_scales_.data(), row_bytes);
    head(pass.rows(), true, true);
    backward(pass);
  }
  total.loss = total.nll + scales.beta * total.odds_loss;
  // The update's kernels look at the loss on the device.
  pinned_loss_[0] = total.loss;
  copy_in(stream_, w.loss, pinned_loss_.data(), sizeof(double));
  measure_gradient();
  if (optimizer != nullptr) {
    stop_if_cancelled(cancel);
    update(*optimizer);
  }
  double loss = 0.0;
  total.grad_norm = read_state(&loss).norm;
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
  template mg_orpo_result TrainerOf<T>::orpo(const PairBatch&, float, const mg_optimizer*,    \
                                             const int32_t*)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
