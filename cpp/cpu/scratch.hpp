// Growing 64-byte aligned scratch memory, for thread_local use and for arenas; contents are not
// kept.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>

namespace magnet {

template <class T>
class Scratch {
 public:
  Scratch() = default;
  explicit Scratch(int64_t count) { std::memset(reserve(count), 0, bytes_of(count)); }
  Scratch(Scratch&& other) noexcept : data_(other.data_), capacity_(other.capacity_) {
    other.data_ = nullptr;
    other.capacity_ = 0;
  }
  Scratch& operator=(Scratch&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(capacity_, other.capacity_);
    return *this;
  }
  ~Scratch() { std::free(data_); }

  /** Room for `count` elements; throws std::bad_alloc. Growing loses the contents. */
  T* reserve(int64_t count) {
    if (count > capacity_) {
      std::free(data_);
      capacity_ = 0;
      data_ = static_cast<T*>(std::aligned_alloc(64, bytes_of(count)));
      if (data_ == nullptr) throw std::bad_alloc();
      capacity_ = count;
    }
    return data_;
  }
  T* get() const { return data_; }

 private:
  static size_t bytes_of(int64_t count) {
    return (static_cast<size_t>(count) * sizeof(T) + 127) / 64 * 64;
  }
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

}  // namespace magnet
