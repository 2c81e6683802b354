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
  std::vector<int32_t> ids;
  for (const LogitBias& b : bias_) ids.push_back(b.id);
  std::sort(ids.begin(), ids.end());
  bias_has_twins_ = std::adjacent_find(ids.begin(), ids.end()) != ids.end();
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

std::shared_ptr<const TokenMask> Sampler::mask() const {
  if (!constraint_.has_value()) return nullptr;
  const uint64_t drawn = step_ - options_.sampling.step;
  const uint64_t budget = options_.token_budget;
  const uint64_t left = budget > drawn ? budget - drawn : 0;
  return constraint_->mask(static_cast<uint32_t>(left));
}

/** Each id is penalised once. */
std::vector<int32_t> Sampler::repeated() const {
  if (options_.sampling.repetition_penalty == 1.0f) return {};
  std::vector<int32_t> seen(recent_);
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  return seen;
}

float Sampler::drawn_penalty(uint32_t count) const {
  return options_.presence_penalty + static_cast<float>(count) * options_.frequency_penalty;
}

void Sampler::adjust(float* logits) {
  for (const LogitBias& b : bias_) logits[b.id] += b.value;
  const float penalty = options_.sampling.repetition_penalty;
  for (const int32_t id : repeated()) {
    float& v = logits[id];
    v = v > 0 ? v / penalty : v * penalty;
  }
  for (const auto& [id, count] : drawn_) logits[id] -= drawn_penalty(count);
  if (const auto allowed = mask()) apply(*allowed, logits, vocab_);
}

std::optional<DrawPlan> Sampler::plan() const {
  const mg_sampling& s = options_.sampling;
  DrawPlan plan;
  plan.need = need_of(s, static_cast<int64_t>(vocab_));
  plan.alternatives = options_.top_logprobs > 0;
  if (s.temperature != 0.0f) plan.inverse_temperature = inverse_temperature(s);
  plan.number = draw_number(s, step_);
  if (!changes_logits()) return plan;
  if (bias_has_twins_) return std::nullopt;  // which are added one after the other
  LogitChanges& changes = plan.changes.emplace();
  changes.bias = bias_;
  changes.repeated = repeated();
  changes.penalty = s.repetition_penalty;
  for (const auto& [id, count] : drawn_) changes.drawn.push_back({id, drawn_penalty(count)});
  changes.mask = mask();
  return plan;
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
  take(token);
  return {token, logprob(logits[token])};
}

void Sampler::take(int32_t token) {
  if (constraint_.has_value() && !constraint_->accept(token))
    fail(MG_E_INTERNAL, "the constraint refuses a token that it allowed");
  accept(token);
}

std::optional<Sampler::Drawn> Sampler::draw_reduced(const ReducedRow& row, int32_t* top_ids,
                                                    float* top_logprobs) {
  const double log_sum = reduced_log_sum(row);
  if (!std::isfinite(row.top) || !std::isfinite(log_sum)) return std::nullopt;
  const std::optional<ReducedDraw> drawn = magnet::draw_reduced(row, options_.sampling, step_);
  if (!drawn.has_value()) return std::nullopt;
  const auto logprob = [&](float logit) {
    return static_cast<float>(static_cast<double>(logit) - log_sum);
  };
  if (top_ids != nullptr)
    for (size_t i = 0; i < MG_TOP_LOGPROBS; i++) {
      const bool is_wanted =
          i < options_.top_logprobs && i < static_cast<size_t>(row.n_raw_tokens);
      top_ids[i] = is_wanted ? row.raw_tokens[i].id : -1;
      top_logprobs[i] = is_wanted ? logprob(row.raw_tokens[i].raw) : 0.0f;
    }
  take(drawn->id);
  return Drawn{drawn->id, logprob(drawn->raw)};
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

std::optional<DrawPlan> BatchDraws::plan(uint64_t i) const noexcept {
  std::optional<DrawPlan> plan;
  // What fails here fails again with the whole row, and is reported then.
  (void)guard([&] {
    plan = sampler(i).plan();
    return int32_t{MG_OK};
  });
  return plan;
}

bool BatchDraws::draw_reduced(uint64_t i, const ReducedRow& row) const noexcept {
  const uint64_t top = i * MG_TOP_LOGPROBS;
  bool is_decided = false;
  logprobs[i] = 0;
  const int32_t status = guard([&] {
    const auto drawn = sampler(i).draw_reduced(row, top_ids == nullptr ? nullptr : top_ids + top,
                                               top_ids == nullptr ? nullptr : top_logprobs + top);
    is_decided = drawn.has_value();
    if (!is_decided) return int32_t{MG_OK};
    tokens[i] = drawn->token;
    logprobs[i] = drawn->logprob;
    return int32_t{MG_OK};
  });
  if (status != MG_OK) tokens[i] = status;
  return is_decided || status != MG_OK;
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
