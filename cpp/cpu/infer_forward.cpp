// The forward pass (formulas: tests/golden/bitnet/README.md). Two roundings: `bitnet` quantises
// activations per token as training does; `llamacpp` gives llama.cpp's bits (infer_llamacpp.hpp):
// it rounds wherever llama.cpp does (Q8_K per 256 columns for TQ weights, f16 for F16 weights,
// queries and attention weights; norms summed in double) and sums in its order.
#include "infer_pass.hpp"

#include <algorithm>
#include <cmath>

namespace magnet {

Pass::Pass(const Model& model, uint32_t rounding, const std::vector<Row>& rows,
           const int32_t* cancel)
    : model_(model),
      c_(model.config),
      llamacpp_(rounding == MG_ROUNDING_LLAMACPP),
      rows_(rows),
      cancel_(cancel),
      kernels_(kernels()),
      n_(static_cast<uint32_t>(rows.size())),
      q_width_(c_.n_heads * c_.head_dim),
      kv_width_(c_.n_kv_heads * c_.head_dim) {
  const uint64_t n = n_;
  const uint32_t widest = std::max({c_.d_model, q_width_, c_.d_ff});
  const uint64_t padded = (uint64_t{widest} + 255) / 256 * 256;
  s_.x.resize(n * c_.d_model);
  s_.norm.resize(n * widest);
  s_.delta.resize(n * c_.d_model);
  s_.q.resize(n * q_width_);
  s_.k.resize(n * kv_width_);
  s_.v.resize(n * kv_width_);
  s_.attention.resize(n * q_width_);
  s_.gate.resize(n * c_.d_ff);
  s_.up.resize(n * c_.d_ff);
  s_.cosine.resize(n * c_.head_dim / 2);
  s_.sine.resize(n * c_.head_dim / 2);
  s_.q8.resize(n * padded);
  s_.sums16.resize(n * padded / 16);
  s_.block_scale.resize(n * padded / 128);
  s_.scale.resize(n);
  s_.sum.resize(n);
}

void Pass::embed() {
  const DenseMatrix& e = model_.embedding;
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t(static_cast<uint32_t>(rows_[t].token)) * c_.d_model;
    float* out = s_.x.data() + uint64_t{t} * c_.d_model;
    if (e.half.empty())
      std::copy_n(e.single.data() + at, c_.d_model, out);
    else
      kernels_.from_half_row(e.half.data() + at, c_.d_model, out);
  });
}

void Pass::norm_row(const float* x, const std::vector<float>& w, uint32_t n, float* y) const {
  float mean;
  if (llamacpp_) {
    double sum = 0;
    for (uint32_t i = 0; i < n; i++) sum += static_cast<double>(x[i] * x[i]);
    mean = static_cast<float>(sum / n);
  } else {
    mean = kernels_.dot(x, x, n) / static_cast<float>(n);
  }
  kernels_.norm_apply(x, w.data(), 1.0f / std::sqrt(mean + c_.norm_eps), n, y);
}

/** Quantises every row of x (n columns) into int8_. */
void Pass::quantize_rows(const float* x, uint32_t n) {
  const uint32_t block = llamacpp_ ? 256 : 128;
  int8_ = {(n + block - 1) / block * block, s_.q8.data(),    s_.sums16.data(),
           s_.block_scale.data(),           s_.scale.data(), s_.sum.data()};
  const bool blocks = llamacpp_ && n % 256 == 0;
  for_rows([&](uint32_t t) {
    const float* row = x + uint64_t{t} * n;
    if (blocks)
      kernels_.quantize_blocks(row, n, int8_, t);
    else
      kernels_.quantize(row, n, int8_, t);
  });
}

/** y = w x for every row; x has been quantised by quantize_rows where w is ternary. */
void Pass::multiply(const Linear& w, const float* x, float* y) {
  const bool as_float = w.ternary.rows == 0 || (llamacpp_ && !w.ternary.is_tq);
  if (as_float) return multiply_dense(w.dense, x, y);
  const bool blocks = llamacpp_ || !w.ternary.block_scales.empty();
  const auto product = blocks ? ternary_block_product : ternary_product;
  parallel_for(model_.threads, w.ternary.panels(), [&](int64_t begin, int64_t end, uint32_t) {
    product(w.ternary, static_cast<uint32_t>(begin), static_cast<uint32_t>(end), int8_, n_, y,
            w.ternary.rows);
  });
}

/** Row r of w times x, in this rounding's order. */
float Pass::dense_dot(const DenseMatrix& w, uint64_t r, const float* x) const {
  if (w.half.empty()) {
    const auto dot = llamacpp_ ? kernels_.llamacpp.dot : kernels_.dot;
    return dot(w.single.data() + r * w.cols, x, w.cols);
  }
  const auto dot = llamacpp_ ? kernels_.llamacpp.dot_half : kernels_.dot_half;
  return dot(w.half.data() + r * w.cols, x, w.cols);
}

