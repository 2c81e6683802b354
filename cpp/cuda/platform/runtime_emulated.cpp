// The runtime's twin on the host: device memory is the host's, streams do their work at once, a graph
// keeps it. MAGNET_EMULATION_DEVICES=0 is a machine without a driver; MAGNET_EMULATION_CAPABILITY (80)
// and MAGNET_EMULATION_MULTIPROCESSORS choose the device.
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "hopper.hpp"
#include "runtime.hpp"

namespace magnet::gpu {

namespace {
using Work = std::vector<std::function<void()>>;
using Clock = std::chrono::steady_clock;

struct EmulatedStream {
  Work* capture = nullptr;
};
EmulatedStream& of(const Stream& stream) { return *static_cast<EmulatedStream*>(stream.native()); }

constexpr size_t ALIGNMENT = 256;
void* allocate(uint64_t bytes, const char* what) {
  void* p = nullptr;
  if (posix_memalign(&p, ALIGNMENT, bytes) != 0)
    fail(MG_E_MEMORY, "no room for %llu bytes of %s", static_cast<unsigned long long>(bytes), what);
  std::memset(p, 0xff, bytes);  // NaN: nothing may count on zeros
  return p;
}
}  // namespace

DriverStatus driver_status() noexcept {
  DriverStatus status;
  status.runtime_version = 0;
  const char* const devices = std::getenv("MAGNET_EMULATION_DEVICES");
  status.devices = devices == nullptr ? 1 : std::atoi(devices);
  if (status.devices == 0) status.why_none = "no NVIDIA driver is installed";
  return status;
}

DeviceInfo device_info(int index) {
  use_device(index);
  return {"emulated device", 9, 0, 2, uint64_t{4} << 30, uint64_t{4} << 30, 1 << 20, 227 * 1024};
}

void use_device(int index) {
  const DriverStatus status = driver_status();
  if (status.devices == 0) fail(MG_E_UNSUPPORTED, "%s", status.why_none.c_str());
  if (index < 0 || index >= status.devices)
    fail(MG_E_INVALID, "device %d of %d", index, status.devices);
}

namespace {
int number(const char* variable, int otherwise) {
  const char* const value = std::getenv(variable);
  return value == nullptr ? otherwise : std::atoi(value);
}
}  // namespace

const Capability& capability() {
  static const Capability emulated = [] {
    const int version = number("MAGNET_EMULATION_CAPABILITY", 90);
    return Capability{version / 10, version % 10, number("MAGNET_EMULATION_MULTIPROCESSORS", 2),
                      228 * 1024};
  }();
  return emulated;
}

bool times_are_real() { return number("MAGNET_EMULATION_MEASURE", 0) != 0; }
int current_device() { return 0; }
const float* zero_and_one() {
  static constexpr float CONSTANTS[2] = {0.0f, 1.0f};
  return CONSTANTS;
}

Stream::Stream() : native_(new EmulatedStream) {}
Stream::~Stream() {
  for (const auto& [p, bytes] : workspaces_) free_device(p);
  delete static_cast<EmulatedStream*>(native_);
}
void Stream::wait() const {}
void Stream::wait_for(const Event&) {}

Event::Event() : native_(new Clock::time_point(Clock::now())) {}
Event::~Event() { delete static_cast<Clock::time_point*>(native_); }
void Event::record(const Stream&) { *static_cast<Clock::time_point*>(native_) = Clock::now(); }
void Event::wait() const {}
double Event::seconds_since(const Event& earlier) const {
  const auto at = [](const Event& e) { return *static_cast<Clock::time_point*>(e.native()); };
  return std::chrono::duration<double>(at(*this) - at(earlier)).count();
}

void* allocate_device(uint64_t bytes) { return allocate(bytes, "device memory"); }
void* allocate_device_uncaptured(uint64_t bytes) { return allocate_device(bytes); }
void free_device(void* p) noexcept { std::free(p); }
void* allocate_pinned(uint64_t bytes) { return allocate(bytes, "pinned memory"); }
void free_pinned(void* p) noexcept { std::free(p); }

void enqueue(const Stream& stream, std::function<void()> work) {
  if (of(stream).capture != nullptr)
    of(stream).capture->push_back(std::move(work));
  else
    work();
}

namespace {
void copy(const Stream& stream, void* to, const void* from, uint64_t bytes) {
  enqueue(stream, [=] { std::memmove(to, from, bytes); });
}
}  // namespace
void copy_in(const Stream& stream, void* device, const void* host, uint64_t bytes) {
  copy(stream, device, host, bytes);
}
void copy_out(const Stream& stream, void* host, const void* device, uint64_t bytes) {
  copy(stream, host, device, bytes);
}
void copy_on_device(const Stream& stream, void* to, const void* from, uint64_t bytes) {
  copy(stream, to, from, bytes);
}
void fill_bytes(const Stream& stream, void* device, int byte, uint64_t bytes) {
  enqueue(stream, [=] { std::memset(device, byte, bytes); });
}

void check_launch(const char*) {}

TensorMap make_tensor_map(const void* data, int element_bytes, int64_t columns, int64_t rows,
                          int64_t stride, int box_rows) {
  const int64_t stride_bytes = stride * element_bytes;
  // What the driver refuses.
  if (reinterpret_cast<uintptr_t>(data) % 16 != 0 || stride_bytes % 16 != 0 || columns < 1 ||
      rows < 1 || box_rows < 1 || box_rows > 256)
    fail(MG_E_INTERNAL, "a tensor map of (%lld, %lld), box %d", static_cast<long long>(rows),
         static_cast<long long>(columns), box_rows);
  return {static_cast<const unsigned char*>(data), element_bytes, columns, rows, stride_bytes,
          box_rows};
}

Graph::Graph(const Stream& stream, const std::function<void()>& work) : native_(new Work) {
  of(stream).capture = static_cast<Work*>(native_);
  try {
    work();
  } catch (...) {
    of(stream).capture = nullptr;
    delete static_cast<Work*>(native_);
    throw;
  }
  of(stream).capture = nullptr;
}
Graph::~Graph() { delete static_cast<Work*>(native_); }
void Graph::start(const Stream& stream) const {
  for (const auto& step : *static_cast<Work*>(native_)) enqueue(stream, step);
}

}  // namespace magnet::gpu
