// See emulation_async.hpp. The state of an mbarrier is the 8 bytes of shared memory that it has on
// the device: a barrier that was not initialised holds the NaN of fresh shared memory.
#include "emulation_async.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <vector>

namespace magnet::emulation {

namespace {

/** As it lies in shared memory. */
struct State {
  uint16_t expected;  // arrivals of a phase
  uint16_t pending;   // that are missing
  int32_t packed;     // bytes that are missing * 2 + parity of the phase
  int bytes() const { return packed >> 1; }
  unsigned parity() const { return static_cast<unsigned>(packed) & 1u; }
};
static_assert(sizeof(State) == sizeof(uint64_t));

State read(const uint64_t* barrier) {
  State state;
  std::memcpy(&state, barrier, sizeof(state));
  if (state.expected == 0 || state.expected == 0xffff)
    refuse("an mbarrier that is not initialised");
  return state;
}

/** Stores the state, and begins the next phase where nothing is missing. */
void write(uint64_t* barrier, State state) {
  if (state.pending == 0 && state.bytes() == 0) {
    state.pending = state.expected;
    state.packed = static_cast<int32_t>(state.parity() ^ 1u);
    watch::mbarrier_phase(barrier);
  }
  std::memcpy(barrier, &state, sizeof(state));
}

void add_bytes(State& state, int bytes) {
  const int sum = state.bytes() + bytes;
  if (sum >= 1 << 20 || sum <= -(1 << 20))
    refuse("an mbarrier counts no more than 2^20 - 1 bytes");
  state.packed = sum * 2 + static_cast<int>(state.parity());
}

struct Copy {
  uint64_t* barrier;
  unsigned bytes;
  std::function<void()> work;
};
thread_local std::vector<Copy> copies;

void complete(const Copy& copy) {
  {
    const watch::Paused paused;
    copy.work();
  }
  State state = read(copy.barrier);
  add_bytes(state, -static_cast<int>(copy.bytes));
  write(copy.barrier, state);
}

/** Whether the next copy is done at once. */
bool early() {
  static thread_local std::mt19937 random(1);
  const char* const order = std::getenv("MAGNET_EMULATION_ORDER");
  if (order == nullptr || std::strcmp(order, "forward") == 0) return false;
  return std::strcmp(order, "reverse") == 0 || random() % 2 == 0;
}

/** Of a thread: products in groups, the last of which is open. */
struct Products {
  std::vector<std::vector<std::function<void()>>> groups;
  std::vector<std::function<void()>> open;
};
thread_local std::map<unsigned, Products> products;

}  // namespace

void mbarrier_init(uint64_t* barrier, unsigned arrivals) {
  const State state{static_cast<uint16_t>(arrivals), static_cast<uint16_t>(arrivals), 0};
  std::memcpy(barrier, &state, sizeof(state));
  watch::mbarrier_init(barrier, __builtin_return_address(0));
}

void mbarrier_arrive(uint64_t* barrier, unsigned bytes) {
  watch::mbarrier_arrive(barrier, __builtin_return_address(0));
  State state = read(barrier);
  if (state.pending == 0) refuse("more arrivals at an mbarrier than it expects");
  add_bytes(state, static_cast<int>(bytes));
  state.pending--;
  write(barrier, state);
}

void mbarrier_wait(uint64_t* barrier, unsigned parity) {
  wait_until([=] {
    if (read(barrier).parity() != parity) return true;
    // Someone waits: copies that were held back are done now, the last first.
    for (size_t i = copies.size(); i-- > 0;) {
      if (copies[i].barrier != barrier) continue;
      const Copy copy = std::move(copies[i]);
      copies.erase(copies.begin() + static_cast<std::ptrdiff_t>(i));
      complete(copy);
    }
    return read(barrier).parity() != parity;
  });
  watch::mbarrier_waited(barrier, __builtin_return_address(0));
}

void bulk_copy(uint64_t* barrier, unsigned bytes, std::function<void()> copy) {
  Copy made{barrier, bytes, std::move(copy)};
  if (early())
    complete(made);
  else
    copies.push_back(std::move(made));
}

void warpgroup_multiply(std::function<void()> product) {
  products[thread_number()].open.push_back(std::move(product));
}
void warpgroup_commit() {
  Products& mine = products[thread_number()];
  mine.groups.push_back(std::move(mine.open));
  mine.open.clear();
  watch::product_commit();
}
void warpgroup_wait(unsigned groups) {
  Products& mine = products[thread_number()];
  watch::product_wait(groups);
  const watch::Paused paused;
  while (mine.groups.size() > groups) {
    for (const auto& product : mine.groups.front()) product();
    mine.groups.erase(mine.groups.begin());
  }
}

bool end_async() {
  bool done = copies.empty();
  for (const auto& [thread, left] : products)
    done = done && left.groups.empty() && left.open.empty();
  copies.clear();
  products.clear();
  return done;
}

}  // namespace magnet::emulation