void Pass::multiply_dense(const DenseMatrix& w, const float* x, float* y) {
  if (llamacpp_ && (!w.half.empty() || w.is_q6k)) {
    s_.rounded.assign(x, x + uint64_t{n_} * w.cols);
    if (w.is_q6k) {  // what Q8_K makes of the activations
      quantize_rows(x, w.cols);
      for (uint64_t i = 0; i < s_.rounded.size(); i++)
        s_.rounded[i] = static_cast<float>(int8_.q[i]) *
                        int8_.block_scale[i / w.cols * (int8_.stride / 128) + i % w.cols / 256];
    } else {
      for_rows([&](uint32_t t) {
        kernels_.round_half(s_.rounded.data() + uint64_t{t} * w.cols, w.cols);
      });
    }
    x = s_.rounded.data();
  }
  parallel_for(model_.threads, w.rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (auto r = static_cast<uint64_t>(begin); r < static_cast<uint64_t>(end); r++)
      for (uint32_t t = 0; t < n_; t++) {
        const float* row = x + uint64_t{t} * w.cols;
        y[uint64_t{t} * w.rows + r] = dense_dot(w, r, row);
      }
  });
}

void Pass::add_delta() {
  for_rows([&](uint32_t t) {
    float* x = s_.x.data() + uint64_t{t} * c_.d_model;
    const float* d = s_.delta.data() + uint64_t{t} * c_.d_model;
    for (uint32_t i = 0; i < c_.d_model; i++) x[i] = d[i] + x[i];
  });
}

void Pass::attention_block(const Layer& l, uint32_t index) {
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t{t} * c_.d_model;
    norm_row(s_.x.data() + at, l.attn_norm, c_.d_model, s_.norm.data() + at);
  });
  quantize_rows(s_.norm.data(), c_.d_model);
  multiply(l.q, s_.norm.data(), s_.q.data());
  multiply(l.k, s_.norm.data(), s_.k.data());
  multiply(l.v, s_.norm.data(), s_.v.data());
  store_and_rotate(index);
  attend(index);
  if (!l.attn_sub_norm.empty())
    for_rows([&](uint32_t t) {
      float* a = s_.attention.data() + uint64_t{t} * q_width_;
      norm_row(a, l.attn_sub_norm, q_width_, a);
    });
  quantize_rows(s_.attention.data(), q_width_);
  multiply(l.o, s_.attention.data(), s_.delta.data());
  add_delta();
}

void Pass::feed_forward_block(const Layer& l) {
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t{t} * c_.d_model;
    norm_row(s_.x.data() + at, l.ffn_norm, c_.d_model, s_.norm.data() + at);
  });
  quantize_rows(s_.norm.data(), c_.d_model);
  multiply(l.gate, s_.norm.data(), s_.gate.data());
  multiply(l.up, s_.norm.data(), s_.up.data());
  for_rows([&](uint32_t t) {
    float* g = s_.gate.data() + uint64_t{t} * c_.d_ff;
    const auto swiglu = llamacpp_ ? kernels_.llamacpp.swiglu : kernels_.swiglu;
    swiglu(g, s_.up.data() + uint64_t{t} * c_.d_ff, c_.d_ff);
    if (!l.ffn_sub_norm.empty()) norm_row(g, l.ffn_sub_norm, c_.d_ff, g);
  });
  quantize_rows(s_.gate.data(), c_.d_ff);
  multiply(l.down, s_.gate.data(), s_.delta.data());
  add_delta();
}

/** Final norm and head of the rows whose logits are wanted. */
void Pass::logits() {
  const DenseMatrix& head = model_.head_matrix();
  for (uint32_t t = 0; t < n_; t++) {
    if (rows_[t].logits == nullptr) continue;
    float* x = s_.norm.data();
    norm_row(s_.x.data() + uint64_t{t} * c_.d_model, model_.norm, c_.d_model, x);
    if (llamacpp_ && !head.half.empty()) kernels_.round_half(x, c_.d_model);
    if (llamacpp_ && head.is_q6k) {
      kernels_.quantize_blocks(x, c_.d_model,
                               int8_ = {c_.d_model, s_.q8.data(), s_.sums16.data(),
                                        s_.block_scale.data(), s_.scale.data(), s_.sum.data()},
                               0);
      for (uint32_t i = 0; i < c_.d_model; i++)
        x[i] = static_cast<float>(int8_.q[i]) * int8_.block_scale[i / 256];
    }
    parallel_for(model_.threads, c_.vocab_size, [&](int64_t begin, int64_t end, uint32_t) {
      for (auto r = static_cast<uint64_t>(begin); r < static_cast<uint64_t>(end); r++)
        rows_[t].logits[r] = dense_dot(head, r, x);
    });
  }
}

void Pass::run() {
  embed();
  rotary();
  for (uint32_t i = 0; i < c_.n_layers; i++) {
    require(!is_cancelled(cancel_), MG_E_CANCELLED, "cancelled");
    attention_block(model_.layers[i], i);
    feed_forward_block(model_.layers[i]);
  }
  logits();
}

void forward(const Model& model, uint32_t rounding, const std::vector<Row>& rows,
             const int32_t* cancel) {
  Pass(model, rounding, rows, cancel).run();
}

}  // namespace magnet
