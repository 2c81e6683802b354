// The device side of CUDA on the host: the very sources of the kernels, compiled by a C++ compiler, run
// block by block with one fiber per thread. Barriers, warp collectives and tensor-core fragments behave
// as on the device, and what is undefined there (a barrier that not all threads reach, a collective
// after a lane has left) is an error here. Threads run in an order that MAGNET_EMULATION_ORDER chooses
// (forward, reverse, or the seed of a shuffle): a race shows as a result that depends on it.
// Only for tests: nothing of this is in the shipped library.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "emulation_watch.hpp"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
// All threads of a block run on one thread of the host, one block after the other.
#define __shared__ static thread_local
#define __constant__ static
#define __grid_constant__

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};

struct __align__(8) float2 {
  float x, y;
};
struct __align__(16) float4 {
  float x, y, z, w;
};
struct __align__(8) int2 {
  int x, y;
};
struct __align__(16) int4 {
  int x, y, z, w;
};
struct __align__(8) uint2 {
  unsigned x, y;
};
struct __align__(16) uint4 {
  unsigned x, y, z, w;
};
struct char4 {
  signed char x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline char4 make_char4(signed char x, signed char y, signed char z, signed char w) {
  return {x, y, z, w};
}

namespace magnet::emulation {

struct Indices {
  uint3 thread{0, 0, 0};
  uint3 block{0, 0, 0};
  dim3 block_size;
  dim3 grid_size;
};
/** Of the thread that runs now; switched with the fibers. */
extern thread_local Indices now;

/** Runs a grid to its end; `kernel` is called once for every thread. Throws Error MG_E_INTERNAL. */
void run(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& kernel);
/** Ends the grid with an error; called from within a thread. */
[[noreturn]] void refuse(const char* what);

unsigned lane();
void sync_block();
/** `threads` of the block meet at barrier `id` (1..15). */
void sync_named(unsigned id, unsigned threads);
void sync_warp(unsigned mask);
unsigned char* dynamic_shared();

/** Largest value that lanes exchange. */
constexpr size_t EXCHANGE_BYTES = 64;
/** Lays this lane's value out and waits until all 32 lanes have; the values of all lanes, EXCHANGE_BYTES
 * apart. They stay until the exchange after the next. */
const unsigned char* exchange_bytes(const void* value, size_t bytes);

template <class T>
class Exchanged {
 public:
  explicit Exchanged(const T& mine) : values_(exchange_bytes(&mine, sizeof(T))) {
    static_assert(std::is_trivially_copyable_v<T> && sizeof(T) <= EXCHANGE_BYTES);
  }
  MG_UNWATCHED T of(unsigned source) const {
    T value;
    std::memcpy(&value, values_ + (source & 31) * EXCHANGE_BYTES, sizeof(T));
    return value;
  }

 private:
  const unsigned char* values_;
};

template <class T>
T shuffle(unsigned mask, const T& value, unsigned source) {
  if (mask != 0xffffffffu) refuse("a shuffle without all lanes");
  return Exchanged<T>(value).of(source);
}

/** cp.async: copied when it is waited for, as late as the device may. */
void async_copy(void* to, const void* from, size_t bytes, bool zero);
void async_commit();
void async_wait(unsigned groups_left);

/** Where a pointer into shared memory lies in the block's window, as the device numbers it. */
unsigned shared_offset(const void* p);
unsigned char* shared_at(unsigned offset);
/** The thread runs again once `condition`, which the scheduler asks, holds. */
void wait_until(const std::function<bool()>& condition);
/** Of this thread in its block. */
unsigned thread_number();

}  // namespace magnet::emulation

#define threadIdx (::magnet::emulation::now.thread)
#define blockIdx (::magnet::emulation::now.block)
#define blockDim (::magnet::emulation::now.block_size)
#define gridDim (::magnet::emulation::now.grid_size)
constexpr int warpSize = 32;

inline void __syncthreads() { ::magnet::emulation::sync_block(); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { ::magnet::emulation::sync_warp(mask); }

template <class T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32) {
  const unsigned lane = ::magnet::emulation::lane();
  const unsigned base = lane & ~(static_cast<unsigned>(width) - 1);
  const unsigned from = base + (static_cast<unsigned>(source) & (static_cast<unsigned>(width) - 1));
  return ::magnet::emulation::shuffle(mask, value, from);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, int = 32) {
  const unsigned from = ::magnet::emulation::lane() ^ static_cast<unsigned>(lanes);
  return ::magnet::emulation::shuffle(mask, value, from);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = ::magnet::emulation::lane();
  const unsigned end = (lane & ~(static_cast<unsigned>(width) - 1)) + static_cast<unsigned>(width);
  return ::magnet::emulation::shuffle(mask, value, lane + delta < end ? lane + delta : lane);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
  const unsigned lane = ::magnet::emulation::lane();
  const unsigned begin = lane & ~(static_cast<unsigned>(width) - 1);
  return ::magnet::emulation::shuffle(mask, value, lane >= begin + delta ? lane - delta : lane);
}
inline unsigned __ballot_sync(unsigned mask, int predicate) {
  if (mask != 0xffffffffu) ::magnet::emulation::refuse("a ballot without all lanes");
  const ::magnet::emulation::Exchanged<int> votes(predicate);
  unsigned bits = 0;
  for (unsigned i = 0; i < 32; i++) bits |= votes.of(i) != 0 ? 1u << i : 0u;
  return bits;
}
inline int __any_sync(unsigned mask, int predicate) { return __ballot_sync(mask, predicate) != 0; }
inline int __all_sync(unsigned mask, int predicate) {
  return __ballot_sync(mask, predicate) == 0xffffffffu;
}

// Blocks run one after the other, threads of a block never at the same time.
template <class T>
MG_UNWATCHED T atomicAdd(T* place, T value) {
  ::magnet::emulation::watch::atomic(place, sizeof(T), __builtin_return_address(0));
  const T before = *place;
  *place = before + value;
  return before;
}
template <class T>
MG_UNWATCHED T atomicMax(T* place, T value) {
  ::magnet::emulation::watch::atomic(place, sizeof(T), __builtin_return_address(0));
  const T before = *place;
  *place = before < value ? value : before;
  return before;
}
template <class T>
MG_UNWATCHED T atomicCAS(T* place, T expected, T value) {
  ::magnet::emulation::watch::atomic(place, sizeof(T), __builtin_return_address(0));
  const T before = *place;
  if (before == expected) *place = value;
  return before;
}
inline void __threadfence() {}
inline void __threadfence_block() {}

inline float __fmaf_rn(float a, float b, float c) { return std::fmaf(a, b, c); }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline int __float2int_rn(float x) { return static_cast<int>(std::nearbyint(x)); }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline unsigned __float_as_uint(float x) { return __builtin_bit_cast(unsigned, x); }
inline float __uint_as_float(unsigned x) { return __builtin_bit_cast(float, x); }
inline int __float_as_int(float x) { return __builtin_bit_cast(int, x); }
inline float __int_as_float(int x) { return __builtin_bit_cast(float, x); }
template <class T>
T __ldg(const T* p) {
  return *p;
}
inline int __dp4a(int a, int b, int c) {
  for (int i = 0; i < 4; i++)
    c += static_cast<signed char>(a >> (8 * i)) * static_cast<signed char>(b >> (8 * i));
  return c;
}
template <class T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <class T>
T max(T a, T b) {
  return a < b ? b : a;
}
