// Products of packed ternary weights: the library's inside, linked into the driver.
#include <algorithm>

#include "../cpu/packed_ternary.hpp"
#include "digest.hpp"

namespace digest {
namespace {

/** Activations of n rows in the form that the products take, from whole int8 values. */
struct Activations {
  std::vector<int8_t> q;
  std::vector<int16_t> sums16;
  std::vector<float> block_scale, scale;
  std::vector<int32_t> sum;
  magnet::Int8Rows rows;

  template <class F>
  Activations(uint32_t n, uint32_t cols, F&& value) {
    const uint32_t stride = (cols + 127) / 128 * 128;
    q.resize(size_t{n} * stride);
    sums16.resize(q.size() / 16);
    block_scale = floats(q.size() / 128);
    scale = floats(n);
    sum.resize(n);
    for (uint32_t t = 0; t < n; t++)
      for (uint32_t c = 0; c < cols; c++) {
        const int8_t v = value();
        q[size_t{t} * stride + c] = v;
        sum[t] += v;
      }
    for (size_t i = 0; i < q.size(); i++)
      sums16[i / 16] = static_cast<int16_t>(sums16[i / 16] + q[i]);
    rows = {stride, q.data(), sums16.data(), block_scale.data(), scale.data(), sum.data()};
  }
};

struct Shape {
  uint32_t rows, cols, n;
};

template <class Trit, class Value>
void product(Digest& digest, const Shape& s, Trit&& trit, Value&& value) {
  magnet::PackedTernary w = magnet::empty_packed(s.rows, s.cols);
  std::vector<int8_t> trits(s.cols);
  for (uint32_t r = 0; r < s.rows; r++) {
    for (int8_t& t : trits) t = trit();
    magnet::set_packed_row(w, r, trits.data());
  }
  w.scale = 0.37f;
  const Activations x(s.n, s.cols, value);
  const auto multiply = [&](auto&& kernel) {
    // What lies between and behind the rows must stay as it is.
    std::vector<float> y(size_t{s.n} * (s.rows + 3), -7.0f);
    // Panels in two parts, as threads share them.
    const uint32_t cut = w.panels() / 3;
    kernel(w, 0, cut, x.rows, s.n, y.data(), s.rows + 3);
    kernel(w, cut, w.panels(), x.rows, s.n, y.data(), s.rows + 3);
    digest.add(y);
  };
  multiply(magnet::ternary_product);
  if (s.cols % 256 != 0) return;
  multiply(magnet::ternary_block_product);
  w.block_scales = floats(size_t{s.rows} * s.cols / 256);
  multiply(magnet::ternary_block_product);
}

int8_t random_trit() { return static_cast<int8_t>(static_cast<int>(random_bits() % 3) - 1); }
int8_t random_int8() { return static_cast<int8_t>(random_bits() >> 16); }

}  // namespace

/** Shapes with every remainder of rows, columns and tokens; sums at the limits of int16 lanes. */
void packed() {
  seed(31);
  {
    Digest digest("packed_random");
    for (uint32_t n = 1; n <= 30; n++)
      product(digest,
              {1 + static_cast<uint32_t>(random_bits() % 70),
               1 + static_cast<uint32_t>(random_bits() % 700), n},
              random_trit, random_int8);
    for (const Shape& s : {Shape{33, 512, 1}, Shape{16, 256, 3}, Shape{50, 2304, 2},
                           Shape{100, 1280, 70}, Shape{17, 1050, 129}, Shape{7, 4100, 1}})
      product(digest, s, random_trit, random_int8);
  }
  Digest digest("packed_extreme");
  for (const int trit : {-1, 0, 1})
    for (const int value : {-128, 127, 0})
      for (const uint32_t n : {1u, 2u, 13u})
        product(
            digest, {18, 4352, n}, [&] { return static_cast<int8_t>(trit); },
            [&] { return static_cast<int8_t>(value); });
}

}  // namespace digest
