// Large zeroed memory: pages are committed when first touched; huge pages where the system has
// them.
#pragma once
#include <sys/mman.h>

#include "common.hpp"

namespace magnet {

class Mapping {
 public:
  /** Throws MG_E_MEMORY with `what` and the size. */
  Mapping(uint64_t bytes, const char* what) : bytes_(bytes == 0 ? 1 : bytes) {
    constexpr int FLAGS = MAP_PRIVATE | MAP_ANONYMOUS;
    data_ = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, FLAGS, -1, 0);
    if (data_ == MAP_FAILED)
      fail(MG_E_MEMORY, "cannot allocate %.1f MiB for %s", static_cast<double>(bytes) / 1048576.0,
           what);
    madvise(data_, bytes_, MADV_HUGEPAGE);
  }
  ~Mapping() { munmap(data_, bytes_); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  /** For a part of which little is touched: a huge page would commit all around it. */
  static void use_small_pages(void* from, uint64_t bytes) {
    constexpr uintptr_t PAGE = 4096;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(from) + PAGE - 1) / PAGE * PAGE;
    const uintptr_t end = (reinterpret_cast<uintptr_t>(from) + bytes) / PAGE * PAGE;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_NOHUGEPAGE);
  }
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  uint64_t bytes_;
};

}  // namespace magnet
