// Products of packed heads: the library's inside, linked into the driver.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "../cpu/packed_head.hpp"
#include "../cpu/quants.hpp"
#include "digest.hpp"

namespace digest {
namespace {

using magnet::HeadFormat;

/** Room for n rows of activations. */
struct Activations {
  std::vector<int8_t> high, low;
  std::vector<int16_t> high_shift, low_shift;
  std::vector<int32_t> sums;
  std::vector<float> scale;
  magnet::Int15Rows rows;

  Activations(uint32_t n, uint32_t cols) {
    const uint32_t stride = (cols + 31) / 32 * 32;
    const size_t size = size_t{n} * stride;
    high.resize(size);
    low.resize(size);
    high_shift.resize(size / 8);
    low_shift.resize(size / 8);
    sums.resize(2 * n);
    scale.resize(n);
    rows = {stride,           high.data(), low.data(),  high_shift.data(),
            low_shift.data(), sums.data(), scale.data()};
  }
};

/** Rows of random blocks or, `extreme`, of the largest codes and scales there are. */
magnet::PackedHead head_of(HeadFormat format, uint32_t rows, uint32_t cols, bool extreme) {
  magnet::PackedHead head = magnet::empty_head(format, rows, cols);
  for (uint32_t r = 0; r < rows; r++) {
    if (format != HeadFormat::q6k) {
      std::vector<float> values = floats(cols);
      if (extreme) std::fill(values.begin(), values.end(), r % 2 == 0 ? -3.0f : 3.0f);
      magnet::set_head_row(head, r, values.data());
      continue;
    }
    std::vector<uint8_t> blocks(cols / 256 * 210);
    for (uint8_t& b : blocks) b = extreme ? uint8_t{0} : static_cast<uint8_t>(random_bits());
    for (size_t at = 0; at < blocks.size(); at += 210) {
      if (extreme) std::fill_n(blocks.begin() + static_cast<long>(at) + 192, 16, uint8_t{0x80});
      const uint16_t d = magnet::to_half(random_float(0.25f));
      blocks[at + 208] = static_cast<uint8_t>(d);
      blocks[at + 209] = static_cast<uint8_t>(d >> 8);
    }
    magnet::set_head_row_q6k(head, r, blocks.data());
    std::vector<float> packed(cols), file(cols);
    magnet::head_row(head, r, packed.data());
    CHECK(mg_unpack_tensor(MG_TYPE_Q6_K, blocks.data(), blocks.size(), 1, cols, file.data()));
    if (packed != file) stop("a packed row is not the file's", 0);
  }
  return head;
}

/** Within the rounding of activations to 15 bits of the sum in double. */
void check_accuracy(const magnet::PackedHead& head, const std::vector<float>& x, const float* y) {
  std::vector<float> row(head.cols);
  for (uint32_t r = 0; r < head.rows; r += 7) {
    magnet::head_row(head, r, row.data());
    double sum = 0, size = 0;
    for (uint32_t c = 0; c < head.cols; c++) {
      sum += static_cast<double>(row[c]) * static_cast<double>(x[c]);
      size += std::fabs(static_cast<double>(row[c]));
    }
    if (std::fabs(sum - static_cast<double>(y[r])) <= size * 4e-5 + 1e-6) continue;
    std::fprintf(stderr, "head, format %d, row %u: %.9g, not %.9g\n", static_cast<int>(head.format),
                 r, static_cast<double>(y[r]), sum);
    std::exit(1);
  }
}

void product(Digest& digest, HeadFormat format, uint32_t rows, uint32_t cols, uint32_t n,
             bool extreme) {
  const magnet::PackedHead head = head_of(format, rows, cols, extreme);
  Activations a(n, cols);
  std::vector<float> first;
  for (uint32_t t = 0; t < n; t++) {
    std::vector<float> x = floats(cols);
    if (extreme) std::fill(x.begin(), x.end(), t % 2 == 0 ? 1.0f : -1.0f);
    magnet::quantize_int15(x.data(), cols, a.rows, t);
    if (t == 0) first = x;
  }
  std::vector<float> y(size_t{n} * (rows + 3), -7.0f);
  const uint32_t cut = head.panels() / 3;
  magnet::head_product(head, 0, cut, a.rows, n, y.data(), rows + 3);
  magnet::head_product(head, cut, head.panels(), a.rows, n, y.data(), rows + 3);
  check_accuracy(head, first, y.data());
  digest.add(y);
}

/** Activations that are not finite give no logit that could be taken for one. */
void broken_row(HeadFormat format) {
  const magnet::PackedHead head = head_of(format, 18, 256, false);
  Activations a(3, 256);
  const float broken[] = {NAN, HUGE_VALF, -HUGE_VALF};
  for (uint32_t t = 0; t < 3; t++) {
    std::vector<float> x = floats(256);
    x[100 + t] = broken[t];
    magnet::quantize_int15(x.data(), 256, a.rows, t);
  }
  std::vector<float> y(size_t{3} * head.rows);
  magnet::head_product(head, 0, head.panels(), a.rows, 3, y.data(), head.rows);
  for (const float logit : y)
    if (std::isfinite(logit)) stop("a finite logit of a broken row", static_cast<int>(format));
}

}  // namespace

void packed_heads() {
  seed(32);
  const char* const names[] = {"head_q6k", "head_int8", "head_int4"};
  for (const HeadFormat format : {HeadFormat::q6k, HeadFormat::int8, HeadFormat::int4}) {
    Digest digest(names[static_cast<int>(format)]);
    for (uint32_t n = 1; n <= 9; n++) {
      const auto rows = 1 + static_cast<uint32_t>(random_bits() % 70);
      const auto cols = format == HeadFormat::q6k
                            ? 256 * (1 + static_cast<uint32_t>(random_bits() % 3))
                            : 1 + static_cast<uint32_t>(random_bits() % 700);
      product(digest, format, rows, cols, n, false);
    }
    broken_row(format);
    product(digest, format, 18, 2048, 2, true);
    product(digest, format, 40, 768, 17, false);
  }
}

}  // namespace digest
