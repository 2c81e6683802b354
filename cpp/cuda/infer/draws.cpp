// See draws.hpp.
#include "draws.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "../../cpu/thread_pool.hpp"

namespace magnet::gpu {
namespace {

/** A row, and the row as it came for its alternatives. */
constexpr uint64_t WISHES = 2 * SKINNY_ROWS;

uint64_t blocks_of(int64_t vocab) { return static_cast<uint64_t>(DrawRow::blocks(vocab)); }
uint64_t mask_words(int64_t vocab) { return (static_cast<uint64_t>(vocab) + 63) / 64; }

float value_of(LogitRank rank) {
  const auto ordered = static_cast<uint32_t>(rank.bits >> 32);
  const uint32_t bits = (ordered >> 31) != 0 ? ordered & 0x7fffffffu : ~ordered;
  return __builtin_bit_cast(float, bits);
}

/** Where wishes, edits and masks lie in one piece of memory. */
struct WishLayout {
  WishLayout(uint64_t n_wishes, uint64_t n_edits, uint64_t n_words)
      : edits(n_wishes * sizeof(RowWish)),
        masks((edits + n_edits * sizeof(LogitEdit) + 7) / 8 * 8),
        bytes(masks + n_words * sizeof(uint64_t)) {}
  uint64_t edits, masks, bytes;
};

}  // namespace

TopBuffers::TopBuffers(int64_t vocab)
    : vocab_(vocab),
      parts_(static_cast<uint64_t>(draw_parts(vocab))),
      tops_(SKINNY_ROWS * parts_),
      pinned_(SKINNY_ROWS * parts_) {}

void TopBuffers::fetch(const Stream& stream, uint64_t rows) const {
  copy_out(stream, pinned_.data(), tops_.data(), rows * parts_ * sizeof(PartTop));
}

ReducedRow TopBuffers::row(uint64_t i) const {
  LogitRank best{0};
  double sum = 0;
  for (uint64_t part = i * parts_; part < (i + 1) * parts_; part++) {
    if (pinned_[part].highest.bits > best.bits) best = pinned_[part].highest;
    sum += pinned_[part].sum;
  }
  return {vocab_, value_of(best), best.id(), sum};
}

void WishBuffers::plan(const BatchDraws& draws, uint64_t first, uint64_t n) {
  std::vector<std::optional<DrawPlan>> plans(n);
  planned_.assign(n, {});
  wishes_.clear();
  edits_.clear();
  masks_.clear();
  tokens_ = false;
  changed_ = 0;
  if (draw_parts(vocab_) > DRAW_PARTS_MAX) return;
  // Masks of constraints take their time.
  parallel_for(resolve_threads(0), static_cast<int64_t>(n),
               [&](int64_t begin, int64_t end, uint32_t) {
                 for (auto i = static_cast<uint64_t>(begin); i < static_cast<uint64_t>(end); i++)
                   if (!draws.wants_largest(first + i)) plans[i] = draws.plan(first + i);
               });
  for (uint64_t i = 0; i < n; i++)
    if (plans[i].has_value() && plans[i]->changes.has_value()) add(i, *plans[i]);
  changed_ = static_cast<uint32_t>(wishes_.size());
  for (uint64_t i = 0; i < n; i++) {
    if (!plans[i].has_value()) continue;
    DrawPlan& plan = *plans[i];
    const bool is_changed = plan.changes.has_value();
    if (is_changed && !plan.alternatives) continue;
    plan.changes.reset();
    if (is_changed) plan.need = {true, false};
    add(i, plan);
  }
}

void WishBuffers::add(uint64_t i, const DrawPlan& plan) {
  const bool is_second = planned_[i].wish >= 0;
  const bool of_raw = !plan.changes.has_value();
  const bool tokens = plan.need.tokens || (of_raw && plan.alternatives);
  RowWish wish{};
  wish.row = static_cast<uint32_t>(i);
  wish.changed = of_raw ? 0 : 1;
  wish.tokens = tokens ? 1 : 0;
  wish.block = plan.need.block ? 1 : 0;
  wish.inverse_temperature = plan.inverse_temperature;
  wish.number = plan.number;
  if (!of_raw) {
    const LogitChanges& changes = *plan.changes;
    wish.penalty = changes.penalty;
    const auto mark = [&](int list) { wish.edits[list] = static_cast<uint32_t>(edits_.size()); };
    mark(0);
    for (const LogitBias& b : changes.bias) edits_.push_back({b.id, b.value});
    mark(1);
    for (const int32_t id : changes.repeated) edits_.push_back({id, 0});
    mark(2);
    for (const LogitBias& b : changes.drawn) edits_.push_back({b.id, b.value});
    mark(3);
    if (changes.mask != nullptr) {
      wish.has_mask = 1;
      wish.mask = static_cast<uint32_t>(masks_.size() * mask_words(vocab_));
      masks_.push_back(changes.mask);
    }
  }
  (is_second ? planned_[i].raw_wish : planned_[i].wish) = static_cast<int32_t>(wishes_.size());
  if (of_raw && plan.alternatives) planned_[i].raw_wish = static_cast<int32_t>(wishes_.size());
  tokens_ = tokens_ || tokens;
  wishes_.push_back(wish);
}

/** When nothing runs that uses what is replaced: the stream has been waited for. */
void WishBuffers::reserve() {
  const auto parts = static_cast<uint64_t>(draw_parts(vocab_));
  const auto vocab = static_cast<uint64_t>(vocab_);
  if (changed_ > 0 && changed_logits_.size() == 0)
    changed_logits_ = DeviceArray<float>(SKINNY_ROWS * vocab);
  if (out_draws_.size() > 0) return;
  changed_tops_ = DeviceArray<PartTop>(SKINNY_ROWS * parts);
  ranks_ = DeviceArray<LogitRank>(WISHES * parts * REDUCED_TOKENS);
  block_sums_ = DeviceArray<float>(WISHES * blocks_of(vocab_));
  totals_ = DeviceArray<double>(WISHES * parts);
  counts_ = DeviceArray<int32_t>(WISHES * parts);
  out_tokens_ = DeviceArray<ReducedToken>(WISHES * REDUCED_TOKENS);
  pinned_tokens_ = PinnedArray<ReducedToken>(WISHES * REDUCED_TOKENS);
  pinned_draws_ = PinnedArray<RowDraw>(WISHES);
  out_draws_ = DeviceArray<RowDraw>(WISHES);
}

void WishBuffers::send(const Stream& stream) {
  const uint64_t words = mask_words(vocab_);
  const WishLayout layout(wishes_.size(), edits_.size(), masks_.size() * words);
  if (pinned_in_.size() < layout.bytes) {
    pinned_in_ = PinnedArray<unsigned char>(2 * layout.bytes);
    in_ = DeviceArray<unsigned char>(2 * layout.bytes);
  }
  unsigned char* const to = pinned_in_.data();
  std::memcpy(to, wishes_.data(), wishes_.size() * sizeof(RowWish));
  if (!edits_.empty())
    std::memcpy(to + layout.edits, edits_.data(), edits_.size() * sizeof(LogitEdit));
  for (uint64_t i = 0; i < masks_.size(); i++)
    std::memcpy(to + layout.masks + i * words * 8, masks_[i]->bits.data(), words * 8);
  copy_in(stream, in_.data(), to, layout.bytes);
}

void WishBuffers::start(const Stream& stream, const float* logits, const PartTop* tops) {
  if (wishes_.empty()) return;
  reserve();
  send(stream);
  const WishLayout layout(wishes_.size(), edits_.size(), 0);
  const unsigned char* const in = in_.data();
  const WishArguments arguments = {logits,
                                   vocab_,
                                   tops,
                                   reinterpret_cast<const RowWish*>(in),
                                   reinterpret_cast<const LogitEdit*>(in + layout.edits),
                                   reinterpret_cast<const uint64_t*>(in + layout.masks),
                                   changed_logits_.data(),
                                   changed_tops_.data(),
                                   totals_.data(),
                                   block_sums_.data(),
                                   ranks_.data(),
                                   counts_.data(),
                                   out_tokens_.data(),
                                   out_draws_.data()};
  grant_wishes(stream, arguments, static_cast<int64_t>(wishes_.size()), changed_);
  copy_out(stream, pinned_draws_.data(), out_draws_.data(), wishes_.size() * sizeof(RowDraw));
  if (tokens_)
    copy_out(stream, pinned_tokens_.data(), out_tokens_.data(),
             wishes_.size() * REDUCED_TOKENS * sizeof(ReducedToken));
}

bool WishBuffers::complete(uint64_t i, ReducedRow& row) const {
  const auto [wish, raw_wish] = planned_[i];
  if (wish < 0) return false;
  const RowDraw& draw = pinned_draws_[static_cast<uint64_t>(wish)];
  const auto tokens_of = [&](int32_t index) {
    return pinned_tokens_.data() + static_cast<uint64_t>(index) * REDUCED_TOKENS;
  };
  row.tokens = tokens_of(wish);
  row.n_tokens = draw.n_tokens;
  row.total = draw.total;
  row.block = &draw.block;
  row.block_top = draw.top;
  if (raw_wish >= 0) {
    row.raw_tokens = tokens_of(raw_wish);
    row.n_raw_tokens = pinned_draws_[static_cast<uint64_t>(raw_wish)].n_tokens;
  }
  return true;
}

}  // namespace magnet::gpu
