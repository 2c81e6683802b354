// Thread pool: one process-wide set of workers and a list of calls that still want helpers. Between
// the parallel parts of a step lie microseconds, so a worker that runs out of work looks out for
// the next call for a short while before it sleeps.
#include "thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__linux__)
#include <pthread.h>
#endif
#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace magnet {
namespace {

/** Longer than the serial code between two parallel parts, far shorter than anyone notices. */
constexpr std::chrono::microseconds SPIN_LIMIT{40};

inline void pause_cpu() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/** Looks at `ready` until it is true or SPIN_LIMIT has passed. */
template <class F>
bool spin_until(F&& ready) {
  const auto end = std::chrono::steady_clock::now() + SPIN_LIMIT;
  do {
    for (int i = 0; i < 16; i++) {
      if (ready()) return true;
      pause_cpu();
    }
  } while (std::chrono::steady_clock::now() < end);
  return ready();
}

/** One parallel_for in flight, on the caller's stack. */
struct Call {
  detail::PartFunction function;
  const void* context;
  int64_t n;
  uint32_t parts;
  uint32_t helpers;               // workers that may still join; guarded by the pool's mutex
  std::atomic<uint32_t> next{0};  // the first part that nobody has taken
  /** Workers that have joined and not left. Changed with the mutex held; a worker's last touch. */
  std::atomic<uint32_t> inside{0};
  bool caller_sleeps = false;  // guarded by the mutex, like the rest
  std::exception_ptr failure;
  std::condition_variable left;
};

/** The critical sections are short: contenders look a few times before they go to sleep. */
std::unique_lock<std::mutex> lock_soon(std::mutex& mutex) {
  for (int i = 0; i < 64; i++) {
    std::unique_lock lock(mutex, std::try_to_lock);
    if (lock.owns_lock()) return lock;
    pause_cpu();
  }
  return std::unique_lock(mutex);
}

class Pool {
 public:
  void run(Call& call, uint32_t threads) {
    {
      const auto lock = lock_soon(mutex_);
      grow(call.helpers);
      if (call.helpers > 0) {
        calls_.push_back(&call);
        open_.fetch_add(1, std::memory_order_release);
        wake(call.helpers);
      }
    }
    std::exception_ptr failure = run_parts(call);
    auto lock = lock_soon(mutex_);
    if (call.helpers > 0) close(call);
    lock.unlock();
    const auto all_left = [&] { return call.inside.load(std::memory_order_acquire) == 0; };
    // With more threads than CPUs a spinning caller would keep the last worker from its part.
    if (!all_left() && !(threads <= online_ && spin_until(all_left))) {
      lock = lock_soon(mutex_);
      call.caller_sleeps = true;
      call.left.wait(lock, all_left);
    }
    if (!failure) failure = call.failure;
    if (failure) std::rethrow_exception(failure);
  }

 private:
  /** Takes and runs parts until none is left. */
  static std::exception_ptr run_parts(Call& call) {
    std::exception_ptr failure;
    for (;;) {
      const uint32_t part = call.next.fetch_add(1, std::memory_order_relaxed);
      if (part >= call.parts) return failure;
      const int64_t base = call.n / call.parts;
      const int64_t extra = call.n % call.parts;
      const int64_t begin = part * base + std::min<int64_t>(part, extra);
      const int64_t end = begin + base + (part < extra ? 1 : 0);
      try {
        call.function(call.context, begin, end, part);
      } catch (...) {
        if (!failure) failure = std::current_exception();
      }
    }
  }

  /** No more helpers for this call. The mutex is held. */
  void close(Call& call) {
    call.helpers = 0;
    std::erase(calls_, &call);
    open_.fetch_sub(1, std::memory_order_relaxed);
  }

  /** Those that look out for work come by themselves; the mutex is held. */
  void wake(uint32_t wanted) {
    const uint32_t coming = spinning_.load(std::memory_order_relaxed);
    const uint32_t missing = std::min(wanted - std::min(wanted, coming), sleeping_);
    for (uint32_t i = 0; i < missing; i++) wake_.notify_one();
  }

