#include "sampler.hpp"

#include <algorithm>
#include <cmath>

#include "aligned_buffer.hpp"
#include "draw.hpp"
#include "grammar_handle.hpp"

namespace magnet {
namespace {

static_assert(sizeof(mg_sampler_options) == 64);

std::vector<LogitBias> checked_bias(uint64_t vocab, const int32_t* ids, const float* values,
                                    uint64_t n) {
  std::vector<LogitBias> bias;
  for (uint64_t i = 0; i < n; i++) {
    // -Inf bans a token; +Inf would leave no odds between two of them.
    require(ids[i] >= 0 && static_cast<uint64_t>(ids[i]) < vocab && values[i] < HUGE_VALF,
            MG_E_INVALID, "a logit bias is NaN, +Inf or for a token outside the vocabulary");
    bias.push_back({ids[i], values[i]});
  }
  return bias;
}

/** -Inf for every token that is not allowed. */
void apply(const TokenMask& mask, float* logits, uint64_t vocab) {
  for (uint64_t first = 0; first < vocab; first += 64) {
    const uint64_t word = mask.bits[first / 64];
    if (word == ~uint64_t{0}) continue;
    const uint64_t end = std::min(vocab, first + 64);
    if (word == 0) {
      std::fill(logits + first, logits + end, -HUGE_VALF);
      continue;
    }
    for (uint64_t i = first; i < end; i++)
      if ((word >> (i - first) & 1) == 0) logits[i] = -HUGE_VALF;
  }
}

float* scratch_of(AlignedBuffer<float>& buffer, uint64_t n) {
  return buffer.reserve(static_cast<int64_t>(n));
}

}  // namespace

Sampler::Sampler(uint64_t vocab, const mg_sampler_options& options, std::vector<LogitBias> bias,
                 std::shared_ptr<Grammar> grammar)
    : vocab_(vocab), options_(options), bias_(std::move(bias)), step_(options.sampling.step) {
  require(grammar == nullptr || grammar->vocabulary().size() == vocab, MG_E_SHAPE,
          "the constraint is of another vocabulary");
  if (grammar != nullptr) constraint_.emplace(std::move(grammar));
  require(vocab > 0 && vocab < (1u << 31), MG_E_INVALID, "the vocabulary has 1 to 2^31 - 1 tokens");
  check_sampling(options.sampling);
  const auto penalty = [](float v) { return v >= -2 && v <= 2; };
  require(penalty(options.presence_penalty), MG_E_INVALID, "presence_penalty is outside -2..2");
  require(penalty(options.frequency_penalty), MG_E_INVALID, "frequency_penalty is outside -2..2");
  require(options.top_logprobs <= MG_TOP_LOGPROBS, MG_E_INVALID, "top_logprobs is above 20");
}

void Sampler::remember(int32_t token) {
  if (recent_.size() < MG_RECENT_TOKENS) {
    recent_.push_back(token);
  } else {
    recent_[oldest_] = token;
    oldest_ = (oldest_ + 1) % MG_RECENT_TOKENS;
  }
}

void Sampler::prompt(const int32_t* tokens, uint64_t n) {
  const uint64_t first = n > MG_RECENT_TOKENS ? n - MG_RECENT_TOKENS : 0;
  for (uint64_t i = first; i < n; i++)
    require(tokens[i] >= 0 && static_cast<uint64_t>(tokens[i]) < vocab_, MG_E_INVALID,
            "a recent token is outside the vocabulary");
  for (uint64_t i = first; i < n; i++) remember(tokens[i]);
}

bool Sampler::changes_logits() const {
  return !bias_.empty() || (options_.sampling.repetition_penalty != 1.0f && !recent_.empty()) ||
         !drawn_.empty() || constraint_.has_value();
}

bool Sampler::wants_largest() const {
  const bool greedy = options_.sampling.temperature == 0.0f || options_.sampling.top_k == 1;
  return greedy && options_.top_logprobs == 0 && !changes_logits();
}

void Sampler::adjust(float* logits) {
  for (const LogitBias& b : bias_) logits[b.id] += b.value;
  const float penalty = options_.sampling.repetition_penalty;
  if (penalty != 1.0f) {
    std::vector<int32_t> seen(recent_);  // each id is penalised once
    std::sort(seen.begin(), seen.end());
    seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
    for (const int32_t id : seen) {
      float& v = logits[id];
      v = v > 0 ? v / penalty : v * penalty;
    }
  }
  for (const auto& [id, count] : drawn_)
    logits[id] -= options_.presence_penalty + static_cast<float>(count) * options_.frequency_penalty;
  if (!constraint_.has_value()) return;
  const uint64_t drawn = step_ - options_.sampling.step;
  const uint64_t budget = options_.token_budget;
  const uint64_t left = budget > drawn ? budget - drawn : 0;
  apply(*constraint_->mask(static_cast<uint32_t>(left)), logits, vocab_);
}

void Sampler::accept(int32_t token) {
  remember(token);
  if (options_.presence_penalty != 0 || options_.frequency_penalty != 0) drawn_[token]++;
  step_++;
}

Sampler::Drawn Sampler::draw(const float* logits, int32_t* top_ids, float* top_logprobs) {
  thread_local AlignedBuffer<float> raw_maxima;
  thread_local AlignedBuffer<float> adjusted;
  thread_local AlignedBuffer<float> adjusted_maxima;
  const auto n = static_cast<int64_t>(vocab_);
  const auto blocks = static_cast<uint64_t>(DrawRow::blocks(n));
  const DrawRow raw(logits, n, scratch_of(raw_maxima, blocks));
  const double log_sum = raw.log_sum_exp();
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - log_sum);
  };
  int32_t token = 0;
  if (changes_logits()) {
    float* const values = scratch_of(adjusted, vocab_);
    std::copy_n(logits, n, values);
    adjust(values);
    const DrawRow row(values, n, scratch_of(adjusted_maxima, blocks));
    require(std::isfinite(row.top()), MG_E_NUMERIC, "no token may be drawn: the logits of all that are allowed are -Inf");
    token = draw_token(row, options_.sampling, step_);
  } else {
    token = draw_token(raw, options_.sampling, step_);
  }
  if (top_ids != nullptr) {
    thread_local std::vector<RankedToken> best;
    best.clear();
    if (options_.top_logprobs > 0) raw.most_likely(options_.top_logprobs, true, best);
    for (size_t i = 0; i < MG_TOP_LOGPROBS; i++) {
      top_ids[i] = i < best.size() ? best[i].id : -1;
      top_logprobs[i] = i < best.size() ? logprob(best[i].value) : 0.0f;
    }
  }
  if (constraint_.has_value() && !constraint_->accept(token))
    fail(MG_E_INTERNAL, "the constraint refuses a token that it allowed");
  accept(token);
  return {token, logprob(logits[token])};
}

