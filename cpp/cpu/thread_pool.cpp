// Thread pool: one process-wide set of sleeping workers and a list of unfinished calls.
#include "thread_pool.hpp"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace magnet {
namespace {

/** One parallel_for in flight, on the caller's stack. Every field is guarded by the pool's mutex.
 */
struct Call {
  detail::PartFunction function;
  const void* context;
  int64_t n;
  uint32_t parts;
  uint32_t next = 0;      // the first part that nobody has taken
  uint32_t finished = 0;  // parts that have ended
  std::exception_ptr failure;
  std::condition_variable done;
};

class Pool {
 public:
  void run(Call& call) {
    std::unique_lock lock(mutex_);
    grow(call.parts - 1);
    calls_.push_back(&call);
    const uint32_t wanted = call.parts - 1;
    if (wanted == 1) {
      wake_.notify_one();
    } else {
      wake_.notify_all();
    }
    while (call.next < call.parts) run_part(call, lock);
    call.done.wait(lock, [&] { return call.finished == call.parts; });
    if (call.failure) std::rethrow_exception(call.failure);
  }

 private:
  /** Takes the next part of `call`, runs it without the lock, books it. */
  void run_part(Call& call, std::unique_lock<std::mutex>& lock) {
    const uint32_t part = call.next++;
    if (call.next == call.parts) std::erase(calls_, &call);
    lock.unlock();
    const int64_t base = call.n / call.parts;
    const int64_t extra = call.n % call.parts;
    const int64_t begin = part * base + std::min<int64_t>(part, extra);
    const int64_t end = begin + base + (part < extra ? 1 : 0);
    std::exception_ptr failure;
    try {
      call.function(call.context, begin, end, part);
    } catch (...) {
      failure = std::current_exception();
    }
    lock.lock();
    if (failure && !call.failure) call.failure = failure;
    if (++call.finished == call.parts) call.done.notify_one();
  }

  void work() {
    const FloatEnvironment environment;
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !calls_.empty(); });
      run_part(*calls_.front(), lock);
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

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Call*> calls_;
  uint32_t workers_ = 0;
};

/** Never destroyed: detached workers may still sleep on it when the process ends. */
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}
}  // namespace

namespace detail {
void run_parts(uint32_t parts, int64_t n, PartFunction function, const void* context) {
  Call call{function, context, n, parts, 0, 0, nullptr, {}};
  pool().run(call);
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
