// The bytes of a vocabulary's tokens as a trie in depth-first order, so that a constraint tries every
// common beginning once, and leaves a subtree at the first byte that it refuses.
#pragma once
#include <cstdint>
#include <vector>

#include "common.hpp"
#include "live_handle.hpp"

namespace magnet {

/** Longer tokens are never allowed by a constraint. */
constexpr uint32_t CONSTRAINED_TOKEN_BYTES_MAX = 1024;

struct TrieNode {
  uint32_t after;   // the first node that is not below this one
  uint32_t tokens;  // its tokens begin here in sorted_tokens, and end where the next node's begin
  uint16_t depth;   // 1 for the first byte
  uint8_t byte;
};

class Vocabulary : public LiveHandle {
 public:
  Vocabulary(const uint8_t* bytes, uint64_t n_bytes, const uint32_t* ends, uint64_t vocab,
             const int32_t* end_ids, uint64_t n_end_ids);

  uint32_t size() const { return static_cast<uint32_t>(ends_.size()); }
  const std::vector<int32_t>& end_ids() const { return end_ids_; }
  bool is_end(int32_t token) const;
  /** Bytes of a token; none for end tokens and for those that are never allowed. */
  const uint8_t* bytes_of(int32_t token, uint32_t& n) const;
  /** Whether some byte of low..high is a token by itself: such a path can always be walked. */
  bool has_single(uint8_t low, uint8_t high) const;

  const std::vector<TrieNode>& trie() const { return trie_; }
  const std::vector<uint32_t>& sorted_tokens() const { return sorted_; }

 private:
  void build_trie();

  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> ends_;
  std::vector<int32_t> end_ids_;
  std::vector<uint32_t> sorted_;
  std::vector<TrieNode> trie_;  // closed by one node of depth 0
  uint16_t singles_before_[257] = {};
};

}  // namespace magnet
