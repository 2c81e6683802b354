// Bytes of a saved model: little-endian numbers, counted arrays, a checksum at the end. The reader
// takes bytes from anywhere: it checks every count against what is left before it makes room, and
// throws MG_E_FORMAT.
#pragma once
#include <cstring>
#include <string>
#include <type_traits>
#include <vector>

#include "../cpu/common.hpp"

namespace magnet::learn {

/** FNV-1a, 64 bits: tells a damaged file, not a forged one. */
inline uint64_t checksum(const uint8_t* bytes, size_t count) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (size_t i = 0; i < count; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ull;
  return hash;
}

class Writer {
 public:
  template <class T>
  void put(T value) {
    static_assert(std::is_trivially_copyable_v<T>);
    append(&value, sizeof(T));
  }
  /** The count, then the elements: of types without padding. */
  template <class T>
  void put_all(const std::vector<T>& values) {
    static_assert(std::is_trivially_copyable_v<T>);
    put(static_cast<uint64_t>(values.size()));
    append(values.data(), values.size() * sizeof(T));
  }
  /** With the checksum of all before it. */
  std::vector<uint8_t> finish() {
    put(checksum(bytes_.data(), bytes_.size()));
    return std::move(bytes_);
  }

 private:
  void append(const void* from, size_t count) {
    if (count == 0) return;
    const size_t at = bytes_.size();
    bytes_.resize(at + count);
    std::memcpy(bytes_.data() + at, from, count);
  }
  std::vector<uint8_t> bytes_;
};

class Reader {
 public:
  /** Checks and drops the checksum. */
  Reader(const uint8_t* bytes, size_t count) : at_(bytes), left_(count) {
    if (count < 8) fail(MG_E_FORMAT, "a saved model has at least 8 bytes");
    left_ -= 8;
    uint64_t expected;
    std::memcpy(&expected, bytes + left_, 8);
    if (checksum(bytes, left_) != expected) fail(MG_E_FORMAT, "the model's checksum is wrong");
  }
  template <class T>
  T take() {
    T value;
    copy(&value, sizeof(T));
    return value;
  }
  template <class T>
  std::vector<T> take_all(const char* what) {
    const auto count = take<uint64_t>();
    if (count > left_ / sizeof(T)) fail(MG_E_FORMAT, "the model ends within its %s", what);
    std::vector<T> values(count);
    copy(values.data(), count * sizeof(T));
    return values;
  }
  void end() const {
    if (left_ != 0) fail(MG_E_FORMAT, "%zu bytes too many after the model", left_);
  }

 private:
  void copy(void* to, size_t count) {
    if (count > left_) fail(MG_E_FORMAT, "the model's bytes end too early");
    if (count > 0) std::memcpy(to, at_, count);
    at_ += count;
    left_ -= count;
  }
  const uint8_t* at_;
  size_t left_;
};

/** For checks of what a reader gave. */
inline void require_format(bool condition, const char* message) {
  require(condition, MG_E_FORMAT, message);
}

}  // namespace magnet::learn
