// Matrices over GF(2^8): the two parity matrices, product, checked inverse.
#include "gf256.hpp"

#include <utility>

#include "../cpu/common.hpp"

namespace magnet::gf {

Matrix product(const Matrix& a, const Matrix& b) {
  Matrix out(a.rows, b.cols);
  for (uint32_t i = 0; i < a.rows; i++)
    for (uint32_t k = 0; k < a.cols; k++)
      for (uint32_t j = 0; j < b.cols; j++) out.at(i, j) ^= multiply(a.at(i, k), b.at(k, j));
  return out;
}

namespace {
bool is_identity(const Matrix& a) {
  for (uint32_t i = 0; i < a.rows; i++)
    for (uint32_t j = 0; j < a.cols; j++)
      if (a.at(i, j) != (i == j ? 1 : 0)) return false;
  return true;
}

void swap_rows(Matrix& a, uint32_t r, uint32_t s) {
  for (uint32_t j = 0; j < a.cols; j++) std::swap(a.at(r, j), a.at(s, j));
}

void scale_row(Matrix& a, uint32_t r, uint8_t factor) {
  for (uint32_t j = 0; j < a.cols; j++) a.at(r, j) = multiply(a.at(r, j), factor);
}

/** a[r] += factor * a[s] */
void add_row(Matrix& a, uint32_t r, uint32_t s, uint8_t factor) {
  for (uint32_t j = 0; j < a.cols; j++) a.at(r, j) ^= multiply(a.at(s, j), factor);
}
}  // namespace

Matrix inverse(const Matrix& a) {
  const uint32_t n = a.rows;
  Matrix left = a;
  Matrix right(n, n);
  for (uint32_t i = 0; i < n; i++) right.at(i, i) = 1;
  for (uint32_t c = 0; c < n; c++) {
    uint32_t pivot = c;
    while (pivot < n && left.at(pivot, c) == 0) pivot++;
    require(pivot < n, MG_E_INTERNAL, "Reed-Solomon: the decoding matrix is singular");
    swap_rows(left, c, pivot);
    swap_rows(right, c, pivot);
    const uint8_t scale = invert(left.at(c, c));
    scale_row(left, c, scale);
    scale_row(right, c, scale);
    for (uint32_t r = 0; r < n; r++) {
      const uint8_t factor = left.at(r, c);
      if (r == c || factor == 0) continue;
      add_row(left, r, c, factor);
      add_row(right, r, c, factor);
    }
  }
  require(is_identity(product(a, right)), MG_E_INTERNAL,
          "Reed-Solomon: the inverted decoding matrix does not give the identity");
  return right;
}

uint32_t matrix_id(uint32_t data_shards, uint32_t parity_shards) {
  const uint64_t total = uint64_t{data_shards} + parity_shards;
  if (data_shards < 1 || parity_shards < 1 || total > 256)
    fail(MG_E_INVALID,
         "Reed-Solomon %u+%u: at least one data and one parity shard, and at most 256 in all",
         data_shards, parity_shards);
  // Paper: (m+1)^j for every M. For M > 2 and K > 3 some of its minors are 0 (4+3 cannot restore
  // the loss of data shards 0, 1 and 3), so that Cauchy's matrix stands in there.
  return parity_shards <= 2 || data_shards <= 3 ? MG_RS_PAPER : MG_RS_CAUCHY;
}

Matrix parity_matrix(uint32_t data_shards, uint32_t parity_shards) {
  const uint32_t id = matrix_id(data_shards, parity_shards);
  Matrix out(parity_shards, data_shards);
  for (uint32_t m = 0; m < parity_shards; m++) {
    uint8_t power = 1;
    for (uint32_t j = 0; j < data_shards; j++) {
      const auto difference = static_cast<uint8_t>((data_shards + m) ^ j);
      out.at(m, j) = id == MG_RS_PAPER ? power : invert(difference);
      power = multiply(power, static_cast<uint8_t>(m + 1));
    }
  }
  return out;
}

}  // namespace magnet::gf
