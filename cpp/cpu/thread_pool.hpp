// The library's own threads: parallel_for splits a range into fixed contiguous parts, which its
// threads take one by one, so a thread that is held up costs little. Several callers (trainers,
// inference sessions on different Bun workers) share the workers. The caller runs parts itself, so
// a call always makes progress, even when every worker is busy with somebody else's. A worker
// without work sleeps, after looking out for the next call for some microseconds.
#pragma once
#include <algorithm>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace magnet {

/** 0 means all online CPUs; the answer is in 1..THREADS_MAX. */
uint32_t resolve_threads(uint32_t requested);
inline constexpr uint32_t THREADS_MAX = 64;

namespace detail {
using PartFunction = void (*)(const void* context, int64_t begin, int64_t end, uint32_t part);
void run_parts(uint32_t threads, uint32_t parts, int64_t n, PartFunction function,
               const void* context);
}  // namespace detail

/** So many parts for each thread, where the range has them. */
inline constexpr int64_t PARTS_PER_THREAD = 4;

/**
 * Calls fn(begin, end, part) for contiguous parts of [0, n), of sizes that differ by at most one;
 * returns when all have ended. The parts are the same for the same (threads, n); which thread runs
 * one is left to chance. The first exception of a part is thrown again here. One thread runs all of
 * it inline.
 */
template <class F>
void parallel_for(uint32_t threads, int64_t n, const F& fn) {
  if (n <= 0) return;
  if (threads <= 1 || n == 1) {
    fn(int64_t{0}, n, uint32_t{0});
    return;
  }
  const int64_t parts = std::min(n, threads * PARTS_PER_THREAD);
  detail::run_parts(
      threads, static_cast<uint32_t>(parts), n,
      [](const void* context, int64_t begin, int64_t end, uint32_t part) {
        (*static_cast<const F*>(context))(begin, end, part);
      },
      &fn);
}

/** Calls fn(task) for every task of [0, n), one by one: for few or uneven ones. */
template <class F>
void parallel_tasks(uint32_t threads, int64_t n, const F& fn) {
  if (threads <= 1 || n <= 1) {
    for (int64_t task = 0; task < n; task++) fn(task);
    return;
  }
  detail::run_parts(
      threads, static_cast<uint32_t>(n), n,
      [](const void* context, int64_t begin, int64_t end, uint32_t) {
        for (int64_t task = begin; task < end; task++) (*static_cast<const F*>(context))(task);
      },
      &fn);
}

/** Sets round-to-nearest, no flush-to-zero, no traps for a scope: kernels rely on it on every
 * thread. */
class FloatEnvironment {
 public:
  FloatEnvironment();
  ~FloatEnvironment();
  FloatEnvironment(const FloatEnvironment&) = delete;
  FloatEnvironment& operator=(const FloatEnvironment&) = delete;

 private:
  uint32_t saved_;
};

}  // namespace magnet
