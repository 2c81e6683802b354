// A regular file mapped for reading. A file that is cut off under a mapping raises SIGBUS in whoever
// reads the missing pages; here that is only the copy inside read_guarded(), which takes the signal
// as a failed read. A SIGBUS from anywhere else goes where it went before.
#pragma once
#include <cstdint>

namespace magnet {

class MappedFile {
 public:
  /** How the pages are read: a guess for the system's reading ahead. */
  enum class Order { anywhere, front_to_back };

  /** Maps the first `bytes` (>= 1) of an open file, which may be closed afterwards. Throws
   * MG_E_UNSUPPORTED for what is no regular file, MG_E_FORMAT where it is shorter. */
  MappedFile(int fd, uint64_t bytes, Order order);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  uint64_t size() const { return bytes_; }
  /** Copies [offset, offset + n), which the caller has checked; false where pages are gone. */
  bool read(uint64_t offset, uint64_t n, void* out) const;
  /** Runs copy(start of the mapping, context), which reads it: a plain function that holds nothing
   * to be destroyed, because a failed read leaves it by a jump. False where pages are gone. */
  bool read_guarded(void (*copy)(const uint8_t* data, const void* context),
                    const void* context) const;
  /** Pages wholly inside the range no longer count as this process's memory; they may be read again.
   */
  void give_back(uint64_t offset, uint64_t n) const;

 private:
  uint8_t* data_;
  uint64_t bytes_;
};

}  // namespace magnet
