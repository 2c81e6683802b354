// Backward pass, mirror of forward.cu; twin of cpp/cpu/trainer_backward.cpp. Straight-through: gradients
// pass both quantisers unchanged, and products use the quantised operands of forward. With recomputation
// a block is run forward again before it is run backward; the last one is still there.
#include "../kernels/gemm.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

namespace {
/** The memory of what forward kept, for the gradient of the same. */
template <class T>
Matrix<T> overwritten(const Matrix<Activation<T>>& x) {
  static_assert(sizeof(T) == sizeof(Activation<T>));
  return {reinterpret_cast<T*>(x.data), x.rows, x.columns, x.stride};
}

/** Where the norms of the first layer lie, how far apart the layers are, and the norm behind them. */
struct NormPlaces {
  uint64_t first[4];
  uint32_t count[4];
  uint32_t kinds;
  uint32_t layers;
  uint64_t stride;
  uint64_t last;
  uint32_t last_count;
};
/** A block a layer, one more for the last norm. */
__global__ void clear_norms_kernel(float* gradient, NormPlaces at) {
  const auto clear = [](float* from, uint32_t count) {
    for (uint32_t i = threadIdx.x; i < count; i += blockDim.x) from[i] = 0.0f;
  };
  if (blockIdx.x == at.layers) return clear(gradient + at.last, at.last_count);
  for (uint32_t kind = 0; kind < at.kinds; kind++)
    clear(gradient + at.first[kind] + blockIdx.x * at.stride, at.count[kind]);
}
}  // namespace

