// Counts the objects behind the handles that callers hold (mg_live_handles): a server's tests compare
// the count with its baseline. Derive the object behind a handle from it.
#pragma once
#include <atomic>
#include <cstdint>

namespace magnet {

inline std::atomic<uint64_t> live_handles{0};

struct LiveHandle {
  LiveHandle() { live_handles.fetch_add(1, std::memory_order_relaxed); }
  LiveHandle(const LiveHandle&) : LiveHandle() {}
  LiveHandle& operator=(const LiveHandle&) { return *this; }
  ~LiveHandle() { live_handles.fetch_sub(1, std::memory_order_relaxed); }
};

}  // namespace magnet
