// Fibers and their scheduler; see emulation.hpp. A fiber runs until it waits for others; the scheduler
// then goes on with the next one that may run.
#include "emulation_async.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "../../cpu/common.hpp"
#include "emulation_counts.hpp"

#if !defined(__x86_64__)
#error "the emulation switches fibers with x86-64 instructions"
#endif

// Saves what a call preserves, changes the stack, and goes on where that stack was left.
asm(R"(
.text
.globl magnet_fiber_switch
.type magnet_fiber_switch, @function
magnet_fiber_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size magnet_fiber_switch, .-magnet_fiber_switch
)");
extern "C" void magnet_fiber_switch(void** save, void* load);

namespace magnet::emulation {

thread_local Indices now;

namespace {

constexpr size_t STACK_BYTES = 256 * 1024;
constexpr size_t PAGE = 4096;
constexpr unsigned THREADS_MAX = 1024;
constexpr unsigned LANES = 32;
constexpr unsigned BARRIERS = 16;
/** Of a block, as on a device with the most. */
constexpr size_t SHARED_MAX = 227 * 1024;

/** Threads that meet: open until `expected` have arrived. */
struct Barrier {
  unsigned arrived = 0;
  uint64_t generation = 0;
  std::vector<unsigned> threads;  // that wait; filled where the watch is there to be told
};

struct Warp {
  Barrier barrier;
  unsigned left = 0;  // lanes that have returned
  unsigned size = 0;
  unsigned char values[2][LANES * EXCHANGE_BYTES];
};

struct AsyncCopy {
  void* to;
  const void* from;
  size_t bytes;
  bool zero;
  unsigned group;
};

struct Fiber {
  void* stack_pointer = nullptr;
  uint3 index{0, 0, 0};
  unsigned number = 0;
  bool returned = false;
  const Barrier* waits_for = nullptr;
  uint64_t since = 0;
  const std::function<bool()>* condition = nullptr;
  uint64_t exchanges = 0;
  unsigned groups = 0;  // cp.async groups that were committed
  std::vector<AsyncCopy> copies;
  bool may_run() const {
    if (returned || (condition != nullptr && !(*condition)())) return false;
    return waits_for == nullptr || waits_for->generation != since;
  }
};

/** Stacks with a page below each that ends what overflows. */
class Stacks {
 public:
  Stacks() {
    void* const p = mmap(nullptr, THREADS_MAX * STACK_BYTES, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(p != MAP_FAILED, MG_E_MEMORY, "emulation: no memory for stacks");
    base_ = static_cast<unsigned char*>(p);
    for (unsigned i = 0; i < THREADS_MAX; i++) mprotect(base_ + i * STACK_BYTES, PAGE, PROT_NONE);
  }
  ~Stacks() { munmap(base_, THREADS_MAX * STACK_BYTES); }
  Stacks(const Stacks&) = delete;
  Stacks& operator=(const Stacks&) = delete;
  unsigned char* top(unsigned i) const { return base_ + (i + 1) * STACK_BYTES; }

 private:
  unsigned char* base_;
};

/** Shared memory of a block, its end at a page that nothing may touch. */
class SharedMemory {
 public:
  SharedMemory() {
    void* const p = mmap(nullptr, ROOM + PAGE, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    require(p != MAP_FAILED, MG_E_MEMORY, "emulation: no shared memory");
    base_ = static_cast<unsigned char*>(p);
    mprotect(base_ + ROOM, PAGE, PROT_NONE);
  }
  ~SharedMemory() { munmap(base_, ROOM + PAGE); }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  unsigned char* window() const { return base_; }
  /** `bytes` that hold NaN; 1024-byte aligned where their number is, else 128. */
  unsigned char* take(size_t bytes) const {
    const size_t rounded = (bytes + 127) / 128 * 128;
    unsigned char* const p = base_ + ROOM - rounded;
    std::memset(p, 0xff, rounded);
    return p;
  }

 private:
  static constexpr size_t ROOM = (SHARED_MAX + PAGE - 1) / PAGE * PAGE;
  unsigned char* base_;
};

class Block {
 public:
  void run(dim3 size, size_t shared_bytes, const std::vector<unsigned>& order,
           const std::function<void()>& kernel) {
    const unsigned threads = size.x * size.y * size.z;
    kernel_ = &kernel;
    failure_.clear();
    alive_ = threads;
    block_barrier_ = {};
    std::fill(std::begin(named_), std::end(named_), Barrier{});
    fibers_.assign(threads, {});
    warps_ = std::vector<Warp>((threads + LANES - 1) / LANES);
    shared_ = shared_memory_.take(shared_bytes);
    const Watched watched(*this, threads, shared_bytes);
    for (unsigned i = 0; i < threads; i++) {
      fibers_[i].number = i;
      fibers_[i].index = {i % size.x, i / size.x % size.y, i / (size.x * size.y)};
      warps_[i / LANES].size++;
      prepare(i);
    }
    while (alive_ > 0 && failure_.empty()) {
      bool progress = false;
      for (const unsigned i : order) {
        if (!fibers_[i].may_run()) continue;
        progress = true;
        resume(fibers_[i]);
        if (!failure_.empty()) break;
      }
      if (!progress && failure_.empty()) failure_ = "threads wait at a barrier for ever";
    }
    if (!end_async() && failure_.empty()) failure_ = "asynchronous work outlives its block";
    if (!failure_.empty())
      fail(MG_E_INTERNAL, "emulation: %s (block %u,%u,%u, thread %u)", failure_.c_str(),
           now.block.x, now.block.y, now.block.z, failed_thread_);
  }