template <class T>
void TrainerOf<T>::linear_backward(const QuantisedInput<T>& x, const JoinedWeight<T>& w,
                                   Matrix<const T> dy, Matrix<T> dx, float* dw, Site site,
                                   bool adds) {
  const Matrix<const T> values = x.values.part(0, dy.rows);
  const Matrix<const T> weights = w.all.values;
  const int64_t k = weights.columns;
  const bool joined = w.parts > 1;
  const float* const scales = is_plain() || !joined ? nullptr : w.all.scale;
  const auto gradient = [&](int64_t first, int64_t rows, float* to, const Epilogue& epilogue) {
    gemm<T, float>(stream_, dy.slice(first, rows), Layout::transposed, values, Layout::plain,
                   epilogue, {to, rows, k, k});
  };
  timed_as(Kernel::gemm_dw, site);
  if (w.is_dense())
    gradient(0, w.rows_before(w.parts), dw, {scales, adds, w.starts()});
  else
    for (int i = 0; i < w.parts; i++)
      gradient(w.first[i], w.rows[i], dw + w.rows_before(i) * k,
               {scales == nullptr ? nullptr : scales + i, adds});
  timed_as(Kernel::gemm_dx, site);
  gemm<T, T>(stream_, dy, Layout::plain, weights, Layout::plain,
             {is_plain() || joined ? nullptr : w.all.inverse}, dx);
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
  const Matrix<Activation<T>> gate_up = s.gate_up.part(0, rows);
  const Matrix<T> d_gate_up = overwritten<T>(gate_up);
  const Matrix<T> d_norm = w.d_norm.part(0, rows);
  linear_backward(s.a_ffn, weights.down, w.dx_operand.part(0, rows), dh, grad + at.down,
                  Site::down, pass.adds);
  timed_as(Kernel::swiglu_backward, Site::ffn_hidden);
  swiglu_norm_backward<T>(stream_, product_of(gate_up, s.a_mid, weights.gate_up, 0),
                          product_of(gate_up, s.a_mid, weights.gate_up, 1),
                          norm_weight(at.ffn_sub_norm), dh, s.norm_ffn, inverses(weights.gate_up),
                          columns_of(d_gate_up, weights.gate_up, 0),
                          columns_of(d_gate_up, weights.gate_up, 1),
                          norm_gradient(at.ffn_sub_norm), w.norm_partials);
  linear_backward(s.a_mid, weights.gate_up, d_gate_up, d_norm, grad + at.gate, Site::gate_up,
                  pass.adds);
  timed_as(Kernel::norm_backward, Site::ffn_input);
  norm_backward<T, float, T>(stream_, s.x_mid.part(0, rows), norm_weight(at.post_norm), d_norm,
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
  const Matrix<float> o = s.o.part(0, rows);
  const Matrix<T> d_attn = w.d_attn.part(0, rows);
  const Matrix<T> dqkv = w.dqkv.part(0, rows);
  const Matrix<T> d_norm = w.d_norm.part(0, rows);
  const auto of = [&](Matrix<T> x, int i) { return columns_of(x, weights.qkv, i); };
  const auto qkv = [&](int i) { return columns_of(s.qkv.part(0, rows), weights.qkv, i); };
  linear_backward(s.a_attn, weights.o, w.dx_operand.part(0, rows), d_attn, grad + at.o,
                  Site::o, pass.adds);
  timed_as(Kernel::norm_backward, Site::attention_output);
  if (at.attn_sub_norm != LayerOffsets::NONE)
    norm_backward<T, T, T>(stream_, o, norm_weight(at.attn_sub_norm), d_attn, s.norm_attn, false,
                           d_attn, {}, norm_gradient(at.attn_sub_norm), w.norm_partials);
  timed_as(Kernel::attention_backward);
  attention_backward<T>(stream_, attention_shape(pass), qkv(0), qkv(1), qkv(2), o, d_attn,
                        s.log_sums, inverses(weights.qkv), {w.cosines, w.sines}, of(dqkv, 0),
                        of(dqkv, 1), of(dqkv, 2), w.attention_scratch);
  linear_backward(s.a_in, weights.qkv, dqkv, d_norm, grad + at.q, Site::qkv, pass.adds);
  timed_as(Kernel::norm_backward, Site::attention_input);
  norm_backward<T, float, T>(stream_, s.x_in.part(0, rows), norm_weight(at.input_norm), d_norm,
                             s.norm_in, true, w.dx.part(0, rows), w.dx_operand.part(0, rows),
                             norm_gradient(at.input_norm), w.norm_partials);
}

template <class T>
void TrainerOf<T>::clear_norm_gradients() {
  NormPlaces at{};
  const auto add = [&](uint64_t offset, uint64_t count) {
    if (offset == LayerOffsets::NONE) return;
    at.first[at.kinds] = offset;
    at.count[at.kinds++] = static_cast<uint32_t>(count);
  };
  const LayerOffsets& first = layout_.layers[0];
  const auto d = static_cast<uint64_t>(config_.d_model);
  add(first.input_norm, d);
  add(first.attn_sub_norm, uint64_t{config_.n_heads} * config_.head_dim);
  add(first.post_norm, d);
  add(first.ffn_sub_norm, config_.d_ff);
  at.layers = config_.n_layers;
  at.stride = at.layers > 1 ? layout_.layers[1].input_norm - first.input_norm : 0;
  at.last = layout_.final_norm;
  at.last_count = config_.d_model;
  MG_LAUNCH(clear_norms_kernel, stream_, {dim3(config_.n_layers + 1), dim3(256)}, storage_.grad, at);
}

template <class T>
void TrainerOf<T>::backward(const Pass& pass) {
  const Workspace<T>& w = storage_.work;
  const int64_t rows = pass.rows();
  timed_as(Kernel::norm_backward);
  norm_backward<T, float, T>(
      stream_, w.x_out.part(0, rows), storage_.params + layout_.final_norm,
      w.d_hidden.part(0, rows), w.norm_final, false, w.dx.part(0, rows),
      w.dx_operand.part(0, rows), storage_.grad + layout_.final_norm, w.norm_partials);
  for (size_t i = storage_.layers.size(); i-- > 0;) {
    if (options_.recompute == 1 && i + 1 < storage_.layers.size()) {
      // The same operations on the same input: the same bits as forward had.
      forward_attention(i, pass);
      forward_ffn(i, pass, {});
    }
    backward_ffn(i, pass);
    backward_attention(i, pass);
  }
  timed_as(Kernel::embed_backward);
  embed_backward(stream_, w.dx.part(0, rows), token_order_in(w.order, rows),
                 storage_.grad + layout_.embedding);
}

#define INSTANTIATE(T)                                                                     \
  template void TrainerOf<T>::linear_backward(const QuantisedInput<T>&,                    \
                                              const JoinedWeight<T>&, Matrix<const T>,     \
                                              Matrix<T>, float*, Site, bool);              \
  template void TrainerOf<T>::clear_norm_gradients();                                      \
  template void TrainerOf<T>::backward_ffn(size_t, const Pass&);                           \
  template void TrainerOf<T>::backward_attention(size_t, const Pass&);                     \
  template void TrainerOf<T>::backward(const Pass&)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
