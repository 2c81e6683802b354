// Growing 64-byte aligned memory, for thread_local scratch; contents are not kept.
#pragma once
#include <sys/mman.h>

#include <cstdint>
#include <cstdlib>
#include <new>

namespace magnet {

template <class T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { std::free(data_); }

  T* data() const { return data_; }

  /** Room for `count` elements; throws std::bad_alloc. Growing loses the contents. */
  T* reserve(int64_t count) {
    if (count <= capacity_) return data_;
    std::free(data_);
    capacity_ = 0;
    // Large buffers lie in huge pages where the system gives them.
    const size_t wanted = static_cast<size_t>(count) * sizeof(T);
    const size_t alignment = wanted >= HUGE_PAGE ? HUGE_PAGE : 64;
    const size_t bytes = (wanted + alignment - 1) / alignment * alignment;
    data_ = static_cast<T*>(std::aligned_alloc(alignment, bytes));
    if (data_ == nullptr) throw std::bad_alloc();
    if (alignment == HUGE_PAGE) madvise(data_, bytes, MADV_HUGEPAGE);
    capacity_ = count;
    return data_;
  }

 private:
  static constexpr size_t HUGE_PAGE = size_t{1} << 21;
  T* data_ = nullptr;
  int64_t capacity_ = 0;
};

}  // namespace magnet
