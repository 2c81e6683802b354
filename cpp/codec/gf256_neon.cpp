// Reed-Solomon's dst = rows * src on NEON: P and Q by Horner's rule without tables, every other row
// by nibble-table look-ups, up to four rows in one pass over the sources.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <algorithm>

#include "gf256_kernels.hpp"

namespace magnet::gf::neon {
namespace {

constexpr uint64_t VECTOR_BYTES = 16;
constexpr uint32_t ROWS_MAX = 4;

/** 2 * v in every byte. */
inline uint8x16_t twice(uint8x16_t v) {
  const uint8x16_t high = vreinterpretq_u8_s8(vshrq_n_s8(vreinterpretq_s8_u8(v), 7));
  return veorq_u8(vshlq_n_u8(v, 1), vandq_u8(high, vdupq_n_u8(0x1D)));
}

template <bool WITH_Q, uint32_t WIDTH>
void horner_step(const Job& job, uint64_t i) {
  const auto k = static_cast<int64_t>(job.src.size());
  uint8x16_t p[WIDTH];
  uint8x16_t q[WIDTH];
  for (uint32_t w = 0; w < WIDTH; w++)
    p[w] = q[w] = vld1q_u8(job.src[static_cast<size_t>(k - 1)] + i + w * VECTOR_BYTES);
  for (int64_t j = k - 2; j >= 0; j--)
    for (uint32_t w = 0; w < WIDTH; w++) {
      const uint8x16_t d = vld1q_u8(job.src[static_cast<size_t>(j)] + i + w * VECTOR_BYTES);
      p[w] = veorq_u8(p[w], d);
      if constexpr (WITH_Q) q[w] = veorq_u8(twice(q[w]), d);
    }
  for (uint32_t w = 0; w < WIDTH; w++) vst1q_u8(job.dst[0] + i + w * VECTOR_BYTES, p[w]);
  if constexpr (WITH_Q)
    for (uint32_t w = 0; w < WIDTH; w++) vst1q_u8(job.dst[1] + i + w * VECTOR_BYTES, q[w]);
}

template <bool WITH_Q>
void horner(const Job& job, uint64_t begin, uint64_t end) {
  constexpr uint32_t WIDTH = 4;
  uint64_t i = begin;
  for (; i + WIDTH * VECTOR_BYTES <= end; i += WIDTH * VECTOR_BYTES)
    horner_step<WITH_Q, WIDTH>(job, i);
  for (; i < end; i += VECTOR_BYTES) horner_step<WITH_Q, 1>(job, i);
}

/** R rows from `first` on, one vector of every source at a time. */
template <uint32_t R>
void shuffle_rows(const Job& job, const uint8_t* tables, uint32_t first, uint64_t begin,
                  uint64_t end) {
  const uint32_t k = job.rows.cols;
  const uint8_t* const base = tables + static_cast<size_t>(first) * k * 32;
  for (uint64_t i = begin; i < end; i += VECTOR_BYTES) {
    uint8x16_t sums[R];
    for (uint32_t r = 0; r < R; r++) sums[r] = vdupq_n_u8(0);
    for (uint32_t j = 0; j < k; j++) {
      const uint8x16_t bytes = vld1q_u8(job.src[j] + i);
      const uint8x16_t low = vandq_u8(bytes, vdupq_n_u8(0x0F));
      const uint8x16_t high = vshrq_n_u8(bytes, 4);
      for (uint32_t r = 0; r < R; r++) {
        const uint8_t* const t = base + (static_cast<size_t>(r) * k + j) * 32;
        const uint8x16_t of_low = vqtbl1q_u8(vld1q_u8(t), low);
        const uint8x16_t of_high = vqtbl1q_u8(vld1q_u8(t + 16), high);
        sums[r] = veorq_u8(sums[r], veorq_u8(of_low, of_high));
      }
    }
    for (uint32_t r = 0; r < R; r++) vst1q_u8(job.dst[first + r] + i, sums[r]);
  }
}

void shuffle(const Job& job, const uint8_t* tables, uint64_t begin, uint64_t end) {
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

const Kernels KERNELS{VECTOR_BYTES, parity, shuffle};

}  // namespace magnet::gf::neon
#endif
