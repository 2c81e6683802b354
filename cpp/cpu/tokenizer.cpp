// Encoding and decoding. A word (pre-token) is looked up whole, then in the cache, then merged:
// lowest rank first, leftmost among equals. Short words scan their ranks; long ones use a linked
// list and a heap, so that no input takes quadratic time.
#include "tokenizer.hpp"

#include <algorithm>
#include <functional>

#include "pretokenize.hpp"

namespace magnet {
namespace {

/** Bytes up to which scanning all ranks after each merge is cheaper than a heap. */
constexpr size_t SHORT_WORD = 48;
/** Work between two looks at the cancel flag. */
constexpr size_t POLL_BYTES = 1 << 16;

Bytes view(const uint8_t* text, size_t n) { return {reinterpret_cast<const char*>(text), n}; }

}  // namespace

std::unique_ptr<Scratch> Tokenizer::take_scratch() {
  {
    const std::lock_guard lock(mutex_);
    if (!spare_.empty()) {
      auto scratch = std::move(spare_.back());
      spare_.pop_back();
      return scratch;
    }
  }
  return std::make_unique<Scratch>();
}

void Tokenizer::give_scratch(std::unique_ptr<Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  spare_.push_back(std::move(scratch));
}

void Tokenizer::encode(const uint8_t* text, uint64_t n, bool parse_special, IdSink& sink,
                       const int32_t* cancel) {
  auto scratch = take_scratch();
  size_t plain = 0;  // start of the text not yet encoded
  for (size_t pos = 0; parse_special && pos < n;) {
    if (pos % POLL_BYTES == 0 && is_cancelled(cancel)) fail(MG_E_CANCELLED, "encoding cancelled");
    const uint32_t id = starts_special_[text[pos]] ? special_at(text + pos, n - pos) : NONE;
    if (id == NONE) {
      pos++;
      continue;
    }
    encode_plain(*scratch, text + plain, pos - plain, sink, cancel);
    sink.push(id);
    pos += token(id).size();
    plain = pos;
  }
  encode_plain(*scratch, text + plain, n - plain, sink, cancel);
  give_scratch(std::move(scratch));
}

/** Longest special token that the text starts with, or NONE. */
uint32_t Tokenizer::special_at(const uint8_t* text, size_t left) const {
  uint32_t node = 0, found = NONE;
  for (size_t i = 0; i < left; i++) {
    const uint32_t* next = trie_.find(make_pair(node, text[i]));
    if (next == nullptr) break;
    node = *next;
    if (special_of_node_[node] != NONE) found = special_of_node_[node];
  }
  return found;
}

void Tokenizer::encode_plain(Scratch& scratch, const uint8_t* text, size_t n, IdSink& sink,
                             const int32_t* cancel) const {
  size_t poll = 0;
  for (size_t pos = 0; pos < n;) {
    if (pos >= poll) {
      if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "encoding cancelled");
      poll = pos + POLL_BYTES;
    }
    const size_t end = next_pretoken(text, pos, n);
    encode_word(scratch, view(text + pos, end - pos), sink, cancel);
    pos = end;
  }
}

void Tokenizer::encode_word(Scratch& scratch, Bytes word, IdSink& sink,
                            const int32_t* cancel) const {
  if (word.size() == 1) return sink.push(byte_ids_[static_cast<uint8_t>(word[0])]);
  if (word.size() > SHORT_WORD) {
    if (ignore_merges_ && word.size() <= longest_) {
      const uint32_t whole = find(word);
      if (whole != NONE) return sink.push(whole);
    }
    return merge_long(scratch, word, sink, cancel);
  }
  const uint64_t hash = by_bytes_.hash(word);
  Scratch::Word& known = scratch.words[(hash >> 40) % Scratch::SLOTS];
  if (known.length == word.size() && std::memcmp(known.key, word.data(), word.size()) == 0) {
    for (uint32_t i = 0; i < known.count; i++) sink.push(known.ids[i]);
    return;
  }
  uint32_t whole = NONE;
  if (ignore_merges_)
    whole = by_bytes_.find_hashed(word, hash, [this](uint32_t id) { return token(id); });
  if (whole != NONE) scratch.symbols.assign(1, whole);
  const size_t count = whole != NONE ? 1 : merge_short(scratch, word);
  for (size_t i = 0; i < count; i++) sink.push(scratch.symbols[i]);
  if (word.size() > Scratch::KEY_MAX || count > Scratch::IDS_MAX) return;
  known.length = static_cast<uint8_t>(word.size());
  known.count = static_cast<uint8_t>(count);
  std::copy(word.begin(), word.end(), known.key);
  std::copy_n(scratch.symbols.begin(), count, known.ids);
}

