// The runtime's twin on the host: device memory is the host's, a graph keeps its work. A stream does
// its work when somebody waits for it, as late as a device may, so that a wait that is missing shows;
// with MAGNET_EMULATION_ORDER=forward at once, as early as a device may. MAGNET_EMULATION_DEVICES=0 is
// a machine without a driver; MAGNET_EMULATION_CAPABILITY (90), MAGNET_EMULATION_MULTIPROCESSORS and
// MAGNET_EMULATION_MEMORY (4096 MiB) choose the device.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "hopper.hpp"
#include "runtime.hpp"

namespace magnet::gpu {

namespace {
using Work = std::vector<std::function<void()>>;
using Clock = std::chrono::steady_clock;

/** Of all that follows: work may be done by another thread's wait. */
std::recursive_mutex& everything() {
  static std::recursive_mutex mutex;
  return mutex;
}
using Lock = std::lock_guard<std::recursive_mutex>;

struct EmulatedStream {
  Work* capture = nullptr;
  std::deque<std::function<void()>> queue;
  std::exception_ptr failed;  // of work that was done when nobody could be told

  void step() {
    const std::function<void()> work = std::move(queue.front());
    queue.pop_front();
    try {
      work();
    } catch (...) {
      queue.clear();
      throw;
    }
  }
  void finish() {
    if (failed) std::rethrow_exception(std::exchange(failed, nullptr));
    while (!queue.empty()) step();
  }
};
EmulatedStream& of(const Stream& stream) { return *static_cast<EmulatedStream*>(stream.native()); }

std::vector<EmulatedStream*>& streams() {
  static std::vector<EmulatedStream*> all;
  return all;
}
/** As cudaFree and its like do. */
void finish_all() noexcept {
  for (EmulatedStream* const stream : streams()) {
    try {
      while (!stream->queue.empty()) stream->step();
    } catch (...) {
      stream->failed = std::current_exception();
    }
  }
}

bool at_once() {
  const char* const order = std::getenv("MAGNET_EMULATION_ORDER");
  return order != nullptr && std::strcmp(order, "forward") == 0;
}

/** What was recorded last, and what of it has happened. */
struct EventState {
  EmulatedStream* stream = nullptr;
  uint64_t recorded = 0;
  uint64_t happened = 0;
  Clock::time_point time;

