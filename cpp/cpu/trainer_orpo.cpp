// ORPO: one model, no reference. Each micro-batch takes one forward pass, a pass over its logits
// for the log-probs of the responses, the odds ratio of each pair, then a second pass over the
// logits (chunked, like the first) with a gradient scale for every row, and one backward pass. The
// head works on the rows of responses only: those of prompts and padding are left out before it.
#include <algorithm>
#include <cmath>
#include <vector>

#include "odds_ratio.hpp"
#include "optimizer.hpp"
#include "trainer.hpp"

static_assert(sizeof(mg_orpo_result) == 72);

namespace magnet {
namespace {

uint64_t labels_counted(const int32_t* labels, int64_t width) {
  uint64_t count = 0;
  for (int64_t t = 1; t < width; t++) count += labels[t] != IGNORED_TARGET;
  return count;
}

}  // namespace

void Trainer::load_labelled(const LabelledTokens& batch) {
  const auto vocab = static_cast<int32_t>(config_.vocab_size);
  const int64_t context = batch.width - 1;
  for (int64_t s = 0; s < batch.sequences; s++) {
    const int32_t* const tokens = batch.tokens + s * batch.width;
    const int32_t* const labels = batch.labels + s * batch.width;
    uint64_t counted = 0;
    for (int64_t t = 0; t < batch.width; t++) {
      if (tokens[t] < 0 || tokens[t] >= vocab)
        fail(MG_E_INVALID, "token %d of sequence %lld is outside the vocabulary of %d", tokens[t],
             static_cast<long long>(s), vocab);
      if (t < context) work_.inputs[s * context + t] = tokens[t];
      if (t == 0) continue;
      if (labels[t] != IGNORED_TARGET && labels[t] != tokens[t])
        fail(MG_E_INVALID, "label %d of sequence %lld is neither its token nor -100", labels[t],
             static_cast<long long>(s));
      work_.targets[s * context + t - 1] = labels[t];
      counted += labels[t] != IGNORED_TARGET;
    }
    if (counted == 0)
      fail(MG_E_INVALID, "sequence %lld counts no label", static_cast<long long>(s));
  }
}

int64_t Trainer::keep_counted_rows(int64_t rows) {
  const int64_t d = config_.d_model;
  counted_rows_.clear();
  for (int64_t row = 0; row < rows; row++) {
    if (work_.targets[row] == IGNORED_TARGET) continue;
    const auto to = static_cast<int64_t>(counted_rows_.size());
    if (to < row) std::copy_n(work_.hidden + row * d, d, work_.hidden + to * d);
    work_.targets[to] = work_.targets[row];
    counted_rows_.push_back(row);
  }
  return static_cast<int64_t>(counted_rows_.size());
}

void Trainer::spread_head_gradient(int64_t rows) {
  const int64_t d = config_.d_model;
  auto left = static_cast<int64_t>(counted_rows_.size());
  // From the end: no row is overwritten before it has moved.
  for (int64_t row = rows - 1; row >= 0; row--) {
    float* const to = work_.d_norm + row * d;
    if (left > 0 && counted_rows_[static_cast<size_t>(left - 1)] == row) {
      if (--left < row) std::copy_n(work_.d_norm + left * d, d, to);
    } else {
      std::fill_n(to, d, 0.0f);
    }
  }
}

void Trainer::sum_log_probs(const LabelledTokens& batch, double* sums, uint64_t* counts) const {
  const double* nll = work_.nll;
  for (int64_t s = 0; s < batch.sequences; s++) {
    counts[s] = labels_counted(batch.labels + s * batch.width, batch.width);
    double sum = 0.0;
    for (uint64_t i = 0; i < counts[s]; i++) sum += nll[i];
    nll += counts[s];
    sums[s] = -sum;
  }
}

void Trainer::log_probs(const LabelledTokens& batch, const int32_t* cancel, double* sums,
                        uint64_t* counts) {
  load_labelled(batch);
  prepare_weights();
  const int64_t context = batch.width - 1;
  forward(batch.sequences, context, cancel);
  const int64_t counted = keep_counted_rows(batch.sequences * context);
  const double nll = head_loss(threads_, head(), work_.hidden, work_.targets, counted, 0.0f,
                               work_.nll, nullptr, nullptr);
  if (!std::isfinite(nll)) fail(MG_E_NUMERIC, "a log-probability is not finite");
  sum_log_probs(batch, sums, counts);
}

mg_orpo_result Trainer::orpo(const PairBatch& pairs, float beta, const mg_optimizer* optimizer,
                             const int32_t* cancel) {
  const int64_t sequences = 2 * pairs.pairs;
  const int64_t rows = sequences * (pairs.width - 1);
  const int64_t stride = sequences * pairs.width;
  // The means are over all micro-batches, so accumulating equals a bigger batch.
  uint64_t chosen_tokens = 0;
  for (int64_t s = 0; s < sequences * pairs.accumulate; s += 2)
    chosen_tokens += labels_counted(pairs.labels + s * pairs.width, pairs.width);
  require(chosen_tokens > 0, MG_E_INVALID, "trainer: no label is counted");
  const OrpoScales scales{1.0 / static_cast<double>(chosen_tokens),
                          1.0 / (static_cast<double>(pairs.pairs) * pairs.accumulate), beta};
  prepare_weights();
  zero_gradient();
  mg_orpo_result total{};
  for (uint32_t a = 0; a < pairs.accumulate; a++) {
    const LabelledTokens batch{pairs.tokens + a * stride, pairs.labels + a * stride, sequences,
                               pairs.width};
    load_labelled(batch);
    forward(sequences, pairs.width - 1, cancel);
    const int64_t counted = keep_counted_rows(rows);
    head_loss(threads_, head(), work_.hidden, work_.targets, counted, 0.0f, work_.nll, nullptr,
              nullptr);
    weigh_pairs(batch, scales, total);
    head_loss_by_row(threads_, head(), work_.hidden, work_.targets, counted, work_.scales,
                     work_.nll, work_.d_norm, grad_ + layout_.embedding);
    spread_head_gradient(rows);
    backward(sequences, pairs.width - 1, cancel);
  }
  total.loss = total.nll + scales.beta * total.odds_loss;
  total.grad_norm = l2_norm(threads_, grad_, static_cast<int64_t>(layout_.count));
  if (optimizer != nullptr) update(*optimizer, total.loss, total.grad_norm, cancel);
  return total;
}

void Trainer::weigh_pairs(const LabelledTokens& batch, const OrpoScales& scales,
                          mg_orpo_result& total) {
  float* row_scales = work_.scales;
  std::vector<double> sums(static_cast<size_t>(batch.sequences));
  std::vector<uint64_t> counts(sums.size());
  sum_log_probs(batch, sums.data(), counts.data());
  for (size_t s = 0; s < sums.size(); s += 2) {
    const auto chosen_count = static_cast<double>(counts[s]);
    const auto rejected_count = static_cast<double>(counts[s + 1]);
    const double chosen = sums[s] / chosen_count;
    const double rejected = sums[s + 1] / rejected_count;
    const OddsRatio odds = odds_ratio(chosen, rejected);
    // A row's gradient is scale * (softmax - onehot), that of a negative log-probability.
    const double weight = scales.beta * scales.pair;
    const double scale = scales.chosen_token - weight * odds.d_chosen / chosen_count;
    const double other = -weight * odds.d_rejected / rejected_count;
    row_scales = std::fill_n(row_scales, counts[s], static_cast<float>(scale));
    row_scales = std::fill_n(row_scales, counts[s + 1], static_cast<float>(other));
    total.nll -= sums[s] * scales.chosen_token;
    total.odds_loss += odds.loss * scales.pair;
    total.log_odds += odds.log_odds * scales.pair;
    total.logp_chosen += chosen * scales.pair;
    total.logp_rejected += rejected * scales.pair;
    total.wins += chosen > rejected;
    total.tokens += counts[s] + counts[s + 1];
  }
}

}  // namespace magnet
