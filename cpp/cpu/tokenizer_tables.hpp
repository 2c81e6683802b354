// Hash tables of the tokenizer: byte strings to ids, pairs of ids to anything. Open addressing with
// a seed drawn once per process, so that texts and vocabularies from outside cannot aim at
// collisions; no result depends on the order inside a table.
#pragma once
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace magnet {

using Bytes = std::string_view;
constexpr uint32_t NONE = 0xffffffffu;

/** Random, the same for the life of the process. */
uint64_t hash_seed();

__extension__ typedef unsigned __int128 Wide;

inline uint64_t fold(uint64_t a, uint64_t b) {
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_bytes(const char* data, size_t n, uint64_t seed) {
  constexpr uint64_t K0 = 0x9e3779b97f4a7c15ull, K1 = 0xe7037ed1a0b428dbull;
  uint64_t h = seed ^ (n * K0), word;
  for (; n >= 8; n -= 8, data += 8) {
    std::memcpy(&word, data, 8);
    h = fold(h ^ word, K1 ^ seed);
  }
  word = 0;
  std::memcpy(&word, data, n);
  return fold(h ^ word ^ K1, K0 ^ seed);
}

inline uint64_t hash_pair(uint64_t pair, uint64_t seed) {
  return fold(pair ^ seed, 0x9e3779b97f4a7c15ull ^ (seed << 1));
}

inline uint64_t make_pair(uint32_t left, uint32_t right) {
  return static_cast<uint64_t>(left) << 32 | right;
}
inline uint32_t left_of(uint64_t pair) { return static_cast<uint32_t>(pair >> 32); }
inline uint32_t right_of(uint64_t pair) { return static_cast<uint32_t>(pair); }

/** Pair of ids -> V. The pair (NONE, NONE) is no key. */
template <class V>
class PairTable {
 public:
  explicit PairTable(size_t expected = 16) { resize(expected); }

  const V* find(uint64_t pair) const {
    for (size_t i = hash_pair(pair, seed_) & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].pair == pair) return &slots_[i].value;
      if (slots_[i].pair == EMPTY) return nullptr;
    }
  }
  /** The value of the pair, default-made where it was absent; valid until the next insertion. */
  V& at(uint64_t pair) {
    if ((count_ + 1) * 2 > slots_.size()) resize(slots_.size());
    Slot& slot = place(pair);
    if (slot.pair == EMPTY) {
      slot.pair = pair;
      count_++;
    }
    return slot.value;
  }
  size_t size() const { return count_; }
  template <class F>
  void each(F&& f) const {
    for (const Slot& slot : slots_)
      if (slot.pair != EMPTY) f(slot.pair, slot.value);
  }

 private:
  static constexpr uint64_t EMPTY = ~0ull;
  struct Slot {
    uint64_t pair = EMPTY;
    V value{};
  };
  Slot& place(uint64_t pair) {
    size_t i = hash_pair(pair, seed_) & mask_;
    while (slots_[i].pair != pair && slots_[i].pair != EMPTY) i = (i + 1) & mask_;
    return slots_[i];
  }
  void resize(size_t expected) {
    size_t size = 16;
    while (size < expected * 2) size *= 2;
    std::vector<Slot> old(size);
    old.swap(slots_);
    mask_ = size - 1;
    for (Slot& slot : old)
      if (slot.pair != EMPTY) place(slot.pair) = slot;
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0, count_ = 0;
  uint64_t seed_ = hash_seed();
};

/** Byte string -> index. The owner keeps the keys; `key_of(index)` gives one back. */
class BytesTable {
 public:
  explicit BytesTable(size_t expected = 16) { reserve(expected); }

  template <class KeyOf>
  uint32_t find(Bytes key, const KeyOf& key_of) const {
    return find_hashed(key, hash_bytes(key.data(), key.size(), seed_), key_of);
  }
  template <class KeyOf>
  uint32_t find_hashed(Bytes key, uint64_t hash, const KeyOf& key_of) const {
    const uint32_t tag = static_cast<uint32_t>(hash >> 32);
    for (size_t i = hash & mask_; slots_[i].index != NONE; i = (i + 1) & mask_)
      if (slots_[i].tag == tag && key_of(slots_[i].index) == key) return slots_[i].index;
    return NONE;
  }
  uint64_t hash(Bytes key) const { return hash_bytes(key.data(), key.size(), seed_); }

  /** Adds a key that is not in the table. */
  template <class KeyOf>
  void insert(uint64_t hash, uint32_t index, const KeyOf& key_of) {
    if ((count_ + 1) * 2 > slots_.size()) {
      const std::vector<Slot> old = std::move(slots_);
      reserve(old.size());
      for (const Slot& slot : old)
        if (slot.index != NONE) put(this->hash(key_of(slot.index)), slot.index);
    }
    put(hash, index);
    count_++;
  }

 private:
  struct Slot {
    uint32_t tag = 0, index = NONE;
  };
  void put(uint64_t hash, uint32_t index) {
    size_t i = hash & mask_;
    while (slots_[i].index != NONE) i = (i + 1) & mask_;
    slots_[i] = {static_cast<uint32_t>(hash >> 32), index};
  }
  void reserve(size_t expected) {
    size_t size = 16;
    while (size < expected * 2) size *= 2;
    slots_.assign(size, {});
    mask_ = size - 1;
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0, count_ = 0;
  uint64_t seed_ = hash_seed();
};

}  // namespace magnet
