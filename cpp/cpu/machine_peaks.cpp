// The SIMD kernels of machine_limits.hpp. Accumulators pass through an empty asm in every round, so
// that the compiler neither folds the rounds nor moves the accumulators to memory.
#include "machine_limits.hpp"

#if defined(__x86_64__)
#include <immintrin.h>

#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
namespace magnet {
namespace {

constexpr int AVX2_CHAINS = 12;

void avx2_fma(int64_t rounds) {
  __m256 c[AVX2_CHAINS];
#pragma GCC unroll 16
  for (int i = 0; i < AVX2_CHAINS; i++) c[i] = _mm256_setzero_ps();
  const __m256 factor = _mm256_set1_ps(1.0000001f);
  const __m256 addend = _mm256_set1_ps(1e-9f);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < AVX2_CHAINS; i++) {
      c[i] = _mm256_fmadd_ps(c[i], factor, addend);
      asm volatile("" : "+x"(c[i]));
    }
  }
}

/** maddubs and a 16-bit addition; widening once every 64 pairs costs nothing worth counting. */
void avx2_integer(int64_t rounds) {
  __m256i c[AVX2_CHAINS];
#pragma GCC unroll 16
  for (int i = 0; i < AVX2_CHAINS; i++) c[i] = _mm256_setzero_si256();
  __m256i codes = _mm256_set1_epi8(1);
  const __m256i row = _mm256_set1_epi8(3);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < AVX2_CHAINS; i++) {
      asm volatile("" : "+x"(codes));
      c[i] = _mm256_add_epi16(c[i], _mm256_maddubs_epi16(codes, row));
      asm volatile("" : "+x"(c[i]));
    }
  }
}

void avx2_read(const uint8_t* data, int64_t bytes) {
  __m256i sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) sums[i] = _mm256_setzero_si256();
  const int64_t stream = bytes / STREAMS / 64 * 2;  // vectors
  const auto* const p = reinterpret_cast<const __m256i*>(data);
  for (int64_t i = 0; i < stream; i += 2) {
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; j++) {
      const __m256i x = _mm256_load_si256(p + j / 2 * stream + i + j % 2);
      sums[j] = _mm256_xor_si256(sums[j], x);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) asm volatile("" : "+x"(sums[i]));
}

}  // namespace

PeakKernels avx2_peaks() {
  return {avx2_fma, AVX2_CHAINS * 8 * 2, avx2_integer, AVX2_CHAINS * 32 * 2, avx2_read};
}

}  // namespace magnet
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,f16c")
namespace magnet {
namespace {

constexpr int AVX512_CHAINS = 16;

void avx512_fma(int64_t rounds) {
  __m512 c[AVX512_CHAINS];
#pragma GCC unroll 16
  for (int i = 0; i < AVX512_CHAINS; i++) c[i] = _mm512_setzero_ps();
  const __m512 factor = _mm512_set1_ps(1.0000001f);
  const __m512 addend = _mm512_set1_ps(1e-9f);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < AVX512_CHAINS; i++) {
      c[i] = _mm512_fmadd_ps(c[i], factor, addend);
      asm volatile("" : "+v"(c[i]));
    }
  }
}

void avx512_read(const uint8_t* data, int64_t bytes) {
  __m512i sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) sums[i] = _mm512_setzero_si512();
  const int64_t stream = bytes / STREAMS / 128 * 2;  // vectors
  const auto* const p = reinterpret_cast<const __m512i*>(data);
  for (int64_t i = 0; i < stream; i += 2) {
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; j++) {
      const __m512i x = _mm512_load_si512(p + j / 2 * stream + i + j % 2);
      sums[j] = _mm512_xor_si512(sums[j], x);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) asm volatile("" : "+v"(sums[i]));
}

void avx512_integer(int64_t rounds) {
  __m512i c[AVX512_CHAINS];
#pragma GCC unroll 16
  for (int i = 0; i < AVX512_CHAINS; i++) c[i] = _mm512_setzero_si512();
  const __m512i codes = _mm512_set1_epi8(1);
  const __m512i row = _mm512_set1_epi8(3);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < AVX512_CHAINS; i++) {
      c[i] = _mm512_dpbusd_epi32(c[i], codes, row);
      asm volatile("" : "+v"(c[i]));
    }
  }
}

}  // namespace

PeakKernels avx512_peaks() {
  return {avx512_fma, AVX512_CHAINS * 16 * 2, avx512_integer, AVX512_CHAINS * 64 * 2, avx512_read};
}

}  // namespace magnet
#pragma GCC pop_options

#elif defined(__aarch64__)
#include <arm_neon.h>

namespace magnet {
namespace {

constexpr int NEON_CHAINS = 16;

void neon_fma(int64_t rounds) {
  float32x4_t c[NEON_CHAINS];
#pragma GCC unroll 16
  for (int i = 0; i < NEON_CHAINS; i++) c[i] = vdupq_n_f32(0.0f);
  const float32x4_t factor = vdupq_n_f32(1.0000001f);
  const float32x4_t addend = vdupq_n_f32(1e-9f);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < NEON_CHAINS; i++) {
      c[i] = vfmaq_f32(addend, c[i], factor);
      asm volatile("" : "+w"(c[i]));
    }
  }
}

void neon_integer(int64_t rounds) {
  int16x8_t c[NEON_CHAINS];
#pragma GCC unroll 16
  for (int i = 0; i < NEON_CHAINS; i++) c[i] = vdupq_n_s16(0);
  const int8x8_t codes = vdup_n_s8(1);
  const int8x8_t row = vdup_n_s8(3);
  for (int64_t r = 0; r < rounds; r++) {
#pragma GCC unroll 16
    for (int i = 0; i < NEON_CHAINS; i++) {
      c[i] = vmlal_s8(c[i], codes, row);
      asm volatile("" : "+w"(c[i]));
    }
  }
}

void neon_read(const uint8_t* data, int64_t bytes) {
  uint8x16_t sums[8];
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) sums[i] = vdupq_n_u8(0);
  const int64_t stream = bytes / STREAMS / 32 * 32;
  for (int64_t i = 0; i < stream; i += 32) {
#pragma GCC unroll 8
    for (int64_t j = 0; j < 8; j++) {
      const uint8x16_t x = vld1q_u8(data + j / 2 * stream + i + j % 2 * 16);
      sums[j] = veorq_u8(sums[j], x);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < 8; i++) asm volatile("" : "+w"(sums[i]));
}

}  // namespace

PeakKernels neon_peaks() {
  return {neon_fma, NEON_CHAINS * 4 * 2, neon_integer, NEON_CHAINS * 8 * 2, neon_read};
}

}  // namespace magnet
#endif