  void meet(const std::function<bool()>& condition) {
    current_->condition = &condition;
    magnet_fiber_switch(&current_->stack_pointer, scheduler_);
    current_->condition = nullptr;
  }
  Fiber& current() { return *current_; }
  unsigned char* window() const { return shared_memory_.window(); }
  Warp& warp() { return warps_[current_->number / LANES]; }
  unsigned char* shared() const { return shared_; }

  [[noreturn]] void refuse(const char* what) {
    failure_ = what;
    failed_thread_ = current_->number;
    void* nowhere;
    magnet_fiber_switch(&nowhere, scheduler_);
    std::abort();
  }

  /** `orders`: memory, too. */
  void meet(Barrier& barrier, unsigned expected, bool orders = true) {
    if (watch::WATCHED && orders) barrier.threads.push_back(current_->number);
    if (++barrier.arrived >= expected) return open(barrier);
    current_->waits_for = &barrier;
    current_->since = barrier.generation;
    magnet_fiber_switch(&current_->stack_pointer, scheduler_);
    current_->waits_for = nullptr;
  }
  void meet_block() { meet(block_barrier_, alive_); }
  void meet_named(unsigned id, unsigned threads) {
    if (id < 1 || id >= BARRIERS || threads % LANES != 0) refuse("a named barrier out of range");
    meet(named_[id], threads);
  }
  void meet_warp(bool orders) {
    Warp& w = warp();
    if (w.left > 0) refuse("a warp collective after a lane has returned");
    if (w.size != LANES) refuse("a warp collective in a warp of fewer than 32 threads");
    meet(w.barrier, LANES, orders);
  }

 private:
  static void open(Barrier& barrier) {
    barrier.arrived = 0;
    barrier.generation++;
    if (barrier.threads.empty()) return;
    watch::meet(barrier.threads);
    barrier.threads.clear();
  }

  static void enter() {
    Block& block = instance();
    (*block.kernel_)();
    Fiber& mine = *block.current_;
    mine.returned = true;
    block.warps_[mine.number / LANES].left++;
    block.alive_--;
    if (block.warps_[mine.number / LANES].barrier.arrived > 0) {
      block.failure_ = "a lane has returned while others of its warp wait for it";
      block.failed_thread_ = mine.number;
    }
    // Those that have returned are not waited for.
    Barrier& all = block.block_barrier_;
    if (all.arrived > 0 && all.arrived >= block.alive_) open(all);
    magnet_fiber_switch(&mine.stack_pointer, block.scheduler_);
    std::abort();
  }

  /** A stack that the first switch returns from into enter(), aligned as after a call. */
  void prepare(unsigned i) {
    auto* const top = reinterpret_cast<uint64_t*>(stacks_.top(i));
    top[-1] = 0;
    top[-2] = reinterpret_cast<uint64_t>(&Block::enter);
    for (int saved = 3; saved <= 8; saved++) top[-saved] = 0;
    fibers_[i].stack_pointer = top - 8;
  }

  void resume(Fiber& fiber) {
    current_ = &fiber;
    now.thread = fiber.index;
    watch::run_thread(fiber.number);
    magnet_fiber_switch(&scheduler_, fiber.stack_pointer);
    watch::stop_thread();
  }

 public:
  static Block& instance() {
    static thread_local Block block;
    return block;
  }

 private:
  /** The watch looks at the block until it ends, well or not. */
  struct Watched {
    Watched(const Block& block, unsigned threads, size_t shared_bytes) {
      const dim3& grid = now.grid_size;
      const unsigned index = now.block.x + grid.x * (now.block.y + grid.y * now.block.z);
      watch::place_stacks(block.stacks_.top(0) - STACK_BYTES, THREADS_MAX * STACK_BYTES);
      watch::begin_block(threads, index, block.window(), SHARED_MAX + PAGE, block.shared_,
                         shared_bytes);
    }
    ~Watched() { watch::end_block(); }
    Watched(const Watched&) = delete;
    Watched& operator=(const Watched&) = delete;
  };

