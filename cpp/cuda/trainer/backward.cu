// Backward pass, mirror of forward.cu; twin of cpp/cpu/trainer_backward.cpp. Straight-through: gradients
// pass both quantisers unchanged, and products use the quantised operands of forward. With recomputation
// a block is run forward again before it is run backward; the last one is still there.
#include "../kernels/gemm.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

template <class T>
template <class D>
void TrainerOf<T>::linear_backward(const QuantisedInput<T>& x, const QuantisedWeight<T>& w,
                                   Matrix<const T> dy, bool accumulate, Matrix<D> dx, float* dw) {
  const Matrix<const T> values = x.values.part(0, dy.rows);
  const Matrix<const T> weights = w.values;
  const Matrix<float> gradient{dw, weights.rows, weights.columns, weights.columns};
  gemm<T, float>(stream_, dy, Layout::transposed, values, Layout::plain, {nullptr, true}, gradient);
  gemm<T, D>(stream_, dy, Layout::plain, weights, Layout::plain,
             {is_plain() ? nullptr : w.inverse, accumulate}, dx);
}

template <class T>
void TrainerOf<T>::backward_ffn(size_t layer, const Pass& pass) {
  const LayerState<T>& s = storage_.layers[layer];
  const LayerWeights<T>& weights = storage_.weights[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const Workspace<T>& w = storage_.work;
  float* const grad = storage_.grad;
  const int64_t rows = pass.rows();
  const Matrix<T> dh = w.dh.part(0, rows);
  const Matrix<T> gate = s.gate.part(0, rows);
  const Matrix<T> up = s.up.part(0, rows);
  const Matrix<float> d_norm = w.d_norm.part(0, rows);
  linear_backward<T>(s.a_ffn, weights.down, w.dx_operand.part(0, rows), false, dh, grad + at.down);
  swiglu_norm_backward<T>(stream_, gate, up, norm_weight(at.ffn_sub_norm), dh, s.norm_ffn, gate, up,
                          norm_gradient(at.ffn_sub_norm), w.norm_partials);
  linear_backward<float>(s.a_mid, weights.gate, gate, false, d_norm, grad + at.gate);
  linear_backward<float>(s.a_mid, weights.up, up, true, d_norm, grad + at.up);
  norm_backward<float, float, T>(stream_, s.x_mid.part(0, rows), norm_weight(at.post_norm), d_norm,
                                 s.norm_mid, true, w.dx.part(0, rows), w.dx_operand.part(0, rows),
                                 norm_gradient(at.post_norm), w.norm_partials);
}

template <class T>
void TrainerOf<T>::backward_attention(size_t layer, const Pass& pass) {
  const LayerState<T>& s = storage_.layers[layer];
  const LayerWeights<T>& weights = storage_.weights[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const Workspace<T>& w = storage_.work;
  float* const grad = storage_.grad;
  const int64_t rows = pass.rows();
  const Matrix<T> o = s.o.part(0, rows);
  const Matrix<T> d_attn = w.d_attn.part(0, rows);
  const Matrix<T> dq = w.dq.part(0, rows);
  const Matrix<T> dk = w.dk.part(0, rows);
  const Matrix<T> dv = w.dv.part(0, rows);
  const Matrix<float> d_norm = w.d_norm.part(0, rows);
  linear_backward<T>(s.a_attn, weights.o, w.dx_operand.part(0, rows), false, d_attn, grad + at.o);
  if (at.attn_sub_norm != LayerOffsets::NONE)
    norm_backward<T, T, T>(stream_, o, norm_weight(at.attn_sub_norm), d_attn, s.norm_attn, false,
                           d_attn, {}, norm_gradient(at.attn_sub_norm), w.norm_partials);
  const AttentionShape shape{pass.sequences, pass.context, config_.n_heads, config_.n_kv_heads,
                             config_.head_dim};
  attention_backward<T>(stream_, shape, s.q.part(0, rows), s.k.part(0, rows), s.v.part(0, rows), o,
                        d_attn, s.log_sums, dq, dk, dv, w.attention_scratch);
  rope<T>(stream_, dq, pass.context, config_.n_heads, config_.head_dim, w.cosines, w.sines, true);
  rope<T>(stream_, dk, pass.context, config_.n_kv_heads, config_.head_dim, w.cosines, w.sines,
          true);
  linear_backward<float>(s.a_in, weights.q, dq, false, d_norm, grad + at.q);
  linear_backward<float>(s.a_in, weights.k, dk, true, d_norm, grad + at.k);
  linear_backward<float>(s.a_in, weights.v, dv, true, d_norm, grad + at.v);
  norm_backward<float, float, T>(stream_, s.x_in.part(0, rows), norm_weight(at.input_norm), d_norm,
                                 s.norm_in, true, w.dx.part(0, rows), w.dx_operand.part(0, rows),
                                 norm_gradient(at.input_norm), w.norm_partials);
}

template <class T>
void TrainerOf<T>::backward(const Pass& pass) {
  const Workspace<T>& w = storage_.work;
  const int64_t rows = pass.rows();
  norm_backward<float, T, T>(stream_, w.x_out.part(0, rows), storage_.params + layout_.final_norm,
                             w.d_hidden.part(0, rows), w.norm_final, false, w.dx.part(0, rows),
                             w.dx_operand.part(0, rows), storage_.grad + layout_.final_norm,
                             w.norm_partials);
  for (size_t i = storage_.layers.size(); i-- > 0;) {
    if (options_.recompute == 1 && i + 1 < storage_.layers.size()) {
      // The same operations on the same input: the same bits as forward had.
      forward_attention(i, pass);
      forward_ffn(i, pass, {});
    }
    backward_ffn(i, pass);
    backward_attention(i, pass);
  }
  embed_backward(stream_, w.dx.part(0, rows), token_order_in(w.order, rows),
                 storage_.grad + layout_.embedding);
}

#define INSTANTIATE(T)                                                       \
  template void TrainerOf<T>::backward_ffn(size_t, const Pass&);             \
  template void TrainerOf<T>::backward_attention(size_t, const Pass&);       \
  template void TrainerOf<T>::backward(const Pass&)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
