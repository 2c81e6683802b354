// A byte-level BPE vocabulary with its merges: checks it, encodes and decodes. Immutable after its
// making except for the pool of word caches, so encode may run on several threads at once.
#pragma once
#include <memory>
#include <mutex>
#include <vector>

#include "common.hpp"
#include "tokenizer_tables.hpp"

namespace magnet {

/** What mg_tokenizer_create is given, borrowed for the call. */
struct Vocabulary {
  const uint8_t* bytes;
  uint64_t bytes_length;
  const uint32_t* offsets;
  uint32_t size;
  const uint32_t* merges;
  uint32_t merge_count;
  const uint32_t* specials;
  uint32_t special_count;
  bool ignore_merges;
};

/** Ids under way to the caller's array. */
struct IdSink {
  int32_t* ids;
  uint64_t capacity;
  uint64_t count = 0;
  void push(uint32_t id) {
    if (count == capacity) fail(MG_E_INVALID, "more tokens than the %llu that fit",
                                static_cast<unsigned long long>(capacity));
    ids[count++] = static_cast<int32_t>(id);
  }
};

/** Working memory of one encode call: recent words with their ids, and arrays of a long word. */
struct Scratch {
  static constexpr uint32_t SLOTS = 1u << 14, KEY_MAX = 22, IDS_MAX = 9;
  struct Word {  // 64 bytes: one cache line; length 0 = empty
    uint8_t length = 0, count = 0;
    char key[KEY_MAX] = {};
    uint32_t ids[IDS_MAX] = {};
    uint32_t unused = 0;
  };
  struct Link {
    uint32_t id, previous, next;
  };
  std::vector<Word> words{SLOTS};
  std::vector<uint32_t> symbols, ranks;
  std::vector<Link> links;
  std::vector<uint64_t> heap;
};

class Tokenizer {
 public:
  explicit Tokenizer(const Vocabulary& vocabulary);

  void encode(const uint8_t* text, uint64_t n, bool parse_special, IdSink& sink,
              const int32_t* cancel);
  /** Bytes of the ids; `out` may be null. Returns how many there are in all. */
  uint64_t decode(const int32_t* ids, uint64_t count, bool skip_special, uint8_t* out,
                  uint64_t capacity) const;

  // What it was made of (tokenizer_vocabulary.cpp).
  uint32_t size() const { return static_cast<uint32_t>(is_special_.size()); }
  const std::vector<char>& bytes() const { return bytes_; }
  const std::vector<uint32_t>& offsets() const { return offsets_; }
  size_t merge_count() const { return merges_.size(); }
  /** make_pair(left, right) of each merge. */
  std::vector<uint64_t> merges_by_rank() const;
  /** In ascending order. */
  std::vector<uint32_t> special_ids() const;
  /** `model.vocab` and `model.merges` of its tokenizer.json, as canonical JSON in UTF-8. */
  std::string vocabulary_json() const;
  std::string merges_json() const;

 private:
  struct Merge {
    uint32_t rank = NONE, id = 0;
  };
  Bytes token(uint32_t id) const {
    return {bytes_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]};
  }
  uint32_t find(Bytes key) const {
    return by_bytes_.find(key, [this](uint32_t id) { return token(id); });
  }
  void check_tokens(const Vocabulary& v);
  void add_tokens();
  void add_merges(const Vocabulary& v);
  void add_specials(const Vocabulary& v);
  uint32_t special_at(const uint8_t* text, size_t left) const;

  void encode_plain(Scratch& scratch, const uint8_t* text, size_t n, IdSink& sink,
                    const int32_t* cancel) const;
  void encode_word(Scratch& scratch, Bytes word, IdSink& sink, const int32_t* cancel) const;
  size_t merge_short(Scratch& scratch, Bytes word) const;
  void merge_long(Scratch& scratch, Bytes word, IdSink& sink, const int32_t* cancel) const;

  std::unique_ptr<Scratch> take_scratch();
  void give_scratch(std::unique_ptr<Scratch> scratch);

  std::vector<char> bytes_;
  std::vector<uint32_t> offsets_;
  std::vector<uint8_t> is_special_;
  uint32_t byte_ids_[256];
  size_t longest_ = 0;  // bytes of the longest token that is not special
  BytesTable by_bytes_;
  PairTable<Merge> merges_;
  PairTable<uint32_t> trie_;              // (node, byte) -> node; node 0 is the root
  std::vector<uint32_t> special_of_node_;
  bool starts_special_[256] = {};
  bool ignore_merges_;

  std::mutex mutex_;
  std::vector<std::unique_ptr<Scratch>> spare_;
};

}  // namespace magnet

/** What a handle of the C ABI points to. */
struct mg_tokenizer {
  magnet::Tokenizer inner;
  explicit mg_tokenizer(const magnet::Vocabulary& v) : inner(v) {}
};
