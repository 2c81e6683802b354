#include "vocabulary.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace magnet {

Vocabulary::Vocabulary(const uint8_t* bytes, uint64_t n_bytes, const uint32_t* ends, uint64_t vocab,
                       const int32_t* end_ids, uint64_t n_end_ids)
    : bytes_(bytes, bytes + n_bytes),
      ends_(ends, ends + vocab),
      end_ids_(end_ids, end_ids + n_end_ids) {
  for (uint64_t i = 0; i < vocab; i++)
    require(ends_[i] >= (i == 0 ? 0 : ends_[i - 1]) && ends_[i] <= n_bytes, MG_E_INVALID,
            "the ends of a vocabulary's tokens are not in order");
  for (const int32_t id : end_ids_)
    require(id >= 0 && static_cast<uint64_t>(id) < vocab, MG_E_INVALID,
            "an end token is outside the vocabulary");
  std::sort(end_ids_.begin(), end_ids_.end());
  build_trie();
}

bool Vocabulary::is_end(int32_t token) const {
  return std::binary_search(end_ids_.begin(), end_ids_.end(), token);
}

const uint8_t* Vocabulary::bytes_of(int32_t token, uint32_t& n) const {
  const auto i = static_cast<size_t>(token);
  const uint32_t begin = i == 0 ? 0 : ends_[i - 1];
  n = ends_[i] - begin;
  if (n > CONSTRAINED_TOKEN_BYTES_MAX || is_end(token)) n = 0;
  return bytes_.data() + begin;
}

bool Vocabulary::has_single(uint8_t low, uint8_t high) const {
  return singles_before_[high + 1] > singles_before_[low];
}

void Vocabulary::build_trie() {
  std::vector<uint32_t> lengths(size());
  for (uint32_t i = 0; i < size(); i++) {
    bytes_of(static_cast<int32_t>(i), lengths[i]);
    if (lengths[i] > 0) sorted_.push_back(i);
  }
  const auto text = [&](uint32_t i) { return bytes_.data() + (ends_[i] - lengths[i]); };
  std::sort(sorted_.begin(), sorted_.end(), [&](uint32_t a, uint32_t b) {
    const int order = std::memcmp(text(a), text(b), std::min(lengths[a], lengths[b]));
    if (order != 0) return order < 0;
    return lengths[a] != lengths[b] ? lengths[a] < lengths[b] : a < b;
  });
  std::vector<uint32_t> path;  // nodes from the root to the token before
  for (uint32_t k = 0; k < sorted_.size(); k++) {
    const uint32_t id = sorted_[k];
    size_t common = 0;
    if (k > 0) {
      const uint32_t last = sorted_[k - 1];
      const size_t most = std::min(lengths[id], lengths[last]);
      while (common < most && text(id)[common] == text(last)[common]) common++;
    }
    for (size_t depth = common; depth < path.size(); depth++)
      trie_[path[depth]].after = static_cast<uint32_t>(trie_.size());
    path.resize(common);
    for (size_t depth = common; depth < lengths[id]; depth++) {
      path.push_back(static_cast<uint32_t>(trie_.size()));
      trie_.push_back({0, k, static_cast<uint16_t>(depth + 1), text(id)[depth]});
    }
    if (lengths[id] == 1) singles_before_[text(id)[0] + 1] = 1;
  }
  const auto n = static_cast<uint32_t>(trie_.size());
  for (const uint32_t node : path) trie_[node].after = n;
  trie_.push_back({n + 1, static_cast<uint32_t>(sorted_.size()), 0, 0});
  std::partial_sum(singles_before_, singles_before_ + 257, singles_before_);
}

}  // namespace magnet
