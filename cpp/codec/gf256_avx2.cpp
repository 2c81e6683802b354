// Reed-Solomon's dst = rows * src on AVX2: P and Q by Horner's rule without tables, every other row
// by nibble-table shuffles, up to four rows in one pass over the sources.
#if defined(__x86_64__)
#include <immintrin.h>

#include <algorithm>

#include "gf256_kernels.hpp"

namespace magnet::gf::avx2 {
namespace {

constexpr uint64_t VECTOR_BYTES = 32;
constexpr uint32_t ROWS_MAX = 4;

#define MG_AVX2 __attribute__((target("avx2")))

MG_AVX2 inline __m256i load(const uint8_t* p) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
}
MG_AVX2 inline void store(uint8_t* p, __m256i v) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v);
}
MG_AVX2 inline __m256i table_at(const uint8_t* p) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
/** 2 * v in every byte. */
MG_AVX2 inline __m256i twice(__m256i v) {
  const __m256i high = _mm256_cmpgt_epi8(_mm256_setzero_si256(), v);
  return _mm256_xor_si256(_mm256_add_epi8(v, v), _mm256_and_si256(high, _mm256_set1_epi8(0x1D)));
}

/** P = d0 + ... ; Q = d0 + 2 (d1 + 2 (d2 + ...)); whole vectors of [begin, end). */
template <bool WITH_Q>
MG_AVX2 void horner(const Job& job, uint64_t begin, uint64_t end) {
  const auto k = static_cast<int64_t>(job.src.size());
  const uint8_t* const* src = job.src.data();
  constexpr uint32_t WIDTH = 4;
  uint64_t i = begin;
  for (; i + WIDTH * VECTOR_BYTES <= end; i += WIDTH * VECTOR_BYTES) {
    __m256i p[WIDTH];
    __m256i q[WIDTH];
    for (uint32_t w = 0; w < WIDTH; w++) p[w] = q[w] = load(src[k - 1] + i + w * VECTOR_BYTES);
    for (int64_t j = k - 2; j >= 0; j--) {
      for (uint32_t w = 0; w < WIDTH; w++) {
        const __m256i d = load(src[j] + i + w * VECTOR_BYTES);
        p[w] = _mm256_xor_si256(p[w], d);
        if constexpr (WITH_Q) q[w] = _mm256_xor_si256(twice(q[w]), d);
      }
    }
    for (uint32_t w = 0; w < WIDTH; w++) store(job.dst[0] + i + w * VECTOR_BYTES, p[w]);
    if constexpr (WITH_Q)
      for (uint32_t w = 0; w < WIDTH; w++) store(job.dst[1] + i + w * VECTOR_BYTES, q[w]);
  }
  for (; i + VECTOR_BYTES <= end; i += VECTOR_BYTES) {
    __m256i p = load(src[k - 1] + i);
    __m256i q = p;
    for (int64_t j = k - 2; j >= 0; j--) {
      const __m256i d = load(src[j] + i);
      p = _mm256_xor_si256(p, d);
      if constexpr (WITH_Q) q = _mm256_xor_si256(twice(q), d);
    }
    store(job.dst[0] + i, p);
    if constexpr (WITH_Q) store(job.dst[1] + i, q);
  }
}

/** R rows from `first` on, by table shuffles, two vectors of every source at a time. */
template <uint32_t R>
MG_AVX2 void shuffle_rows(const Job& job, const uint8_t* tables, uint32_t first, uint64_t begin,
                          uint64_t end) {
  const uint32_t k = job.rows.cols;
  const __m256i mask = _mm256_set1_epi8(0x0F);
  const uint8_t* const base = tables + static_cast<size_t>(first) * k * 32;
  for (uint64_t i = begin; i + VECTOR_BYTES <= end; i += 2 * VECTOR_BYTES) {
    // A block ends on a whole vector; the second one of the last pair may not be there.
    const uint64_t second = i + 2 * VECTOR_BYTES <= end ? VECTOR_BYTES : 0;
    __m256i sum0[R];
    __m256i sum1[R];
    for (uint32_t r = 0; r < R; r++) sum0[r] = sum1[r] = _mm256_setzero_si256();
    for (uint32_t j = 0; j < k; j++) {
      const __m256i a = load(job.src[j] + i);
      const __m256i b = load(job.src[j] + i + second);
      const __m256i a_low = _mm256_and_si256(a, mask);
      const __m256i b_low = _mm256_and_si256(b, mask);
      const __m256i a_high = _mm256_and_si256(_mm256_srli_epi64(a, 4), mask);
      const __m256i b_high = _mm256_and_si256(_mm256_srli_epi64(b, 4), mask);
      for (uint32_t r = 0; r < R; r++) {
        const uint8_t* t = base + (static_cast<size_t>(r) * k + j) * 32;
        const __m256i low = table_at(t);
        const __m256i high = table_at(t + 16);
        sum0[r] = _mm256_xor_si256(sum0[r], _mm256_xor_si256(_mm256_shuffle_epi8(low, a_low),
                                                             _mm256_shuffle_epi8(high, a_high)));
        sum1[r] = _mm256_xor_si256(sum1[r], _mm256_xor_si256(_mm256_shuffle_epi8(low, b_low),
                                                             _mm256_shuffle_epi8(high, b_high)));
      }
    }
    for (uint32_t r = 0; r < R; r++) {
      store(job.dst[first + r] + i, sum0[r]);
      store(job.dst[first + r] + i + second, second == 0 ? sum0[r] : sum1[r]);
    }
  }
}

void shuffle_block(const Job& job, const uint8_t* tables, uint64_t begin, uint64_t end) {
  const uint32_t rows = job.rows.rows;
  for (uint32_t first = 0; first < rows; first += ROWS_MAX) {
    switch (std::min(ROWS_MAX, rows - first)) {
      case 1: shuffle_rows<1>(job, tables, first, begin, end); break;
      case 2: shuffle_rows<2>(job, tables, first, begin, end); break;
      case 3: shuffle_rows<3>(job, tables, first, begin, end); break;
      default: shuffle_rows<4>(job, tables, first, begin, end); break;
    }
  }
}

void parity(const Job& job, bool with_q, uint64_t begin, uint64_t end) {
  with_q ? horner<true>(job, begin, end) : horner<false>(job, begin, end);
}

}  // namespace

const Kernels KERNELS{VECTOR_BYTES, parity, shuffle_block};

}  // namespace magnet::gf::avx2
#endif
