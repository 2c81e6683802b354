// Between memory of the host that is not page-locked and the device, through two page-locked pieces in
// turn: while one is on its way the other is filled or emptied. A copy that the driver makes of such
// memory does the same with one thread and no overlap.
#pragma once
#include "../platform/runtime.hpp"

namespace magnet::gpu {

class Relay {
 public:
  /** Of the order of what the bus moves in the time that starting a copy takes, many times over. */
  static constexpr uint64_t PIECE = uint64_t{4} << 20;
  static constexpr uint64_t BYTES = 2 * PIECE;

  /** memory: BYTES, page-locked; both outlive it. */
  Relay(const Stream& stream, unsigned char* memory) : stream_(stream), memory_(memory) {}
  const Stream& stream() const { return stream_; }

  /** In the stream; `host` has been read when it returns. */
  void to_device(void* device, const void* host, uint64_t bytes);
  /** In the stream; `host` has been written when it returns. */
  void from_device(void* host, const void* device, uint64_t bytes);

 private:
  unsigned char* piece(size_t i) const { return memory_ + i * PIECE; }

  const Stream& stream_;
  unsigned char* memory_;
  Event moved_[2];  // what was last in a piece
  size_t next_ = 0;
};

}  // namespace magnet::gpu
