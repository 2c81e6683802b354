// The order of kernels, copies and the host in the watch (emulation_watch.hpp): each stream and the host
// count their operations, and everybody knows up to which the others' are over.
#include <algorithm>

#include "emulation_watch_parts.hpp"

namespace magnet::emulation::watch {

thread_local Running running;

std::recursive_mutex& watching() {
  static std::recursive_mutex mutex;
  return mutex;
}

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;

struct StreamState {
  Clock knows;         // what is over when its next operation begins
  Moment before_last;  // what its last operation, if a kernel, knew before wait_for_previous
};

struct Order {
  std::vector<StreamState> streams{StreamState{}};  // 0: the host
  std::vector<Operation> operations{Operation{}};
  std::vector<uint32_t> tasks{0};  // their operations
  uint32_t host_task = 0;
};
Order& order() {
  static Order all;
  return all;
}

void join(Clock& into, const Clock& other) {
  if (into.size() < other.size()) into.resize(other.size());
  for (size_t i = 0; i < other.size(); i++) into[i] = std::max(into[i], other[i]);
}

/** The next of the stream; what it was told to wait for is known. */
uint64_t count(unsigned stream) {
  Clock& clock = order().streams[stream].knows;
  if (clock.size() <= stream) clock.resize(stream + 1);
  return ++clock[stream];
}

}  // namespace

unsigned add_stream() {
  const Lock lock(watching());
  order().streams.emplace_back();
  return static_cast<unsigned>(order().streams.size() - 1);
}

uint32_t add_operation(unsigned stream, const char* name, bool is_kernel, bool overlaps) {
  const Lock lock(watching());
  Order& all = order();
  StreamState& s = all.streams[stream];
  // What the host has done is over when this begins; what it does from here on is not.
  count(0);
  all.host_task = 0;
  join(s.knows, all.streams[0].knows);
  Operation made{stream, 0, std::make_shared<Clock>(s.knows), nullptr, name, overlaps};
  made.sees_early = made.sees;
  if (overlaps && s.before_last != nullptr) {
    // The kernel before may have let it start when it had only begun itself.
    Clock early = *s.before_last;
    join(early, all.streams[0].knows);
    made.sees_early = std::make_shared<Clock>(std::move(early));
  }
  s.before_last = is_kernel ? made.sees_early : nullptr;
  made.number = count(stream);
  all.operations.push_back(made);
  return static_cast<uint32_t>(all.operations.size() - 1);
}

Moment moment(unsigned stream) {
  const Lock lock(watching());
  return std::make_shared<Clock>(order().streams[stream].knows);
}

void stream_waits(unsigned stream, const Moment& moment) {
  const Lock lock(watching());
  if (moment == nullptr) return;
  StreamState& s = order().streams[stream];
  join(s.knows, *moment);
  if (s.before_last == nullptr) return;
  Clock early = *s.before_last;
  join(early, *moment);
  s.before_last = std::make_shared<Clock>(std::move(early));
}

void host_waits(const Moment& moment) {
  const Lock lock(watching());
  if (moment == nullptr) return;
  join(order().streams[0].knows, *moment);
  order().host_task = 0;
}

void begin(uint32_t operation) {
  running.operation = operation;
  running.task = 0;
}

const Operation& operation(uint32_t index) { return order().operations[index]; }
const Operation& operation_of(uint32_t task) { return operation(order().tasks[task]); }
uint32_t operation_index(uint32_t task) { return order().tasks[task]; }

uint32_t new_task() {
  order().tasks.push_back(running.operation);
  return static_cast<uint32_t>(order().tasks.size() - 1);
}

uint32_t host_task() {
  Order& all = order();
  if (all.host_task != 0) return all.host_task;
  Clock& clock = all.streams[0].knows;
  if (clock.empty()) clock.resize(1);
  // Its own number is not over for streams that were told before.
  Operation made{0, clock[0] + 1, std::make_shared<Clock>(clock), nullptr, "the host", false};
  made.sees_early = made.sees;
  all.operations.push_back(made);
  all.tasks.push_back(static_cast<uint32_t>(all.operations.size() - 1));
  all.host_task = static_cast<uint32_t>(all.tasks.size() - 1);
  return all.host_task;
}

bool is_over(const Operation& before, const Operation& now, bool previous_done) {
  if (before.stream == 0 && now.stream == 0) return true;
  const Clock& clock = previous_done ? *now.sees : *now.sees_early;
  return before.stream < clock.size() && clock[before.stream] >= before.number;
}

}  // namespace magnet::emulation::watch
