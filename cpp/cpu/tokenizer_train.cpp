// Training as the reference trainer does it, so that the merges are the same: a heap of pairs by
// count (smallest pair of ids first among equals), each entry with the words in which the pair was
// born. Two pairs that join to the same bytes make one token; pairs with that token then have two
// entries. Of a merge that is found twice the later rank counts.
#include "tokenizer_train.hpp"

#include <algorithm>
#include <queue>
#include <string>
#include <unordered_map>

#include "pretokenize.hpp"

namespace magnet {
namespace {

/** Distinct words together; beyond it the corpus is refused. 12 bytes of memory for each. */
constexpr uint64_t LETTERS_MAX = 1ull << 31;
constexpr uint32_t POLL_WORDS = 1 << 14;

/** Byte -> initial id: the order of GPT-2's byte characters (printable ones first). */
struct ByteOrder {
  uint8_t id_of[256], byte_of[256];
  ByteOrder() {
    uint32_t next = 0;
    const auto printable = [](int b) {
      return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
    };
    for (const bool wanted : {true, false})
      for (int b = 0; b < 256; b++)
        if (printable(b) == wanted) {
          id_of[b] = static_cast<uint8_t>(next);
          byte_of[next++] = static_cast<uint8_t>(b);
        }
  }
};

struct Entry {
  int64_t count;
  uint64_t pair;
  uint32_t places;  // index of the list of words
  bool operator<(const Entry& o) const {
    return count != o.count ? count < o.count : pair > o.pair;
  }
};

struct PairInfo {
  int64_t count = 0;
  uint32_t places = NONE;  // list being gathered in this step
};

/** One run of the trainer over words given as symbols. */
class Run {
 public:
  struct Word {
    uint64_t offset;
    uint32_t length;
    int64_t count;
  };
  Run(std::vector<Word> words, std::vector<uint32_t> symbols, const int32_t* cancel)
      : words_(std::move(words)), symbols_(std::move(symbols)), cancel_(cancel) {
    const ByteOrder order;
    for (uint32_t id = 0; id < 256; id++) {
      names_.emplace_back(1, static_cast<char>(order.byte_of[id]));
      ids_.emplace(names_.back(), id);
    }
  }

  void train(uint32_t limit, int64_t min_count) {
    for (uint32_t w = 0; w < words_.size(); w++) {
      poll(w);
      const uint32_t* s = &symbols_[words_[w].offset];
      for (uint32_t i = 0; i + 1 < words_[w].length; i++) change(s[i], s[i + 1], w, 1);
    }
    queue_gathered();
    while (names_.size() < limit && !queue_.empty()) {
      Entry top = queue_.top();
      queue_.pop();
      const int64_t count = pairs_.at(top.pair).count;
      if (count != top.count) {
        top.count = count;
        queue_.push(top);
        continue;
      }
      if (count < min_count) break;
      const size_t bytes = names_[left_of(top.pair)].size() + names_[right_of(top.pair)].size();
      if (bytes <= MG_TRAINED_BYTES_MAX) merge(top);
    }
  }
  std::vector<uint64_t> made, merges;

 private:
  void poll(uint32_t i) const {
    if (i % POLL_WORDS == 0 && is_cancelled(cancel_)) fail(MG_E_CANCELLED, "training cancelled");
  }
  void merge(const Entry& top) {
    const uint32_t left = left_of(top.pair), right = right_of(top.pair);
    const std::string name = names_[left] + names_[right];
    const auto [known, is_new] = ids_.emplace(name, static_cast<uint32_t>(names_.size()));
    if (is_new) {
      names_.push_back(name);
      made.push_back(top.pair);
    }
    merges.push_back(top.pair);
    std::vector<uint32_t> places;
    places.swap(places_[top.places]);
    free_places_.push_back(top.places);
    uint32_t done = 0;
    for (const uint32_t w : places) {
      poll(done++);
      merge_word(w, left, right, known->second);
    }
    queue_gathered();
  }
  void merge_word(uint32_t w, uint32_t left, uint32_t right, uint32_t id) {
    Word& word = words_[w];
    uint32_t* s = &symbols_[word.offset];
    uint32_t out = 0;
    for (uint32_t i = 0; i < word.length; i++) {
      if (s[i] != left || i + 1 == word.length || s[i + 1] != right) {
        s[out++] = s[i];
        continue;
      }
      if (out > 0) {
        change(s[out - 1], left, w, -1);
        change(s[out - 1], id, w, 1);
      }
      s[out++] = id;
      i++;
      if (i + 1 < word.length) {
        change(right, s[i + 1], w, -1);
        change(id, s[i + 1], w, 1);
      }
    }
    word.length = out;
  }
  void change(uint32_t left, uint32_t right, uint32_t w, int64_t sign) {
    const uint64_t pair = make_pair(left, right);
    PairInfo& info = pairs_.at(pair);
    info.count += sign * words_[w].count;
    if (sign < 0) return;
    if (info.places == NONE) {
      info.places = new_places();
      gathered_.push_back(pair);
    }
    auto& places = places_[info.places];
    if (places.empty() || places.back() != w) places.push_back(w);
  }
  uint32_t new_places() {
    if (free_places_.empty()) {
      places_.emplace_back();
      return static_cast<uint32_t>(places_.size() - 1);
    }
    const uint32_t index = free_places_.back();
    free_places_.pop_back();
    return index;
  }
  void queue_gathered() {
    for (const uint64_t pair : gathered_) {
      PairInfo& info = pairs_.at(pair);
      if (info.count > 0) {
        queue_.push({info.count, pair, info.places});
      } else {
        places_[info.places].clear();
        free_places_.push_back(info.places);
      }
      info.places = NONE;
    }
    gathered_.clear();
  }

