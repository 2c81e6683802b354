// Forward pass of the trainer: what each block computes, and what it keeps for backward.
#include <cmath>

#include "embedding.hpp"
#include "norm.hpp"
#include "aligned_buffer.hpp"
#include "swiglu.hpp"
#include "thread_pool.hpp"
#include "trainer.hpp"

namespace magnet {

void Trainer::quantize_weights() {
  auto quantize = [&](uint64_t offset, int64_t rows, int64_t cols) {
    const int64_t n = rows * cols;
    const float inverse = ternarize(threads_, params_ + offset, n, ternary_ + offset);
    if (std::isnan(inverse)) {
      for (const Tensor& t : layout_.tensors)
        if (t.offset == offset) fail(MG_E_NUMERIC, "%s holds NaN or infinity", t.name.c_str());
    }
    return TernaryWeights{ternary_ + offset, inverse};
  };
  const int64_t d = config_.d_model;
  const int64_t q_width = int64_t{config_.n_heads} * config_.head_dim;
  const int64_t kv_width = int64_t{config_.n_kv_heads} * config_.head_dim;
  const int64_t ff = config_.d_ff;
  for (size_t i = 0; i < layers_.size(); i++) {
    const LayerOffsets& at = layout_.layers[i];
    LayerState& s = layers_[i];
    s.wq = quantize(at.q, q_width, d);
    s.wk = quantize(at.k, kv_width, d);
    s.wv = quantize(at.v, kv_width, d);
    s.wo = quantize(at.o, d, q_width);
    s.wgate = quantize(at.gate, ff, d);
    s.wup = quantize(at.up, ff, d);
    s.wdown = quantize(at.down, d, ff);
  }
}

void Trainer::norm_and_quantize(const float* x, uint64_t weight, int64_t rows, int64_t n,
                                float* norm, const QuantizedRows& out) {
  parallel_for(threads_, rows, [&](int64_t begin, int64_t end, uint32_t) {
    thread_local AlignedBuffer<float> scratch;
    float* const normed = scratch.reserve(n);
    for (int64_t i = begin; i < end; i++) {
      const float* row = x + i * n;
      if (weight != LayerOffsets::NONE) {
        norm[i] = rmsnorm_row(row, params_ + weight, n, config_.norm_eps, normed);
        row = normed;
      }
      quantize_row(row, n, out.q + i * padded_codes(n), out.inverse + i, out.sum + i);
    }
  });
}

void Trainer::forward_attention(size_t layer, const AttentionShape& shape) {
  LayerState& s = layers_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t rows = shape.sequences * shape.context;
  const int64_t d = config_.d_model;
  const int64_t q_width = shape.heads * shape.head_dim;
  const int64_t kv_width = shape.kv_heads * shape.head_dim;
  norm_and_quantize(s.x_in, at.input_norm, rows, d, s.norm_in, s.a_in);
  bitlinear_forward(threads_, s.a_in, s.wq, rows, q_width, d, nullptr, s.q);
  bitlinear_forward(threads_, s.a_in, s.wk, rows, kv_width, d, nullptr, s.k);
  bitlinear_forward(threads_, s.a_in, s.wv, rows, kv_width, d, nullptr, s.v);
  rope(threads_, rope_, s.q, rows, shape.context, shape.heads, false);
  rope(threads_, rope_, s.k, rows, shape.context, shape.kv_heads, false);
  attention_forward(threads_, shape, s.q, s.k, s.v, s.o, s.stats);
  norm_and_quantize(s.o, at.attn_sub_norm, rows, q_width, s.norm_attn, s.a_attn);
  bitlinear_forward(threads_, s.a_attn, s.wo, rows, d, q_width, s.x_in, s.x_mid);
}

void Trainer::forward_ffn(size_t layer, int64_t rows, float* out) {
  LayerState& s = layers_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t d = config_.d_model;
  const int64_t ff = config_.d_ff;
  norm_and_quantize(s.x_mid, at.post_norm, rows, d, s.norm_mid, s.a_mid);
  bitlinear_forward(threads_, s.a_mid, s.wgate, rows, ff, d, nullptr, s.gate);
  bitlinear_forward(threads_, s.a_mid, s.wup, rows, ff, d, nullptr, s.up);
  parallel_for(threads_, rows, [&](int64_t begin, int64_t end, uint32_t) {
    thread_local AlignedBuffer<float> scratch;
    float* const h = scratch.reserve(ff);
    for (int64_t i = begin; i < end; i++) {
      swiglu(s.gate + i * ff, s.up + i * ff, ff, h);
      if (at.ffn_sub_norm != LayerOffsets::NONE)
        s.norm_ffn[i] = rmsnorm_row(h, params_ + at.ffn_sub_norm, ff, config_.norm_eps, h);
      quantize_row(h, ff, s.a_ffn.q + i * padded_codes(ff), s.a_ffn.inverse + i, s.a_ffn.sum + i);
    }
  });
  bitlinear_forward(threads_, s.a_ffn, s.wdown, rows, d, ff, s.x_mid, out);
}

void Trainer::forward(int64_t sequences, int64_t context, const int32_t* cancel) {
  const int64_t rows = sequences * context;
  const int64_t d = config_.d_model;
  const AttentionShape shape = attention_shape(sequences, context);
  embed(threads_, params_ + layout_.embedding, work_.inputs, rows, d, layers_[0].x_in);
  for (size_t i = 0; i < layers_.size(); i++) {
    if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "cancelled");
    forward_attention(i, shape);
    forward_ffn(i, rows, i + 1 < layers_.size() ? layers_[i + 1].x_in : work_.x_out);
  }
  rmsnorm(threads_, work_.x_out, params_ + layout_.final_norm, rows, d, config_.norm_eps,
          work_.hidden, work_.norm_final);
}

}  // namespace magnet
