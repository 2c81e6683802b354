// What a SIMD path gives Reed-Solomon (gf256_apply.cpp). Ranges of bytes are whole vectors.
#pragma once
#include "gf256.hpp"

namespace magnet::gf {

struct Kernels {
  uint64_t vector_bytes;
  /** P = d0 + d1 + ... into the first row and, if with_q, Q = d0 + 2 (d1 + 2 (d2 + ...)). */
  void (*parity)(const Job& job, bool with_q, uint64_t begin, uint64_t end);
  /** All rows. tables: 32 bytes a coefficient, products with 0..15, then with 0, 16, ..., 240. */
  void (*shuffle)(const Job& job, const uint8_t* tables, uint64_t begin, uint64_t end);
};

#if defined(__x86_64__)
namespace avx2 {
extern const Kernels KERNELS;
}
#elif defined(__aarch64__)
namespace neon {
extern const Kernels KERNELS;
}
#endif

}  // namespace magnet::gf
