// The library's own threads: parallel_for splits a range into fixed contiguous parts. Several
// callers (trainers, inference sessions on different Bun workers) share the workers. The caller
// runs parts itself while it waits, so a call always makes progress, even when every worker is busy
// with somebody else's. Nothing spins: idle workers sleep on a condition variable.
#pragma once
#include <cstdint>
#include <memory>
#include <type_traits>

namespace magnet {

/** 0 means all online CPUs; the answer is in 1..THREADS_MAX. */
uint32_t resolve_threads(uint32_t requested);
inline constexpr uint32_t THREADS_MAX = 64;

namespace detail {
using PartFunction = void (*)(const void* context, int64_t begin, int64_t end, uint32_t part);
void run_parts(uint32_t parts, int64_t n, PartFunction function, const void* context);
}  // namespace detail

/**
 * Calls fn(begin, end, part) for `min(threads, n)` contiguous parts of [0, n), of sizes that differ
 * by at most one; returns when all have ended. Part p of the same (threads, n) is always the same
 * range. The first exception of a part is thrown again here. Runs inline for one part.
 */
template <class F>
void parallel_for(uint32_t threads, int64_t n, const F& fn) {
  if (n <= 0) return;
  const uint32_t parts = n < static_cast<int64_t>(threads) ? static_cast<uint32_t>(n) : threads;
  if (parts <= 1) {
    fn(int64_t{0}, n, uint32_t{0});
    return;
  }
  detail::run_parts(
      parts, n,
      [](const void* context, int64_t begin, int64_t end, uint32_t part) {
        (*static_cast<const F*>(context))(begin, end, part);
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
