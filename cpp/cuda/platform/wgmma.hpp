// Products of a warpgroup (compute capability 9.0a): d (64, N) += a (64, 32 bytes of k) b (32
// bytes of k, N), both read from shared memory through descriptors; PTX ISA, "wgmma.mma_async" and
// "Matrix Descriptor Format". Thread i holds of d, for every j < N / 8: d[4j..4j+1] at row 16 *
// warp + i % 32 / 4, columns 8j + 2 * (i % 4) and the next, d[4j+2..4j+3] 8 rows below.
//
// Tiles are those of hopper.hpp, in one of two forms:
//   along k:  128 bytes of each row (column) of the operand, groups of 8 rows 1024 bytes apart;
//             32 bytes further along k are 32 bytes further in memory.
//   along mn: blocks of 64 rows (columns) of the operand (bf16), 128 bytes for each k, 64 k a block
//             (8192 bytes); 16 k further are 2048 bytes further.
#pragma once
#include "hopper.hpp"

namespace magnet::gpu {

constexpr int MN_BLOCK_BYTES = 64 * 128;

/** Start address, distance of the blocks along m or n, distance of groups of 8 rows: in 16 bytes
 * at bits 0, 16 and 32; 128-byte swizzle: 1 at bit 62. Along k the first distance is not used and
 * 1. */
template <bool MN>
__device__ __forceinline__ uint64_t matrix_descriptor(const unsigned char* tile) {
#if MG_EMULATED
  const uint64_t address = ::magnet::emulation::shared_offset(tile);
#else
  const uint64_t address = shared_address(tile);
#endif
  constexpr uint64_t BLOCKS = MN ? MN_BLOCK_BYTES / 16 : 1;
  constexpr uint64_t GROUPS = 1024 / 16;
  return (address & 0x3ffff) >> 4 | BLOCKS << 16 | GROUPS << 32 | uint64_t{1} << 62;
}
/** Step kk along k of the tile, 32 bytes of k each. */
template <bool MN>
__device__ __forceinline__ uint64_t advance(uint64_t descriptor, int kk) {
  return descriptor + static_cast<uint64_t>(kk) * (MN ? 2048 / 16 : 32 / 16);
}

#if MG_EMULATED
namespace emulated {
/** Element (mn, k) of an operand, found as the descriptor says and as the tensor cores do. */
template <class T, bool MN>
MG_UNWATCHED const unsigned char* operand_place(uint64_t descriptor, unsigned mn, unsigned k) {
  const auto field = [&](int shift) {
    return static_cast<unsigned>(descriptor >> shift & 0x3fff) << 4;
  };
  if (descriptor >> 62 != 1 || (descriptor >> 46 & 0xffff) != 0)
    ::magnet::emulation::refuse("a matrix descriptor that is not of a 128-byte swizzle");
  unsigned plain = field(0);
  if constexpr (MN) {
    static_assert(sizeof(T) == 2);
    plain += mn / 64 * field(16) + k / 8 * field(32) + k % 8 * 128 + mn % 64 * 2;
  } else {
    plain += mn / 8 * field(32) + mn % 8 * 128 + k * static_cast<unsigned>(sizeof(T));
  }
  return ::magnet::emulation::shared_at(plain ^ (plain >> 7 & 7) << 4);
}
template <class T, bool MN>
MG_UNWATCHED T operand_at(uint64_t descriptor, unsigned mn, unsigned k) {
  T x;
  std::memcpy(&x, operand_place<T, MN>(descriptor, mn, k), sizeof(T));
  return x;
}
inline float value_of(bf16 x) { return to_float(x); }
inline int32_t value_of(int8_t x) { return x; }

/** Tells the watch of `count` rows (columns) of an operand from `first` on, in pieces of 16 bytes. */
template <class T, bool MN>
__forceinline__ void watch_operand(uint64_t descriptor, unsigned first, unsigned count) {
  constexpr unsigned EACH = 16 / sizeof(T);
  for (unsigned mn = first; mn < first + count; mn += MN ? EACH : 1)
    for (unsigned k = 0; k < 2 * EACH; k += MN ? 1 : EACH)
      ::magnet::emulation::watch::product_reads(operand_place<T, MN>(descriptor, mn, k), 16);
}

template <class T, int N, bool A_MN, bool B_MN, class Sum>
__forceinline__ void wgmma(Sum* d, uint64_t a, uint64_t b) {
  constexpr unsigned DEPTH = 32 / sizeof(T);
  const unsigned thread = ::magnet::emulation::thread_number() % WARPGROUP;
  if (::magnet::emulation::watch::WATCHED && thread % 32 == 0) {
    watch_operand<T, A_MN>(a, thread / 32 * 16, 16);
    watch_operand<T, B_MN>(b, 0, N);
  }
  ::magnet::emulation::watch::product_registers(d, N / 2 * sizeof(Sum));
  ::magnet::emulation::warpgroup_multiply([=]() MG_UNWATCHED {
    Sum rows[2][DEPTH];
    for (unsigned half = 0; half < 2; half++)
      for (unsigned k = 0; k < DEPTH; k++)
        rows[half][k] =
            value_of(operand_at<T, A_MN>(a, thread / 32 * 16 + thread % 32 / 4 + 8 * half, k));
    for (unsigned j = 0; j < N / 4; j++) {
      const unsigned column = j / 2 * 8 + thread % 4 * 2 + j % 2;
      Sum products[2][DEPTH];
      for (unsigned k = 0; k < DEPTH; k++) {
        const Sum x = value_of(operand_at<T, B_MN>(b, column, k));
        products[0][k] = rows[0][k] * x;
        products[1][k] = rows[1][k] * x;
      }
      for (unsigned half = 0; half < 2; half++) {
        Sum& sum = d[j / 2 * 4 + 2 * half + j % 2];
        sum = add_at_once(sum, products[half]);
      }
    }
  });
}
}  // namespace emulated
#endif

/** Before the first product, and wherever registers of d were written: orders them. */
__device__ __forceinline__ void wgmma_fence() {
#if MG_EMULATED
  ::magnet::emulation::watch::product_fence();
#else
  asm volatile("wgmma.fence.sync.aligned;\n" ::: "memory");
#endif
}
__device__ __forceinline__ void wgmma_commit() {
#if MG_EMULATED
  ::magnet::emulation::warpgroup_commit();
#else
  asm volatile("wgmma.commit_group.sync.aligned;\n" ::: "memory");
#endif
}
/** Until at most GROUPS of the committed groups run. */
template <int GROUPS>
__device__ __forceinline__ void wgmma_wait() {
#if MG_EMULATED
  ::magnet::emulation::warpgroup_wait(GROUPS);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;\n" ::"n"(GROUPS) : "memory");
#endif
}
/** After the last wait: the compiler takes d from here on, not from the instruction's place. */
template <int COUNT>
__device__ __forceinline__ void wgmma_results([[maybe_unused]] float (&d)[COUNT]) {
#if !MG_EMULATED
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(d[i])::"memory");
#endif
}
template <int COUNT>
__device__ __forceinline__ void wgmma_results([[maybe_unused]] int32_t (&d)[COUNT]) {
#if !MG_EMULATED
#pragma unroll
  for (int i = 0; i < COUNT; i++) asm volatile("" : "+r"(d[i])::"memory");
#endif
}

