// Forward pass: what each block computes and keeps for backward; twin of cpp/cpu/trainer_forward.cpp.
#include "../kernels/gemm.hpp"
#include "trainer_of.hpp"

namespace magnet::gpu {

namespace {
template <class T>
QuantisedInput<T> first_rows(const QuantisedInput<T>& x, int64_t rows) {
  const Matrix<int8_t> codes = x.codes.data == nullptr ? x.codes : x.codes.part(0, rows);
  return {codes, x.inverse, x.values.part(0, rows)};
}
}  // namespace

template <class T>
void TrainerOf<T>::prepare_weights() {
  if (weights_ready_) return;
  timed_as(Kernel::ternarise);
  if (is_plain()) {
    for (size_t i = 0; i < storage_.weights.size(); i++) {
      const std::array<uint64_t, 7> offsets = weight_offsets(layout_.layers[i]);
      storage_.weights[i].for_each([&](const QuantisedWeight<T>& w, int index) {
        weights_as<T>(stream_, storage_.params + offsets[static_cast<size_t>(index)], w.values);
      });
    }
  }
  ternarise<T>(stream_, weight_tasks_, storage_.work.weight_tasks, storage_.work.partials);
  weights_as<T>(stream_, storage_.params + layout_.embedding, storage_.work.embedding);
  weights_ready_ = true;
}

template <class T>
template <class Y>
void TrainerOf<T>::linear(const QuantisedInput<T>& x, const JoinedWeight<T>& joined, int64_t rows,
                          const Matrix<float>* residual, Matrix<Y> y) {
  const QuantisedInput<T> in = first_rows(x, rows);
  const QuantisedWeight<T>& w = joined.all;
  if (!is_plain()) {
    const Matrix<const float> added = residual == nullptr ? Matrix<float>{} : *residual;
    gemm_codes<Y>(stream_, in.codes, in.inverse, w.codes, w.inverse,
                  residual == nullptr ? nullptr : &added, y, joined.starts());
    return;
  }
  if (residual != nullptr)
    copy_on_device(stream_, y.data, residual->data,
                   static_cast<uint64_t>(rows * y.stride) * sizeof(Y));
  const Epilogue epilogue{nullptr, residual != nullptr};
  gemm<T, Y>(stream_, in.values, Layout::plain, w.values, Layout::transposed, epilogue, y);
}

/** For a kernel that takes it as a Product. */
template <class T>
void TrainerOf<T>::linear_kept(const QuantisedInput<T>& x, const JoinedWeight<T>& w, int64_t rows,
                               Matrix<Activation<T>> y) {
  if (!keeps_sums()) return linear(x, w, rows, nullptr, y);
  gemm_sums(stream_, first_rows(x, rows).codes, w.all.codes,
            {reinterpret_cast<sum16*>(y.data), y.rows, y.columns, y.stride});
}

/** q and k by their positions, in place. */
template <class T>
void TrainerOf<T>::rotate(Matrix<Activation<T>> qkv, const JoinedWeight<T>& w, const Pass& pass) {
  const Workspace<T>& work = storage_.work;
  const auto turn = [&](Matrix<Activation<T>> x, int64_t heads) {
    rope<Activation<T>>(stream_, x, pass.context, heads, config_.head_dim, work.cosines, work.sines,
                        false);
  };
  // Heads that follow each other are turned at once.
  if (w.first[1] == w.rows[0])
    return turn(qkv.slice(0, w.rows[0] + w.rows[1]), config_.n_heads + config_.n_kv_heads);
  turn(columns_of(qkv, w, 0), config_.n_heads);
  turn(columns_of(qkv, w, 1), config_.n_kv_heads);
}

template <class T>
AttentionInput<Activation<T>> TrainerOf<T>::rotated(size_t layer, const Pass& pass) {
  const LayerState<T>& s = storage_.layers[layer];
  const JoinedWeight<T>& w = storage_.weights[layer].qkv;
  const Matrix<Activation<T>> qkv = s.qkv.part(0, pass.rows());
  AttentionInput<Activation<T>> in{columns_of(qkv, w, 0), columns_of(qkv, w, 1),
                                   columns_of(qkv, w, 2)};
  if constexpr (!std::is_same_v<T, float>) {
    if (keeps_sums()) {
      // Needed until attention is done; the gradients of the same are made later.
      const Matrix<T> free = storage_.work.dqkv.part(0, pass.rows());
      const Matrix<fp16> low{reinterpret_cast<fp16*>(free.data), free.rows, free.columns,
                             free.stride};
      rope_split(stream_, attention_shape(pass),
                 {qkv, low, w.first[1], w.first[2], s.a_in.inverse, w.all.inverse,
                  sum_step(w.all.codes.columns)},
                 storage_.work.cosines, storage_.work.sines);
      in.low_q = columns_of(low, w, 0);
      in.low_k = columns_of(low, w, 1);
      in.low_v = columns_of(low, w, 2);
      return in;
    }
  }
  rotate(qkv, w, pass);
  return in;
}

template <class T>
void TrainerOf<T>::forward_attention(size_t layer, const Pass& pass) {
  const Kernel product = is_plain() ? Kernel::gemm_forward : Kernel::ternary_product;
  const LayerState<T>& s = storage_.layers[layer];
  const LayerWeights<T>& w = storage_.weights[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t rows = pass.rows();
  const Matrix<float> x_in = s.x_in.part(0, rows);
  const Matrix<float> x_mid = s.x_mid.part(0, rows);
  const Matrix<Activation<T>> qkv = s.qkv.part(0, rows);
  const Matrix<float> o = s.o.part(0, rows);
  timed_as(Kernel::norm_quantise, Site::attention_input);
  norm_quantise<T>(stream_, x_in, norm_weight(at.input_norm), config_.norm_eps, !is_plain(),
                   s.norm_in, first_rows(s.a_in, rows));
  timed_as(product, Site::qkv);
  linear_kept(s.a_in, w.qkv, rows, qkv);
  timed_as(Kernel::rope, Site::qkv);
  const AttentionInput<Activation<T>> in = rotated(layer, pass);
  timed_as(Kernel::attention_forward);
  attention_forward<Activation<T>>(stream_, attention_shape(pass), in, o, s.log_sums);
  timed_as(Kernel::norm_quantise, Site::attention_output);
  norm_quantise<T>(stream_, o, norm_weight(at.attn_sub_norm), config_.norm_eps, !is_plain(),
                   s.norm_attn, first_rows(s.a_attn, rows));
  timed_as(product, Site::o);
  linear(s.a_attn, w.o, rows, &x_in, x_mid);
}

template <class T>
void TrainerOf<T>::forward_ffn(size_t layer, const Pass& pass, Matrix<float> out) {
  const Kernel product = is_plain() ? Kernel::gemm_forward : Kernel::ternary_product;
  const LayerState<T>& s = storage_.layers[layer];
  const LayerWeights<T>& w = storage_.weights[layer];
  const LayerOffsets& at = layout_.layers[layer];
  const int64_t rows = pass.rows();
  const Matrix<float> x_mid = s.x_mid.part(0, rows);
  const Matrix<Activation<T>> gate_up = s.gate_up.part(0, rows);
  timed_as(Kernel::norm_quantise, Site::ffn_input);
  norm_quantise<T>(stream_, x_mid, norm_weight(at.post_norm), config_.norm_eps, !is_plain(),
                   s.norm_mid, first_rows(s.a_mid, rows));
  timed_as(product, Site::gate_up);
  linear_kept(s.a_mid, w.gate_up, rows, gate_up);
  timed_as(Kernel::swiglu_norm_quantise, Site::ffn_hidden);
  swiglu_norm_quantise<T>(stream_, product_of(gate_up, s.a_mid, w.gate_up, 0),
                          product_of(gate_up, s.a_mid, w.gate_up, 1), norm_weight(at.ffn_sub_norm),
                          config_.norm_eps, !is_plain(), s.norm_ffn, first_rows(s.a_ffn, rows));
  if (out.data == nullptr) return;
  timed_as(product, Site::down);
  linear(s.a_ffn, w.down, rows, &x_mid, out);
}

template <class T>
void TrainerOf<T>::forward(const Pass& pass) {
  const Workspace<T>& work = storage_.work;
  const int64_t rows = pass.rows();
  timed_as(Kernel::embed);
  embed(stream_, storage_.params + layout_.embedding, work.inputs,
        storage_.layers[0].x_in.part(0, rows));
  for (size_t i = 0; i < storage_.layers.size(); i++) {
    const bool last = i + 1 == storage_.layers.size();
    forward_attention(i, pass);
    forward_ffn(i, pass, (last ? work.x_out : storage_.layers[i + 1].x_in).part(0, rows));
  }
  timed_as(Kernel::norm_forward);
  norm_quantise<T>(stream_, work.x_out.part(0, rows), storage_.params + layout_.final_norm,
                   config_.norm_eps, false, work.norm_final,
                   {{}, nullptr, work.hidden.part(0, rows)});
}

template <class T>
void TrainerOf<T>::head(const Pass& pass, HeadPass what) {
  const Workspace<T>& work = storage_.work;
  const int64_t rows = pass.rows();
  const int64_t chunk = work.logits.rows;
  const bool by_row = what == HeadPass::gradient_by_row;
  const bool has_logits = by_row && rows <= chunk;  // of the losses' pass
  const Matrix<const T> embedding = work.embedding;
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = rows - first < chunk ? rows - first : chunk;
    const Matrix<T> logits = work.logits.part(0, count);
    const Matrix<const T> hidden = work.hidden.part(first, count);
    timed_as(Kernel::gemm_forward, Site::head);
    if (!has_logits)
      gemm<T, T>(stream_, hidden, Layout::plain, embedding, Layout::transposed, {}, logits);
    timed_as(Kernel::cross_entropy);
    cross_entropy<T>(stream_, logits, work.targets + first,
                     what == HeadPass::losses ? nullptr : work.gradient_scale,
                     by_row ? work.row_scales + first : nullptr, work.nll + first);
    if (what == HeadPass::losses) continue;
    const Matrix<const T> d_logits = logits;
    timed_as(Kernel::gemm_dx, Site::head);
    gemm<T, T>(stream_, d_logits, Layout::plain, embedding, Layout::plain, {},
               work.d_hidden.part(first, count));
    const Matrix<float> d_embedding{storage_.grad + layout_.embedding, config_.vocab_size,
                                    config_.d_model, config_.d_model};
    timed_as(Kernel::gemm_dw, Site::head);
    gemm<T, float>(stream_, d_logits, Layout::transposed, hidden, Layout::plain,
                   {nullptr, pass.adds || first > 0}, d_embedding);
  }
}

#define INSTANTIATE(T)                                                                 \
  template void TrainerOf<T>::prepare_weights();                                       \
  template void TrainerOf<T>::forward(const Pass&);                                    \
  template void TrainerOf<T>::linear_kept(const QuantisedInput<T>&, const JoinedWeight<T>&, int64_t, \
                                          Matrix<Activation<T>>);                       \
  template AttentionInput<Activation<T>> TrainerOf<T>::rotated(size_t, const Pass&);   \
  template void TrainerOf<T>::rotate(Matrix<Activation<T>>, const JoinedWeight<T>&,    \
                                     const Pass&);                                     \
  template void TrainerOf<T>::forward_attention(size_t, const Pass&);                  \
  template void TrainerOf<T>::forward_ffn(size_t, const Pass&, Matrix<float>);         \
  template void TrainerOf<T>::head(const Pass&, HeadPass)
INSTANTIATE(float);
INSTANTIATE(bf16);
#undef INSTANTIATE

}  // namespace magnet::gpu
