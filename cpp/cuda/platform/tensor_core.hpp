// Warp-wide matrix products, loads of their fragments, and asynchronous copies into shared memory, of
// compute capability 8.0 and up. Layouts of fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16"
// (bf16, fp16), "mma.m16n8k32" (s8) and "ldmatrix". With g = lane / 4 and t = lane % 4:
//   bf16: a[0] (g, 2t..), a[1] (g+8, 2t..), a[2] (g, 2t+8..), a[3] (g+8, 2t+8..), two columns each;
//         b[0] rows 2t.. of column g, b[1] rows 2t+8..; d[0..1] (g, 2t..), d[2..3] (g+8, 2t..).
//   s8:   the same with four columns (rows of b) 4t.. in a register, the second half at 4t+16.
#pragma once
#include "device.hpp"

namespace magnet::gpu {

#if MG_EMULATED
namespace emulated {
template <class A, class B>
struct Fragments {
  A a[4];
  B b[2];
};
using Operands = Fragments<uint32_t, uint32_t>;

inline float bf16_at(uint32_t two, int i) { return i == 0 ? low_bf16(two) : high_bf16(two); }
inline float fp16_at(uint32_t two, int i) {
  return to_float(fp16{static_cast<uint16_t>(i == 0 ? two : two >> 16)});
}
inline int s8_at(uint32_t four, int i) { return static_cast<int8_t>(four >> (8 * i)); }

/** c + products as tensor cores add: no float32 sum with rounding after each step, but all terms at
 * once, each cut off two bits below the last place of the largest, and the sum cut to float32. The
 * errors all point to zero, so long sums are further off than those of fused multiply-adds. */
template <int DEPTH>
MG_UNWATCHED float add_at_once(float c, const float (&products)[DEPTH]) {
  float plain = c;
  float largest = std::fabs(c);
  for (const float x : products) {
    plain += x;
    largest = std::fmax(largest, std::fabs(x));
  }
  if (!std::isfinite(plain) || largest == 0.0f) return plain;
  const double unit = std::ldexp(1.0, std::ilogb(largest) - 25);
  const double inverse = 1.0 / unit;
  auto sum = static_cast<int64_t>(static_cast<double>(c) * inverse);
  for (const float x : products) sum += static_cast<int64_t>(static_cast<double>(x) * inverse);
  const auto bits = __builtin_bit_cast(uint64_t, static_cast<double>(sum) * unit);
  return static_cast<float>(__builtin_bit_cast(double, bits & ~uint64_t{0x1fffffff}));
}
template <int DEPTH>
MG_UNWATCHED int32_t add_at_once(int32_t c, const int32_t (&products)[DEPTH]) {
  for (const int32_t x : products) c += x;
  return c;
}

/** Element (row, k) of A, `each` elements to a register. */
template <class At>
MG_UNWATCHED auto a_at(const ::magnet::emulation::Exchanged<Operands>& all, int row, int k, int each, At at) {
  const int half = k / (4 * each);
  const int within = k % (4 * each);
  const auto lane = static_cast<unsigned>(row % 8 * 4 + within / each);
  return at(all.of(lane).a[row / 8 + 2 * half], within % each);
}
template <class At>
MG_UNWATCHED auto b_at(const ::magnet::emulation::Exchanged<Operands>& all, int k, int column, int each, At at) {
  const int half = k / (4 * each);
  const int within = k % (4 * each);
  const auto lane = static_cast<unsigned>(column * 4 + within / each);
  return at(all.of(lane).b[half], within % each);
}

template <int DEPTH, class T, class At>
MG_UNWATCHED void mma(T (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2], int each, At at) {
  const Operands mine{{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
  const ::magnet::emulation::Exchanged<Operands> all(mine);
  const int g = static_cast<int>(::magnet::emulation::lane()) / 4;
  const int t = static_cast<int>(::magnet::emulation::lane()) % 4;
  for (int i = 0; i < 4; i++) {
    const int row = g + 8 * (i / 2);
    const int column = 2 * t + i % 2;
    T products[DEPTH];
    for (int k = 0; k < DEPTH; k++)
      products[k] = a_at(all, row, k, each, at) * b_at(all, k, column, each, at);
    d[i] = add_at_once(d[i], products);
  }
}
}  // namespace emulated
#endif

/** d (16, 8) += a (16, 16) b (16, 8) of bf16, in float32. */
__device__ __forceinline__ void mma_bf16(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
#if MG_EMULATED
  emulated::mma<16>(d, a, b, 2, emulated::bf16_at);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/** The same of fp16. */
__device__ __forceinline__ void mma_fp16(float (&d)[4], const uint32_t (&a)[4],
                                         const uint32_t (&b)[2]) {
#if MG_EMULATED
  emulated::mma<16>(d, a, b, 2, emulated::fp16_at);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/** d (16, 8) += a (16, 32) b (32, 8) of int8, exact. */
__device__ __forceinline__ void mma_s8(int32_t (&d)[4], const uint32_t (&a)[4],
                                       const uint32_t (&b)[2]) {
#if MG_EMULATED
  emulated::mma<32>(d, a, b, 4, emulated::s8_at);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, "
      "{%0,%1,%2,%3};\n"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
#endif
}

/** A pointer into shared memory as the instructions take it. */
__device__ __forceinline__ uint32_t shared_address([[maybe_unused]] const void* p) {
#if MG_EMULATED
  return 0;
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
#endif
}

#if MG_EMULATED
namespace emulated {
/** Register i of a lane: from matrix i, whose rows lanes 8i..8i+7 point at. */
template <bool TRANSPOSED, int N>
MG_UNWATCHED void load_matrices(uint32_t (&r)[N], const void* row) {
  const ::magnet::emulation::Exchanged<const void*> rows(row);
  const unsigned lane = ::magnet::emulation::lane();
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0 && lane < 8 * N)
    ::magnet::emulation::refuse("ldmatrix of a row that is not 16-byte aligned");
  if (lane < 8 * N) ::magnet::emulation::watch::read(row, 16, __builtin_return_address(0));
  for (unsigned i = 0; i < N; i++) {
    auto element = [&](unsigned matrix_row, unsigned column) {
      uint16_t x;
      const auto* from = static_cast<const unsigned char*>(rows.of(8 * i + matrix_row));
      std::memcpy(&x, from + 2 * column, 2);
      return static_cast<uint32_t>(x);
    };
    const unsigned g = lane / 4;
    const unsigned t = 2 * (lane % 4);
    r[i] = TRANSPOSED ? element(t, g) | element(t + 1, g) << 16
                      : element(g, t) | element(g, t + 1) << 16;
  }
}
}  // namespace emulated
#endif

/** Four 8 x 8 matrices of 16-bit elements; lane 8i+j points at row j (16 bytes) of matrix i. */
__device__ __forceinline__ void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
#if MG_EMULATED
  emulated::load_matrices<false>(r, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}
/** The same with each matrix transposed. */
__device__ __forceinline__ void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
#if MG_EMULATED
  emulated::load_matrices<true>(r, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
#endif
}
/** Two matrices; lanes 0..15 point at their rows, the others anywhere that is aligned. */
__device__ __forceinline__ void ldmatrix_x2(uint32_t (&r)[2], const void* row) {
#if MG_EMULATED
  emulated::load_matrices<false>(r, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
#endif
}
__device__ __forceinline__ void ldmatrix_x2_transposed(uint32_t (&r)[2], const void* row) {
#if MG_EMULATED
  emulated::load_matrices<true>(r, row);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];\n"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(shared_address(row))
               : "memory");
#endif
}

/** 16 bytes from global into shared memory, zeros where `valid` is false (`global` is then not read). */
__device__ __forceinline__ void cp_async_16(void* shared, const void* global, bool valid = true) {
#if MG_EMULATED
  ::magnet::emulation::async_copy(shared, global, 16, !valid);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(shared)),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
#endif
}
__device__ __forceinline__ void cp_async_commit() {
#if MG_EMULATED
  ::magnet::emulation::async_commit();
#else
  asm volatile("cp.async.commit_group;\n" ::: "memory");
#endif
}
/** Waits until at most GROUPS of this thread's groups are under way. Others see them after a barrier. */
template <int GROUPS>
__device__ __forceinline__ void cp_async_wait() {
#if MG_EMULATED
  ::magnet::emulation::async_wait(GROUPS);
#else
  asm volatile("cp.async.wait_group %0;\n" ::"n"(GROUPS) : "memory");
#endif
}

}  // namespace magnet::gpu
