// mg_gpu_read_rate: how fast kernels read the GPU's memory, the limit beside which decoding stands.
// Plain coalesced 16-byte loads, four of a thread under way at a time and as many threads as a
// multiprocessor holds: far more bytes in flight than the memory's latency asks for.
#include <algorithm>
#include <cmath>

#include "../platform/runtime.hpp"

namespace magnet::gpu {
namespace {

constexpr unsigned THREADS = 256;
constexpr unsigned BLOCKS_A_MULTIPROCESSOR = 8;
constexpr int LOADS = 4;
/** 1 GiB on a large GPU: twenty times what its cache holds. */
constexpr uint64_t BYTES_A_MULTIPROCESSOR = 8u << 20;
constexpr int ROUNDS = 5;

/** Each block reads every gridDim.x-th run of THREADS * LOADS vectors; n is a multiple of a run. */
__global__ void read_kernel(const uint4* data, uint64_t n, uint32_t* seen) {
  constexpr uint64_t RUN = THREADS * LOADS;
  uint32_t mixed = 0;
  for (uint64_t at = blockIdx.x * RUN + threadIdx.x; at < n; at += gridDim.x * RUN) {
    uint4 v[LOADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) v[i] = data[at + static_cast<unsigned>(i) * THREADS];
#pragma unroll
    for (int i = 0; i < LOADS; i++) mixed ^= v[i].x ^ v[i].y ^ v[i].z ^ v[i].w;
  }
  // Memory is all zeros: no thread writes, and the compiler does not know.
  if (mixed != 0) *seen = mixed;
}

double read_rate(int device) {
  use_device(device);
  const auto multiprocessors = static_cast<uint64_t>(capability().multiprocessors);
  constexpr uint64_t RUN_BYTES = THREADS * LOADS * sizeof(uint4);
  const uint64_t wanted = multiprocessors * BYTES_A_MULTIPROCESSOR;
  const uint64_t bytes = std::min(wanted, device_info(device).free_bytes / 4) / RUN_BYTES * RUN_BYTES;
  require(bytes > 0, MG_E_MEMORY, "mg_gpu_read_rate: the GPU has no memory left");
  const Stream stream;
  const DeviceArray<unsigned char> data(bytes);
  const DeviceArray<uint32_t> seen(1);
  fill_bytes(stream, data.data(), 0, bytes);
  const Geometry geometry{dim3(static_cast<unsigned>(multiprocessors) * BLOCKS_A_MULTIPROCESSOR),
                          dim3(THREADS)};
  double best = INFINITY;
  for (int round = 0; round <= ROUNDS; round++) {
    Event begin;
    Event end;
    begin.record(stream);
    MG_LAUNCH(read_kernel, stream, geometry, reinterpret_cast<const uint4*>(data.data()),
              bytes / sizeof(uint4), seen.data());
    end.record(stream);
    end.wait();
    if (round > 0) best = std::min(best, end.seconds_since(begin));  // the first one warms up
  }
  return static_cast<double>(bytes) / best;
}

}  // namespace
}  // namespace magnet::gpu

extern "C" int32_t mg_gpu_read_rate(uint32_t device, double* out_bytes_per_s) {
  using namespace magnet;
  return guard([&] {
    require(out_bytes_per_s != nullptr, MG_E_INVALID, "mg_gpu_read_rate: out is null");
    require(device < 1024, MG_E_INVALID, "mg_gpu_read_rate: no such device");
    *out_bytes_per_s = gpu::read_rate(static_cast<int>(device));
    return int32_t{MG_OK};
  });
}