/** Merges a short word in scratch.symbols; returns how many symbols are left. */
size_t Tokenizer::merge_short(Scratch& scratch, Bytes word) const {
  auto& symbols = scratch.symbols;
  auto& ranks = scratch.ranks;  // ranks[i]: of the pair (i, i + 1); NONE where there is none
  size_t n = word.size();
  symbols.resize(n);
  ranks.assign(n, NONE);
  const auto rank_at = [&](size_t i) {
    if (i + 1 >= n) return NONE;
    const Merge* merge = merges_.find(make_pair(symbols[i], symbols[i + 1]));
    return merge == nullptr ? NONE : merge->rank;
  };
  for (size_t i = 0; i < n; i++) symbols[i] = byte_ids_[static_cast<uint8_t>(word[i])];
  for (size_t i = 0; i + 1 < n; i++) ranks[i] = rank_at(i);
  while (n > 1) {
    const size_t best = static_cast<size_t>(
        std::min_element(ranks.begin(), ranks.begin() + static_cast<ptrdiff_t>(n) - 1) -
        ranks.begin());
    if (ranks[best] == NONE) break;
    symbols[best] = merges_.find(make_pair(symbols[best], symbols[best + 1]))->id;
    const auto at = static_cast<ptrdiff_t>(best) + 1, end = static_cast<ptrdiff_t>(n);
    std::copy(symbols.begin() + at + 1, symbols.begin() + end, symbols.begin() + at);
    std::copy(ranks.begin() + at + 1, ranks.begin() + end, ranks.begin() + at);
    n--;
    ranks[best] = rank_at(best);
    if (best > 0) ranks[best - 1] = rank_at(best - 1);
  }
  return n;
}

/** Merges a word of any length in O(n log n): a heap of (rank, position), stale entries skipped. */
void Tokenizer::merge_long(Scratch& scratch, Bytes word, IdSink& sink,
                           const int32_t* cancel) const {
  auto& links = scratch.links;
  auto& heap = scratch.heap;
  const uint32_t n = static_cast<uint32_t>(word.size());
  links.resize(n);
  heap.clear();
  const auto merge_at = [&](uint32_t i) -> const Merge* {
    const uint32_t next = links[i].next;
    return next == NONE ? nullptr : merges_.find(make_pair(links[i].id, links[next].id));
  };
  const std::greater<uint64_t> lowest_first;
  const auto poll = [&](size_t i) {
    if (i % POLL_BYTES == 0 && is_cancelled(cancel)) fail(MG_E_CANCELLED, "encoding cancelled");
  };
  const auto offer = [&](uint32_t i) {
    const Merge* merge = merge_at(i);
    if (merge == nullptr) return;
    heap.push_back(make_pair(merge->rank, i));
    std::push_heap(heap.begin(), heap.end(), lowest_first);
  };
  for (uint32_t i = 0; i < n; i++)
    links[i] = {byte_ids_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < n ? i + 1 : NONE};
  for (uint32_t i = 0; i < n; i++) {
    poll(i);
    offer(i);
  }
  for (size_t pops = 0; !heap.empty(); pops++) {
    poll(pops);
    const uint64_t top = heap.front();
    std::pop_heap(heap.begin(), heap.end(), lowest_first);
    heap.pop_back();
    const uint32_t at = right_of(top);
    if (links[at].id == NONE) continue;  // swallowed by a merge to its left
    const Merge* merge = merge_at(at);
    if (merge == nullptr || merge->rank != left_of(top)) continue;  // the pair has changed since
    const uint32_t gone = links[at].next, after = links[gone].next;
    links[at].id = merge->id;
    links[at].next = after;
    links[gone].id = NONE;
    if (after != NONE) links[after].previous = at;
    offer(at);
    if (at != 0) offer(links[at].previous);
  }
  for (uint32_t i = 0; i != NONE; i = links[i].next) sink.push(links[i].id);
  if (links.capacity() > (1u << 20)) {  // a rare giant does not keep its memory
    links = {};
    heap = {};
  }
}

uint64_t Tokenizer::decode(const int32_t* ids, uint64_t count, bool skip_special, uint8_t* out,
                           uint64_t capacity) const {
  uint64_t written = 0;
  for (uint64_t i = 0; i < count; i++) {
    if (ids[i] < 0 || static_cast<size_t>(ids[i]) >= is_special_.size())
      fail(MG_E_INVALID, "id %d at position %llu is outside the vocabulary of %zu", ids[i],
           static_cast<unsigned long long>(i), is_special_.size());
    const uint32_t id = static_cast<uint32_t>(ids[i]);
    if (skip_special && is_special_[id]) continue;
    const Bytes text = token(id);
    if (out != nullptr) {
      require(text.size() <= capacity - written, MG_E_INVALID, "the text does not fit the buffer");
      std::copy(text.begin(), text.end(), out + written);
    }
    written += text.size();
  }
  return written;
}

}  // namespace magnet
