// See relay.hpp.
#include "relay.hpp"

#include <algorithm>
#include <cstring>

namespace magnet::gpu {

void Relay::to_device(void* device, const void* host, uint64_t bytes) {
  auto* const to = static_cast<unsigned char*>(device);
  const auto* const from = static_cast<const unsigned char*>(host);
  for (uint64_t at = 0; at < bytes; at += PIECE) {
    const uint64_t size = std::min(PIECE, bytes - at);
    const size_t i = next_++ % 2;
    moved_[i].wait();
    std::memcpy(piece(i), from + at, size);
    copy_in(stream_, to + at, piece(i), size);
    moved_[i].record(stream_);
  }
}

void Relay::from_device(void* host, const void* device, uint64_t bytes) {
  auto* const to = static_cast<unsigned char*>(host);
  const auto* const from = static_cast<const unsigned char*>(device);
  const auto size_at = [&](uint64_t at) { return std::min(PIECE, bytes - at); };
  const auto start = [&](uint64_t at) {
    const size_t i = at / PIECE % 2;
    copy_out(stream_, piece(i), from + at, size_at(at));
    moved_[i].record(stream_);
  };
  if (bytes > 0) start(0);
  for (uint64_t at = 0; at < bytes; at += PIECE) {
    if (at + PIECE < bytes) start(at + PIECE);  // into the piece that was emptied last
    const size_t i = at / PIECE % 2;
    moved_[i].wait();
    std::memcpy(to + at, piece(i), size_at(at));
  }
}

}  // namespace magnet::gpu
