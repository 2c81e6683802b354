// Forward pass of the trainer: what each block computes, and what it keeps for backward.
#include <cmath>

#include "embedding.hpp"
#include "norm.hpp"
#include "aligned_buffer.hpp"
#include "swiglu.hpp"
#include "thread_pool.hpp"
#include "trainer.hpp"

namespace magnet {

void Trainer::prepare_weights() {
  const KernelScope scope(Kernel::ternarise);
  auto prepare = [&](uint64_t offset, int64_t rows, int64_t cols) {
    if (is_plain()) return LinearWeights{{}, params_ + offset};
    const int64_t n = rows * cols;
    const float inverse = ternarize(threads_, params_ + offset, n, ternary_ + offset);
    if (std::isnan(inverse)) {
      for (const Tensor& t : layout_.tensors)
        if (t.offset == offset) fail(MG_E_NUMERIC, "%s holds NaN or infinity", t.name.c_str());
    }
    return LinearWeights{{ternary_ + offset, inverse}, nullptr};
  };
  const int64_t d = config_.d_model;
  const int64_t q_width = int64_t{config_.n_heads} * config_.head_dim;
  const int64_t kv_width = int64_t{config_.n_kv_heads} * config_.head_dim;
  const int64_t ff = config_.d_ff;
  for (size_t i = 0; i < weights_.size(); i++) {
    const LayerOffsets& at = layout_.layers[i];
    LayerWeights& w = weights_[i];
    w.q = prepare(at.q, q_width, d);
    w.k = prepare(at.k, kv_width, d);
    w.v = prepare(at.v, kv_width, d);
    w.o = prepare(at.o, d, q_width);
    w.gate = prepare(at.gate, ff, d);
    w.up = prepare(at.up, ff, d);
    w.down = prepare(at.down, d, ff);
  }
}

void Trainer::norm_input(const float* x, uint64_t weight, int64_t rows, int64_t n, float* norm,
                         const LinearInput& out) {
  if (is_plain()) {
    // Without a norm the input is x itself (see carve_block).
    if (weight != LayerOffsets::NONE)
      rmsnorm(threads_, x, params_ + weight, rows, n, config_.norm_eps, out.values, norm);
    return;
  }
  const KernelScope scope(Kernel::norm_quantise);
  const QuantizedRows& codes = out.codes;
  parallel_for(threads_, rows, [&](int64_t begin, int64_t end, uint32_t) {
    thread_local AlignedBuffer<float> scratch;
    float* const normed = scratch.reserve(n);
    for (int64_t i = begin; i < end; i++) {
      const float* row = x + i * n;
      if (weight != LayerOffsets::NONE) {
        norm[i] = rmsnorm_row(row, params_ + weight, n, config_.norm_eps, normed);
        row = normed;
      }
      quantize_row(row, n, codes.q + i * padded_codes(n), codes.inverse + i, codes.sum + i);
    }
  });
}

void Trainer::forward_attention(size_t layer, const AttentionShape& shape) {
  LayerState& s = layers_[layer];
  const LayerWeights& w = weights_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t rows = shape.sequences * shape.context;
  const int64_t d = config_.d_model;
  const int64_t q_width = shape.heads * shape.head_dim;
  const int64_t kv_width = shape.kv_heads * shape.head_dim;
  working_on(Site::attention_input);
  norm_input(s.x_in, at.input_norm, rows, d, s.norm_in, s.a_in);
  working_on(Site::q);
  linear_forward(threads_, s.a_in, w.q, rows, q_width, d, nullptr, s.q);
  working_on(Site::k);
  linear_forward(threads_, s.a_in, w.k, rows, kv_width, d, nullptr, s.k);
  working_on(Site::v);
  linear_forward(threads_, s.a_in, w.v, rows, kv_width, d, nullptr, s.v);
  working_on(Site::q);
  rope(threads_, rope_, s.q, rows, shape.context, shape.heads, false);
  working_on(Site::k);
  rope(threads_, rope_, s.k, rows, shape.context, shape.kv_heads, false);
  working_on(Site::none);
  attention_forward(threads_, shape, s.q, s.k, s.v, s.o, s.stats);
  working_on(Site::attention_output);
  norm_input(s.o, at.attn_sub_norm, rows, q_width, s.norm_attn, s.a_attn);
  working_on(Site::o);
  linear_forward(threads_, s.a_attn, w.o, rows, d, q_width, s.x_in, s.x_mid);
}

void Trainer::forward_ffn(size_t layer, int64_t rows, float* out) {
  LayerState& s = layers_[layer];
  const LayerWeights& w = weights_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t d = config_.d_model;
  const int64_t ff = config_.d_ff;
  working_on(Site::ffn_input);
  norm_input(s.x_mid, at.post_norm, rows, d, s.norm_mid, s.a_mid);
  working_on(Site::gate);
  linear_forward(threads_, s.a_mid, w.gate, rows, ff, d, nullptr, s.gate);
  working_on(Site::up);
  linear_forward(threads_, s.a_mid, w.up, rows, ff, d, nullptr, s.up);
  working_on(Site::ffn_hidden);
  swiglu_norm_and_quantize(layer, rows);
  if (out == nullptr) return;
  working_on(Site::down);
  linear_forward(threads_, s.a_ffn, w.down, rows, d, ff, s.x_mid, out);
  working_on(Site::none);
}

void Trainer::swiglu_norm_and_quantize(size_t layer, int64_t rows) {
  const KernelScope scope(Kernel::swiglu_norm_quantise);
  LayerState& s = layers_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t ff = config_.d_ff;
  parallel_for(threads_, rows, [&](int64_t begin, int64_t end, uint32_t) {
    thread_local AlignedBuffer<float> scratch;
    for (int64_t i = begin; i < end; i++) {
      float* const h = is_plain() ? s.a_ffn.values + i * ff : scratch.reserve(ff);
      swiglu(s.gate + i * ff, s.up + i * ff, ff, h);
      if (at.ffn_sub_norm != LayerOffsets::NONE)
        s.norm_ffn[i] = rmsnorm_row(h, params_ + at.ffn_sub_norm, ff, config_.norm_eps, h);
      if (is_plain()) continue;
      const QuantizedRows& codes = s.a_ffn.codes;
      quantize_row(h, ff, codes.q + i * padded_codes(ff), codes.inverse + i, codes.sum + i);
    }
  });
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
