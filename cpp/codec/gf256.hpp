// GF(2^8) with the polynomial 0x11D and the generator 2 (paper 11): tables made at compile time,
// and the small dense matrices of a Reed-Solomon code. Sums are exclusive ors.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace magnet::gf {

struct Tables {
  std::array<uint8_t, 512> exp{};  // doubled, so that a sum of two logarithms needs no reduction
  std::array<uint8_t, 256> log{};  // log[0] is never read
};

constexpr Tables make_tables() {
  Tables t;
  uint32_t x = 1;
  for (uint32_t i = 0; i < 255; i++) {
    t.exp[i] = t.exp[i + 255] = static_cast<uint8_t>(x);
    t.log[x] = static_cast<uint8_t>(i);
    x <<= 1;
    if (x & 0x100) x ^= 0x11D;
  }
  return t;
}
inline constexpr Tables TABLES = make_tables();

constexpr uint8_t multiply(uint8_t a, uint8_t b) {
  if (a == 0 || b == 0) return 0;
  return TABLES.exp[static_cast<uint32_t>(TABLES.log[a]) + TABLES.log[b]];
}
/** a must not be 0. */
constexpr uint8_t invert(uint8_t a) { return TABLES.exp[255u - TABLES.log[a]]; }
static_assert(multiply(0x80, 2) == 0x1D && multiply(7, invert(7)) == 1);

/** Row-major. */
struct Matrix {
  uint32_t rows = 0;
  uint32_t cols = 0;
  std::vector<uint8_t> values;

  Matrix(uint32_t r, uint32_t c) : rows(r), cols(c), values(static_cast<size_t>(r) * c) {}
  uint8_t& at(uint32_t r, uint32_t c) { return values[static_cast<size_t>(r) * cols + c]; }
  uint8_t at(uint32_t r, uint32_t c) const { return values[static_cast<size_t>(r) * cols + c]; }
};

Matrix product(const Matrix& a, const Matrix& b);
/**
 * Gauss-Jordan; the result is multiplied back and checked. Throws MG_E_INTERNAL if it is singular.
 */
Matrix inverse(const Matrix& a);

/** MG_RS_PAPER or MG_RS_CAUCHY; throws MG_E_INVALID outside the limits. */
uint32_t matrix_id(uint32_t data_shards, uint32_t parity_shards);
/** The M x K parity rows of (K, M). */
Matrix parity_matrix(uint32_t data_shards, uint32_t parity_shards);

/** dst[r] = sum over j of rows[r][j] * src[j], over `length` bytes; polls cancel. */
struct Job {
  const Matrix& rows;
  std::vector<const uint8_t*> src;
  std::vector<uint8_t*> dst;
  uint64_t length;
};
void apply(const Job& job, uint32_t threads, const int32_t* cancel);

}  // namespace magnet::gf
