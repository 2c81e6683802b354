// The kernels behind gemm.hpp, each for the devices that have its instructions. gemm.cu chooses.
#pragma once
#include "gemm_output.hpp"

namespace magnet::gpu {

/** Operands as the product sees them: a (m, k), b (n, k); *_mn: given with m or n along memory. */
template <class T>
struct Operands {
  Matrix<const T> a;
  Matrix<const T> b;
  bool a_mn;
  bool b_mn;
  int64_t k;
};

/** Fused multiply-adds, k in order. */
void gemm_simt(const Stream& stream, const Operands<float>& operands, const Output& out);

/** Warp-wide tensor-core instructions: compute capability 8.0 and up. bf16, and int8 (both along
 * k). */
template <class T>
void gemm_mma(const Stream& stream, const Operands<T>& operands, const Output& out);

/** Warpgroup-wide instructions: compute capability 9.0. false where the device lacks them or the
 * layouts have no such kernel; nothing is started then. */
template <class T>
bool gemm_wgmma(const Stream& stream, const Operands<T>& operands, const Output& out);

}  // namespace magnet::gpu
