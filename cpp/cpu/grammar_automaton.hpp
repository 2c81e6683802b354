// The set of ways in which a text so far can be read by a constraint, made deterministic as it is
// walked: a `spot` is a set of stacks, its successors by byte and its token mask are found once and
// kept. Spots are never dead ends: each of their stacks has a way out within the depth limit.
#pragma once
#include <array>
#include <memory>
#include <unordered_map>
#include <vector>

#include "grammar_program.hpp"

namespace magnet {

/** Which tokens may come next, a bit for each, and what follows at most. */
struct TokenMask {
  std::vector<uint64_t> bits;
  uint32_t allowed = 0;
  /** The most bytes that a text needs to its end after one of these tokens. */
  uint32_t cost_after = 0;
};

class GrammarAutomaton {
 public:
  GrammarAutomaton(std::shared_ptr<const Vocabulary> vocabulary, const GrammarProgram& program);

  static constexpr int32_t DEAD = -1;
  int32_t start() const { return 0; }
  /** The spot after a byte, or DEAD. */
  int32_t next(int32_t spot, uint8_t byte) {
    const int32_t known = spots_[static_cast<size_t>(spot)]->next[byte];
    return known != UNKNOWN ? known : find_next(spot, byte);
  }
  /** The spot after a token's bytes, or DEAD. */
  int32_t next_token(int32_t spot, int32_t token);
  /** Whether the text may end here. */
  bool complete(int32_t spot) const { return spots_[static_cast<size_t>(spot)]->complete; }
  /** Bytes of the shortest completion. */
  uint32_t cost(int32_t spot) const { return spots_[static_cast<size_t>(spot)]->cost; }
  std::shared_ptr<const TokenMask> mask(int32_t spot);
  /** Those after which the text can be completed within `bytes_left` bytes (below 0: none but the end
   * tokens); not kept. */
  std::shared_ptr<const TokenMask> mask_within(int32_t spot, int64_t bytes_left);

  /** Whether so much is kept that a fresh automaton should take over (by adopt). */
  bool is_full() const;
  /** The same spot of an older automaton of this program. */
  int32_t adopt(const GrammarAutomaton& other, int32_t spot);
  /** Begins counting work anew: one draw may not take longer than WORK_MAX. */
  void begin_draw() { work_ = 0; }

 private:
  static constexpr int32_t UNKNOWN = -2;
  static constexpr uint32_t NONE = 0xFFFF'FFFF;
  /** A stack: its topmost state, on its other frames. Equal stacks are one node. */
  struct Node {
    uint32_t below, state, count;
    uint32_t depth;  // frames below
    uint32_t cost;   // bytes of the shortest completion
    uint32_t seen;   // by which closure
  };
  struct Spot {
    std::vector<uint32_t> stacks;  // that read a byte next, or that are empty
    bool complete;
    uint32_t cost;
    std::array<int32_t, 256> next;
    std::shared_ptr<const TokenMask> mask;
  };
  struct NodeKey {
    uint32_t below, state, count;
    bool operator==(const NodeKey&) const = default;
  };
  struct Hash {
    size_t operator()(const NodeKey& k) const;
    size_t operator()(const std::vector<uint32_t>& v) const;
  };

  uint32_t stack(uint32_t below, uint32_t state, uint32_t count);
  uint32_t adopt_node(const GrammarAutomaton& other, uint32_t node);
  void begin_closure();
  void close_over(uint32_t node);
  void expand(uint32_t node);
  int32_t spot_of_closure();
  int32_t find_next(int32_t spot, uint8_t byte);
  void count_work(uint32_t amount);
  std::shared_ptr<TokenMask> walk_trie(int32_t spot, int64_t bytes_left);

  std::shared_ptr<const Vocabulary> vocabulary_;
  const GrammarProgram& program_;
  std::vector<Node> nodes_;
  std::unordered_map<NodeKey, uint32_t, Hash> node_ids_;
  std::vector<std::unique_ptr<Spot>> spots_;
  std::unordered_map<std::vector<uint32_t>, int32_t, Hash> spot_ids_;
  uint32_t masks_ = 0;
  uint64_t work_ = 0;
  // Of the closure that is being computed:
  uint32_t closure_ = 0;
  bool complete_ = false;
  std::vector<uint32_t> found_;
  std::vector<uint32_t> open_;
};

}  // namespace magnet
