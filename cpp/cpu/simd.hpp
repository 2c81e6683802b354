// Sixteen float32 lanes, once per CPU path: magnet::scalar::F16, avx2::F16, avx512::F16,
// neon::F16. Kernels are written once in a .inc file against F16 and compiled for all (see
// all_paths.inc), so that every lane sees the same operations in the same order and all paths give
// the same bits.
// Where speed needs another structure (GEMM), the scalar twin is an independent naive loop.
#pragma once
#include "common.hpp"
#include "simd_scalar.hpp"

#if defined(__x86_64__)
#include "simd_avx2.hpp"
#include "simd_avx512.hpp"

/** Calls f of the path in force: magnet::avx512::f, magnet::avx2::f or magnet::scalar::f. */
#define MAGNET_DISPATCH(f, ...)                                                         \
  (::magnet::cpu_path() == ::magnet::CpuPath::avx512 ? ::magnet::avx512::f(__VA_ARGS__) \
   : ::magnet::cpu_path() == ::magnet::CpuPath::avx2 ? ::magnet::avx2::f(__VA_ARGS__)   \
                                                     : ::magnet::scalar::f(__VA_ARGS__))
#elif defined(__aarch64__)
#include "simd_neon.hpp"

/** Calls f of the path in force: magnet::neon::f or magnet::scalar::f. */
#define MAGNET_DISPATCH(f, ...)                                                     \
  (::magnet::cpu_path() == ::magnet::CpuPath::neon ? ::magnet::neon::f(__VA_ARGS__) \
                                                   : ::magnet::scalar::f(__VA_ARGS__))
#endif
