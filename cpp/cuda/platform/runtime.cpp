// What the runtime on a device and its twin have in common.
#include "runtime.hpp"

#include <map>
#include <mutex>

namespace magnet::gpu {

namespace {

/** Pieces of one kind of memory, and how large they are. */
class Allocations {
 public:
  void add(void* p, uint64_t bytes) {
    const std::lock_guard lock(mutex_);
    pieces_[p] = bytes;
  }
  void remove(void* p) {
    const std::lock_guard lock(mutex_);
    pieces_.erase(p);
  }
  uint64_t bytes() {
    const std::lock_guard lock(mutex_);
    uint64_t sum = 0;
    for (const auto& [p, bytes] : pieces_) sum += bytes;
    return sum;
  }

 private:
  std::mutex mutex_;
  std::map<void*, uint64_t> pieces_;
};
Allocations on_device;
Allocations pinned;

}  // namespace

void* allocate_device(uint64_t bytes) {
  void* const p = allocate_uncounted(bytes);
  on_device.add(p, bytes);
  return p;
}
void free_device(void* p) noexcept {
  if (p == nullptr) return;
  on_device.remove(p);
  free_uncounted(p);
}
uint64_t device_bytes_allocated() { return on_device.bytes(); }

void* allocate_pinned(uint64_t bytes) {
  void* const p = allocate_pinned_uncounted(bytes);
  pinned.add(p, bytes);
  return p;
}
void free_pinned(void* p) noexcept {
  if (p == nullptr) return;
  pinned.remove(p);
  free_pinned_uncounted(p);
}
uint64_t pinned_bytes_allocated() { return pinned.bytes(); }

void* Stream::workspace(uint64_t bytes) const {
  if (workspaces_.empty() || workspaces_.back().second < bytes)
    workspaces_.emplace_back(allocate_device_uncaptured(bytes), bytes);
  return workspaces_.back().first;
}

void check_geometry(const Geometry& geometry) {
  const auto& [grid, block, shared, overlaps] = geometry;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const bool grid_fits = grid.x >= 1 && grid.x <= 0x7fffffffu && grid.y >= 1 && grid.y <= 65535 &&
                         grid.z >= 1 && grid.z <= 65535;
  if (!grid_fits) fail(MG_E_INTERNAL, "a grid of %u x %u x %u blocks", grid.x, grid.y, grid.z);
  // Whole warps, because collectives take all lanes.
  if (threads < 1 || threads > 1024 || threads % LANES != 0)
    fail(MG_E_INTERNAL, "a block of %u x %u x %u threads", block.x, block.y, block.z);
  if (shared > 227 * 1024)
    fail(MG_E_INTERNAL, "%llu bytes of shared memory a block",
         static_cast<unsigned long long>(shared));
}

}  // namespace magnet::gpu
