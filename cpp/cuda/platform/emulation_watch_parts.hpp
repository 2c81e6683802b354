// What the parts of the watch (emulation_watch.hpp) have in common: who does an access, what the
// parts know of each other, and what they ask.
#pragma once
#include <mutex>

#include "emulation_watch.hpp"

namespace magnet::emulation::watch {

constexpr unsigned WARP = 32;
/** mbarriers of a block. */
constexpr unsigned MBARRIERS = 64;

/** A kernel, a copy, or what the host does between two of them. */
struct Operation {
  unsigned stream = 0;  // 0: the host
  uint64_t number = 0;  // in it
  Moment sees;          // what is over when it begins
  Moment sees_early;    // the same before wait_for_previous
  const char* name = "";
  bool overlaps = false;
};

enum class Kind : uint8_t { READ, WRITE, ATOMIC };

/** Who accesses memory. A task is a block that runs, or an operation of another kind. Agents of a block
 * (Agents, below) count their own time: an access is over for those that know its `epoch`. */
struct Access {
  uint32_t task = 0;
  uint32_t epoch = 0;
  uint32_t place = 0;  // of the instruction in the program
  uint16_t agent = 0;
  Kind kind = Kind::READ;
};

/** Numbers of the agents of a block: its threads, each thread's cp.async, each warp's wgmma, the
 * mbarriers for bulk copies, and the wait for the kernel before. */
struct Agents {
  unsigned threads = 0;
  unsigned copies(unsigned thread) const { return threads + thread; }
  unsigned products(unsigned thread) const { return 2 * threads + thread / WARP; }
  unsigned mbarrier(unsigned index) const { return 2 * threads + warps() + index; }
  unsigned previous() const { return 2 * threads + warps() + MBARRIERS; }
  unsigned count() const { return previous() + 1; }
  unsigned warps() const { return (threads + WARP - 1) / WARP; }
  std::string name(unsigned agent) const;
};

/** Who runs now, as the parts see it. */
struct Running {
  bool in_thread = false;  // code of a kernel, not of the emulation
  unsigned paused = 0;
  unsigned thread = 0;
  unsigned block = 0;
  uint32_t task = 0;
  uint32_t operation = 0;
};
extern thread_local Running running;

/** Kernels run one at a time; the host's threads come in between. */
std::recursive_mutex& watching();

// ---- emulation_watch_order.cpp
const Operation& operation(uint32_t index);
/** A new one of the operation that runs. */
uint32_t new_task();
const Operation& operation_of(uint32_t task);
uint32_t operation_index(uint32_t task);
/** The task of what the host does now. */
uint32_t host_task();
/** Whether a task of another operation is over for the one that runs. */
bool is_over(const Operation& before, const Operation& now, bool previous_done);

// ---- emulation_watch_threads.cpp
const Agents& agents();
/** Whether the thread that runs knows that `agent` of its block has passed `epoch`. */
bool knows(unsigned agent, uint32_t epoch);
/** The same across a proxy fence. */
bool knows_fenced(unsigned agent, uint32_t epoch);
bool knows_previous();
/** An access by the thread that runs, or one of the host's operation. */
Access by_thread(Kind kind, uint32_t place);
/** Of the thread's stack, where the registers of a product in flight may lie. */
bool on_stack(uintptr_t address);
void touch_stack(uintptr_t address, size_t bytes, bool write, uint32_t place);

// ---- emulation_watch_memory.cpp
constexpr uint64_t ARENA_BYTES = uint64_t{64} << 30;
/** No address of a program before there is any memory. */
extern uintptr_t arena_begin;
inline uintptr_t arena() { return arena_begin; }
/** The piece that holds all of [address, address + bytes); else NONE. */
Memory piece_at(uintptr_t address, size_t bytes);

// ---- emulation_watch_shadow.cpp
/** Of any memory that a kernel or a copy may touch; `proxy`: by the async proxy. */
void touch(uintptr_t address, size_t bytes, const Access& access, bool proxy);
/** Initialised bytes stay what they are where memory is copied. */
void copy_initialised(uintptr_t to, uintptr_t from, size_t bytes);
void forget(uintptr_t address, size_t bytes);
void place_window(const unsigned char* window, size_t window_bytes, const unsigned char* shared,
                  size_t shared_bytes);
/** Shared memory of the block that has ended is as nobody had touched it. */
void forget_shared();

// ---- emulation_watch_report.cpp
/** Of an instruction of this program: what is behind it, as calls return there. */
uint32_t place_of(const void* instruction);
/** Kept once for each pair of places; `%1` and `%2` in the text become lines of the source. */
void tell(const char* text, uint32_t place, uint32_t other);
void tell(const std::string& text, uint32_t place, uint32_t other);
/** "thread 5 of block 2 of norm_rows". */
std::string who(const Access& access);

}  // namespace magnet::emulation::watch
