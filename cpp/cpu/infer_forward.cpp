// The forward pass (formulas: tests/golden/bitnet/README.md). Two roundings: `bitnet` quantises activations
// per token as training does; `llamacpp` rounds wherever llama.cpp does (Q8_K per 256 columns for TQ
// weights, f16 for F16 weights, queries and attention weights; norms summed in double).
#include "infer_session.hpp"

#include <algorithm>
#include <cmath>

#include "infer_kernels.hpp"
#include "infer_llamacpp.hpp"
#include "math.hpp"
#include "quants.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

/** Buffers of one pass, sized for its rows. */
struct Scratch {
  std::vector<float> x, norm, q, k, v, attention, gate, up, delta, rounded, cosine, sine;
  std::vector<int8_t> q8;
  std::vector<int16_t> sums16;
  std::vector<float> block_scale, scale;
  std::vector<int32_t> sum;
};

class Pass {
 public:
  Pass(const Model& model, uint32_t rounding, const std::vector<Row>& rows, const int32_t* cancel);
  void run();

 private:
  void embed();
  void rotary();
  void layer(uint32_t index);
  void attention_block(const Layer& l, uint32_t index);
  void feed_forward_block(const Layer& l);
  void store_and_rotate(uint32_t index);
  void attend(uint32_t index);
  void attend_head(uint32_t index, uint32_t t, uint32_t head, std::vector<float>& weights);
  void norm_row(const float* x, const std::vector<float>& w, uint32_t n, float* y) const;
  void quantize_rows(const float* x, uint32_t n);
  void multiply(const Linear& w, const float* x, float* y);
  void multiply_dense(const DenseMatrix& w, const float* x, float* y);
  void add_delta();
  void logits();
  template <class F>
  void for_rows(F&& f) {
    parallel_for(model_.threads, n_, [&](int64_t begin, int64_t end, uint32_t) {
      for (auto t = static_cast<uint32_t>(begin); t < static_cast<uint32_t>(end); t++) f(t);
    });
  }

  const Model& model_;
  const mg_model_config& c_;
  const bool llamacpp_;
  const std::vector<Row>& rows_;
  const int32_t* cancel_;
  const Kernels& kernels_;
  const uint32_t n_;
  const uint32_t q_width_, kv_width_;
  Scratch s_;
  Int8Rows int8_;
};

Pass::Pass(const Model& model, uint32_t rounding, const std::vector<Row>& rows, const int32_t* cancel)
    : model_(model), c_(model.config), llamacpp_(rounding == MG_ROUNDING_LLAMACPP), rows_(rows),
      cancel_(cancel), kernels_(kernels()), n_(static_cast<uint32_t>(rows.size())),
      q_width_(c_.n_heads * c_.head_dim), kv_width_(c_.n_kv_heads * c_.head_dim) {
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
    if (e.half.empty()) std::copy_n(e.single.data() + at, c_.d_model, out);
    else kernels_.from_half_row(e.half.data() + at, c_.d_model, out);
  });
}

