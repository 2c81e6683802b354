// Where everything of a trainer lies in device memory: one area, carved into aligned pieces.
#pragma once
#include <array>
#include <vector>

#include "../../cpu/model.hpp"
#include "../kernels/attention.hpp"
#include "../kernels/gemm.hpp"
#include "../kernels/head.hpp"
#include "../kernels/norm.hpp"
#include "../kernels/optimizer.hpp"
#include "../kernels/preference.hpp"

namespace magnet::gpu {

/** What a block's forward pass leaves for its backward pass. With recomputation the blocks share all of
 * it but x_in. */
template <class T>
struct LayerState {
  Matrix<float> x_in;       // residual stream at the entry
  float* norm_in;           // (rows) reciprocal root of the first norm
  QuantisedInput<T> a_in;   // of q, k, v
  Matrix<Activation<T>> qkv;  // beside each other as in JoinedWeight, q and k after RoPE
  float* log_sums;            // of the softmax, see attention.hpp
  Matrix<float> o;            // attention's output
  float* norm_attn;
  QuantisedInput<T> a_attn;  // of o_proj
  Matrix<float> x_mid;       // residual stream after attention
  float* norm_mid;
  QuantisedInput<T> a_mid;  // of gate and up
  Matrix<Activation<T>> gate_up;  // as product_of reads it; backward overwrites it with gradients
  float* norm_ffn;
  QuantisedInput<T> a_ffn;  // of down_proj
};

/** Weights of the same input, whose product is one: each begins at a multiple of 16 rows, zeros between
 * them. */
template <class T>
struct JoinedWeight {
  QuantisedWeight<T> all;  // an inverse and a scale for each
  int parts;
  int64_t first[3];
  int64_t rows[3];

  QuantisedWeight<T> part(int i) const {
    const Matrix<int8_t> codes = all.codes.data == nullptr ? all.codes
                                                           : all.codes.part(first[i], rows[i]);
    return {codes, all.values.part(first[i], rows[i]), all.inverse + i, all.scale + i};
  }
  Parts starts() const {
    return {parts > 1 ? first[1] : INT64_MAX, parts > 2 ? first[2] : INT64_MAX};
  }
  /** Without zeros between them, as they lie in the arena. */
  bool is_dense() const { return rows_before(parts - 1) == first[parts - 1]; }
  int64_t rows_before(int i) const {
    int64_t sum = 0;
    for (int j = 0; j < i; j++) sum += rows[j];
    return sum;
  }
};

template <class T>
struct LayerWeights {
  JoinedWeight<T> qkv, o, gate_up, down;

  /** f(weight, index) of all seven, in the order of the arena. */
  template <class F>
  void for_each(const F& f) const {
    int index = 0;
    for (const JoinedWeight<T>* joined : {&qkv, &o, &gate_up, &down})
      for (int i = 0; i < joined->parts; i++) f(joined->part(i), index++);
  }
};
/** Places of the seven in the arena. */
inline std::array<uint64_t, 7> weight_offsets(const LayerOffsets& at) {
  return {at.q, at.k, at.v, at.o, at.gate, at.up, at.down};
}

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
  Matrix<T> d_norm;      // gradient of a norm's output
  Matrix<T> d_attn;
  Matrix<T> dqkv;  // as LayerState::qkv
  Matrix<T> dh;
  float* attention_scratch;
  float* norm_partials;
  double* partials;  // of sums over an arena or tensors
  WeightTask<T>* weight_tasks;  // (7 in each layer)
  AdamwPiece* adamw_pieces;     // see adamw_pieces_of
  void* muon;
  float *cosines, *sines;  // RoPE, (context, head_dim / 2)
  int32_t* inputs;         // (rows)
  int32_t* targets;        // (rows)
  int32_t* order;          // rows by token, see token_order
  float* nll;              // (rows)
  float* row_scales;       // (rows) of the head's gradient
  float* gradient_scale;
  double* loss;  // sum over the micro-batches
  PairScales* pair_scales;
  PairTotals* pairs;
  StepNumbers* numbers;
  StepState* state;
};

template <class T>
struct Storage {
  float *params, *m, *v, *grad;
  std::vector<LayerState<T>> layers;
  std::vector<LayerWeights<T>> weights;
  Workspace<T> work;
  mg_trainer_memory parts;
  uint64_t bytes() const {
    return parts.arenas + parts.weights + parts.activations + parts.workspace;
  }
};

/** Pieces from `base` on; without a base only counts. */
template <class T>
Storage<T> carve(const mg_model_config& config, const mg_trainer_options& options, void* base);

/** Micro-batches in the stream: one that the device runs, one behind it while the host prepares the next
 * would do; one more is for a host that is busy elsewhere. */
constexpr size_t TOKEN_SLOTS = 3;

/** Tokens of a micro-batch on their way to the device: inputs, targets (rows), token_order of the rows. */
struct TokenPlaces {
  int32_t *inputs, *targets, *order;
};

/** The host's page-locked memory of a trainer's steps, what comes and goes between two waits. */
struct HostStorage {
  TokenPlaces slots[TOKEN_SLOTS];
  float* nll;  // (rows)
  float* gradient_scale;
  float* inverse;  // of a weight that is looked at
  PairScales* pair_scales;
  PairTotals* pairs;
  double* loss;
  StepNumbers* numbers;
  StepState* state;
  unsigned char* relay;  // see relay.hpp
  uint64_t bytes;
};
/** As carve. */
HostStorage carve_host(const mg_trainer_options& options, void* base);

/** Of the tensors that AdamW updates. */
std::vector<AdamwPiece> adamw_pieces_of(const ModelLayout& layout, const mg_trainer_options& options);

/** What the stream's products take besides. */
template <class T>
uint64_t workspace_of() {
  return std::is_same_v<T, bf16> ? gemm_workspace() : 0;
}

/** Rows of logits that are made at a time. */
int64_t head_chunk(int64_t rows, int64_t vocab, uint64_t element_bytes);

}  // namespace magnet::gpu
