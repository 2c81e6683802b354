// Where everything of a trainer lies in device memory: one area, carved into aligned pieces.
#pragma once
#include <vector>

#include "../../cpu/model.hpp"
#include "../kernels/attention.hpp"
#include "../kernels/head.hpp"
#include "../kernels/norm.hpp"
#include "../kernels/optimizer.hpp"

namespace magnet::gpu {

/** What a block's forward pass leaves for its backward pass. With recomputation the blocks share all of
 * it but x_in. */
template <class T>
struct LayerState {
  Matrix<float> x_in;       // residual stream at the entry
  float* norm_in;           // (rows) reciprocal root of the first norm
  QuantisedInput<T> a_in;   // of q, k, v
  Matrix<T> q, k, v;        // after RoPE
  float* log_sums;          // of the softmax, see attention.hpp
  Matrix<T> o;              // attention's output
  float* norm_attn;
  QuantisedInput<T> a_attn;  // of o_proj
  Matrix<float> x_mid;       // residual stream after attention
  float* norm_mid;
  QuantisedInput<T> a_mid;  // of gate and up
  Matrix<T> gate, up;       // backward overwrites them with their gradients
  float* norm_ffn;
  QuantisedInput<T> a_ffn;  // of down_proj
};

template <class T>
struct LayerWeights {
  QuantisedWeight<T> q, k, v, o, gate, up, down;
};

/** What all blocks share. */
template <class T>
struct Workspace {
  Matrix<float> x_out;  // residual stream after the last block
  float* norm_final;
  Matrix<T> hidden;      // input of the head
  Matrix<T> d_hidden;    // its gradient
  Matrix<T> embedding;   // (vocab, d) the head's operand
  Matrix<T> logits;      // (chunk, vocab)
  Matrix<float> dx;      // gradient of the residual stream
  Matrix<T> dx_operand;  // the same as products take it
  Matrix<float> d_norm;  // gradient of a norm's output, summed over its products
  Matrix<T> d_attn;
  Matrix<T> dq, dk, dv;
  Matrix<T> dh;
  float* attention_scratch;
  float* norm_partials;
  double* partials;  // of sums over an arena or a tensor
  void* muon;
  float *cosines, *sines;  // RoPE, (context, head_dim / 2)
  int32_t* inputs;         // (rows)
  int32_t* targets;        // (rows)
  int32_t* order;          // rows by token, see token_order
  float* nll;              // (rows)
  float* row_scales;       // (rows) of the head's gradient
  float* gradient_scale;
  double* loss;  // sum over the micro-batches
  StepNumbers* numbers;
  StepState* state;
};

template <class T>
struct Storage {
  float *params, *m, *v, *grad;
  std::vector<LayerState<T>> layers;
  std::vector<LayerWeights<T>> weights;
  Workspace<T> work;
  uint64_t bytes;
};

/** Pieces from `base` on; without a base only counts. */
template <class T>
Storage<T> carve(const mg_model_config& config, const mg_trainer_options& options, void* base);

/** Rows of logits that are made at a time. */
int64_t head_chunk(int64_t rows, int64_t vocab, uint64_t element_bytes);

}  // namespace magnet::gpu
