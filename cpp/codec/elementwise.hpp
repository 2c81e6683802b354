// How the elementwise codecs run: a range of elements is cut into fixed chunks, handed to the
// library's threads. A body is one always-inlined function compiled twice, for the baseline and for
// AVX2; without contraction the vectoriser must give the bits of the plain loop, so both paths
// agree.
#pragma once
#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>

#include "../cpu/common.hpp"
#include "../cpu/thread_pool.hpp"

#define MG_INLINE __attribute__((always_inline)) inline
#if defined(__x86_64__)
#define MG_TARGET_AVX2 __attribute__((target("avx2,fma,f16c")))
#else
#define MG_TARGET_AVX2  // never taken; the baseline of AArch64 has NEON already
#endif

namespace magnet::codec {

/** Elements of one chunk; a multiple of MG_DELTA_BLOCK, so that no quantisation block is cut. */
constexpr uint64_t CHUNK = 64 * 1024;
static_assert(CHUNK % MG_DELTA_BLOCK == 0);

/** Bit pattern without the sign: ordered like magnitudes, with NaN and Inf on top. */
MG_INLINE uint32_t magnitude_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits & 0x7FFF'FFFFu;
}
constexpr uint32_t INFINITY_BITS = 0x7F80'0000u;

/** fn(begin, end) for every chunk of [0, n), on the threads; polls cancel between chunks. */
template <class F>
void for_chunks(uint64_t n, uint32_t threads, const int32_t* cancel, const F& fn) {
  const auto chunks = static_cast<int64_t>((n + CHUNK - 1) / CHUNK);
  parallel_for(resolve_threads(threads), chunks, [&](int64_t first, int64_t last, uint32_t) {
    const FloatEnvironment environment;
    for (int64_t c = first; c < last; c++) {
      if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "cancelled");
      const uint64_t begin = static_cast<uint64_t>(c) * CHUNK;
      fn(begin, std::min(begin + CHUNK, n));
    }
  });
}

/** The largest of fn(begin, end) over the chunks: what a checking pass finds. */
template <class F>
uint32_t max_over_chunks(uint64_t n, uint32_t threads, const int32_t* cancel, const F& fn) {
  std::atomic<uint32_t> result{0};
  for_chunks(n, threads, cancel, [&](uint64_t begin, uint64_t end) {
    const uint32_t found = fn(begin, end);
    uint32_t seen = result.load(std::memory_order_relaxed);
    while (seen < found && !result.compare_exchange_weak(seen, found)) continue;
  });
  return result.load();
}

}  // namespace magnet::codec
