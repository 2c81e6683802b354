// Making a Tokenizer: every offset, id and byte string of the vocabulary comes from outside and is
// checked here, so that encoding and decoding need not check again.
#include "tokenizer.hpp"

#include <sys/random.h>

#include <algorithm>

namespace magnet {

uint64_t hash_seed() {
  static const uint64_t seed = [] {
    uint64_t value = 0x2545f4914f6cdd1dull;
    if (getrandom(&value, sizeof value, 0) != sizeof value) value ^= 0x9e3779b97f4a7c15ull;
    return value;
  }();
  return seed;
}

Tokenizer::Tokenizer(const Vocabulary& v)
    : by_bytes_(std::min<size_t>(v.size, MG_VOCAB_MAX)),  // the counts are checked below
      merges_(std::min<size_t>(v.merge_count, MG_MERGES_MAX)),
      ignore_merges_(v.ignore_merges) {
  check_tokens(v);
  add_specials(v);
  add_tokens();
  add_merges(v);
}

void Tokenizer::check_tokens(const Vocabulary& v) {
  require(v.size >= 256 && v.size <= MG_VOCAB_MAX, MG_E_FORMAT,
          "a vocabulary has 256 to 1048576 tokens");
  require(v.offsets[0] == 0 && v.offsets[v.size] == v.bytes_length, MG_E_FORMAT,
          "token offsets do not cover the token bytes");
  for (uint32_t id = 0; id < v.size; id++) {
    const uint32_t begin = v.offsets[id], end = v.offsets[id + 1];
    if (end < begin || end > v.bytes_length)
      fail(MG_E_FORMAT, "token %u: its offsets run backwards", id);
    if (end == begin) fail(MG_E_FORMAT, "token %u is empty", id);
    if (end - begin > MG_TOKEN_BYTES_MAX)
      fail(MG_E_FORMAT, "token %u has %u bytes, more than %u", id, end - begin, MG_TOKEN_BYTES_MAX);
  }
  bytes_.assign(v.bytes, v.bytes + v.bytes_length);
  offsets_.assign(v.offsets, v.offsets + v.size + 1);
  is_special_.assign(v.size, 0);
}

void Tokenizer::add_specials(const Vocabulary& v) {
  require(v.special_count <= MG_SPECIALS_MAX, MG_E_FORMAT, "more than 65536 special tokens");
  special_of_node_.assign(1, NONE);
  for (uint32_t i = 0; i < v.special_count; i++) {
    const uint32_t id = v.specials[i];
    if (id >= v.size) fail(MG_E_FORMAT, "special token %u is outside the vocabulary", id);
    if (is_special_[id]) fail(MG_E_FORMAT, "special token %u is listed twice", id);
    is_special_[id] = 1;
    const Bytes text = token(id);
    if (text.size() > MG_SPECIAL_BYTES_MAX)
      fail(MG_E_FORMAT, "special token %u is longer than %u bytes", id, MG_SPECIAL_BYTES_MAX);
    uint32_t node = 0;
    for (const char c : text) {
      uint32_t& next = trie_.at(make_pair(node, static_cast<uint8_t>(c)));
      if (next == 0) {
        next = static_cast<uint32_t>(special_of_node_.size());
        special_of_node_.push_back(NONE);
      }
      node = next;
    }
    if (special_of_node_[node] != NONE)
      fail(MG_E_FORMAT, "special tokens %u and %u are the same", special_of_node_[node], id);
    special_of_node_[node] = id;
    starts_special_[static_cast<uint8_t>(text[0])] = true;
  }
}

void Tokenizer::add_tokens() {
  const auto key_of = [this](uint32_t id) { return token(id); };
  for (uint32_t& id : byte_ids_) id = NONE;
  for (uint32_t id = 0; id + 1 < offsets_.size(); id++) {
    if (is_special_[id]) continue;
    const Bytes text = token(id);
    const uint64_t hash = by_bytes_.hash(text);
    const uint32_t same = by_bytes_.find_hashed(text, hash, key_of);
    if (same != NONE) fail(MG_E_FORMAT, "tokens %u and %u have the same bytes", same, id);
    by_bytes_.insert(hash, id, key_of);
    if (text.size() == 1) byte_ids_[static_cast<uint8_t>(text[0])] = id;
    longest_ = std::max(longest_, text.size());
  }
  for (uint32_t byte = 0; byte < 256; byte++)
    if (byte_ids_[byte] == NONE) fail(MG_E_FORMAT, "no token for the byte 0x%02x", byte);
}

void Tokenizer::add_merges(const Vocabulary& v) {
  require(v.merge_count <= MG_MERGES_MAX, MG_E_FORMAT, "more than 2097152 merges");
  std::vector<char> joined;
  for (uint32_t rank = 0; rank < v.merge_count; rank++) {
    const uint32_t left = v.merges[2 * rank], right = v.merges[2 * rank + 1];
    if (left >= v.size || right >= v.size || is_special_[left] || is_special_[right])
      fail(MG_E_FORMAT, "merge %u names a token that is special or unknown", rank);
    const Bytes a = token(left), b = token(right);
    joined.assign(a.begin(), a.end());
    joined.insert(joined.end(), b.begin(), b.end());
    const uint32_t id = find({joined.data(), joined.size()});
    if (id == NONE) fail(MG_E_FORMAT, "merge %u makes bytes that are no token", rank);
    Merge& merge = merges_.at(make_pair(left, right));
    if (merge.rank != NONE) fail(MG_E_FORMAT, "merges %u and %u are the same", merge.rank, rank);
    merge = {rank, id};
  }
}

}  // namespace magnet
