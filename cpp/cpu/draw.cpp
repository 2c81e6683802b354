#include "draw.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

#include "aligned_buffer.hpp"
#include "math.hpp"
#include "simd.hpp"

#define MAGNET_KERNELS "draw.inc"
#include "all_paths.inc"

namespace magnet {
namespace {

static_assert(sizeof(mg_sampling) == 48);

/** Most likely tokens among which top-p is looked for first. */
constexpr int64_t FIRST_RANKS = 64;
/** Tokens that are sorted to find where exactly top-p cuts. */
constexpr double SORTED_MAX = 512;

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

/** The k-th largest block maximum; -Inf where there are not k blocks. */
float kth_maximum(const float* maxima, int64_t blocks, int64_t k) {
  if (k > blocks) return -HUGE_VALF;
  thread_local std::vector<float> copy;
  copy.assign(maxima, maxima + blocks);
  std::nth_element(copy.begin(), copy.begin() + (k - 1), copy.end(), std::greater<float>());
  return copy[static_cast<size_t>(k - 1)];
}

/** Elements in [low, high), by id. */
void gather(const DrawRow& row, const float* maxima, float low, float high,
            std::vector<RankedToken>& out) {
  out.clear();
  const float* const x = row.values();
  for (int64_t b = 0; b < DrawRow::blocks(row.size()); b++) {
    if (maxima[b] < low) continue;
    const int64_t end = std::min(row.size(), (b + 1) * DRAW_BLOCK);
    for (int64_t i = b * DRAW_BLOCK; i < end; i++)
      if (x[i] >= low && x[i] < high) out.push_back({x[i], static_cast<int32_t>(i)});
  }
}

}  // namespace

bool is_before(const RankedToken& a, const RankedToken& b) {
  return a.value != b.value ? a.value > b.value : a.id < b.id;
}

double draw_number(const mg_sampling& s, uint64_t step) { return uniform(s.seed, step); }

/** Finite: a row whose second best differs at all is greedy long before. */
float inverse_temperature(const mg_sampling& s) {
  return std::min(1.0f / s.temperature, 1e30f);
}

void weigh_logits(const float* logits, int64_t n, float top, float inverse, float* weights) {
  MAGNET_DISPATCH(weigh_row, logits, n, top, inverse, weights);
}

int32_t draw_ranked(std::vector<RankedToken>& c, const mg_sampling& s, double u) {
  thread_local AlignedBuffer<float> scratch;
  const auto n = static_cast<int64_t>(c.size());
  float* const logits = scratch.reserve(2 * DrawRow::blocks(n) * DRAW_BLOCK);
  float* const weights = logits + DrawRow::blocks(n) * DRAW_BLOCK;
  for (int64_t i = 0; i < n; i++) logits[i] = c[static_cast<size_t>(i)].value;
  MAGNET_DISPATCH(weigh_row, logits, n, c[0].value, inverse_temperature(s), weights);
  double total = 0;
  for (int64_t i = 0; i < n; i++) total += static_cast<double>(weights[i]);
  int64_t kept = n;
  if (s.top_p < 1.0f) {
    const double target = static_cast<double>(s.top_p) * total;
    kept = 0;
    for (double sum = 0; kept < n && (kept == 0 || sum < target); kept++)
      sum += static_cast<double>(weights[kept]);
  }
  // The most likely token weighs 1, so min_p is a bound on the weight.
  while (kept > 1 && weights[kept - 1] < s.min_p) kept--;
  double left = 0;
  for (int64_t i = 0; i < kept; i++) left += static_cast<double>(weights[i]);
  left *= u;
  for (int64_t i = 0; i < kept; i++) {
    left -= static_cast<double>(weights[i]);
    if (left < 0) return c[static_cast<size_t>(i)].id;
  }
  return c[static_cast<size_t>(kept - 1)].id;
}

int32_t draw_weighed(const WeighedBlocks& w, int32_t fallback, double u) {
  MAGNET_DISPATCH(block_sums, w.weights, w.blocks, w.sums);
  double left = 0;
  for (int64_t b = 0; b < w.blocks; b++) left += static_cast<double>(w.sums[b]);
  left *= u;
  for (int64_t b = 0; b < w.blocks; b++) {
    const auto sum = static_cast<double>(w.sums[b]);
    if (left >= sum) {
      left -= sum;
      continue;
    }
    const int64_t first = (w.numbers == nullptr ? b : w.numbers[b]) * DRAW_BLOCK;
    const float* const weights = w.weights + b * DRAW_BLOCK;
    int64_t last = fallback;
    for (int64_t i = 0; i < DRAW_BLOCK; i++) {
      if (weights[i] == 0) continue;
      last = first + i;
      left -= static_cast<double>(weights[i]);
      if (left < 0) break;
    }
    // A block's sum is rounded: the draw may fall just behind its last token, which is meant then.
    return static_cast<int32_t>(last);
  }
  return fallback;  // u is below 1, and rounding took the rest
}

namespace {

/** Weights of a whole row, in the scratch of one draw. */
struct Weights {
  float* values;
  float* of_block;  // maxima or sums
  int64_t n;
  int64_t blocks;
};

/** Walks `c` in order until `sum` reaches `target`; the others of `c` weigh nothing any more. */
bool cut_within(const Weights& w, std::vector<RankedToken>& c, double sum, double target) {
  std::sort(c.begin(), c.end(), is_before);
  for (size_t i = 0; i < c.size(); i++) {
    sum += static_cast<double>(c[i].value);
    if (sum < target) continue;
    MAGNET_DISPATCH(keep_at_least, w.values, w.blocks, c[i].value);
    for (size_t k = i + 1; k < c.size() && c[k].value == c[i].value; k++) w.values[c[k].id] = 0;
    return true;
  }
  return false;
}

/** Keeps the fewest most likely that hold top_p of the weight; the others weigh 0 afterwards. */
void keep_top_p(const Weights& w, float top_p, double total) {
  const double target = static_cast<double>(top_p) * total;
  const DrawRow row(w.values, w.n, w.of_block);
  thread_local std::vector<RankedToken> c;
  const float most = kth_maximum(w.of_block, w.blocks, std::min(FIRST_RANKS, w.blocks));
  gather(row, w.of_block, std::max(most, 0x1p-126f), 2.0f, c);
  if (cut_within(w, c, 0, target)) return;
  // Weights below (1 - p) of the mean hold less than 1 - p together: the cut is above. It is
  // looked for by halving the range of float32 bit patterns, which are in order of value.
  const auto floor = static_cast<float>((total - target) / static_cast<double>(w.n) * 0.5);
  uint32_t low = std::bit_cast<uint32_t>(floor);
  uint32_t high = std::bit_cast<uint32_t>(std::max(most, 0x1p-126f));
  if (low >= high) low = 0;
  const auto sum_from = [&](uint32_t bits) {
    return MAGNET_DISPATCH(sum_at_least, w.values, w.blocks, std::bit_cast<float>(bits));
  };
  double sum_low = sum_from(low);
  double sum_high = sum_from(high);
  while (high - low > 1 &&
         (sum_low - sum_high) > SORTED_MAX * static_cast<double>(std::bit_cast<float>(low))) {
    const uint32_t middle = low + (high - low) / 2;
    const double sum = sum_from(middle);
    if (sum >= target) {
      low = middle;
      sum_low = sum;
    } else {
      high = middle;
      sum_high = sum;
    }
  }
  gather(row, w.of_block, std::bit_cast<float>(low), std::bit_cast<float>(high), c);
  // Where rounding leaves the target just out of reach, all of them stay.
  if (!cut_within(w, c, sum_high, target))
    MAGNET_DISPATCH(keep_at_least, w.values, w.blocks, std::bit_cast<float>(low));
}

/** Draws from a whole row, in order of id. */
int32_t draw_row(const DrawRow& row, const mg_sampling& s, double u) {
  thread_local AlignedBuffer<float> scratch;
  const int64_t blocks = DrawRow::blocks(row.size());
  float* const values = scratch.reserve(blocks * (DRAW_BLOCK + 1));
  const Weights w{values, values + blocks * DRAW_BLOCK, row.size(), blocks};
  MAGNET_DISPATCH(weigh_row, row.values(), w.n, row.top(), inverse_temperature(s), w.values);
  if (s.top_p < 1.0f)
    keep_top_p(w, s.top_p, MAGNET_DISPATCH(sum_at_least, w.values, blocks, 0.0f));
  if (s.min_p > 0) MAGNET_DISPATCH(keep_at_least, w.values, blocks, s.min_p);
  return draw_weighed({w.values, w.of_block, blocks}, row.argmax(), u);
}

}  // namespace

DrawRow::DrawRow(const float* values, int64_t n, float* maxima)
    : values_(values), n_(n), maxima_(maxima) {
  MAGNET_DISPATCH(block_maxima, values, n, maxima);
  top_ = *std::max_element(maxima, maxima + blocks(n));
}

int32_t DrawRow::argmax() const {
  const auto block = std::find(maxima_, maxima_ + blocks(n_), top_) - maxima_;
  const float* const begin = values_ + block * DRAW_BLOCK;
  return static_cast<int32_t>(std::find(begin, values_ + n_, top_) - values_);
}

void DrawRow::most_likely(int64_t k, bool sorted, std::vector<RankedToken>& out) const {
  const float low = kth_maximum(maxima_, blocks(n_), k);
  gather(*this, maxima_, std::max(low, -0x1.fffffep127f), HUGE_VALF, out);
  const auto wanted = std::min(k, static_cast<int64_t>(out.size()));
  if (wanted < static_cast<int64_t>(out.size()))
    std::nth_element(out.begin(), out.begin() + wanted, out.end(), is_before);
  out.resize(static_cast<size_t>(wanted));
  if (sorted) std::sort(out.begin(), out.end(), is_before);
}

double DrawRow::log_sum_exp() const {
  const double sum = MAGNET_DISPATCH(sum_exp_row, values_, n_, top_);
  // NaN meets this sum whatever the maximum has become beside it.
  require(std::isfinite(sum) && std::isfinite(top_), MG_E_NUMERIC,
          "a logit is NaN or infinite, or all are -Inf");
  return static_cast<double>(top_) + log_fixed(sum);
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

int32_t draw_token(const DrawRow& row, const mg_sampling& s, uint64_t step) {
  if (s.temperature == 0.0f || s.top_k == 1) return row.argmax();
  const double u = uniform(s.seed, step);
  if (s.top_k == 0 || s.top_k >= row.size()) return draw_row(row, s, u);
  thread_local std::vector<RankedToken> candidates;
  row.most_likely(s.top_k, true, candidates);
  return draw_ranked(candidates, s, u);
}

}  // namespace magnet
