// The stages of a team: one atomic word hands out the units, another counts those not yet done.
#include "thread_team.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace magnet {
namespace {

/** The upper bits of a ticket are the stage's number, the lower ones its next unit. */
constexpr uint64_t UNIT_BITS = 40;
constexpr uint64_t UNITS = (uint64_t{1} << UNIT_BITS) - 1;
constexpr uint64_t CLOSED = ~uint64_t{0};
/** Longer than the range somebody else may still be at, in a pass over one token. */
constexpr std::chrono::microseconds SPIN_LIMIT{100};

inline void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

uint32_t online_cpus() {
  static const uint32_t online = resolve_threads(0);
  return online;
}

}  // namespace

/** Looks for a while, then sleeps until a ticket is published or a stage has ended. */
template <class F>
void Team::wait_until(const F& ready) {
  // With more threads than CPUs a spinning one would keep the others from their work.
  if (threads_ <= online_cpus()) {
    const auto end = std::chrono::steady_clock::now() + SPIN_LIMIT;
    do {
      for (int i = 0; i < 32; i++) {
        if (ready()) return;
        pause_cpu();
      }
    } while (std::chrono::steady_clock::now() < end);
  }
  std::unique_lock lock(mutex_);
  sleepers_.fetch_add(1);  // sequentially consistent, as what `ready` reads and its writers do:
  moved_.wait(lock, ready);  // either they see the sleeper or it sees the change
  sleepers_.fetch_sub(1);
}

void Team::publish(uint64_t ticket) {
  ticket_.store(ticket);
  if (sleepers_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  moved_.notify_all();
}

void Team::run_range(Range function, const void* context, uint64_t begin, uint64_t end) {
  try {
    if (!failed_.load(std::memory_order_relaxed)) function(context, begin, end);
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
    failed_.store(true, std::memory_order_relaxed);
  }
  if (left_.fetch_sub(end - begin) != end - begin) return;
  if (sleepers_.load() == 0) return;
  const std::lock_guard lock(mutex_);
  moved_.notify_all();
}

/** Takes and runs a range of the stage that `seen` belongs to; false where none is left. */
bool Team::take(uint64_t seen) {
  for (;;) {
    const uint64_t begin = seen & UNITS;
    if (begin == UNITS) return false;  // closed, or a stage is being made ready
    const Range function = stage_.function.load(std::memory_order_acquire);
    const void* const context = stage_.context.load(std::memory_order_acquire);
    const uint64_t n = stage_.n.load(std::memory_order_acquire);
    const uint64_t least = stage_.least.load(std::memory_order_acquire);
    const uint64_t most = stage_.most.load(std::memory_order_acquire);
    if (begin >= n) return false;
    const uint64_t share = (n - begin) / (2 * uint64_t{threads_});
    const uint64_t size = std::min(n - begin, std::min(most, std::max(least, share)));
    if (!ticket_.compare_exchange_weak(seen, seen + size)) continue;
    run_range(function, context, begin, begin + size);
    return true;
  }
}

void Team::stage(uint64_t n, uint64_t least, uint64_t most, Range function, const void* context) {
  const uint64_t number = (ticket_.load(std::memory_order_relaxed) >> UNIT_BITS) + 1;
  // From here on a helper that still holds the last stage's ticket fails to take units with it.
  ticket_.store(number << UNIT_BITS | UNITS);
  stage_.function.store(function, std::memory_order_release);
  stage_.context.store(context, std::memory_order_release);
  stage_.n.store(n, std::memory_order_release);
  stage_.least.store(std::max<uint64_t>(least, 1), std::memory_order_release);
  stage_.most.store(std::max<uint64_t>(most, 1), std::memory_order_release);
  left_.store(n);
  publish((number + 1) << UNIT_BITS);
  while (take(ticket_.load())) {
  }
  wait_until([this] { return left_.load() == 0; });
  if (!failed_.load(std::memory_order_relaxed)) return;
  const std::lock_guard lock(mutex_);
  failed_.store(false, std::memory_order_relaxed);
  std::rethrow_exception(std::exchange(failure_, nullptr));
}

void Team::help() {
  for (;;) {
    const uint64_t seen = ticket_.load();
    if (seen == CLOSED) return;
    if (take(seen)) continue;
    wait_until([&] {
      const uint64_t now = ticket_.load();
      return now == CLOSED || (now != seen && (now & UNITS) != UNITS);
    });
  }
}

void Team::gather(Body body, const void* context) {
  struct Members {
    Team& team;
    Body body;
    const void* context;
    std::thread::id caller;
    bool begun;  // touched by the caller's thread alone
  } members{*this, body, context, std::this_thread::get_id(), false};
  // As many parts as threads: every helper stays in its first part until the team closes, so that
  // at least one part is left for the caller.
  detail::run_parts(threads_, threads_, threads_, [](const void* c, int64_t, int64_t, uint32_t) {
    auto& m = *static_cast<Members*>(const_cast<void*>(c));
    if (std::this_thread::get_id() != m.caller) return m.team.help();
    if (std::exchange(m.begun, true)) return;
    struct Close {
      Team& team;
      ~Close() { team.publish(CLOSED); }
    } const close{m.team};
    m.body(m.context, m.team);
  }, &members);
}

}  // namespace magnet
