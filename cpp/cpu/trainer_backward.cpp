// Backward pass of the trainer, mirror of trainer_forward.cpp. Straight-through: gradients pass
// both quantisers unchanged, and products use the quantised operands of forward. With recomputation
// a block is run forward again before it is run backward; the last one is still there.
#include "embedding.hpp"
#include "norm.hpp"
#include "swiglu.hpp"
#include "thread_pool.hpp"
#include "trainer.hpp"

namespace magnet {

void Trainer::backward_ffn(size_t layer, int64_t rows) {
  LayerState& s = layers_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  Workspace& w = work_;
  const LayerWeights& weights = weights_[layer];
  const int64_t d = config_.d_model;
  const int64_t ff = config_.d_ff;
  working_on(Site::down);
  linear_backward(threads_, s.a_ffn, weights.down, w.dx, rows, d, ff, false, w.dh, grad_ + at.down);
  working_on(Site::ffn_hidden);
  if (at.ffn_sub_norm != LayerOffsets::NONE) {
    const KernelScope scope(Kernel::swiglu_backward);
    parallel_for(threads_, rows, [&](int64_t begin, int64_t end, uint32_t) {
      swiglu(s.gate + begin * ff, s.up + begin * ff, (end - begin) * ff, w.h + begin * ff);
    });
  }
  if (at.ffn_sub_norm != LayerOffsets::NONE)
    rmsnorm_backward(threads_, w.h, params_ + at.ffn_sub_norm, w.dh, s.norm_ffn, rows, ff, false,
                     w.dh, grad_ + at.ffn_sub_norm);
  {
    const KernelScope scope(Kernel::swiglu_backward);
    parallel_for(threads_, rows, [&](int64_t begin, int64_t end, uint32_t) {
      float* const gate = s.gate + begin * ff;
      float* const up = s.up + begin * ff;
      swiglu_backward(gate, up, w.dh + begin * ff, (end - begin) * ff, gate, up);
    });
  }
  working_on(Site::gate);
  linear_backward(threads_, s.a_mid, weights.gate, s.gate, rows, ff, d, false, w.d_norm,
                  grad_ + at.gate);
  working_on(Site::up);
  linear_backward(threads_, s.a_mid, weights.up, s.up, rows, ff, d, true, w.d_norm, grad_ + at.up);
  working_on(Site::ffn_input);
  rmsnorm_backward(threads_, s.x_mid, params_ + at.post_norm, w.d_norm, s.norm_mid, rows, d, true,
                   w.dx, grad_ + at.post_norm);
}

void Trainer::backward_attention(size_t layer, const AttentionShape& shape) {
  LayerState& s = layers_[layer];
  const LayerOffsets& at = layout_.layers[layer];
  Workspace& w = work_;
  const LayerWeights& weights = weights_[layer];
  const int64_t rows = shape.sequences * shape.context;
  const int64_t d = config_.d_model;
  const int64_t q_width = shape.heads * shape.head_dim;
  const int64_t kv_width = shape.kv_heads * shape.head_dim;
  working_on(Site::o);
  linear_backward(threads_, s.a_attn, weights.o, w.dx, rows, d, q_width, false, w.d_attn,
                  grad_ + at.o);
  working_on(Site::attention_output);
  if (at.attn_sub_norm != LayerOffsets::NONE)
    rmsnorm_backward(threads_, s.o, params_ + at.attn_sub_norm, w.d_attn, s.norm_attn, rows,
                     q_width, false, w.d_attn, grad_ + at.attn_sub_norm);
  working_on(Site::none);
  attention_backward(threads_, shape, s.q, s.k, s.v, s.stats, w.d_attn, w.dq, w.dk, w.dv);
  working_on(Site::q);
  rope(threads_, rope_, w.dq, rows, shape.context, shape.heads, true);
  working_on(Site::k);
  rope(threads_, rope_, w.dk, rows, shape.context, shape.kv_heads, true);
  working_on(Site::q);
  linear_backward(threads_, s.a_in, weights.q, w.dq, rows, q_width, d, false, w.d_norm,
                  grad_ + at.q);
  working_on(Site::k);
  linear_backward(threads_, s.a_in, weights.k, w.dk, rows, kv_width, d, true, w.d_norm,
                  grad_ + at.k);
  working_on(Site::v);
  linear_backward(threads_, s.a_in, weights.v, w.dv, rows, kv_width, d, true, w.d_norm,
                  grad_ + at.v);
  working_on(Site::attention_input);
  rmsnorm_backward(threads_, s.x_in, params_ + at.input_norm, w.d_norm, s.norm_in, rows, d, true,
                   w.dx, grad_ + at.input_norm);
}

void Trainer::backward(int64_t sequences, int64_t context, const int32_t* cancel) {
  const int64_t rows = sequences * context;
  const int64_t d = config_.d_model;
  const AttentionShape shape = attention_shape(sequences, context);
  // head_loss has left the gradient of the head's input in d_norm.
  rmsnorm_backward(threads_, work_.x_out, params_ + layout_.final_norm, work_.d_norm,
                   work_.norm_final, rows, d, false, work_.dx, grad_ + layout_.final_norm);
  for (size_t i = layers_.size(); i-- > 0;) {
    if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "cancelled");
    if (options_.recompute == 1 && i + 1 < layers_.size()) {
      // The same operations on the same input: the same bits as forward had.
      forward_attention(i, shape);
      forward_ffn(i, rows, nullptr);
    }
    backward_ffn(i, rows);
    backward_attention(i, shape);
  }
  working_on(Site::none);
  embed_backward(threads_, work_.dx, work_.inputs, rows, d, grad_ + layout_.embedding);
}

}  // namespace magnet
