// The compiled form of a constraint: a pushdown automaton over bytes, as src/model/constraint/
// program.ts lays it out, checked; and for every state what the cheapest way out of its rule costs.
#pragma once
#include <cstdint>
#include <vector>

#include "vocabulary.hpp"

namespace magnet {

enum class GrammarOp : uint32_t {
  bytes,   // reads a byte: edges [a, a + b)
  split,   // goes on at the target of any of the edges [a, a + b)
  call,    // runs the rule at a, then goes on at b
  leave,   // ends the rule; at the outermost level the text is complete
  repeat,  // runs the rule at a at least c and at most d times, then goes on at b
};
constexpr uint32_t REPEAT_FOREVER = 0xFFFF'FFFF;

struct GrammarState {
  GrammarOp op;
  uint32_t a, b, c, d;
};
struct GrammarEdge {
  uint8_t low, high;
  uint32_t target;
};

/** More than any text that is generated; sums are held at it. */
constexpr uint32_t COST_INFINITE = 1u << 30;
/** The cheapest way out of a rule: bytes, and frames that it stacks at most. */
struct WayOut {
  uint32_t cost = COST_INFINITE;
  uint32_t height = 0;
};

class GrammarProgram {
 public:
  /** Throws MG_E_FORMAT where the program breaks its layout, or has no text at all. */
  GrammarProgram(const uint8_t* bytes, uint64_t n, const Vocabulary& vocabulary);

  uint32_t start() const { return start_; }
  /** Frames that may be stacked. */
  uint32_t depth_max() const { return depth_max_; }
  const GrammarState& state(uint32_t s) const { return states_[s]; }
  const GrammarEdge* edges(const GrammarState& s) const { return edges_.data() + s.a; }
  bool is_tail_call(const GrammarState& s) const { return states_[s.b].op == GrammarOp::leave; }
  /** From state s, a repeat having run its rule `count` times. */
  WayOut way_out(uint32_t s, uint32_t count) const;

 private:
  void read(const uint8_t* bytes, uint64_t n);
  void check() const;
  void find_ways_out(const Vocabulary& vocabulary);
  WayOut candidate(const GrammarState& s, uint32_t count) const;

  uint32_t start_ = 0;
  uint32_t depth_max_ = 0;
  std::vector<GrammarState> states_;
  std::vector<GrammarEdge> edges_;
  std::vector<WayOut> out_;
};

}  // namespace magnet