int32_t Sampler::try_draw(const float* logits, float* logprob, int32_t* top_ids,
                          float* top_logprobs) noexcept {
  int32_t token = MG_E_INTERNAL;
  const int32_t status = guard([&] {
    const Drawn drawn = draw(logits, top_ids, top_logprobs);
    token = drawn.token;
    *logprob = drawn.logprob;
    return int32_t{MG_OK};
  });
  return status == MG_OK ? token : status;
}

void BatchDraws::draw(uint64_t i, const float* logits) const noexcept {
  const uint64_t top = i * MG_TOP_LOGPROBS;
  logprobs[i] = 0;
  tokens[i] = static_cast<Sampler*>(samplers[i])
                  ->try_draw(logits, logprobs + i, top_ids == nullptr ? nullptr : top_ids + top,
                             top_ids == nullptr ? nullptr : top_logprobs + top);
}

bool BatchDraws::wants_largest(uint64_t i) const {
  return static_cast<const Sampler*>(samplers[i])->wants_largest();
}

void BatchDraws::take_largest(uint64_t i, int32_t token, float logprob) const {
  static_cast<Sampler*>(samplers[i])->take_largest(token);
  tokens[i] = token;
  logprobs[i] = logprob;
  if (top_ids == nullptr) return;
  std::fill_n(top_ids + i * MG_TOP_LOGPROBS, MG_TOP_LOGPROBS, -1);
  std::fill_n(top_logprobs + i * MG_TOP_LOGPROBS, MG_TOP_LOGPROBS, 0.0f);
}

}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_sampler_create(uint64_t vocab, const mg_sampler_options* options,
                          const int32_t* bias_ids, const float* bias_values, uint64_t n_bias,
                          void* grammar, void** out_sampler) {
  return guard([&] {
    require(options != nullptr && out_sampler != nullptr &&
                ((bias_ids != nullptr && bias_values != nullptr) || n_bias == 0),
            MG_E_INVALID, "mg_sampler_create: null argument");
    std::shared_ptr<Grammar> constraint;
    if (grammar != nullptr) constraint = static_cast<GrammarHandle*>(grammar)->object;
    *out_sampler = new Sampler(vocab, *options, checked_bias(vocab, bias_ids, bias_values, n_bias),
                               std::move(constraint));
    return int32_t{MG_OK};
  });
}

int32_t mg_sampler_free(void* sampler) {
  delete static_cast<Sampler*>(sampler);
  return MG_OK;
}

int32_t mg_sampler_prompt(void* sampler, const int32_t* tokens, uint64_t n) {
  return guard([&] {
    require(sampler != nullptr && (tokens != nullptr || n == 0), MG_E_INVALID,
            "mg_sampler_prompt: null argument");
    static_cast<Sampler*>(sampler)->prompt(tokens, n);
    return int32_t{MG_OK};
  });
}

int32_t mg_sampler_draw(void* sampler, const float* logits, int32_t* out_token, float* out_logprob,
                        int32_t* out_top_ids, float* out_top_logprobs) {
  return guard([&] {
    require(sampler != nullptr && logits != nullptr && out_token != nullptr &&
                out_logprob != nullptr && (out_top_ids == nullptr) == (out_top_logprobs == nullptr),
            MG_E_INVALID, "mg_sampler_draw: null argument");
    const Sampler::Drawn drawn =
        static_cast<Sampler*>(sampler)->draw(logits, out_top_ids, out_top_logprobs);
    *out_token = drawn.token;
    *out_logprob = drawn.logprob;
    return int32_t{MG_OK};
  });
}

int32_t mg_live_handles(uint64_t* out_count) {
  return guard([&] {
    require(out_count != nullptr, MG_E_INVALID, "mg_live_handles: null argument");
    *out_count = live_handles.load(std::memory_order_relaxed);
    return int32_t{MG_OK};
  });
}

}  // extern "C"