// "%t0, %t1, .. %t9": names of ten operands of an asm statement, by their tens (none: 0..9).
#define MG_TEN(t)                                                  \
  "%" #t "0, %" #t "1, %" #t "2, %" #t "3, %" #t "4, %" #t "5, %" #t \
  "6, %" #t "7, %" #t "8, %" #t "9"
#define MG_SIXTY \
  MG_TEN() ", " MG_TEN(1) ", " MG_TEN(2) ", " MG_TEN(3) ", " MG_TEN(4) ", " MG_TEN(5)
#define MG_NAMES_64 "{" MG_SIXTY ", %60, %61, %62, %63}"
#define MG_NAMES_128                                                                    \
  "{" MG_SIXTY ", " MG_TEN(6) ", " MG_TEN(7) ", " MG_TEN(8) ", " MG_TEN(9) ", " \
      MG_TEN(10) ", " MG_TEN(11) ", %120, %121, %122, %123, %124, %125, %126, %127}"
#define MG_TWO(c, i) c(d[i]), c(d[(i) + 1])
#define MG_EIGHT(c, i) MG_TWO(c, i), MG_TWO(c, (i) + 2), MG_TWO(c, (i) + 4), MG_TWO(c, (i) + 6)
#define MG_OPERANDS_64(c)                                                            \
  MG_EIGHT(c, 0), MG_EIGHT(c, 8), MG_EIGHT(c, 16), MG_EIGHT(c, 24), MG_EIGHT(c, 32), \
      MG_EIGHT(c, 40), MG_EIGHT(c, 48), MG_EIGHT(c, 56)