  void help(Call& call, std::unique_lock<std::mutex>& lock) {
    call.inside.fetch_add(1, std::memory_order_relaxed);
    if (call.helpers == 1)
      close(call);
    else
      call.helpers--;
    lock.unlock();
    const std::exception_ptr failure = run_parts(call);
    lock = lock_soon(mutex_);
    if (failure && !call.failure) call.failure = failure;
    if (call.caller_sleeps) call.left.notify_one();
    call.inside.fetch_sub(1, std::memory_order_release);  // from here on the call may be gone
  }

  /** Waits for a call a little while without the mutex. */
  void look_out(std::unique_lock<std::mutex>& lock) {
    // One CPU is the caller's; more spinners than the others would only take it away.
    if (spinning_.load(std::memory_order_relaxed) + 1 >= online_) return;
    spinning_.fetch_add(1, std::memory_order_relaxed);
    lock.unlock();
    spin_until([&] { return open_.load(std::memory_order_acquire) > 0; });
    lock = lock_soon(mutex_);
    spinning_.fetch_sub(1, std::memory_order_relaxed);
  }

  void work() {
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "magnet-pool");
#endif
    const FloatEnvironment environment;
    auto lock = lock_soon(mutex_);
    for (;;) {
      if (calls_.empty()) look_out(lock);
      if (calls_.empty()) {
        sleeping_++;
        wake_.wait(lock);
        sleeping_--;
      }
      if (!calls_.empty()) help(*calls_.front(), lock);
    }
  }

  /** Where the system refuses a thread, the caller's own thread does the work. */
  void grow(uint32_t wanted) {
    wanted = std::min(wanted, THREADS_MAX - 1);
    while (workers_ < wanted) {
      try {
        std::thread([this] { work(); }).detach();
      } catch (const std::system_error&) {
        return;
      }
      workers_++;
    }
  }

  const uint32_t online_ = resolve_threads(0);
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Call*> calls_;           // those that want helpers
  std::atomic<uint32_t> open_{0};     // their number
  std::atomic<uint32_t> spinning_{0};
  uint32_t sleeping_ = 0;
  uint32_t workers_ = 0;
};

/** Never destroyed: detached workers may still sleep on it when the process ends. */
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}
}  // namespace

namespace detail {
void run_parts(uint32_t threads, uint32_t parts, int64_t n, PartFunction function,
               const void* context) {
  Call call{.function = function, .context = context, .n = n, .parts = parts,
            .helpers = std::min(threads, parts) - 1, .failure = nullptr, .left = {}};
  pool().run(call, threads);
}
}  // namespace detail

uint32_t resolve_threads(uint32_t requested) {
  const uint32_t online = std::max(1u, std::thread::hardware_concurrency());
  return std::min(requested == 0 ? online : requested, THREADS_MAX);
}

#if defined(__x86_64__)
FloatEnvironment::FloatEnvironment() : saved_(_mm_getcsr()) {
  constexpr uint32_t MASK_ALL_ROUND_NEAREST = 0x1F80;
  _mm_setcsr(MASK_ALL_ROUND_NEAREST);
}
FloatEnvironment::~FloatEnvironment() { _mm_setcsr(saved_); }
#elif defined(__aarch64__)
namespace {
/** FPCR: rounding, flush-to-zero, default NaN and traps are its low 32 bits. */
uint32_t float_control() {
  uint64_t value;
  asm volatile("mrs %0, fpcr" : "=r"(value));
  return static_cast<uint32_t>(value);
}
void set_float_control(uint64_t value) { asm volatile("msr fpcr, %0" : : "r"(value)); }
}  // namespace
FloatEnvironment::FloatEnvironment() : saved_(float_control()) {
  constexpr uint64_t ROUND_NEAREST_KEEP_SUBNORMALS = 0;
  if (saved_ != ROUND_NEAREST_KEEP_SUBNORMALS) set_float_control(ROUND_NEAREST_KEEP_SUBNORMALS);
}
FloatEnvironment::~FloatEnvironment() {
  if (saved_ != 0) set_float_control(saved_);
}
#else
#error "magnet sets the floating-point environment of x86-64 and AArch64 only"
#endif

}  // namespace magnet
