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
  template <class T>
  T* as() const {
    return static_cast<T*>(data_);
  }

 private:
  void* data_;
  uint64_t bytes_;
};

}  // namespace magnet