  void until(uint64_t record) const {
    while (happened < record) {
      if (stream->queue.empty()) fail(MG_E_INTERNAL, "an event that never happens");
      stream->step();
    }
  }
};
using SharedEvent = std::shared_ptr<EventState>;
SharedEvent& of(const Event& event) { return *static_cast<SharedEvent*>(event.native()); }

/** Page-locked pieces of the host's memory: their ends by their beginnings. */
std::map<const void*, const void*>& pinned() {
  static std::map<const void*, const void*> all;
  return all;
}
bool is_pinned(const void* p) {
  const auto after = pinned().upper_bound(p);
  return after != pinned().begin() && p < std::prev(after)->second;
}

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
uint64_t memory_bytes() {
  return static_cast<uint64_t>(number("MAGNET_EMULATION_MEMORY", 4096)) << 20;
}
uint64_t memory_left() {
  const uint64_t taken = device_bytes_allocated();
  return taken < memory_bytes() ? memory_bytes() - taken : 0;
}
}  // namespace

DeviceInfo device_info(int index) {
  use_device(index);
  return {"emulated device", 9, 0, 2, memory_bytes(), memory_left(), 1 << 20, 227 * 1024};
}

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

Stream::Stream() : native_(new EmulatedStream) {
  const Lock lock(everything());
  streams().push_back(&of(*this));
}
Stream::~Stream() {
  const Lock lock(everything());
  for (const auto& [p, bytes] : workspaces_) free_device(p);
  finish_all();
  std::erase(streams(), &of(*this));
  delete &of(*this);
}
void Stream::wait() const {
  const Lock lock(everything());
  if (of(*this).capture != nullptr) fail(MG_E_INTERNAL, "a stream that is captured is waited for");
  of(*this).finish();
}
void Stream::wait_for(const Event& event) {
  const Lock lock(everything());
  const SharedEvent state = gpu::of(event);
  enqueue(*this, [state, record = state->recorded] { state->until(record); });
}

Event::Event() : native_(new SharedEvent(std::make_shared<EventState>())) {}
Event::~Event() { delete static_cast<SharedEvent*>(native_); }
void Event::record(const Stream& stream) {
  const Lock lock(everything());
  if (gpu::of(stream).capture != nullptr) fail(MG_E_INTERNAL, "an event in a captured stream");
  const SharedEvent state = of(*this);
  state->stream = &gpu::of(stream);
  state->recorded++;
  enqueue(stream, [state, record = state->recorded] {
    state->happened = record;
    state->time = Clock::now();
  });
}
void Event::wait() const {
  const Lock lock(everything());
  of(*this)->until(of(*this)->recorded);
}
double Event::seconds_since(const Event& earlier) const {
  const Lock lock(everything());
  for (const SharedEvent& state : {of(*this), of(earlier)})
    if (state->recorded == 0 || state->happened < state->recorded)
      fail(MG_E_INTERNAL, "the time of an event that has not happened");
  return std::chrono::duration<double>(of(*this)->time - of(earlier)->time).count();
}

void* allocate_uncounted(uint64_t bytes) {
  if (bytes > memory_left())
    fail(MG_E_MEMORY, "no room for %llu bytes of device memory",
         static_cast<unsigned long long>(bytes));
  return allocate(bytes, "device memory");
}
void* allocate_device_uncaptured(uint64_t bytes) { return allocate_device(bytes); }
void free_uncounted(void* p) noexcept {
  const Lock lock(everything());
  if (p != nullptr) finish_all();
  std::free(p);
}
void* allocate_pinned_uncounted(uint64_t bytes) {
  void* const p = allocate(bytes, "pinned memory");
  const Lock lock(everything());
  pinned()[p] = static_cast<unsigned char*>(p) + bytes;
  return p;
}
void free_pinned_uncounted(void* p) noexcept {
  const Lock lock(everything());
  finish_all();
  pinned().erase(p);
  std::free(p);
}

void enqueue(const Stream& stream, std::function<void()> work) {
  const Lock lock(everything());
  EmulatedStream& s = of(stream);
  if (s.capture != nullptr) return s.capture->push_back(std::move(work));
  s.queue.push_back(std::move(work));
  if (at_once()) s.finish();
}

void copy_on_device(const Stream& stream, void* to, const void* from, uint64_t bytes) {
  enqueue(stream, [=] { std::memmove(to, from, bytes); });
}
/** What is not pinned has been read when the call returns. */
void copy_in(const Stream& stream, void* device, const void* host, uint64_t bytes) {
  const Lock lock(everything());
  if (is_pinned(host) || of(stream).capture != nullptr)
    return copy_on_device(stream, device, host, bytes);
  const auto* const from = static_cast<const unsigned char*>(host);
  const auto read = std::make_shared<std::vector<unsigned char>>(from, from + bytes);
  enqueue(stream, [=] { std::memcpy(device, read->data(), bytes); });
}
/** What is not pinned has been written when the call returns. */
void copy_out(const Stream& stream, void* host, const void* device, uint64_t bytes) {
  const Lock lock(everything());
  copy_on_device(stream, host, device, bytes);
  if (!is_pinned(host) && of(stream).capture == nullptr) of(stream).finish();
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
Graph::~Graph() {
  const Lock lock(everything());
  finish_all();  // what was started refers to it
  delete static_cast<Work*>(native_);
}
void Graph::start(const Stream& stream) const {
  for (const auto& step : *static_cast<Work*>(native_)) enqueue(stream, step);
}

}  // namespace magnet::gpu