#define MG_OPERANDS_128(c)                                                               \
  MG_OPERANDS_64(c), MG_EIGHT(c, 64), MG_EIGHT(c, 72), MG_EIGHT(c, 80), MG_EIGHT(c, 88), \
      MG_EIGHT(c, 96), MG_EIGHT(c, 104), MG_EIGHT(c, 112), MG_EIGHT(c, 120)
// The predicate says that d is added to.
#define MG_WGMMA(shape, types, names, after)     \
  "{\n.reg .pred add;\nsetp.eq.u32 add, 0, 0;\n" \
  "wgmma.mma_async.sync.aligned." shape "." types " " names ", " after ";\n}\n"

/** d += a b with bf16 operands, a and b each along k or (MN) along m or n. */
template <int N, bool A_MN, bool B_MN>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bf16) {
#if MG_EMULATED
  emulated::wgmma<bf16, N, A_MN, B_MN>(&d[0], a, b);
#else
  constexpr int TRANSPOSE_A = A_MN ? 1 : 0;
  constexpr int TRANSPOSE_B = B_MN ? 1 : 0;
  if constexpr (N == 256)
    asm volatile(
        MG_WGMMA("m64n256k16", "f32.bf16.bf16", MG_NAMES_128, "%128, %129, add, 1, 1, %130, %131")
        : MG_OPERANDS_128("+f")
        : "l"(a), "l"(b), "n"(TRANSPOSE_A), "n"(TRANSPOSE_B));
  else
    asm volatile(
        MG_WGMMA("m64n128k16", "f32.bf16.bf16", MG_NAMES_64, "%64, %65, add, 1, 1, %66, %67")
        : MG_OPERANDS_64("+f")
        : "l"(a), "l"(b), "n"(TRANSPOSE_A), "n"(TRANSPOSE_B));
#endif
}
/** d += a b with int8 operands, both along k. */
template <int N, bool A_MN, bool B_MN>
__device__ __forceinline__ void wgmma(int32_t (&d)[N / 2], uint64_t a, uint64_t b, int8_t) {
  static_assert(!A_MN && !B_MN);
#if MG_EMULATED
  emulated::wgmma<int8_t, N, false, false>(&d[0], a, b);
#else
  if constexpr (N == 256)
    asm volatile(MG_WGMMA("m64n256k32", "s32.s8.s8", MG_NAMES_128, "%128, %129, add")
                 : MG_OPERANDS_128("+r")
                 : "l"(a), "l"(b));
  else
    asm volatile(MG_WGMMA("m64n128k32", "s32.s8.s8", MG_NAMES_64, "%64, %65, add")
                 : MG_OPERANDS_64("+r")
                 : "l"(a), "l"(b));
#endif
}

#undef MG_TEN
#undef MG_SIXTY
#undef MG_NAMES_64
#undef MG_NAMES_128
#undef MG_TWO
#undef MG_EIGHT
#undef MG_OPERANDS_64
#undef MG_OPERANDS_128
#undef MG_WGMMA

}  // namespace magnet::gpu
