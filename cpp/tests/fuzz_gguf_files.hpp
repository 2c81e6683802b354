// GGUF files for the fuzz driver: small valid ones of every architecture and tensor type, taken apart
// so that any of their parts can be made to lie, and put together again.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace fuzz {

/** Reproducible numbers (splitmix64). */
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t bits() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  /** 0 <= result < n, n >= 1. */
  uint64_t below(uint64_t n) { return bits() % n; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <class T>
  const T& of(const std::vector<T>& items) {
    return items[below(items.size())];
  }

 private:
  uint64_t state_;
};

using Bytes = std::vector<uint8_t>;

/** A metadata entry; `value` is what follows the type in the file. */
struct Entry {
  std::string key;
  uint32_t type = 0;
  Bytes value;
  std::optional<uint64_t> stated_key_bytes;
};

struct TensorPart {
  std::string name;
  std::vector<uint64_t> dims;
  uint32_t type = 0;
  Bytes data;
  std::optional<uint64_t> stated_offset, stated_name_bytes;
  std::optional<uint32_t> stated_dims;
};

/** A file taken apart. What is stated stands in the file in place of what is so. */
struct File {
  uint32_t version = 3;
  uint64_t alignment = 32;
  std::vector<Entry> entries;
  std::vector<TensorPart> tensors;
  std::optional<uint64_t> stated_tensors, stated_entries;
  uint64_t extra_bytes = 0;

  Bytes bytes() const;
};

Entry u32_entry(const std::string& key, uint32_t value);
Entry f32_entry(const std::string& key, float value);
Entry text_entry(const std::string& key, const std::string& value);
Entry texts_entry(const std::string& key, const std::vector<std::string>& values);
Entry i32s_entry(const std::string& key, const std::vector<int32_t>& values);

/** A file that loads. */
File valid_file(Random& random);
/** Packed rows of some type, with values that a model may have. */
Bytes valid_data(Random& random, uint32_t type, uint64_t rows, uint64_t cols);

/** Makes one part of the file lie. */
void corrupt(File& file, Random& random);
/** Changes bytes of a whole file, more often of its first `header_bytes`. */
void damage(Bytes& bytes, uint64_t header_bytes, Random& random);

}  // namespace fuzz
