// What the runtime on a device and its twin have in common.
#include "runtime.hpp"

#include <map>
#include <mutex>

namespace magnet::gpu {

namespace {
std::mutex allocated_mutex;
std::map<void*, uint64_t> allocated;
}  // namespace

void* allocate_device(uint64_t bytes) {
  void* const p = allocate_uncounted(bytes);
  const std::lock_guard lock(allocated_mutex);
  allocated[p] = bytes;
  return p;
}
void free_device(void* p) noexcept {
  if (p == nullptr) return;
  {
    const std::lock_guard lock(allocated_mutex);
    allocated.erase(p);
  }
  free_uncounted(p);
}
uint64_t device_bytes_allocated() {
  const std::lock_guard lock(allocated_mutex);
  uint64_t sum = 0;
  for (const auto& [p, bytes] : allocated) sum += bytes;
  return sum;
}

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
