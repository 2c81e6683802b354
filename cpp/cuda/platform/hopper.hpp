// Instructions of compute capability 9.0a: barriers that count bytes, bulk copies of tiles out of
// a matrix, registers moved between warpgroups, and products of a warpgroup that read both
// operands from shared memory. Layouts: PTX ISA, "Asynchronous Warpgroup Level Matrix
// Instructions" and "Tensors".
//
// A tile in shared memory has rows of 128 bytes at a multiple of 1024 bytes; the 16-byte pieces of
// a row are permuted by the row: bits 4..6 of an address are those of the plain layout xor bits
// 7..9 ("128-byte swizzle", which copies write and products read alike).
#pragma once
#include "tensor_core.hpp"

#if MG_EMULATED
#include "emulation_async.hpp"
#else
#include <cuda.h>
#endif

namespace magnet::gpu {

/** Whether this pass of the compiler may emit these instructions. */
#if MG_EMULATED || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool HAS_WGMMA = true;
#else
constexpr bool HAS_WGMMA = false;
#endif

constexpr int WARPGROUP = 128;

/** Ends a kernel in a build without the instructions of the device that it was started on. */
__device__ __forceinline__ void refuse_device() {
#if MG_EMULATED
  ::magnet::emulation::refuse("a kernel without the instructions of this device");
#else
  asm volatile("trap;\n");
#endif
}

// ---- Barriers

struct __align__(8) Mbarrier {
  uint64_t state;
};

__device__ __forceinline__ void mbarrier_init(Mbarrier* barrier, unsigned arrivals) {
#if MG_EMULATED
  ::magnet::emulation::mbarrier_init(&barrier->state, arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;\n" ::"r"(shared_address(barrier)),
               "r"(arrivals)
               : "memory");
#endif
}
/** After the inits, before the block's barrier: copies and other threads see them. */
__device__ __forceinline__ void mbarrier_init_done() {
#if MG_EMULATED
  ::magnet::emulation::watch::proxy_fence();
#else
  asm volatile("fence.mbarrier_init.release.cluster;\n" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;\n" ::: "memory");
#endif
}
__device__ __forceinline__ void mbarrier_arrive(Mbarrier* barrier) {
#if MG_EMULATED
  ::magnet::emulation::mbarrier_arrive(&barrier->state, 0);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];\n" ::"r"(shared_address(barrier))
               : "memory");
#endif
}
/** Arrives; the phase is not complete before copies have brought `bytes`. */
__device__ __forceinline__ void mbarrier_arrive_expect(Mbarrier* barrier, unsigned bytes) {
#if MG_EMULATED
  ::magnet::emulation::mbarrier_arrive(&barrier->state, bytes);
#else
  asm volatile(
      "mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;\n" ::"r"(shared_address(barrier)),
      "r"(bytes)
      : "memory");
#endif
}
/** Until the phase of that parity is complete; the phase before a barrier's first has parity 1. */
__device__ __forceinline__ void mbarrier_wait(Mbarrier* barrier, unsigned parity) {
#if MG_EMULATED
  ::magnet::emulation::mbarrier_wait(&barrier->state, parity);
#else
  asm volatile(
      "{\n"
      ".reg .pred done;\n"
      "AGAIN:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra AGAIN;\n"
      "}\n" ::"r"(shared_address(barrier)),
      "r"(parity)
      : "memory");
#endif
}

// ---- Copies of tiles

#if MG_EMULATED
/** Rows of `columns` elements, and the box that a copy takes: 128 bytes x box_rows. */
struct TensorMap {
  const unsigned char* data;
  int64_t element_bytes, columns, rows, stride_bytes;
  int box_rows;
};
#else
using TensorMap = CUtensorMap;
#endif

/** Describes a matrix to the copies below. Elements of 1 byte are integers, of 2 bytes bf16.
 * `data` and the stride in bytes are multiples of 16; box_rows at most 256. */
TensorMap make_tensor_map(const void* data, int element_bytes, int64_t columns, int64_t rows,
                          int64_t stride, int box_rows);

/** Copies the box at (column, row) to `to`, a multiple of 1024 bytes, swizzled; zeros beyond the
 * matrix. All its bytes are counted on the barrier. One thread calls it. */
__device__ __forceinline__ void copy_tile(void* to, const TensorMap* map, Mbarrier* barrier,
                                          int column, int row) {
#if MG_EMULATED
  const unsigned target = ::magnet::emulation::shared_offset(to);
  if (target % 1024 != 0) ::magnet::emulation::refuse("a tile that is not 1024-byte aligned");
  const TensorMap m = *map;
  for (int64_t y = row; y < row + m.box_rows && y < m.rows; y++) {
    const int64_t width = m.columns - column < 128 / m.element_bytes ? m.columns - column
                                                                   : 128 / m.element_bytes;
    if (width > 0)
      ::magnet::emulation::watch::bulk_read(
          m.data + y * m.stride_bytes + column * m.element_bytes,
          static_cast<size_t>(width * m.element_bytes), barrier);
  }
  ::magnet::emulation::watch::bulk_write(to, static_cast<size_t>(m.box_rows) * 128, barrier);
  ::magnet::emulation::bulk_copy(
      &barrier->state, static_cast<unsigned>(m.box_rows) * 128u, [m, target, column, row] {
        for (int y = 0; y < m.box_rows; y++)
          for (int x = 0; x < 128 / m.element_bytes; x++) {
            const unsigned plain = target + static_cast<unsigned>(y * 128 + x * m.element_bytes);
            unsigned char* const place =
                ::magnet::emulation::shared_at(plain ^ (plain >> 7 & 7) << 4);
            const bool inside = column + x < m.columns && row + y < m.rows;
            const auto bytes = static_cast<size_t>(m.element_bytes);
            if (inside)
              std::memcpy(place,
                          m.data + (row + y) * m.stride_bytes + (column + x) * m.element_bytes,
                          bytes);
            else
              std::memset(place, 0, bytes);
          }
      });
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], "
      "[%1, {%2, %3}], [%4];\n" ::"r"(shared_address(to)),
      "l"(map), "r"(column), "r"(row), "r"(shared_address(barrier))
      : "memory");
#endif
}
/** Brings the description near before the first copy. */
__device__ __forceinline__ void prefetch_map([[maybe_unused]] const TensorMap* map) {
#if !MG_EMULATED
  asm volatile("prefetch.tensormap [%0];\n" ::"l"(map) : "memory");
#endif
}

// ---- Registers

/** A warpgroup keeps COUNT registers a thread and gives the others back. */
template <int COUNT>
__device__ __forceinline__ void keep_registers() {
#if !MG_EMULATED
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;\n" ::"n"(COUNT));
#endif
}
/** Waits until it has COUNT registers a thread. */
template <int COUNT>
__device__ __forceinline__ void take_registers() {
#if !MG_EMULATED
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;\n" ::"n"(COUNT));
#endif
}

}  // namespace magnet::gpu