  std::vector<Word> words_;
  std::vector<uint32_t> symbols_;
  const int32_t* cancel_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, uint32_t> ids_;
  PairTable<PairInfo> pairs_;
  std::priority_queue<Entry> queue_;
  std::vector<std::vector<uint32_t>> places_;
  std::vector<uint32_t> free_places_;
  std::vector<uint64_t> gathered_;
};

/** Keeps each pair's last place only. */
std::vector<uint64_t> without_repeats(const std::vector<uint64_t>& merges) {
  PairTable<uint32_t> last(merges.size());
  for (size_t i = 0; i < merges.size(); i++) last.at(merges[i]) = static_cast<uint32_t>(i);
  std::vector<uint64_t> kept;
  for (size_t i = 0; i < merges.size(); i++)
    if (*last.find(merges[i]) == i) kept.push_back(merges[i]);
  return kept;
}

}  // namespace

void BpeTrainer::feed(const uint8_t* text, uint64_t n, bool by_line, const int32_t* cancel) {
  uint32_t words = 0;
  for (size_t begin = 0, limit; begin < n; begin = limit) {
    const void* newline = by_line ? std::memchr(text + begin, '\n', n - begin) : nullptr;
    limit = newline ? static_cast<size_t>(static_cast<const uint8_t*>(newline) - text) + 1 : n;
    for (size_t pos = begin, end; pos < limit; pos = end) {
      if (words++ % POLL_WORDS == 0 && is_cancelled(cancel))
        fail(MG_E_CANCELLED, "counting cancelled");
      end = next_pretoken(text, pos, limit);
      count({reinterpret_cast<const char*>(text) + pos, end - pos});
    }
  }
}

void BpeTrainer::count(Bytes word) {
  const auto key_of = [this](uint32_t known) { return key(known); };
  const uint64_t hash = index_.hash(word);
  const uint32_t known = index_.find_hashed(word, hash, key_of);
  if (known != NONE) {
    words_[known].count++;
    return;
  }
  require(letters_.size() + word.size() <= LETTERS_MAX, MG_E_INVALID,
          "the distinct words of the corpus exceed 2 GiB");
  const uint32_t index = static_cast<uint32_t>(words_.size());
  words_.push_back({letters_.size(), static_cast<uint32_t>(word.size()), 1});
  letters_.insert(letters_.end(), word.begin(), word.end());
  index_.insert(hash, index, key_of);
}

void BpeTrainer::run(uint32_t token_limit, uint64_t min_count, const int32_t* cancel) {
  const ByteOrder order;
  std::vector<Run::Word> words;
  words.reserve(words_.size());
  for (const Word& w : words_)
    words.push_back({w.offset, w.length, static_cast<int64_t>(w.count)});
  std::vector<uint32_t> symbols(letters_.size());
  for (size_t i = 0; i < letters_.size(); i++)
    symbols[i] = order.id_of[static_cast<uint8_t>(letters_[i])];
  Run run(std::move(words), std::move(symbols), cancel);
  run.train(token_limit, static_cast<int64_t>(std::max<uint64_t>(min_count, 1)));
  made = std::move(run.made);
  merges = without_repeats(run.merges);
}

}  // namespace magnet
