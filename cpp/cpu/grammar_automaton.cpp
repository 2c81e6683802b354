#include "grammar_automaton.hpp"

#include <algorithm>

namespace magnet {
namespace {

/** Readings of one text that are followed at once; later ones are dropped, which loses texts but
 * never allows a wrong one. */
constexpr size_t STACKS_MAX = 1024;
/** Steps of one draw: some tenths of a second, in which other sequences wait. An ordinary draw takes
 * some thousands. */
constexpr uint64_t WORK_MAX = 4'000'000;
/** A fresh automaton takes over beyond these: about 8 MiB each. */
constexpr size_t SPOTS_MAX = 6'000;
constexpr size_t NODES_MAX = 100'000;
constexpr size_t MASK_BYTES_MAX = size_t{8} << 20;
/** Deeper stacks than any program may have. */
constexpr uint32_t NO_STACK = 0xFFFF'FFFF;

}  // namespace

size_t GrammarAutomaton::Hash::operator()(const NodeKey& k) const {
  uint64_t h = (uint64_t{k.below} << 32 | k.state) * 0x9e3779b97f4a7c15ull;
  h = (h ^ (h >> 29) ^ k.count) * 0xbf58476d1ce4e5b9ull;
  return h ^ (h >> 32);
}
size_t GrammarAutomaton::Hash::operator()(const std::vector<uint32_t>& v) const {
  uint64_t h = v.size();
  for (const uint32_t x : v) h = (h ^ x) * 0x9e3779b97f4a7c15ull + (h >> 29);
  return h ^ (h >> 32);
}

GrammarAutomaton::GrammarAutomaton(std::shared_ptr<const Vocabulary> vocabulary,
                                   const GrammarProgram& program)
    : vocabulary_(std::move(vocabulary)), program_(program) {
  begin_closure();
  close_over(stack(NONE, program_.start(), 0));
  spot_of_closure();
}

void GrammarAutomaton::count_work(uint32_t amount) {
  work_ += amount;
  if (work_ > WORK_MAX)
    fail(MG_E_UNSUPPORTED, "the constraint can be read in too many ways at once");
}

/** NO_STACK where there is no way out of it within the depth limit. */
uint32_t GrammarAutomaton::stack(uint32_t below, uint32_t state, uint32_t count) {
  const auto [entry, is_new] = node_ids_.try_emplace({below, state, count}, NO_STACK);
  if (!is_new) return entry->second;
  const uint32_t depth = below == NONE ? 0 : nodes_[below].depth + 1;
  const WayOut out = program_.way_out(state, count);
  if (out.cost >= COST_INFINITE || depth + out.height > program_.depth_max()) return NO_STACK;
  const uint32_t after = below == NONE ? 0 : nodes_[below].cost;
  entry->second = static_cast<uint32_t>(nodes_.size());
  nodes_.push_back({below, state, count, depth, std::min(COST_INFINITE, out.cost + after), 0});
  return entry->second;
}

void GrammarAutomaton::begin_closure() {
  closure_++;
  complete_ = false;
  found_.clear();
  open_.clear();  // work that was given up may have left some
}

/** Adds all stacks that a stack turns into without reading. */
void GrammarAutomaton::close_over(uint32_t node) {
  if (node == NO_STACK) return;
  open_.push_back(node);
  while (!open_.empty()) {
    const uint32_t top = open_.back();
    open_.pop_back();
    if (nodes_[top].seen == closure_ || found_.size() >= STACKS_MAX) continue;
    nodes_[top].seen = closure_;
    expand(top);
  }
}

void GrammarAutomaton::expand(uint32_t node) {
  count_work(1);
  const Node n = nodes_[node];
  const GrammarState& s = program_.state(n.state);
  const auto open = [&](uint32_t next) {
    if (next != NO_STACK) open_.push_back(next);
  };
  switch (s.op) {
    case GrammarOp::bytes:
      found_.push_back(node);
      break;
    case GrammarOp::split:
      count_work(s.b);
      for (uint32_t i = s.b; i-- > 0;)  // the first one on top: it is followed first
        open(stack(n.below, program_.edges(s)[i].target, 0));
      break;
    case GrammarOp::call: {
      if (program_.is_tail_call(s)) return open(stack(n.below, s.a, 0));
      const uint32_t after = stack(n.below, s.b, 0);
      if (after != NO_STACK) open(stack(after, s.a, 0));
      break;
    }
    case GrammarOp::leave:
      if (n.below == NONE) {
        complete_ = true;
        found_.push_back(node);
      } else {
        open(n.below);
      }
      break;
    case GrammarOp::repeat: {
      if (n.count >= s.c) open(stack(n.below, s.b, 0));
      if (n.count >= s.d) break;
      // Without an upper limit, runs beyond the lower one need not be told apart.
      const uint32_t runs = s.d == REPEAT_FOREVER ? std::min(n.count + 1, s.c) : n.count + 1;
      const uint32_t after = stack(n.below, n.state, runs);
      if (after != NO_STACK) open(stack(after, s.a, 0));
      break;
    }
  }
}

int32_t GrammarAutomaton::spot_of_closure() {
  if (found_.empty()) return DEAD;
  const auto [entry, is_new] = spot_ids_.try_emplace(found_, static_cast<int32_t>(spots_.size()));
  if (!is_new) return entry->second;
  auto spot = std::make_unique<Spot>();
  spot->stacks = found_;
  spot->complete = complete_;
  spot->cost = COST_INFINITE;
  for (const uint32_t node : found_) spot->cost = std::min(spot->cost, nodes_[node].cost);
  spot->next.fill(UNKNOWN);
  spots_.push_back(std::move(spot));
  return entry->second;
}

int32_t GrammarAutomaton::find_next(int32_t from, uint8_t byte) {
  Spot& spot = *spots_[static_cast<size_t>(from)];
  begin_closure();
  for (const uint32_t node : spot.stacks) {
    const GrammarState& s = program_.state(nodes_[node].state);
    if (s.op != GrammarOp::bytes) continue;
    count_work(1 + s.b);
    for (const GrammarEdge* e = program_.edges(s); e < program_.edges(s) + s.b; e++)
      if (e->low <= byte && byte <= e->high) close_over(stack(nodes_[node].below, e->target, 0));
  }
  return spot.next[byte] = spot_of_closure();
}

int32_t GrammarAutomaton::next_token(int32_t spot, int32_t token) {
  uint32_t n = 0;
  const uint8_t* const bytes = vocabulary_->bytes_of(token, n);
  if (n == 0) return DEAD;
  for (uint32_t i = 0; i < n && spot != DEAD; i++) spot = next(spot, bytes[i]);
  return spot;
}

std::shared_ptr<TokenMask> GrammarAutomaton::walk_trie(int32_t spot, int64_t bytes_left) {
  auto mask = std::make_shared<TokenMask>();
  mask->bits.assign((vocabulary_->size() + 63) / 64, 0);
  const auto allow = [&](uint32_t token) {
    mask->bits[token / 64] |= uint64_t{1} << (token % 64);
    mask->allowed++;
  };
  if (complete(spot))
    for (const int32_t id : vocabulary_->end_ids()) allow(static_cast<uint32_t>(id));
  const TrieNode* const trie = vocabulary_->trie().data();
  const uint32_t* const tokens = vocabulary_->sorted_tokens().data();
  std::vector<int32_t> path(CONSTRAINED_TOKEN_BYTES_MAX + 1);
  path[0] = spot;
  const size_t end = vocabulary_->trie().size() - 1;
  for (size_t i = 0; i < end;) {
    const TrieNode& node = trie[i];
    const int32_t here = next(path[node.depth - 1], node.byte);
    if (here == DEAD) {
      i = node.after;
      continue;
    }
    path[node.depth] = here;
    i++;
    if (node.tokens == trie[i].tokens) continue;
    const uint32_t after = cost(here);
    if (static_cast<int64_t>(after) > bytes_left) continue;
    mask->cost_after = std::max(mask->cost_after, after);
    for (uint32_t k = node.tokens; k < trie[i].tokens; k++) allow(tokens[k]);
  }
  return mask;
}

std::shared_ptr<const TokenMask> GrammarAutomaton::mask(int32_t spot) {
  Spot& s = *spots_[static_cast<size_t>(spot)];
  if (s.mask == nullptr) {
    s.mask = walk_trie(spot, COST_INFINITE);
    masks_++;
  }
  return s.mask;
}

std::shared_ptr<const TokenMask> GrammarAutomaton::mask_within(int32_t spot, int64_t bytes_left) {
  return walk_trie(spot, bytes_left);
}

bool GrammarAutomaton::is_full() const {
  return spots_.size() > SPOTS_MAX || nodes_.size() > NODES_MAX || node_ids_.size() > NODES_MAX ||
         masks_ * (vocabulary_->size() / 8 + 64) > MASK_BYTES_MAX;
}

uint32_t GrammarAutomaton::adopt_node(const GrammarAutomaton& other, uint32_t node) {
  std::vector<uint32_t> path;
  for (; node != NONE; node = other.nodes_[node].below) path.push_back(node);
  uint32_t here = NONE;
  for (auto n = path.rbegin(); n != path.rend(); n++)
    here = stack(here, other.nodes_[*n].state, other.nodes_[*n].count);
  return here;
}

int32_t GrammarAutomaton::adopt(const GrammarAutomaton& other, int32_t spot) {
  const Spot& old = *other.spots_[static_cast<size_t>(spot)];
  begin_closure();
  complete_ = old.complete;
  for (const uint32_t node : old.stacks) found_.push_back(adopt_node(other, node));
  return spot_of_closure();
}

}  // namespace magnet
