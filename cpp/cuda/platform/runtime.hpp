// Devices, memory, streams, events and graphs: a thin, throwing layer over the CUDA runtime
// (runtime_cuda.cu), with a twin on the host for tests (runtime_emulated.cpp). Errors are Error of
// common.hpp; a failure of the device names the call.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "../../cpu/common.hpp"
#include "device.hpp"

namespace magnet::gpu {

struct DriverStatus {
  int devices = 0;          // usable ones
  std::string why_none;     // where there are none: "no NVIDIA driver is installed", ...
  int driver_version = 0;   // 13000 = CUDA 13.0, the latest that the driver takes; 0: no driver
  int runtime_version = 0;  // that this library was built with
};
/** Never throws. */
DriverStatus driver_status() noexcept;

struct DeviceInfo {
  std::string name;
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  uint64_t memory_bytes = 0;
  uint64_t free_bytes = 0;
  uint64_t l2_bytes = 0;
  uint64_t shared_bytes = 0;  // that a block may have
};
DeviceInfo device_info(int index);
/** What launches of the calling thread's device are planned with; asked once for each device. */
struct Capability {
  int major = 0;
  int minor = 0;
  int multiprocessors = 0;
  uint64_t shared_bytes = 0;  // of a multiprocessor
};
const Capability& capability();
/** The calling thread's device, and 0.0f and 1.0f in its memory. */
int current_device();
const float* zero_and_one();
/** For the calling thread, until the next call. Throws MG_E_UNSUPPORTED with why_none, MG_E_INVALID
 * where there are fewer devices. */
void use_device(int index);

/** Whether the times between events are those of a device. In the emulation, whose are not:
 * MAGNET_EMULATION_MEASURE=1 says so nevertheless. */
bool times_are_real();

class Event;

class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  /** Until everything in it is done. */
  void wait() const;
  /** What comes after this in the stream waits for the event. */
  void wait_for(const Event& event);
  void* native() const { return native_; }
  /** At least `bytes` of device memory, 256-byte aligned, for kernels of this stream, whose order keeps
   * one use from the next. What was handed out stays until the end of the stream: graphs refer to it. */
  void* workspace(uint64_t bytes) const;

 private:
  void* native_;
  mutable std::vector<std::pair<void*, uint64_t>> workspaces_;
};

class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  void record(const Stream& stream);
  void wait() const;
  /** Between two events that have happened. */
  double seconds_since(const Event& earlier) const;
  void* native() const { return native_; }

 private:
  void* native_;
};

void* allocate_device(uint64_t bytes);
/** By this library, on all devices, now. */
uint64_t device_bytes_allocated();
/** What allocate_device and free_device rest on. */
void* allocate_uncounted(uint64_t bytes);
void free_uncounted(void* p) noexcept;
/** The same while a stream is captured for a graph. */
void* allocate_device_uncaptured(uint64_t bytes);
void free_device(void* p) noexcept;
/** Page-locked memory of the host; counted as that of devices is. */
void* allocate_pinned(uint64_t bytes);
void free_pinned(void* p) noexcept;
uint64_t pinned_bytes_allocated();
void* allocate_pinned_uncounted(uint64_t bytes);
void free_pinned_uncounted(void* p) noexcept;
/** In the order of the stream; host memory should be pinned, and must stay until then. */
void copy_in(const Stream& stream, void* device, const void* host, uint64_t bytes);
void copy_out(const Stream& stream, void* host, const void* device, uint64_t bytes);
void copy_on_device(const Stream& stream, void* to, const void* from, uint64_t bytes);
void fill_bytes(const Stream& stream, void* device, int byte, uint64_t bytes);

/** Owns `size` elements of device memory, not initialised; at least 256-byte aligned. */
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(uint64_t size)
      : data_(size == 0 ? nullptr : static_cast<T*>(allocate_device(size * sizeof(T)))),
        size_(size) {}
  ~DeviceArray() { free_device(data_); }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  T* data() const { return data_; }
  uint64_t size() const { return size_; }

 private:
  T* data_ = nullptr;
  uint64_t size_ = 0;
};

template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(uint64_t size)
      : data_(size == 0 ? nullptr : static_cast<T*>(allocate_pinned(size * sizeof(T)))),
        size_(size) {}
  ~PinnedArray() { free_pinned(data_); }
  PinnedArray(PinnedArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  T* data() const { return data_; }
  uint64_t size() const { return size_; }
  T& operator[](uint64_t i) const { return data_[i]; }

 private:
  T* data_ = nullptr;
  uint64_t size_ = 0;
};

struct Geometry {
  dim3 grid;
  dim3 block;
  uint64_t shared_bytes = 0;
  /** May start before the kernel before it in the stream has ended; it must then call wait_for_previous
   * (device.hpp) before it touches what another kernel writes or reads. */
  bool overlaps = false;
};

/** Refuses what no device takes, before the launch. */
void check_geometry(const Geometry& geometry);
/** After a launch; throws with the kernel's name. */
void check_launch(const char* kernel);
#if MG_EMULATED
struct WorkKind {
  const char* name = "copy";
  bool is_kernel = false;
  bool overlaps = false;
};
/** Now, or into the graph that the stream is captured for. */
void enqueue(const Stream& stream, std::function<void()> work, WorkKind kind = {});
/** For the table of kernels (emulation_launches.cpp). */
void note_launch(const void* kernel, const Geometry& geometry);
#else
void allow_shared(const void* kernel, uint64_t bytes);
#endif

/** Starts `kernel` in the stream; arguments are copied. Use MG_LAUNCH, which knows its name. */
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), const Stream& stream, const Geometry& geometry,
            A... arguments) {
  check_geometry(geometry);
#if MG_EMULATED
  note_launch(reinterpret_cast<const void*>(kernel), geometry);
  const auto work = [=] {
    try {
      ::magnet::emulation::run(geometry.grid, geometry.block, geometry.shared_bytes,
                               [&] { kernel(static_cast<P>(arguments)...); });
    } catch (const Error& e) {
      fail(e.code, "%s: %s", name, e.what());
    }
  };
  enqueue(stream, work, {name, true, geometry.overlaps});
#else
  // Without asking a block gets 48 KB, of which the kernel's own static arrays are part.
  if (geometry.shared_bytes > 32 * 1024)
    allow_shared(reinterpret_cast<const void*>(kernel), geometry.shared_bytes);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = geometry.grid;
  config.blockDim = geometry.block;
  config.dynamicSmemBytes = geometry.shared_bytes;
  config.stream = static_cast<cudaStream_t>(stream.native());
  config.attrs = &overlap;
  config.numAttrs = geometry.overlaps && capability().major >= 9 ? 1 : 0;
  cudaLaunchKernelEx(&config, kernel, static_cast<P>(arguments)...);
  check_launch(name);
#endif
}

/** Work that was captured once and is started as one. */
class Graph {
 public:
  /** Runs `work`, whose launches and copies in the stream are kept instead of started. */
  Graph(const Stream& stream, const std::function<void()>& work);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
  void start(const Stream& stream) const;

 private:
  void* native_ = nullptr;
};

}  // namespace magnet::gpu

#define MG_LAUNCH(kernel, ...) ::magnet::gpu::launch(#kernel, kernel, __VA_ARGS__)
