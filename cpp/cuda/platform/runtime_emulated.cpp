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

#include "emulation_counts.hpp"
#include "hopper.hpp"
#include "runtime.hpp"

namespace magnet::gpu {

namespace watch = ::magnet::emulation::watch;

namespace {
/** Something that a stream does; `watched`: as the watch numbers operations, 0 for events. */
struct Task {
  std::function<void()> work;
  uint32_t watched = 0;
};
/** Of a graph. */
struct Step {
  std::function<void()> work;
  WorkKind kind;
};
using Work = std::vector<Step>;
using Clock = std::chrono::steady_clock;

/** Of all that follows: work may be done by another thread's wait. */
std::recursive_mutex& everything() {
  static std::recursive_mutex mutex;
  return mutex;
}
using Lock = std::lock_guard<std::recursive_mutex>;

struct EmulatedStream {
  Work* capture = nullptr;
  std::deque<Task> queue;
  std::exception_ptr failed;  // of work that was done when nobody could be told
  unsigned watched = watch::add_stream();

  void step() {
    const Task task = std::move(queue.front());
    queue.pop_front();
    try {
      watch::begin(task.watched);
      task.work();
    } catch (...) {
      watch::begin(0);
      queue.clear();
      throw;
    }
    watch::begin(0);
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
    watch::host_waits(watch::moment(stream->watched));
  }
}

/** The stream that this thread captures, and whether that can still become a graph. */
thread_local const EmulatedStream* capturing = nullptr;
thread_local bool invalidated = false;
constexpr int UNSUPPORTED = 900;  // CUDA's numbers
constexpr int INVALIDATED = 901;
constexpr int ISOLATION = 905;
/** As a capture in CUDA's strictest mode, which other threads' captures of the process are in, too. */
void refuse_in_capture(const char* what, int error = UNSUPPORTED) {
  if (capturing == nullptr) return;
  invalidated = true;
  fail(MG_E_INTERNAL, "%s: operation not permitted when stream is capturing (CUDA error %d)", what,
       error);
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
  watch::Moment moment;

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
void* allocate(uint64_t bytes, const char* what, watch::Memory kind) {
  void* p = watch::take(bytes, kind);
  if (p == nullptr && posix_memalign(&p, ALIGNMENT, bytes) != 0)
    fail(MG_E_MEMORY, "no room for %llu bytes of %s", static_cast<unsigned long long>(bytes), what);
  // NaN where nothing else is asked for: nothing may count on zeros.
  const char* const poison = std::getenv("MAGNET_EMULATION_POISON");
  std::memset(p, poison == nullptr ? 0xff : std::atoi(poison), bytes);
  return p;
}
void release(void* p) {
  if constexpr (watch::WATCHED)
    watch::give(p);
  else
    std::free(p);
}
}  // namespace

DeviceCounts* device_counts() {
  static DeviceCounts all;
  return &all;
}

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
    const uint64_t kib = version >= 120 ? 100 : version >= 90 ? 228 : 164;
    return Capability{version / 10, version % 10, number("MAGNET_EMULATION_MULTIPROCESSORS", 2),
                      kib * 1024};
  }();
  return emulated;
}

bool times_are_real() { return number("MAGNET_EMULATION_MEASURE", 0) != 0; }
int current_device() { return 0; }
const float* zero_and_one() {
  static constexpr float CONSTANTS[2] = {0.0f, 1.0f};
  return CONSTANTS;
}

namespace {
void enqueue_task(const Stream& stream, std::function<void()> work, uint32_t watched = 0);
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
  device_counts()->waits++;
  if (capturing == &of(*this)) refuse_in_capture("cudaStreamSynchronize");
  of(*this).finish();
  watch::host_waits(watch::moment(of(*this).watched));
}
void Stream::wait_for(const Event& event) {
  const Lock lock(everything());
  // The event is of work outside of the graph: no event is recorded while a stream is captured.
  if (capturing == &of(*this)) refuse_in_capture("cudaStreamWaitEvent", ISOLATION);
  const SharedEvent state = gpu::of(event);
  watch::stream_waits(of(*this).watched, state->moment);
  enqueue_task(*this, [state, record = state->recorded] { state->until(record); });
}

Event::Event() : native_(new SharedEvent(std::make_shared<EventState>())) {}
Event::~Event() { delete static_cast<SharedEvent*>(native_); }
void Event::record(const Stream& stream) {
  const Lock lock(everything());
  // A device would take this for a fork of the graph, which the emulation has not.
  if (capturing == &gpu::of(stream)) refuse_in_capture("cudaEventRecord");
  const SharedEvent state = of(*this);
  state->stream = &gpu::of(stream);
  state->recorded++;
  state->moment = watch::moment(gpu::of(stream).watched);
  enqueue_task(stream, [state, record = state->recorded] {
    state->happened = record;
    state->time = Clock::now();
  });
}
void Event::wait() const {
  const Lock lock(everything());
  of(*this)->until(of(*this)->recorded);
  watch::host_waits(of(*this)->moment);
}
double Event::seconds_since(const Event& earlier) const {
  const Lock lock(everything());
  for (const SharedEvent& state : {of(*this), of(earlier)})
    if (state->recorded == 0 || state->happened < state->recorded)
      fail(MG_E_INTERNAL, "the time of an event that has not happened");
  return std::chrono::duration<double>(of(*this)->time - of(earlier)->time).count();
}