/** Cosine and sine of every row's angles. llama.cpp multiplies its angle up in float32, pair by pair. */
void Pass::rotary() {
  const uint32_t half = c_.head_dim / 2;
  const float step = static_cast<float>(model_.inverse_frequency[half > 1 ? 1 : 0]);
  for_rows([&](uint32_t t) {
    float angle32 = static_cast<float>(rows_[t].position);
    for (uint32_t j = 0; j < half; j++, angle32 *= step) {
      const double angle = llamacpp_ ? static_cast<double>(angle32)
                                     : static_cast<double>(rows_[t].position) * model_.inverse_frequency[j];
      const SinCos at = sincos_fixed(angle);
      s_.cosine[uint64_t{t} * half + j] = static_cast<float>(at.cos);
      s_.sine[uint64_t{t} * half + j] = static_cast<float>(at.sin);
    }
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
  int8_ = {(n + block - 1) / block * block, s_.q8.data(), s_.sums16.data(), s_.block_scale.data(),
           s_.scale.data(), s_.sum.data()};
  const bool blocks = llamacpp_ && n % 256 == 0;
  for_rows([&](uint32_t t) {
    const float* row = x + uint64_t{t} * n;
    if (blocks) kernels_.quantize_blocks(row, n, int8_, t);
    else kernels_.quantize(row, n, int8_, t);
  });
}

/** y = w x for every row; x has been quantised by quantize_rows where w is ternary. */
void Pass::multiply(const Linear& w, const float* x, float* y) {
  const bool as_float = w.ternary.rows == 0 || (llamacpp_ && !w.ternary.is_tq);
  if (as_float) return multiply_dense(w.dense, x, y);
  const bool blocks = llamacpp_ || !w.ternary.block_scales.empty();
  const auto kernel = blocks ? kernels_.ternary_blocks : kernels_.ternary;
  parallel_for(model_.threads, w.ternary.rows, [&](int64_t begin, int64_t end, uint32_t) {
    // Rows in groups whose codes stay in the first-level cache while all tokens pass over them.
    for (int64_t r = begin; r < end; r += 64)
      kernel(w.ternary, static_cast<uint32_t>(r), static_cast<uint32_t>(std::min(end, r + 64)), int8_, n_, y,
             w.ternary.rows);
  });
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
      for_rows([&](uint32_t t) { kernels_.round_half(s_.rounded.data() + uint64_t{t} * w.cols, w.cols); });
    }
    x = s_.rounded.data();
  }
  parallel_for(model_.threads, w.rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (auto r = static_cast<uint64_t>(begin); r < static_cast<uint64_t>(end); r++)
      for (uint32_t t = 0; t < n_; t++) {
        const float* row = x + uint64_t{t} * w.cols;
        y[uint64_t{t} * w.rows + r] = w.half.empty() ? kernels_.dot(w.single.data() + r * w.cols, row, w.cols)
                                                     : kernels_.dot_half(w.half.data() + r * w.cols, row, w.cols);
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

/** Rotates queries and keys in place (half-split pairs) and appends keys and values to the caches. */
void Pass::store_and_rotate(uint32_t index) {
  const uint32_t half = c_.head_dim / 2;
  const auto rotate = [&](float* x, uint32_t t) {
    const float* cosine = s_.cosine.data() + uint64_t{t} * half;
    const float* sine = s_.sine.data() + uint64_t{t} * half;
    for (uint32_t j = 0; j < half; j++) {
      const float a = x[j];
      const float b = x[j + half];
      // Contracted like this by the compilers that build llama.cpp; training rounds both products.
      x[j] = llamacpp_ ? std::fma(a, cosine[j], -(b * sine[j])) : a * cosine[j] - b * sine[j];
      x[j + half] = llamacpp_ ? std::fma(a, sine[j], b * cosine[j]) : b * cosine[j] + a * sine[j];
    }
  };
  for_rows([&](uint32_t t) {
    float* q = s_.q.data() + uint64_t{t} * q_width_;
    float* k = s_.k.data() + uint64_t{t} * kv_width_;
    const float* v = s_.v.data() + uint64_t{t} * kv_width_;
    for (uint32_t h = 0; h < c_.n_heads; h++) rotate(q + h * c_.head_dim, t);
    for (uint32_t h = 0; h < c_.n_kv_heads; h++) rotate(k + h * c_.head_dim, t);
    if (llamacpp_) kernels_.round_half(q, q_width_);
    Session& session = *rows_[t].session;
    const uint64_t at = (uint64_t{index} * session.context + rows_[t].position) * kv_width_;
    if (session.cache.k16 != nullptr) {
      kernels_.to_half_row(k, kv_width_, session.cache.k16.get() + at);
      kernels_.to_half_row(v, kv_width_, session.cache.v16.get() + at);
    } else {
      std::copy_n(k, kv_width_, session.cache.k32.get() + at);
      std::copy_n(v, kv_width_, session.cache.v32.get() + at);
    }
  });
}

void Pass::attend_head(uint32_t index, uint32_t t, uint32_t head, std::vector<float>& weights) {
  const Session& session = *rows_[t].session;
  const uint32_t count = rows_[t].position + 1;
  const uint32_t kv_head = head / (c_.n_heads / c_.n_kv_heads);
  const uint64_t start = uint64_t{index} * session.context * kv_width_ + uint64_t{kv_head} * c_.head_dim;
  const float* q = s_.q.data() + uint64_t{t} * q_width_ + uint64_t{head} * c_.head_dim;
  float* out = s_.attention.data() + uint64_t{t} * q_width_ + uint64_t{head} * c_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c_.head_dim));
  weights.resize(count);
  const KvCache& cache = session.cache;
  for (uint32_t p = 0; p < count; p++) {
    const uint64_t at = start + uint64_t{p} * kv_width_;
    if (llamacpp_) {
      weights[p] = llamacpp::dot(cache.k16.get() + at, 1, q, c_.head_dim);
      continue;
    }
    weights[p] = cache.k16 != nullptr ? kernels_.dot_half(cache.k16.get() + at, q, c_.head_dim)
                                      : kernels_.dot(cache.k32.get() + at, q, c_.head_dim);
  }
  kernels_.softmax(weights.data(), scale, count);
  if (llamacpp_) {
    kernels_.round_half(weights.data(), count);
    for (uint32_t j = 0; j < c_.head_dim; j++)
      out[j] = llamacpp::dot(cache.v16.get() + start + j, kv_width_, weights.data(), count);
    return;
  }
  if (cache.v16 != nullptr)
    kernels_.weighted_half(cache.v16.get() + start, kv_width_, weights.data(), count, c_.head_dim, out);
  else
    kernels_.weighted(cache.v32.get() + start, kv_width_, weights.data(), count, c_.head_dim, out);
}

void Pass::attend(uint32_t index) {
  parallel_for(model_.threads, int64_t{n_} * c_.n_heads, [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<float> weights;
    for (int64_t i = begin; i < end; i++)
      attend_head(index, static_cast<uint32_t>(i / c_.n_heads), static_cast<uint32_t>(i % c_.n_heads), weights);
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
    kernels_.swiglu(g, s_.up.data() + uint64_t{t} * c_.d_ff, c_.d_ff);
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
      kernels_.quantize_blocks(x, c_.d_model, int8_ = {c_.d_model, s_.q8.data(), s_.sums16.data(),
                                                       s_.block_scale.data(), s_.scale.data(), s_.sum.data()}, 0);
      for (uint32_t i = 0; i < c_.d_model; i++)
        x[i] = static_cast<float>(int8_.q[i]) * int8_.block_scale[i / 256];
    }
    parallel_for(model_.threads, c_.vocab_size, [&](int64_t begin, int64_t end, uint32_t) {
      for (auto r = static_cast<uint64_t>(begin); r < static_cast<uint64_t>(end); r++)
        rows_[t].logits[r] = head.half.empty()
                                 ? kernels_.dot(head.single.data() + r * c_.d_model, x, c_.d_model)
                                 : kernels_.dot_half(head.half.data() + r * c_.d_model, x, c_.d_model);
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

}  // namespace

void forward(const Model& model, uint32_t rounding, const std::vector<Row>& rows, const int32_t* cancel) {
  Pass(model, rounding, rows, cancel).run();
}

}  // namespace magnet
