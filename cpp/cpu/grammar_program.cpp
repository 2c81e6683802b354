#include "grammar_program.hpp"

#include <algorithm>
#include <cstring>
#include <queue>

namespace magnet {
namespace {

constexpr uint32_t MAGIC = 0x3143474D;  // "MGC1"
constexpr size_t HEADER_WORDS = 5;
constexpr size_t STATE_WORDS = 5;
constexpr size_t EDGE_WORDS = 2;
/** As the compiler's limits (src/model/constraint/limits.ts), which refuse a schema much earlier. */
constexpr uint32_t STATES_MAX = 1u << 18;
constexpr uint32_t EDGES_MAX = 1u << 20;
constexpr uint32_t DEPTH_MAX = 4096;

uint32_t added(uint64_t a, uint64_t b) {
  return static_cast<uint32_t>(std::min<uint64_t>(a + b, COST_INFINITE));
}

void well_formed(bool condition, const char* what) {
  if (!condition) fail(MG_E_FORMAT, "constraint program: %s", what);
}

}  // namespace

GrammarProgram::GrammarProgram(const uint8_t* bytes, uint64_t n, const Vocabulary& vocabulary) {
  read(bytes, n);
  check();
  find_ways_out(vocabulary);
  const WayOut out = out_[start_];
  if (out.cost >= COST_INFINITE || out.height > depth_max_)
    fail(MG_E_UNSUPPORTED, "no text that this vocabulary can write meets the constraint");
}

void GrammarProgram::read(const uint8_t* bytes, uint64_t n) {
  well_formed(n % 4 == 0 && n >= 4 * HEADER_WORDS, "its length is not that of a program");
  const auto word = [&](size_t i) {
    uint32_t value;
    std::memcpy(&value, bytes + 4 * i, 4);
    return value;
  };
  well_formed(word(0) == MAGIC, "it does not begin with its mark");
  const uint32_t n_states = word(1);
  const uint32_t n_edges = word(2);
  start_ = word(3);
  depth_max_ = word(4);
  well_formed(n_states > 0 && n_states <= STATES_MAX && n_edges <= EDGES_MAX && depth_max_ > 0 &&
                  depth_max_ <= DEPTH_MAX && start_ < n_states,
              "a count is out of range");
  const uint64_t words = HEADER_WORDS + uint64_t{n_states} * STATE_WORDS + uint64_t{n_edges} * EDGE_WORDS;
  well_formed(n == 4 * words, "its length is not what its counts say");
  size_t at = HEADER_WORDS;
  states_.reserve(n_states);
  for (uint32_t i = 0; i < n_states; i++, at += STATE_WORDS)
    states_.push_back({static_cast<GrammarOp>(word(at)), word(at + 1), word(at + 2), word(at + 3),
                       word(at + 4)});
  edges_.reserve(n_edges);
  for (uint32_t i = 0; i < n_edges; i++, at += EDGE_WORDS)
    edges_.push_back({static_cast<uint8_t>(word(at) & 0xFF),
                      static_cast<uint8_t>(word(at) >> 8 & 0xFF), word(at + 1)});
}

void GrammarProgram::check() const {
  const size_t n = states_.size();
  for (const GrammarEdge& e : edges_)
    well_formed(e.target < n && e.low <= e.high, "an edge leads nowhere");
  for (const GrammarState& s : states_) {
    switch (s.op) {
      case GrammarOp::bytes:
      case GrammarOp::split:
        well_formed(s.a <= edges_.size() && s.b <= edges_.size() - s.a, "a state has no such edges");
        break;
      case GrammarOp::call:
        well_formed(s.a < n && s.b < n, "a call leads nowhere");
        break;
      case GrammarOp::repeat:
        well_formed(s.a < n && s.b < n && s.c <= s.d && s.d > 0, "a repeat is out of range");
        break;
      case GrammarOp::leave:
        break;
      default:
        well_formed(false, "an unknown operation");
    }
  }
}

/** Of a call or repeat, from the ways out that are known so far. */
WayOut GrammarProgram::candidate(const GrammarState& s, uint32_t count) const {
  const WayOut inner = out_[s.a];
  const WayOut after = out_[s.b];
  if (s.op == GrammarOp::call)
    return {added(inner.cost, after.cost),
            is_tail_call(s) ? inner.height : std::max(after.height, 1 + inner.height)};
  const uint64_t runs = s.c > count ? s.c - count : 0;
  if (runs == 0) return after;
  return {added(std::min<uint64_t>(runs * inner.cost, COST_INFINITE), after.cost),
          std::max(after.height, 1 + inner.height)};
}

WayOut GrammarProgram::way_out(uint32_t s, uint32_t count) const {
  const GrammarState& state = states_[s];
  return state.op == GrammarOp::repeat && count > 0 ? candidate(state, count) : out_[s];
}

/** Knuth's generalisation of Dijkstra's algorithm: the cost of a call is that of both its parts. */
void GrammarProgram::find_ways_out(const Vocabulary& vocabulary) {
  const auto n = static_cast<uint32_t>(states_.size());
  out_.assign(n, {});
  struct User {
    uint32_t state, cost;
  };
  std::vector<std::vector<User>> users(n);  // of a state: those whose way out may lead through it
  for (uint32_t s = 0; s < n; s++) {
    const GrammarState& state = states_[s];
    if (state.op == GrammarOp::call || state.op == GrammarOp::repeat) {
      users[state.a].push_back({s, 0});
      users[state.b].push_back({s, 0});
    } else if (state.op != GrammarOp::leave) {
      const bool reads = state.op == GrammarOp::bytes;
      for (const GrammarEdge* e = edges(state); e < edges(state) + state.b; e++)
        if (!reads || vocabulary.has_single(e->low, e->high))
          users[e->target].push_back({s, reads ? 1u : 0u});
    }
  }
  struct Reached {
    WayOut out;
    uint32_t state;
    bool operator<(const Reached& o) const {  // the queue gives its largest first
      if (out.cost != o.out.cost) return out.cost > o.out.cost;
      return out.height != o.out.height ? out.height > o.out.height : state > o.state;
    }
  };
  std::priority_queue<Reached> queue;
  for (uint32_t s = 0; s < n; s++)
    if (states_[s].op == GrammarOp::leave) queue.push({{0, 0}, s});
  while (!queue.empty()) {
    const Reached best = queue.top();
    queue.pop();
    if (out_[best.state].cost < COST_INFINITE) continue;
    out_[best.state] = best.out;
    for (const User& user : users[best.state]) {
      if (out_[user.state].cost < COST_INFINITE) continue;
      const GrammarState& state = states_[user.state];
      const bool whole = state.op == GrammarOp::bytes || state.op == GrammarOp::split;
      const WayOut found = whole ? WayOut{added(best.out.cost, user.cost), best.out.height}
                                 : candidate(state, 0);
      if (found.cost < COST_INFINITE) queue.push({found, user.state});
    }
  }
}

}  // namespace magnet