void* allocate_uncounted(uint64_t bytes) {
  refuse_in_capture("cudaMalloc");
  if (bytes > memory_left())
    fail(MG_E_MEMORY, "no room for %llu bytes of device memory",
         static_cast<unsigned long long>(bytes));
  return allocate(bytes, "device memory", watch::Memory::DEVICE);
}
void* allocate_device_uncaptured(uint64_t bytes) {
  const EmulatedStream* const captured = std::exchange(capturing, nullptr);
  try {
    void* const p = allocate_device(bytes);
    capturing = captured;
    return p;
  } catch (...) {
    capturing = captured;
    throw;
  }
}
void free_uncounted(void* p) noexcept {
  const Lock lock(everything());
  if (p == nullptr) return;
  invalidated = true;  // of the capture, where there is one: the graph's end tells
  finish_all();
  release(p);
}
void* allocate_pinned_uncounted(uint64_t bytes) {
  refuse_in_capture("cudaMallocHost");
  void* const p = allocate(bytes, "pinned memory", watch::Memory::PINNED);
  const Lock lock(everything());
  pinned()[p] = static_cast<unsigned char*>(p) + bytes;
  return p;
}
void free_pinned_uncounted(void* p) noexcept {
  const Lock lock(everything());
  if (p == nullptr) return;
  invalidated = true;
  finish_all();
  pinned().erase(p);
  release(p);
}

namespace {
void enqueue_task(const Stream& stream, std::function<void()> work, uint32_t watched) {
  EmulatedStream& s = of(stream);
  s.queue.push_back({std::move(work), watched});
  if (at_once()) s.finish();
}
}  // namespace

void enqueue(const Stream& stream, std::function<void()> work, WorkKind kind) {
  const Lock lock(everything());
  EmulatedStream& s = of(stream);
  if (capturing == &s) return s.capture->push_back({std::move(work), kind});
  // It would run now and once, beside the graph.
  refuse_in_capture("work in another stream");
  enqueue_task(stream, std::move(work),
               watch::add_operation(s.watched, kind.name, kind.is_kernel, kind.overlaps));
}

void copy_on_device(const Stream& stream, void* to, const void* from, uint64_t bytes) {
  enqueue(stream, [=] {
    watch::copied(to, from, bytes);
    std::memmove(to, from, bytes);
  });
}
/** What is not pinned has been read when the call returns. */
void copy_in(const Stream& stream, void* device, const void* host, uint64_t bytes) {
  const Lock lock(everything());
  device_counts()->copies_in++;
  device_counts()->bytes_in += bytes;
  if (is_pinned(host)) return copy_on_device(stream, device, host, bytes);
  refuse_in_capture("a copy from memory that is not page-locked");
  const auto* const from = static_cast<const unsigned char*>(host);
  const auto read = std::make_shared<std::vector<unsigned char>>(from, from + bytes);
  enqueue(stream, [=] {
    watch::copied(device, nullptr, bytes);
    std::memcpy(device, read->data(), bytes);
  });
}
/** What is not pinned has been written when the call returns. */
void copy_out(const Stream& stream, void* host, const void* device, uint64_t bytes) {
  const Lock lock(everything());
  device_counts()->copies_out++;
  device_counts()->bytes_out += bytes;
  if (!is_pinned(host)) refuse_in_capture("a copy to memory that is not page-locked");
  copy_on_device(stream, host, device, bytes);
  if (is_pinned(host)) return;
  of(stream).finish();
  watch::host_waits(watch::moment(of(stream).watched));
}
void fill_bytes(const Stream& stream, void* device, int byte, uint64_t bytes) {
  enqueue(stream, [=] {
    watch::copied(device, nullptr, bytes);
    std::memset(device, byte, bytes);
  });
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
  EmulatedStream& s = of(stream);
  if (capturing != nullptr || s.capture != nullptr) {
    delete static_cast<Work*>(native_);
    fail(MG_E_INTERNAL, "cudaStreamBeginCapture: operation not permitted: a capture is under way");
  }
  s.capture = static_cast<Work*>(native_);
  capturing = &s;
  invalidated = false;
  const auto end = [&] { s.capture = nullptr, capturing = nullptr; };
  try {
    work();
    if (invalidated)
      fail(MG_E_INTERNAL, "cudaStreamEndCapture: operation failed due to a previous error during "
                          "capture (CUDA error %d)", INVALIDATED);
  } catch (...) {
    end();
    delete static_cast<Work*>(native_);
    throw;
  }
  end();
}
Graph::~Graph() {
  const Lock lock(everything());
  finish_all();  // what was started refers to it
  delete static_cast<Work*>(native_);
}
void Graph::start(const Stream& stream) const {
  for (const Step& step : *static_cast<Work*>(native_)) enqueue(stream, step.work, step.kind);
}

}  // namespace magnet::gpu