  Stacks stacks_;
  SharedMemory shared_memory_;
  unsigned char* shared_ = nullptr;
  const std::function<void()>* kernel_ = nullptr;
  std::vector<Fiber> fibers_;
  std::vector<Warp> warps_;
  Barrier block_barrier_;
  Barrier named_[BARRIERS];
  unsigned alive_ = 0;
  Fiber* current_ = nullptr;
  void* scheduler_ = nullptr;
  std::string failure_;
  unsigned failed_thread_ = 0;
};

/** 0..n-1 as MAGNET_EMULATION_ORDER has it. */
std::vector<unsigned> order_of(unsigned n) {
  std::vector<unsigned> order(n);
  std::iota(order.begin(), order.end(), 0u);
  const char* const wanted = std::getenv("MAGNET_EMULATION_ORDER");
  if (wanted == nullptr || std::strcmp(wanted, "forward") == 0) return order;
  if (std::strcmp(wanted, "reverse") == 0) {
    std::reverse(order.begin(), order.end());
    return order;
  }
  std::mt19937 random(static_cast<unsigned>(std::strtoul(wanted, nullptr, 10)));
  for (unsigned i = n; i > 1; i--) std::swap(order[i - 1], order[random() % i]);
  return order;
}

void finish(const AsyncCopy& copy) {
  if (copy.zero)
    std::memset(copy.to, 0, copy.bytes);
  else
    std::memcpy(copy.to, copy.from, copy.bytes);
}

}  // namespace

void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel) {
  gpu::device_counts()->kernels++;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const uint64_t blocks = uint64_t{grid.x} * grid.y * grid.z;
  // What the driver refuses.
  if (threads < 1 || threads > THREADS_MAX || block.z > 64)
    fail(MG_E_INTERNAL, "emulation: a block of %u x %u x %u threads", block.x, block.y, block.z);
  if (blocks < 1 || grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535)
    fail(MG_E_INTERNAL, "emulation: a grid of %u x %u x %u blocks", grid.x, grid.y, grid.z);
  if (shared_bytes > SHARED_MAX)
    fail(MG_E_INTERNAL, "emulation: %zu bytes of shared memory", shared_bytes);
  const std::vector<unsigned> order = order_of(static_cast<unsigned>(threads));
  const std::vector<unsigned> sequence = order_of(static_cast<unsigned>(blocks));
  now.block_size = block;
  now.grid_size = grid;
  for (const unsigned i : sequence) {
    now.block = {i % grid.x, i / grid.x % grid.y, i / (grid.x * grid.y)};
    Block::instance().run(block, shared_bytes, order, kernel);
  }
}

void refuse(const char* what) { Block::instance().refuse(what); }
unsigned lane() { return Block::instance().current().number % LANES; }
void sync_block() { Block::instance().meet_block(); }
void sync_named(unsigned id, unsigned threads) { Block::instance().meet_named(id, threads); }
void sync_warp(unsigned mask) {
  if (mask != 0xffffffffu) refuse("__syncwarp without all lanes");
  Block::instance().meet_warp(true);
}
unsigned shared_offset(const void* p) {
  const auto offset = static_cast<const unsigned char*>(p) - Block::instance().window();
  if (offset < 0 || offset >= static_cast<std::ptrdiff_t>(SHARED_MAX + PAGE))
    refuse("not a pointer into dynamic shared memory");
  return static_cast<unsigned>(offset);
}
unsigned char* shared_at(unsigned offset) { return Block::instance().window() + offset; }
void wait_until(const std::function<bool()>& condition) {
  if (!condition()) Block::instance().meet(condition);
}
unsigned thread_number() { return Block::instance().current().number; }
unsigned char* dynamic_shared() { return Block::instance().shared(); }

const unsigned char* exchange_bytes(const void* value, size_t bytes) {
  Block& block = Block::instance();
  Fiber& mine = block.current();
  unsigned char* const values = block.warp().values[mine.exchanges++ % 2];
  std::memcpy(values + mine.number % LANES * EXCHANGE_BYTES, value, bytes);
  block.meet_warp(false);
  return values;
}

void async_copy(void* to, const void* from, size_t bytes, bool zero) {
  Fiber& mine = Block::instance().current();
  mine.copies.push_back({to, from, bytes, zero, mine.groups});
  watch::async_copy(to, from, bytes, zero, __builtin_return_address(0));
}
void async_commit() {
  Block::instance().current().groups++;
  watch::async_commit();
}
void async_wait(unsigned groups_left) {
  watch::async_wait(groups_left);
  Fiber& mine = Block::instance().current();
  const unsigned done = mine.groups > groups_left ? mine.groups - groups_left : 0;
  for (const AsyncCopy& copy : mine.copies)
    if (copy.group < done) finish(copy);
  std::erase_if(mine.copies, [&](const AsyncCopy& copy) { return copy.group < done; });
}

}  // namespace magnet::emulation
