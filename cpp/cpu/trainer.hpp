// State of one model in training: arenas, ternary copies of the weights, activations and their
// gradients. Rows below are positions: row = sequence * context + position.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "attention.hpp"
#include "bitlinear.hpp"
#include "loss.hpp"
#include "mapping.hpp"
#include "model.hpp"
#include "profile.hpp"

namespace magnet {

/** What a block's forward pass leaves for its backward pass. */
struct LayerState {
  float* x_in;           // (rows, d) residual stream at the entry
  float* norm_in;        // (rows) reciprocal root of the first norm
  QuantizedRows a_in;    // input of q, k, v
  float *q, *k, *v;      // after RoPE
  float* stats;          // softmax rows, see attention.hpp
  float* o;              // (rows, heads * head_dim) attention output
  float* norm_attn;      // (rows)
  QuantizedRows a_attn;  // input of o_proj
  float* x_mid;          // (rows, d) residual stream after attention
  float* norm_mid;       // (rows)
  QuantizedRows a_mid;   // input of gate and up
  float *gate, *up;      // (rows, d_ff); backward overwrites them with their gradients
  float* norm_ffn;       // (rows)
  QuantizedRows a_ffn;   // input of down_proj
  TernaryWeights wq, wk, wv, wo, wgate, wup, wdown;
};

/** Buffers that all blocks share. */
struct Workspace {
  float* x_out;       // (rows, d) residual stream after the last block
  float* norm_final;  // (rows)
  float* hidden;      // (rows, d) input of the head
  double* nll;        // (rows)
  float* scales;      // (rows) gradient scales of the head, where rows differ
  int32_t* inputs;    // (rows)
  int32_t* targets;   // (rows)
  float* dx;          // (rows, d) gradient of the residual stream
  float* d_norm;      // (rows, d) gradient of a norm's output
  float* d_attn;      // (rows, heads * head_dim)
  float *dq, *dk, *dv;
  float* h;   // (rows, d_ff) silu(gate) * up, made again
  float* dh;  // (rows, d_ff)
};

/** Sequences of `width` tokens whose label, where it is not -100, is the target at its place. */
struct LabelledTokens {
  const int32_t* tokens;  // (sequences, width)
  const int32_t* labels;  // the same shape; labels[.., 0] is not used
  int64_t sequences;
  int64_t width;
};

/** Preference pairs: (accumulate, pairs, 2, width), chosen before rejected. */
struct PairBatch {
  const int32_t* tokens;
  const int32_t* labels;
  int64_t pairs;  // of a micro-batch
  int64_t width;
  uint32_t accumulate;
};

/** What the means of a step of ORPO divide by. */
struct OrpoScales {
  double chosen_token;  // 1 / labels of all chosen sequences
  double pair;          // 1 / pairs
  double beta;
};

class Trainer {
 public:
  Trainer(const mg_model_config& config, uint32_t batch, uint32_t context, uint32_t threads);

  /** See mg_trainer_step and mg_trainer_gradient. */
  mg_step_result step(const int32_t* tokens, uint32_t accumulate, const mg_adamw& adamw,
                      const int32_t* cancel);
  mg_step_result gradient(const int32_t* tokens, uint32_t accumulate, const int32_t* cancel);
  void evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel, double* nll_sum,
                uint64_t* count);
  void logits(const int32_t* tokens, uint32_t count, float* out);
  /** See mg_trainer_orpo (no update where `adamw` is null) and mg_trainer_logps. */
  mg_orpo_result orpo(const PairBatch& pairs, float beta, const mg_adamw* adamw,
                      const int32_t* cancel);
  void log_probs(const LabelledTokens& batch, const int32_t* cancel, double* sums,
                 uint64_t* counts);
  float* arena(uint32_t which);
  uint32_t batch() const { return batch_; }
  uint32_t context() const { return context_; }

  /** Bytes that the constructor maps. */
  static uint64_t bytes_needed(const mg_model_config& config, uint32_t batch, uint32_t context);

  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  /** Of the steps since its last reset. */
  StepProfile profile;

 private:
  static void carve(const mg_model_config& config, const ModelLayout& layout, int64_t batch,
                    int64_t context, class Carver& carver, std::vector<LayerState>& layers,
                    Workspace& work);

  void quantize_weights();
  /** Adds the loaded pairs' figures to `total` and writes their rows' gradient scales. */
  void weigh_pairs(const LabelledTokens& batch, const OrpoScales& scales, mg_orpo_result& total);
  void zero_gradient();
  /** Splits `sequences` of context + 1 tokens into inputs and targets; returns the counted targets.
   */
  uint64_t load_tokens(const int32_t* tokens, int64_t sequences, int64_t context);
  /** Inputs and targets from tokens and labels; every sequence must count at least one label. */
  void load_labelled(const LabelledTokens& batch);
  /** Sum and count of the log-probs of each loaded sequence, from work_.nll. */
  void sum_log_probs(const LabelledTokens& batch, double* sums, uint64_t* counts) const;
  /** The optimizer step, or MG_E_NUMERIC or MG_E_CANCELLED with nothing changed. */
  void update(const mg_adamw& adamw, double loss, double norm, const int32_t* cancel);
  void norm_and_quantize(const float* x, uint64_t weight, int64_t rows, int64_t n, float* norm,
                         const QuantizedRows& out);
  void forward(int64_t sequences, int64_t context, const int32_t* cancel);
  void forward_attention(size_t layer, const AttentionShape& shape);
  void forward_ffn(size_t layer, int64_t rows, float* out);
  void swiglu_norm_and_quantize(size_t layer, int64_t rows);
  void backward(int64_t sequences, int64_t context, const int32_t* cancel);
  void backward_ffn(size_t layer, int64_t rows);
  void backward_attention(size_t layer, const AttentionShape& shape);
  Head head() const;
  AttentionShape attention_shape(int64_t sequences, int64_t context) const;

  mg_model_config config_;
  ModelLayout layout_;
  uint32_t batch_;
  uint32_t context_;
  uint32_t threads_;
  RopeTables rope_;
  std::unique_ptr<Mapping> arenas_;
  std::unique_ptr<Mapping> state_;
  std::vector<LayerState> layers_;
  Workspace work_{};
  int8_t* ternary_ = nullptr;
  float *params_, *m_, *v_, *grad_;
};

}  // namespace magnet
