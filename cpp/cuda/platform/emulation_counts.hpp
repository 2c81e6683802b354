// What an emulated device was asked to do: for tests of how little a step of inference asks for.
#pragma once
#include <atomic>

#include "device.hpp"

namespace magnet::gpu {

struct DeviceCounts {
  std::atomic<uint64_t> kernels{0};  // that ran, also out of graphs
  std::atomic<uint64_t> copies_in{0}, bytes_in{0};
  std::atomic<uint64_t> copies_out{0}, bytes_out{0};
  std::atomic<uint64_t> waits{0};  // of the host for a stream
};
/** Null on a real one. */
#if MG_EMULATED
DeviceCounts* device_counts();
#else
inline DeviceCounts* device_counts() { return nullptr; }
#endif

}  // namespace magnet::gpu
