// See draw_reduced.hpp. Every decision of a draw compares sums. Where both sides are further apart than
// the order of additions can move them, the decision is the whole row's.
#include "draw_reduced.hpp"

#include <algorithm>
#include <cmath>

#include "aligned_buffer.hpp"
#include "math.hpp"

namespace magnet {
namespace {

/** Weights are exp16's, within 2e-7 of exp: tokens that are less likely weigh no more than this times
 * the last one that is known. */
constexpr float WEIGHT_SLACK = 1.0f + 1e-6f;

bool knows_all(const ReducedRow& row) { return row.n_tokens < REDUCED_TOKENS; }

const ReducedToken& token_of(const ReducedRow& row, int32_t id) {
  return *std::find_if(row.tokens, row.tokens + row.n_tokens,
                       [&](const ReducedToken& t) { return t.id == id; });
}

/** The known tokens in order of weight, which is not strictly that of logits. */
std::vector<RankedToken> weigh_tokens(const ReducedRow& row, float inverse) {
  thread_local AlignedBuffer<float> scratch;
  const int64_t padded = DrawRow::blocks(row.n_tokens) * DRAW_BLOCK;
  float* const logits = scratch.reserve(2 * padded);
  for (int64_t i = 0; i < row.n_tokens; i++) logits[i] = row.tokens[i].value;
  weigh_logits(logits, row.n_tokens, logits[0], inverse, logits + padded);
  std::vector<RankedToken> out;
  for (int64_t i = 0; i < row.n_tokens; i++)
    out.push_back({logits[padded + i], row.tokens[i].id});
  std::sort(out.begin(), out.end(), is_before);
  return out;
}

/** How many of the most likely hold top_p of the weight; 0 where that is not certain. */
size_t kept_by_top_p(const ReducedRow& row, const std::vector<RankedToken>& c, float top_p) {
  const double target = static_cast<double>(top_p) * row.total;
  const double margin = 2 * order_error(row.size) * row.total;
  double sum = 0;
  for (size_t i = 0; i < c.size(); i++) {
    sum += static_cast<double>(c[i].value);
    if (std::fabs(sum - target) <= margin) return 0;
    if (sum > target) return i + 1;
  }
  return 0;
}

/** Blocks of a row that hold tokens, without those between them. */
int32_t draw_kept(std::vector<RankedToken>& kept, int32_t argmax, double u) {
  thread_local AlignedBuffer<float> scratch;
  std::sort(kept.begin(), kept.end(),
            [](const RankedToken& a, const RankedToken& b) { return a.id < b.id; });
  std::vector<int32_t> numbers;
  for (const RankedToken& t : kept)
    if (numbers.empty() || numbers.back() != t.id / DRAW_BLOCK)
      numbers.push_back(static_cast<int32_t>(t.id / DRAW_BLOCK));
  const auto blocks = static_cast<int64_t>(numbers.size());
  float* const weights = scratch.reserve(blocks * (DRAW_BLOCK + 1));
  std::fill_n(weights, blocks * DRAW_BLOCK, 0.0f);
  size_t b = 0;
  for (const RankedToken& t : kept) {
    while (numbers[b] != t.id / DRAW_BLOCK) b++;
    weights[static_cast<int64_t>(b) * DRAW_BLOCK + t.id % DRAW_BLOCK] = t.value;
  }
  return draw_weighed({weights, weights + blocks * DRAW_BLOCK, blocks, numbers.data()}, argmax, u);
}

/** A whole row of which top-p or min-p leave known tokens alone. */
std::optional<ReducedDraw> draw_cut(const ReducedRow& row, const mg_sampling& s, double u) {
  std::vector<RankedToken> c = weigh_tokens(row, inverse_temperature(s));
  const float unknown = knows_all(row) ? 0.0f : c.back().value * WEIGHT_SLACK;
  if (s.top_p < 1.0f) {
    const size_t kept = kept_by_top_p(row, c, s.top_p);
    // What weighs as much as the last one kept must be known.
    if (kept == 0 || !(c[kept - 1].value > unknown)) return std::nullopt;
    c.resize(kept);
  } else if (!(s.min_p > unknown)) {
    return std::nullopt;
  }
  std::erase_if(c, [&](const RankedToken& t) { return t.value < s.min_p; });
  const int32_t id = draw_kept(c, row.tokens[0].id, u);
  return ReducedDraw{id, token_of(row, id).raw};
}

/** A whole row: the token within the block that the device has found. */
std::optional<ReducedDraw> draw_in_block(const ReducedRow& row, const mg_sampling& s, double u) {
  thread_local AlignedBuffer<float> scratch;
  const ReducedBlock& b = *row.block;
  if (b.number < 0 || !std::isfinite(row.total)) return std::nullopt;
  const double margin = 2 * order_error(row.size) * row.total;
  double left = u * row.total - b.before;
  const bool is_after = b.before == 0 || left > margin;
  if (!is_after || !(static_cast<double>(b.sum) - left > margin)) return std::nullopt;
  float* const weights = scratch.reserve(DRAW_BLOCK);
  weigh_logits(b.values, DRAW_BLOCK, row.block_top, inverse_temperature(s), weights);
  int64_t last = -1;
  for (int64_t i = 0; i < DRAW_BLOCK; i++) {
    if (weights[i] == 0) continue;
    last = i;
    left -= static_cast<double>(weights[i]);
    if (std::fabs(left) <= margin) return std::nullopt;
    if (left < 0) break;
  }
  if (last < 0) return std::nullopt;
  return ReducedDraw{static_cast<int32_t>(b.number * DRAW_BLOCK + last), b.raw[last]};
}

bool is_greedy(const mg_sampling& s) { return s.temperature == 0.0f || s.top_k == 1; }
bool has_top_k(const mg_sampling& s, int64_t size) { return s.top_k != 0 && s.top_k < size; }

}  // namespace

double order_error(int64_t size) {
  // The CPU adds in 16 lanes, a device in more: size / 16 roundings and the trees' few.
  return (static_cast<double>(size) / 8 + 256) * 0x1p-53;
}

double reduced_log_sum(const ReducedRow& row) {
  return static_cast<double>(row.top) + log_fixed(row.sum_exp);
}

DrawNeed need_of(const mg_sampling& s, int64_t size) {
  if (is_greedy(s) || has_top_k(s, size) || s.top_p < 1.0f || s.min_p > 0) return {true, false};
  return {false, true};
}

std::optional<ReducedDraw> draw_reduced(const ReducedRow& row, const mg_sampling& s,
                                        uint64_t step) {
  const DrawNeed need = need_of(s, row.size);
  if (need.tokens) {
    if (row.n_tokens == 0 || !std::isfinite(row.tokens[0].value)) return std::nullopt;
    if (is_greedy(s)) return ReducedDraw{row.tokens[0].id, row.tokens[0].raw};
  } else if (!std::isfinite(row.block_top)) {
    return std::nullopt;
  }
  const double u = draw_number(s, step);
  if (need.block) return draw_in_block(row, s, u);
  if (!has_top_k(s, row.size)) return draw_cut(row, s, u);
  if (s.top_k > REDUCED_TOKENS && !knows_all(row)) return std::nullopt;
  std::vector<RankedToken> candidates;
  const int64_t n = std::min<int64_t>(row.n_tokens, s.top_k);
  for (int64_t i = 0; i < n; i++) candidates.push_back({row.tokens[i].value, row.tokens[i].id});
  const int32_t id = draw_ranked(candidates, s, u);
  return ReducedDraw{id, token_of(row, id).raw};
}

}  // namespace magnet
