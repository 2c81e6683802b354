// Threads that stay together for a whole forward pass: its some hundred parallel stages last
// microseconds each, which a call to the pool per stage would double. The caller publishes a stage,
// everybody takes units of it, and the caller goes on when all are done. Helpers come from the pool
// whenever it has some; without any the caller does all the work.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <mutex>

#include "thread_pool.hpp"

namespace magnet {

class Team {
 public:
  /** Calls body(team) on this thread, with up to threads - 1 helpers standing by. */
  template <class F>
  static void run(uint32_t threads, const F& body) {
    Team team(threads);
    if (threads <= 1) return body(team);
    team.gather([](const void* f, Team& t) { (*static_cast<const F*>(f))(t); }, &body);
  }

  uint32_t threads() const { return threads_; }

  /**
   * Calls fn(begin, end) for ranges that cover [0, n), and returns when all have ended. Ranges
   * shrink towards the end, so that nobody waits long for the last one: half of a fair share of
   * what is left, at least `least` and at most `most` units. The first exception is thrown again.
   */
  template <class F>
  void each(uint64_t n, uint64_t least, uint64_t most, const F& fn) {
    if (n == 0) return;
    if (threads_ <= 1 || n <= least) return fn(uint64_t{0}, n);
    stage(n, least, most, [](const void* f, uint64_t begin, uint64_t end) {
      (*static_cast<const F*>(f))(begin, end);
    }, &fn);
  }
  template <class F>
  void each(uint64_t n, uint64_t least, const F& fn) {
    each(n, least, n, fn);
  }

 private:
  using Body = void (*)(const void* context, Team& team);
  using Range = void (*)(const void* context, uint64_t begin, uint64_t end);

  explicit Team(uint32_t threads) : threads_(threads) {}
  void gather(Body body, const void* context);
  void stage(uint64_t n, uint64_t least, uint64_t most, Range function, const void* context);
  void help();
  bool take(uint64_t seen);
  void run_range(Range function, const void* context, uint64_t begin, uint64_t end);
  void publish(uint64_t ticket);
  template <class F>
  void wait_until(const F& ready);

  // The stage in force. A helper may read the fields while the caller replaces them: what it read
  // counts only if the ticket has not moved since.
  struct Stage {
    std::atomic<Range> function{nullptr};
    std::atomic<const void*> context{nullptr};
    std::atomic<uint64_t> n{0}, least{1}, most{1};
  };

  const uint32_t threads_;
  Stage stage_;
  alignas(64) std::atomic<uint64_t> ticket_{0};  // number of the stage, and its next unit
  alignas(64) std::atomic<uint64_t> left_{0};    // units of the stage that are not done
  std::atomic<bool> failed_{false};
  std::atomic<uint32_t> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable moved_;
  std::exception_ptr failure_;  // guarded by the mutex
};

}  // namespace magnet
