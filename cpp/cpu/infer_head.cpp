// The head of a forward pass: logits of the rows that are asked for, in one pass over its weights.
#include <algorithm>
#include <vector>

#include "infer_pass.hpp"

namespace magnet {

void Pass::head(uint64_t first, uint32_t n, float* logits) {
  const DenseMatrix& w = model_.head_matrix();
  n_ = n;
  begin_input(s_.outputs.data() + first * c_.d_model, c_.d_model);
  const bool is_packed = !model_.packed_head.empty();
  if (is_packed && !llamacpp_) return head_packed(input_, logits);
  const float* const x = llamacpp_ ? rounded_input(w) : input_;
  if (is_packed) return head_as_llamacpp(x, logits);
  team_.each((w.rows + PANEL_ROWS - 1) / PANEL_ROWS, 1, [&](uint64_t begin, uint64_t end) {
    const uint64_t last = std::min<uint64_t>(end * PANEL_ROWS, w.rows);
    dense_product(w, begin * PANEL_ROWS, last, x, n_, llamacpp_, logits, w.rows);
  });
}

void Pass::head_packed(const float* x, float* logits) {
  const PackedHead& w = model_.packed_head;
  const uint32_t stride = (w.cols + 31) / 32 * 32;
  const int64_t all = int64_t{n_} * stride;
  const Int15Rows rows = {stride,
                          s_.high.reserve(all),
                          s_.low.reserve(all),
                          s_.high_shift.reserve(all / 8),
                          s_.low_shift.reserve(all / 8),
                          s_.sum.reserve(int64_t{n_} * 2),
                          s_.scale.reserve(n_)};
  for_rows([&](uint32_t t) { quantize_int15(x + uint64_t{t} * w.cols, w.cols, rows, t); });
  team_.each(w.panels(), 1, [&](uint64_t begin, uint64_t end) {
    head_product(w, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), rows, n_, logits,
                 w.rows);
  });
}

/** llama.cpp's sums run over the weights in float32, which the panels give back row by row. */
void Pass::head_as_llamacpp(const float* x, float* logits) {
  const PackedHead& w = model_.packed_head;
  team_.each(w.rows, PANEL_ROWS, [&](uint64_t begin, uint64_t end) {
    std::vector<float> row(w.cols);
    for (uint64_t r = begin; r < end; r++) {
      head_row(w, static_cast<uint32_t>(r), row.data());
      for (uint32_t t = 0; t < n_; t++)
        logits[uint64_t{t} * w.rows + r] =
            kernels_.llamacpp.dot(row.data(), x + uint64_t{t} * w.cols, w.cols);
    }
  });
}

}  // namespace magnet
