// Sampling of one token from logits (mg_sample). The draw is a function of the logits, the options,
// the seed and the step alone. Probabilities are kept in double and summed in order of id or of
// rank.
#include <algorithm>
#include <cmath>
#include <vector>

#include "common.hpp"
#include "infer_kernels.hpp"
#include "math.hpp"

namespace magnet {
namespace {

static_assert(sizeof(mg_sampling) == 48);

/** Candidates looked at first; doubled until they hold what top-p asks for. */
constexpr size_t FIRST_RANKS = 64;

struct Candidate {
  float logit;
  int32_t id;
  double weight;
};

bool before(const Candidate& a, const Candidate& b) {
  return a.logit != b.logit ? a.logit > b.logit : a.id < b.id;
}

/** SplitMix64 of (seed, step), as a uniform number in [0, 1). */
double uniform(uint64_t seed, uint64_t step) {
  uint64_t z = seed + (step + 1) * 0x9e3779b97f4a7c15ull;
  for (int round = 0; round < 2; round++) {  // twice: nearby seeds are common
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    z ^= z >> 31;
  }
  return static_cast<double>(z >> 11) * 0x1p-53;
}

void check_sampling(const mg_sampling& s) {
  const auto within = [](float v, float low, float high) { return v >= low && v <= high; };
  require(within(s.temperature, 0, 100), MG_E_INVALID, "temperature is outside 0..100");
  require(within(s.top_p, 0, 1), MG_E_INVALID, "top_p is outside 0..1");
  require(within(s.min_p, 0, 1), MG_E_INVALID, "min_p is outside 0..1");
  require(within(s.repetition_penalty, 0.01f, 100), MG_E_INVALID,
          "repetition_penalty is outside 0.01..100");
  require(s.reserved == 0 && s.reserved2 == 0, MG_E_INVALID, "mg_sampling: reserved is not 0");
}

std::vector<float> adjusted(const float* logits, uint64_t vocab, const mg_sampling& s,
                            const int32_t* recent, uint64_t n_recent, const int32_t* bias_ids,
                            const float* bias_values, uint64_t n_bias) {
  std::vector<float> out(logits, logits + vocab);
  for (uint64_t i = 0; i < n_bias; i++) {
    const int32_t id = bias_ids[i];
    require(id >= 0 && static_cast<uint64_t>(id) < vocab && !std::isnan(bias_values[i]),
            MG_E_INVALID, "a logit bias is NaN or for a token outside the vocabulary");
    out[static_cast<size_t>(id)] += bias_values[i];
  }
  if (s.repetition_penalty == 1.0f) return out;
  std::vector<int32_t> seen(recent, recent + n_recent);  // each id is penalised once
  std::sort(seen.begin(), seen.end());
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  for (const int32_t id : seen) {
    require(id >= 0 && static_cast<uint64_t>(id) < vocab, MG_E_INVALID,
            "a recent token is outside the vocabulary");
    float& v = out[static_cast<size_t>(id)];
    v = v > 0 ? v / s.repetition_penalty : v * s.repetition_penalty;
  }
  return out;
}

/** The top_k most likely, in order. */
void keep_top_k(std::vector<Candidate>& c, uint32_t top_k) {
  if (top_k == 0 || top_k >= c.size()) return;
  std::partial_sort(c.begin(), c.begin() + top_k, c.end(), before);
  c.resize(top_k);
}

/** The fewest most likely that hold top_p of the weight; sorts only as many as needed. */
void keep_top_p(std::vector<Candidate>& c, float top_p) {
  if (top_p >= 1.0f) return;
  double total = 0;
  for (const Candidate& k : c) total += k.weight;
  size_t sorted = 0;
  double sum = 0;
  for (size_t i = 0; i < c.size(); i++) {
    if (i == sorted) {
      sorted = std::min(c.size(), std::max(FIRST_RANKS, 4 * sorted));
      std::partial_sort(c.begin() + static_cast<std::ptrdiff_t>(i),
                        c.begin() + static_cast<std::ptrdiff_t>(sorted), c.end(), before);
    }
    sum += c[i].weight;
    if (sum >= static_cast<double>(top_p) * total) {
      c.resize(i + 1);  // at least one stays
      return;
    }
  }
}

int32_t draw(const std::vector<float>& logits, float highest, const mg_sampling& s) {
  const double top = static_cast<double>(highest);
  const double inverse = 1.0 / static_cast<double>(s.temperature);
  // Below e^-40 of the highest, a million tokens together would be drawn once in 10^11 times.
  const double lowest = top - 40.0 * static_cast<double>(s.temperature);
  std::vector<Candidate> c;
  for (size_t i = 0; i < logits.size(); i++)
    if (static_cast<double>(logits[i]) >= lowest)
      c.push_back({logits[i], static_cast<int32_t>(i), 0});
  keep_top_k(c, s.top_k);
  for (Candidate& k : c) k.weight = exp_fixed((static_cast<double>(k.logit) - top) * inverse);
  keep_top_p(c, s.top_p);
  // The most likely token weighs 1, so min_p is a bound on the weight.
  if (s.min_p > 0)
    std::erase_if(c, [&](const Candidate& k) { return k.weight < static_cast<double>(s.min_p); });
  double total = 0;
  for (const Candidate& k : c) total += k.weight;
  double left = uniform(s.seed, s.step) * total;
  for (const Candidate& k : c) {
    left -= k.weight;
    if (left < 0) return k.id;
  }
  return c.back().id;
}

float log_probability(const float* logits, uint64_t vocab, int32_t token) {
  const float highest = *std::max_element(logits, logits + vocab);
  const double sum = kernels().sum_exp(logits, highest, static_cast<uint32_t>(vocab));
  return static_cast<float>(static_cast<double>(logits[token]) - static_cast<double>(highest) -
                            log_fixed(sum));
}

}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" int32_t mg_sample(const float* logits, uint64_t vocab, const mg_sampling* sampling,
                             const int32_t* recent, uint64_t n_recent, const int32_t* bias_ids,
                             const float* bias_values, uint64_t n_bias, int32_t* out_token,
                             float* out_logprob) {
  return guard([&] {
    require(logits != nullptr && sampling != nullptr && out_token != nullptr && vocab > 0 &&
                (recent != nullptr || n_recent == 0) &&
                ((bias_ids != nullptr && bias_values != nullptr) || n_bias == 0),
            MG_E_INVALID, "mg_sample: null argument");
    require(vocab < (1u << 31), MG_E_INVALID, "mg_sample: vocabulary beyond 2^31");
    const mg_sampling s = *sampling;
    check_sampling(s);
    require(std::none_of(logits, logits + vocab, [](float v) { return std::isnan(v); }),
            MG_E_NUMERIC, "a logit is NaN");
    const std::vector<float> values =
        adjusted(logits, vocab, s, recent, n_recent, bias_ids, bias_values, n_bias);
    const auto highest = std::max_element(values.begin(), values.end());  // the first of equals
    require(std::isfinite(*highest), MG_E_NUMERIC, "no logit is finite, or one is infinite");
    const int32_t token = s.temperature == 0.0f ? static_cast<int32_t>(highest - values.begin())
                                                : draw(values, *highest, s);
    *out_token = token;
    if (out_logprob != nullptr) *out_logprob = log_probability(logits, vocab, token);
    return int32_t{MG_OK};
  });
}
