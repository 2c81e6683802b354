// The matrix products of a forward pass. Products that share their input run as one stage, in
// panels of 16 output rows.
#include <algorithm>

#include "infer_pass.hpp"
#include "infer_rows.hpp"

namespace magnet {
namespace {

uint64_t panels_of(uint64_t rows) { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }

}  // namespace

/** x (n, cols) is what the next products multiply; prepare_row fills it, row by row. */
void Pass::begin_input(float* x, uint32_t cols) {
  input_ = x;
  input_cols_ = cols;
  const uint32_t block = llamacpp_ ? 256 : 128;
  const uint32_t stride = (cols + block - 1) / block * block;
  const int64_t all = int64_t{n_} * stride;
  int8_ = {stride,
           s_.q8.reserve(all),
           s_.sums16.reserve(all / 16),
           s_.block_scale.reserve(all / 128),
           s_.scale.reserve(n_),
           s_.sum.reserve(n_)};
}

/** Norms row t of the input (where w is not empty) and quantises it. */
void Pass::prepare_row(uint32_t t, const float* x, const std::vector<float>& w) {
  float* const y = input_ + uint64_t{t} * input_cols_;
  const NormedRow row = {x, w.empty() ? nullptr : w.data(), input_cols_, c_.norm_eps, y};
  if (!llamacpp_) return norm_and_quantize(row, int8_, t, model_.has_block_scales);
  if (!w.empty()) norm_row(x, w, input_cols_, y);
  if (input_cols_ % 256 == 0)
    kernels_.quantize_blocks(y, input_cols_, int8_, t);
  else
    kernels_.quantize(y, input_cols_, int8_, t);
}

/** Panels [begin, end) of the product for all rows of the pass. */
void Pass::product_panels(const Linear& w, const float* x, uint64_t begin, uint64_t end,
                          float* y) const {
  if (w.ternary.rows != 0 && (!llamacpp_ || w.ternary.is_tq)) {
    const bool blocks = llamacpp_ || !w.ternary.block_scales.empty();
    const auto product = blocks ? ternary_block_product : ternary_product;
    return product(w.ternary, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), int8_, n_,
                   y, w.ternary.rows);
  }
  const uint64_t last = std::min<uint64_t>(end * PANEL_ROWS, w.dense.rows);
  dense_product(w.dense, begin * PANEL_ROWS, last, x, n_, llamacpp_, y, w.dense.rows);
}

/** All products of the input as one stage. */
void Pass::multiply(std::initializer_list<Product> products) {
  if (llamacpp_) {
    for (const Product& p : products) multiply_as_llamacpp(p);
    return;
  }
  uint64_t panels = 0;
  for (const Product& p : products) panels += panels_of(p.w.rows());
  team_.each(panels, 1, [&](uint64_t begin, uint64_t end) {
    for (const Product& p : products) {
      const uint64_t own = panels_of(p.w.rows());
      if (begin < own) product_panels(p.w, input_, begin, std::min(end, own), p.y);
      if (end <= own) return;
      begin = begin > own ? begin - own : 0;
      end -= own;
    }
  });
}

/** llama.cpp rounds the activations as the weights' type demands, matrix by matrix. */
void Pass::multiply_as_llamacpp(const Product& product) {
  const Linear& w = product.w;
  const bool is_tq = w.ternary.rows != 0 && w.ternary.is_tq;
  const float* x = is_tq ? nullptr : rounded_input(w.dense);
  team_.each(panels_of(w.rows()), 1, [&](uint64_t begin, uint64_t end) {
    product_panels(w, x, begin, end, product.y);
  });
}

/** The input as llama.cpp rounds it for a matrix of this type. */
const float* Pass::rounded_input(const DenseMatrix& w) {
  if (!dense_rounds_input(w)) return input_;
  float* const out = s_.rounded.reserve(int64_t{n_} * input_cols_);
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t{t} * input_cols_;
    std::copy_n(input_ + at, input_cols_, out + at);
    dense_round_input(w, out + at);
  });
  return out;
}

}  // namespace magnet
