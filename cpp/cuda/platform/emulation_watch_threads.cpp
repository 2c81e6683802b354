// What the threads of a block know of each other (emulation_watch.hpp). Every warp counts its steps, and
// a barrier gives those that meet there all that each of them knew and has done: vectors of epochs, which
// threads that met last share.
#include <algorithm>
#include <map>

#include "emulation_watch_parts.hpp"

namespace magnet::emulation::watch {

namespace {

using Epochs = std::vector<uint32_t>;
using Known = std::shared_ptr<const Epochs>;

struct Span {
  uintptr_t begin, end;
  uint32_t group;
  bool meets(uintptr_t address, size_t bytes) const {
    return address < end && address + bytes > begin;
  }
};

struct ThreadState {
  Known knows;
  Known fenced;                 // across fence.proxy.async
  uint32_t copies = 1;          // the group of cp.async that is open
  uint32_t copies_done = 0;
  uint32_t products = 1;        // of wgmma
  uint32_t products_done = 0;
  bool previous_done = false;
  bool registers_written = true;  // since wgmma.fence
  std::vector<Span> registers;    // of products, and the last group that changes them
};

struct MbarrierState {
  unsigned index = 0;
  uint32_t phase = 1;  // that is open
  Epochs arrived, arrived_fenced;
  Known done, done_fenced;  // of the phase before
};

struct BlockState {
  Agents agents;
  std::vector<ThreadState> threads;
  std::vector<uint32_t> epochs;  // of the warps
  std::map<const void*, MbarrierState> mbarriers;
  uintptr_t stacks = 0;
  size_t stack_bytes = 0;
  bool any_waited = false;
};
BlockState& block() {
  static BlockState state;
  return state;
}
ThreadState& mine() { return block().threads[running.thread]; }
uint32_t epoch_of(unsigned thread) { return block().epochs[thread / WARP]; }

uint32_t at(const Known& known, unsigned agent) {
  return known != nullptr && agent < known->size() ? (*known)[agent] : 0;
}

void join(Epochs& into, const Known& other) {
  if (other == nullptr) return;
  if (into.size() < other->size()) into.resize(other->size());
  for (size_t i = 0; i < other->size(); i++) into[i] = std::max(into[i], (*other)[i]);
}
void raise(Epochs& into, unsigned agent, uint32_t epoch) {
  if (epoch == 0) return;
  if (into.size() <= agent) into.resize(agent + 1);
  into[agent] = std::max(into[agent], epoch);
}

/** What the thread itself has done and waited for. */
void add_own(Epochs& into, unsigned thread) {
  const Agents& a = block().agents;
  const ThreadState& t = block().threads[thread];
  raise(into, thread, epoch_of(thread));
  raise(into, a.copies(thread), t.copies_done);
  raise(into, a.products(thread), t.products_done);
  if (t.previous_done) raise(into, a.previous(), 1);
}

/** All that the thread knows, for others; it goes on in the next epoch. */
void release(unsigned thread, Epochs& into, Epochs& into_fenced) {
  join(into, block().threads[thread].knows);
  join(into_fenced, block().threads[thread].fenced);
  add_own(into, thread);
  block().epochs[thread / WARP]++;
}
void acquire(ThreadState& t, const Known& known, const Known& fenced) {
  const auto joined = [](const Known& before, const Known& more) -> Known {
    if (before == nullptr || more == nullptr) return before == nullptr ? more : before;
    Epochs all = *before;
    join(all, more);
    return std::make_shared<Epochs>(std::move(all));
  };
  t.knows = joined(t.knows, known);
  t.fenced = joined(t.fenced, fenced);
}

}  // namespace

std::string Agents::name(unsigned agent) const {
  if (agent < threads) return "thread " + std::to_string(agent);
  if (agent < 2 * threads) return "cp.async of thread " + std::to_string(agent - threads);
  if (agent < 2 * threads + warps()) return "wgmma of warp " + std::to_string(agent - 2 * threads);
  return "a bulk copy";
}

const Agents& agents() { return block().agents; }

bool knows(unsigned agent, uint32_t epoch) {
  const ThreadState& t = mine();
  const Agents& a = block().agents;
  if (agent == running.thread) return true;
  if (agent == a.copies(running.thread) && t.copies_done >= epoch) return true;
  if (agent == a.products(running.thread) && t.products_done >= epoch) return true;
  return at(t.knows, agent) >= epoch;
}
bool knows_fenced(unsigned agent, uint32_t epoch) { return at(mine().fenced, agent) >= epoch; }
bool knows_previous() {
  return mine().previous_done || at(mine().knows, block().agents.previous()) != 0;
}

Access by_thread(Kind kind, uint32_t place) {
  if (!running.in_thread) return {running.task, 0, place, 0, kind};
  return {running.task, epoch_of(running.thread), place, static_cast<uint16_t>(running.thread),
          kind};
}

void place_stacks(const unsigned char* stacks, size_t bytes) {
  block().stacks = reinterpret_cast<uintptr_t>(stacks);
  block().stack_bytes = bytes;
}
bool on_stack(uintptr_t address) { return address - block().stacks < block().stack_bytes; }

void begin_block(unsigned threads, unsigned index, const unsigned char* window,
                 size_t window_bytes, const unsigned char* shared, size_t shared_bytes) {
  watching().lock();
  BlockState& b = block();
  b.agents = {threads};
  b.threads.assign(threads, {});
  b.epochs.assign(b.agents.warps(), 1);
  b.mbarriers.clear();
  b.any_waited = false;
  running.block = index;
  running.task = new_task();
  place_window(window, window_bytes, shared, shared_bytes);
}
void end_block() {
  if (operation(running.operation).overlaps && !block().any_waited)
    tell("an overlapping kernel ends without wait_for_previous: the next one would not wait for the "
         "one before it",
         0, 0);
  forget_shared();
  watching().unlock();
}
void run_thread(unsigned thread) {
  running.thread = thread;
  running.in_thread = true;
}
void stop_thread() { running.in_thread = false; }
void pause() { running.paused++; }
void resume() { running.paused--; }

void meet(const std::vector<unsigned>& threads) {
  BlockState& b = block();
  Epochs all;
  Epochs all_fenced;
  const Epochs* last = nullptr;
  const Epochs* last_fenced = nullptr;
  for (const unsigned i : threads) {
    const ThreadState& t = b.threads[i];
    // Threads that met before know the same.
    if (t.knows.get() != last) join(all, t.knows);
    if (t.fenced.get() != last_fenced) join(all_fenced, t.fenced);
    last = t.knows.get();
    last_fenced = t.fenced.get();
  }
  if (all.size() < b.agents.threads) all.resize(b.agents.threads);
  for (const unsigned i : threads) add_own(all, i);
  for (size_t i = 0; i < threads.size(); i++)
    if (i == 0 || threads[i] / WARP != threads[i - 1] / WARP) b.epochs[threads[i] / WARP]++;
  const Known known = std::make_shared<Epochs>(std::move(all));
  const Known fenced =
      all_fenced.empty() ? nullptr : std::make_shared<Epochs>(std::move(all_fenced));
  for (const unsigned i : threads) {
    b.threads[i].knows = known;
    b.threads[i].fenced = fenced;
  }
}

void previous_done() {
  mine().previous_done = true;
  block().any_waited = true;
}

// ---- cp.async

void async_copy(void* to, const void* from, size_t bytes, bool zero, const void* instruction) {
  const uint32_t place = place_of(instruction);
  const auto agent = static_cast<uint16_t>(agents().copies(running.thread));
  Access access{running.task, mine().copies, place, agent, Kind::READ};
  if (!zero) touch(reinterpret_cast<uintptr_t>(from), bytes, access, false);
  access.kind = Kind::WRITE;
  touch(reinterpret_cast<uintptr_t>(to), bytes, access, false);
}
void async_commit() { mine().copies++; }
void async_wait(unsigned groups_left) {
  ThreadState& t = mine();
  const uint32_t committed = t.copies - 1;
  if (committed > groups_left) t.copies_done = std::max(t.copies_done, committed - groups_left);
}

// ---- mbarriers and what completes on them

namespace {
MbarrierState* mbarrier(const void* barrier, const void* instruction) {
  const auto found = block().mbarriers.find(barrier);
  if (found != block().mbarriers.end()) return &found->second;
  report("an mbarrier that no thread has initialised", instruction);
  return nullptr;
}
}  // namespace

void proxy_fence() {
  ThreadState& t = mine();
  Epochs all;
  join(all, t.knows);
  join(all, t.fenced);
  add_own(all, running.thread);
  block().epochs[running.thread / WARP]++;
  t.fenced = std::make_shared<Epochs>(std::move(all));
}
void mbarrier_init(const void* barrier, const void* instruction) {
  auto& all = block().mbarriers;
  MbarrierState& made = all[barrier];
  made = {};
  made.index = static_cast<unsigned>(all.size()) - 1;
  if (made.index >= MBARRIERS) report("more than 64 mbarriers in a block", instruction);
  touch(reinterpret_cast<uintptr_t>(barrier), 8, by_thread(Kind::WRITE, place_of(instruction)),
        false);
}
void mbarrier_arrive(const void* barrier, const void* instruction) {
  read(barrier, 8, instruction);
  MbarrierState* const state = mbarrier(barrier, instruction);
  if (state != nullptr) release(running.thread, state->arrived, state->arrived_fenced);
}
void mbarrier_phase(const void* barrier) {
  const auto found = block().mbarriers.find(barrier);
  if (found == block().mbarriers.end()) return;
  MbarrierState& state = found->second;
  // Those that wait know that the copies of the phase are there, whoever reads them.
  raise(state.arrived, agents().mbarrier(state.index), state.phase);
  raise(state.arrived_fenced, agents().mbarrier(state.index), state.phase);
  state.done = std::make_shared<Epochs>(state.arrived);
  state.done_fenced = std::make_shared<Epochs>(state.arrived_fenced);
  state.phase++;
}
void mbarrier_waited(const void* barrier, const void* instruction) {
  read(barrier, 8, instruction);
  MbarrierState* const state = mbarrier(barrier, instruction);
  if (state != nullptr) acquire(mine(), state->done, state->done_fenced);
}
namespace {
void bulk(uintptr_t address, size_t bytes, const void* barrier, Kind kind,
          const void* instruction) {
  const uint32_t place = place_of(instruction);
  MbarrierState* const state = mbarrier(barrier, instruction);
  if (state == nullptr) return;
  const auto agent = static_cast<uint16_t>(agents().mbarrier(state->index));
  touch(address, bytes, {running.task, state->phase, place, agent, kind}, true);
}
}  // namespace
void bulk_write(void* to, size_t bytes, const void* barrier) {
  const void* const instruction = __builtin_return_address(0);
  // The copy looks at the barrier, too, and through the async proxy.
  touch(reinterpret_cast<uintptr_t>(barrier), 8, by_thread(Kind::READ, place_of(instruction)),
        true);
  bulk(reinterpret_cast<uintptr_t>(to), bytes, barrier, Kind::WRITE, instruction);
}
void bulk_read(const void* from, size_t bytes, const void* barrier) {
  bulk(reinterpret_cast<uintptr_t>(from), bytes, barrier, Kind::READ, __builtin_return_address(0));
}

// ---- wgmma

void product_reads(const void* p, size_t bytes) {
  const void* const instruction = __builtin_return_address(0);
  // A warp's instruction: one lane stands for all.
  if (running.thread % WARP != 0) return;
  const auto agent = static_cast<uint16_t>(agents().products(running.thread));
  touch(reinterpret_cast<uintptr_t>(p), bytes,
        {running.task, mine().products, place_of(instruction), agent, Kind::READ}, true);
}
void product_registers(const void* p, size_t bytes) {
  const void* const instruction = __builtin_return_address(0);
  ThreadState& t = mine();
  if (t.registers_written)
    report("registers of wgmma were written since the last wgmma.fence", instruction);
  const auto begin = reinterpret_cast<uintptr_t>(p);
  for (Span& span : t.registers) {
    if (span.begin != begin || span.end != begin + bytes) continue;
    span.group = t.products;
    return;
  }
  t.registers.push_back({begin, begin + bytes, t.products});
}
void product_fence() { mine().registers_written = false; }
void product_commit() { mine().products++; }
void product_wait(unsigned groups_left) {
  ThreadState& t = mine();
  const uint32_t committed = t.products - 1;
  if (committed > groups_left)
    t.products_done = std::max(t.products_done, committed - groups_left);
}
void touch_stack(uintptr_t address, size_t bytes, bool write, uint32_t place) {
  ThreadState& t = mine();
  for (const Span& span : t.registers) {
    if (!span.meets(address, bytes)) continue;
    if (span.group > t.products_done)
      tell("registers of a wgmma in flight are touched at %1", place, 0);
    if (write) t.registers_written = true;
  }
}

}  // namespace magnet::emulation::watch
