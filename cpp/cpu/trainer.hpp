// State of one model in training: arenas, ternary copies of the weights, activations and their
// gradients. Rows below are positions: row = sequence * context + position.
#pragma once
#include <atomic>
#include <memory>
#include <vector>

#include "attention.hpp"
#include "linear.hpp"
#include "loss.hpp"
#include "mapping.hpp"
#include "model.hpp"
#include "profile.hpp"

namespace magnet {

/** What a block's forward pass leaves for its backward pass. With recomputation the blocks share
 * all of it but x_in. */
struct LayerState {
  float* x_in;         // (rows, d) residual stream at the entry
  float* norm_in;      // (rows) reciprocal root of the first norm
  LinearInput a_in;    // input of q, k, v
  float *q, *k, *v;    // after RoPE
  float* stats;        // softmax rows, see attention.hpp
  float* o;            // (rows, heads * head_dim) attention output
  float* norm_attn;    // (rows)
  LinearInput a_attn;  // input of o_proj
  float* x_mid;        // (rows, d) residual stream after attention
  float* norm_mid;     // (rows)
  LinearInput a_mid;   // input of gate and up
  float *gate, *up;    // (rows, d_ff); backward overwrites them with their gradients
  float* norm_ffn;     // (rows)
  LinearInput a_ffn;   // input of down_proj
};

struct LayerWeights {
  LinearWeights q, k, v, o, gate, up, down;
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
  Trainer(const mg_model_config& config, const mg_trainer_options& options);

  /** See mg_trainer_step and mg_trainer_gradient. */
  mg_step_result step(const int32_t* tokens, uint32_t accumulate, const mg_optimizer& optimizer,
                      const int32_t* cancel);
  mg_step_result gradient(const int32_t* tokens, uint32_t accumulate, const int32_t* cancel);
  void evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel, double* nll_sum,
                uint64_t* count);
  void logits(const int32_t* tokens, uint32_t count, float* out);
  /** See mg_trainer_token_losses and mg_trainer_tensor_stats. */
  void token_losses(const int32_t* tokens, uint32_t rows, const int32_t* cancel, float* out,
                    mg_stream_stats* streams);
  void tensor_stats(mg_tensor_stats* out);
  /** See mg_trainer_orpo (no update where `optimizer` is null) and mg_trainer_logps. */
  mg_orpo_result orpo(const PairBatch& pairs, float beta, const mg_optimizer* optimizer,
                      const int32_t* cancel);
  void log_probs(const LabelledTokens& batch, const int32_t* cancel, double* sums,
                 uint64_t* counts);
  float* arena(uint32_t which);
  /** Of a round of training together: see the calls of these names. Status codes as mg_delta_*. */
  void copy(uint32_t from, uint32_t to);
  void release(uint32_t which);
  int32_t compress_delta(uint32_t kind, bool feedback, uint8_t* out, uint64_t out_bytes,
                         const int32_t* cancel);
  int32_t check_delta(const uint8_t* bytes, uint64_t length, const int32_t* cancel) const;
  int32_t add_to_sum(const uint8_t* bytes, uint64_t length, float weight, const int32_t* cancel);
  int32_t outer_step(float lr, float mu, const int32_t* cancel);
  uint32_t batch() const { return options_.batch; }
  uint32_t context() const { return options_.context; }

  /** Throws MG_E_INVALID for options that are out of range or do not fit the model. */
  static void check_options(const mg_model_config& config, const mg_trainer_options& options);
  /** See mg_trainer_bytes. */
  static mg_trainer_memory memory_needed(const mg_model_config& config,
                                         const mg_trainer_options& options);

  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  /** Of the steps since its last reset. */
  StepProfile profile;

 private:
  /** Everything behind the codes in the mapping of activations: 64-byte aligned pieces. Without a
   * base only counts. Returns the bytes. */
  static uint64_t carve(const mg_model_config& config, const mg_trainer_options& options,
                        uint8_t* base, std::vector<LayerState>& layers, Workspace& work);

  /** The weights that forward and backward multiply with: codes, or the latent ones themselves. */
  void prepare_weights();
  /** Adds the loaded pairs' figures to `total` and writes their rows' gradient scales. */
  void weigh_pairs(const LabelledTokens& batch, const OrpoScales& scales, mg_orpo_result& total);
  void zero_gradient();
  /** Splits `sequences` of context + 1 tokens into inputs and targets; returns the counted targets.
   */
  uint64_t load_tokens(const int32_t* tokens, int64_t sequences, int64_t context);
  /** Inputs and targets from tokens and labels; every sequence must count at least one label. */
  void load_labelled(const LabelledTokens& batch);
  /** Moves the head's inputs and targets of counted rows together; returns how many there are. */
  int64_t keep_counted_rows(int64_t rows);
  /** Puts the gradient of the kept rows back to their places; 0 elsewhere. */
  void spread_head_gradient(int64_t rows);
  /** Sum and count of the log-probs of each loaded sequence, from work_.nll. */
  void sum_log_probs(const LabelledTokens& batch, double* sums, uint64_t* counts) const;
  /** The optimizer step, or MG_E_NUMERIC or MG_E_CANCELLED with nothing changed. */
  void update(const mg_optimizer& optimizer, double loss, double norm, const int32_t* cancel);
  /** Norm (none where `weight` is LayerOffsets::NONE) and, in a ternary model, quantiser. */
  void norm_input(const float* x, uint64_t weight, int64_t rows, int64_t n, float* norm,
                  const LinearInput& out);
  void forward(int64_t sequences, int64_t context, const int32_t* cancel);
  void forward_attention(size_t layer, const AttentionShape& shape);
  /** out null: only what backward needs, without the block's output. */
  void forward_ffn(size_t layer, int64_t rows, float* out);
  void swiglu_norm_and_quantize(size_t layer, int64_t rows);
  void backward(int64_t sequences, int64_t context, const int32_t* cancel);
  void backward_ffn(size_t layer, int64_t rows);
  void backward_attention(size_t layer, const AttentionShape& shape);
  bool is_plain() const { return config_.quantization == 1; }
  Head head() const;
  AttentionShape attention_shape(int64_t sequences, int64_t context) const;

  mg_model_config config_;
  mg_trainer_options options_;
  ModelLayout layout_;
  uint32_t threads_;
  RopeTables rope_;
  std::unique_ptr<Mapping> arenas_;
  std::unique_ptr<Mapping> state_;
  std::vector<LayerState> layers_;
  std::vector<LayerWeights> weights_;
  Workspace work_{};
  std::vector<int64_t> counted_rows_;  // of labelled tokens: rows that the head has seen
  int8_t* ternary_ = nullptr;   // codes of every weight, at its place in the arena; plain: null
  float* activations_;          // free between steps: the optimizer's workspace
  float *params_, *m_, *v_, *grad_;
  std::unique_ptr<Mapping> round_arenas_[4];  // from number 4 on, made when they are first used
};

}  // namespace magnet
