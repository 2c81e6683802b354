// What this machine can do at most on the path in force: the ceilings that bench puts beside its
// figures. Each is the best of several windows of a few milliseconds with nothing but the limiting
// instruction in flight; others on the machine can only lower it.
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstring>

#include "common.hpp"
#include "machine_limits.hpp"
#include "mapping.hpp"
#include "thread_pool.hpp"

static_assert(sizeof(mg_machine_limits_result) == 64);

namespace magnet {
namespace {

/** Far beyond the second-level cache, and beyond the third of common machines. */
constexpr int64_t MEMORY_BYTES = int64_t{256} << 20;
/** Fits the third-level cache of common machines; where it does not, this is memory once more. */
constexpr int64_t SHARED_BYTES = int64_t{16} << 20;
constexpr int WINDOWS = 24;
constexpr double WINDOW_SECONDS = 0.002;  // short enough to pass undisturbed on a busy machine
constexpr double SECONDS_MAX = 0.15;

/** Bytes that stay in one core's second-level cache beside other data: half of it. */
int64_t cached_bytes() {
  const long size = sysconf(_SC_LEVEL2_CACHE_SIZE);
  return std::clamp<int64_t>(size / 2, 128 << 10, 4 << 20) / 4096 * 4096;
}

/** Seconds of `rounds` rounds of work(thread, rounds) on every thread at once. */
template <class Work>
double window(uint32_t threads, int64_t rounds, const Work& work) {
  const auto start = std::chrono::steady_clock::now();
  parallel_for(threads, threads, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t thread = begin; thread < end; thread++) work(thread, rounds);
  });
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

/** Best rate in units per second, where a round of one thread does `units`. */
template <class Work>
double best_rate(uint32_t threads, double units, const Work& work) {
  int64_t rounds = 1;
  while (window(threads, rounds, work) < WINDOW_SECONDS && rounds < (int64_t{1} << 40)) rounds *= 2;
  double least = 1e30;
  double spent = 0.0;
  for (int i = 0; i < WINDOWS && spent < SECONDS_MAX; i++) {
    const double seconds = window(threads, rounds, work);
    least = std::min(least, seconds);
    spent += seconds;
  }
  return units * static_cast<double>(rounds) * threads / least;
}

PeakKernels kernels_in_force() {
  switch (cpu_path()) {
#if defined(__x86_64__)
    case CpuPath::avx512:
      return avx512_peaks();
    case CpuPath::avx2:
      return avx2_peaks();
#elif defined(__aarch64__)
    case CpuPath::neon:
      return neon_peaks();
#endif
    default:
      return portable_peaks();
  }
}

/** Bandwidths from memory and from caches. Throws MG_E_MEMORY where there is no room to measure. */
void measure_memory(uint32_t threads, const PeakKernels& kernels, mg_machine_limits_result& out) {
  const int64_t part = MEMORY_BYTES / threads / 4096 * 4096;
  const Mapping buffer(static_cast<uint64_t>(part * threads), "measuring the memory");
  auto* const data = buffer.as<uint8_t>();
  parallel_for(threads, threads, [&](int64_t begin, int64_t end, uint32_t) {
    std::memset(data + begin * part, 1, static_cast<size_t>((end - begin) * part));
  });
  auto read_gbps = [&](int64_t bytes) {
    return 1e-9 * best_rate(threads, static_cast<double>(bytes), [&](int64_t t, int64_t rounds) {
             for (int64_t r = 0; r < rounds; r++) kernels.read(data + t * part, bytes);
           });
  };
  out.cached_read_gbps = read_gbps(std::min(cached_bytes(), part));
  out.shared_read_gbps = read_gbps(SHARED_BYTES / threads / 4096 * 4096);
  out.read_gbps = read_gbps(part);
  const int64_t half = part / 2;
  auto copy = [&](int64_t thread, int64_t rounds) {
    uint8_t* const to = data + thread * part;
    for (int64_t r = 0; r < rounds; r++) {
      std::memcpy(to, to + half, static_cast<size_t>(half));
      asm volatile("" : : "r"(to) : "memory");
    }
  };
  out.memcpy_gbps = 1e-9 * best_rate(threads, static_cast<double>(half), copy);
}

/** Portable kernels: what the scalar path can use. */
constexpr int64_t CHAINS = 8;

void portable_fma(int64_t rounds) {
  float c[CHAINS] = {};
  for (int64_t r = 0; r < rounds; r++)
    for (float& x : c) {
      x = std::fma(x, 1.0000001f, 1e-9f);
      asm volatile("" : "+m"(x));
    }
}

void portable_integer(int64_t rounds) {
  int32_t c[CHAINS] = {};
  for (int64_t r = 0; r < rounds; r++)
    for (int32_t& x : c) {
      x += static_cast<int32_t>(r & 127) * 3;
      asm volatile("" : "+m"(x));
    }
}

void portable_read(const uint8_t* data, int64_t bytes) {
  uint64_t sums[4] = {};
  for (int64_t i = 0; i + 32 <= bytes; i += 32)
    for (int64_t j = 0; j < 4; j++) {
      uint64_t word;
      std::memcpy(&word, data + i + 8 * j, 8);
      sums[j] ^= word;
    }
  asm volatile("" : : "r"(sums[0] ^ sums[1] ^ sums[2] ^ sums[3]));
}

}  // namespace

PeakKernels portable_peaks() {
  return {portable_fma, CHAINS * 2, portable_integer, CHAINS * 2, portable_read};
}

}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_machine_limits(uint32_t threads, mg_machine_limits_result* out) {
  return guard([&] {
    require(out != nullptr, MG_E_INVALID, "mg_machine_limits: out is null");
    if (threads > THREADS_MAX)
      fail(MG_E_INVALID, "mg_machine_limits: threads is %u, must be 0..%u", threads, THREADS_MAX);
    const uint32_t count = resolve_threads(threads);
    const FloatEnvironment environment;
    const PeakKernels kernels = kernels_in_force();
    mg_machine_limits_result result{};
    result.fma_gflops =
        1e-9 * best_rate(count, static_cast<double>(kernels.fma_flops),
                         [&](int64_t, int64_t rounds) { kernels.fma(rounds); });
    result.integer_gops =
        1e-9 * best_rate(count, static_cast<double>(kernels.integer_ops),
                         [&](int64_t, int64_t rounds) { kernels.integer(rounds); });
    measure_memory(count, kernels, result);
    result.shared_bytes = SHARED_BYTES;
    result.cached_bytes = static_cast<uint64_t>(cached_bytes());
    *out = result;
    return int32_t{MG_OK};
  });
}
}
