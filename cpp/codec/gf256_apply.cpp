// The kernels of Reed-Solomon: dst = rows * src over byte arrays. AVX2: rows that are RAID-6's P
// (all 1) and Q (2^j) by Horner's rule without tables, every other row by nibble-table shuffles, up
// to four rows in one pass over the sources. The scalar twin is one 256-byte table per coefficient,
// and does the tails.
#include <immintrin.h>

#include <algorithm>
#include <cstring>

#include "../cpu/common.hpp"
#include "../cpu/thread_pool.hpp"
#include "gf256.hpp"

namespace magnet::gf {
namespace {

/**
 * Bytes of every shard that one pass covers: small enough that the sources stay in the L2 cache.
 */
constexpr uint64_t BLOCK_BYTES = 16 * 1024;
constexpr uint64_t VECTOR_BYTES = 32;
constexpr uint32_t ROWS_MAX = 4;

void scalar_row(const Job& job, uint32_t r, uint64_t begin, uint64_t end) {
  uint8_t* dst = job.dst[r];
  std::memset(dst + begin, 0, end - begin);
  for (uint32_t j = 0; j < job.rows.cols; j++) {
    const uint8_t c = job.rows.at(r, j);
    if (c == 0) continue;
    uint8_t table[256];
    for (uint32_t x = 0; x < 256; x++) table[x] = multiply(c, static_cast<uint8_t>(x));
    const uint8_t* src = job.src[j];
    for (uint64_t i = begin; i < end; i++) dst[i] ^= table[src[i]];
  }
}

/** 32 bytes a coefficient: products with 0..15, then with 0, 16, ..., 240. */
std::vector<uint8_t> nibble_tables(const Matrix& rows) {
  std::vector<uint8_t> out(rows.values.size() * 32);
  for (size_t i = 0; i < rows.values.size(); i++)
    for (uint32_t x = 0; x < 16; x++) {
      out[i * 32 + x] = multiply(rows.values[i], static_cast<uint8_t>(x));
      out[i * 32 + 16 + x] = multiply(rows.values[i], static_cast<uint8_t>(x << 4));
    }
  return out;
}

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

enum class Kernel { scalar, xor_all, pq, shuffle };

Kernel choose(const Matrix& rows) {
  if (!runs_avx2()) return Kernel::scalar;
  if (rows.rows > 2) return Kernel::shuffle;
  uint8_t power = 1;
  for (uint32_t j = 0; j < rows.cols; j++) {
    if (rows.at(0, j) != 1) return Kernel::shuffle;
    if (rows.rows == 2 && rows.at(1, j) != power) return Kernel::shuffle;
    power = multiply(power, 2);
  }
  return rows.rows == 1 ? Kernel::xor_all : Kernel::pq;
}

}  // namespace

void apply(const Job& job, uint32_t threads, const int32_t* cancel) {
  const Kernel kernel = choose(job.rows);
  const std::vector<uint8_t> tables =
      kernel == Kernel::shuffle ? nibble_tables(job.rows) : std::vector<uint8_t>{};
  const auto blocks = static_cast<int64_t>((job.length + BLOCK_BYTES - 1) / BLOCK_BYTES);
  parallel_for(resolve_threads(threads), blocks, [&](int64_t first, int64_t last, uint32_t) {
    for (int64_t b = first; b < last; b++) {
      if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "Reed-Solomon: cancelled");
      const uint64_t begin = static_cast<uint64_t>(b) * BLOCK_BYTES;
      const uint64_t end = std::min(begin + BLOCK_BYTES, job.length);
      uint64_t done = end;
      if (kernel == Kernel::scalar) {
        done = begin;
      } else {
        done = begin + (end - begin) / VECTOR_BYTES * VECTOR_BYTES;
        if (kernel == Kernel::xor_all) horner<false>(job, begin, done);
        if (kernel == Kernel::pq) horner<true>(job, begin, done);
        if (kernel == Kernel::shuffle) shuffle_block(job, tables.data(), begin, done);
      }
      if (done < end)
        for (uint32_t r = 0; r < job.rows.rows; r++) scalar_row(job, r, done, end);
    }
  });
}

}  // namespace magnet::gf
