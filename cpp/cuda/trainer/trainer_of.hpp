// The trainer at one precision: T is what activations are stored as (see kernels/matrix.hpp).
#pragma once
#include <deque>
#include <map>
#include <memory>
#include <utility>

#include "rounds.hpp"
#include "step_times.hpp"
#include "storage.hpp"
#include "trainer.hpp"

namespace magnet::gpu {

template <class T>
class TrainerOf final : public Trainer {
 public:
  TrainerOf(const mg_model_config& config, const mg_trainer_options& options);
  ~TrainerOf() override;

  mg_step_result step(const int32_t* tokens, uint32_t accumulate, const mg_optimizer& optimizer,
                      const int32_t* cancel) override;
  mg_step_result gradient(const int32_t* tokens, uint32_t accumulate,
                          const int32_t* cancel) override;
  void evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel, double* nll_sum,
                uint64_t* count) override;
  void token_losses(const int32_t* tokens, uint32_t rows, const int32_t* cancel, float* out,
                    mg_stream_stats* streams) override;
  void tensor_stats(mg_tensor_stats* out) override;
  void logits(const int32_t* tokens, uint32_t count, float* out) override;
  mg_orpo_result orpo(const PairBatch& pairs, float beta, const mg_optimizer* optimizer,
                      const int32_t* cancel) override;
  void log_probs(const LabelledTokens& batch, const int32_t* cancel, double* sums,
                 uint64_t* counts) override;
  float* arena(uint32_t which) override;
  void pull(uint32_t which) override;
  void push(uint32_t which) override;
  void start_snapshot() override;
  void wait_for_snapshot() override;
  void copy(uint32_t from, uint32_t to) override;
  void release(uint32_t which) override;
  Rounds& rounds() override { return rounds_; }
  std::string profile_json(uint32_t reset) override;

 private:
  /** Sequences of a pass and their length, and whether it adds to the gradient of passes before it or is
   * the first; what a captured graph is good for. */
  struct Pass {
    int64_t sequences;
    int64_t context;
    bool adds = false;
    int64_t rows() const { return sequences * context; }
    auto operator<=>(const Pass&) const = default;
  };

  struct TokenSlot {
    explicit TokenSlot(const TokenPlaces& places) : at(places) {}
    TokenPlaces at;
    Event sent;
  };

  /** Tables that kernels read on the device. */
  void send_tables();
  /** What the products take of the latent weights, unless they are still the same. */
  void prepare_weights();
  void check_scales();
  /** The slot of the ring whose tokens were sent longest ago, once they have arrived: no more
   * micro-batches than there are slots wait in the stream, so a cancelled call ends soon. */
  TokenSlot& free_slot();
  /** `sequences` of context + 1 tokens into the slot; returns the counted targets. */
  uint64_t load_tokens(const int32_t* tokens, const Pass& pass, TokenSlot& slot) const;
  void load_labelled(const LabelledTokens& batch, TokenSlot& slot) const;
  void send_tokens(TokenSlot& slot, const Pass& pass);
  void set_gradient_scale(double scale);

  void forward(const Pass& pass);
  void forward_attention(size_t layer, const Pass& pass);
  /** out without data: only what backward needs, without the block's output. */
  void forward_ffn(size_t layer, const Pass& pass, Matrix<float> out);
  /** y = x w^T [+ residual]. */
  template <class Y>
  void linear(const QuantisedInput<T>& x, const JoinedWeight<T>& w, int64_t rows,
              const Matrix<float>* residual, Matrix<Y> y);
  /** The same as product_of takes it. */
  void linear_kept(const QuantisedInput<T>& x, const JoinedWeight<T>& w, int64_t rows,
                   Matrix<Activation<T>> y);
  bool keeps_sums() const { return !std::is_same_v<T, float> && !is_plain(); }
  /** The i-th part of y = x w^T. */
  Product<T> product_of(Matrix<Activation<T>> y, const QuantisedInput<T>& x,
                        const JoinedWeight<T>& w, int i) const {
    const Matrix<Activation<T>> part = columns_of(y, w, i);
    if (!keeps_sums()) return {part};
    return {part, x.inverse, w.all.inverse + i, sum_step(x.codes.columns)};
  }
  /** Columns of the i-th of the joined weights. */
  template <class E>
  static Matrix<E> columns_of(Matrix<E> y, const JoinedWeight<T>& w, int i) {
    return y.slice(w.first[i], w.rows[i]);
  }
  void rotate(Matrix<Activation<T>> qkv, const JoinedWeight<T>& w, const Pass& pass);
  /** What a layer's attention takes: queries and keys by their positions, in place. */
  AttentionInput<Activation<T>> rotated(size_t layer, const Pass& pass);
  AttentionShape attention_shape(const Pass& pass) const {
    return {pass.sequences, pass.context, config_.n_heads, config_.n_kv_heads, config_.head_dim};
  }
  /** What the head's pass over the logits is for: losses of the hidden rows; with a gradient, d_hidden
   * and the embedding's gradient too; that after `losses` of the same rows, scaled by row. */
  enum class HeadPass { losses, gradient, gradient_by_row };
  void head(const Pass& pass, HeadPass what);
  /** Of the gradient: products write all of theirs, norms add to what is there. */
  void clear_norm_gradients();
  void backward(const Pass& pass);
  void backward_ffn(size_t layer, const Pass& pass);
  void backward_attention(size_t layer, const Pass& pass);
  /** dw += dy^T x; dx = dy w. Where dy is of joined weights, its columns come multiplied by their
   * inverses, so that dx is one product. */
  void linear_backward(const QuantisedInput<T>& x, const JoinedWeight<T>& w, Matrix<const T> dy,
                       Matrix<T> dx, float* dw, Site site, bool adds);
  /** What joined columns of dy are multiplied by. */
  const float* inverses(const JoinedWeight<T>& w) const {
    return is_plain() ? nullptr : w.all.inverse;
  }
  /** Forward, head and backward of the tokens on the device. */
  void micro_batch(const Pass& pass);
  /** The same of preference pairs. */
  void pair_micro_batch(const Pass& pass);
  /** Everything up to the gradient's norm, without waiting for it; returns the counted targets. */
  uint64_t start_gradient(const int32_t* tokens, uint32_t accumulate, const int32_t* cancel);
  /** Waits for what was started, so that a cancelled call leaves nothing behind. */
  void stop_if_cancelled(const int32_t* cancel);
  void update(const mg_optimizer& optimizer);
  /** Before anything in the stream writes params, m or v, or the host's copies of them. */
  void after_snapshot() { stream_.wait_for(copied_); }
  /** Norm of the gradient and what the update needs; `loss` must have been summed. */
  void measure_gradient();
  /** Waits for everything that was started. */
  StepState read_state(double* loss);

  /** Work that was captured for a pass, or captures it. */
  void run_captured(std::map<Pass, std::unique_ptr<Graph>>& graphs, const Pass& pass,
                    const std::function<void()>& work);
  /** What follows in the stream, for the profile. */
  void timed_as(Kernel kernel, Site site = Site::none) { times_.enter(stream_, kernel, site); }
  Pass whole() const { return {options_.batch, options_.context}; }
  bool is_plain() const { return config_.quantization == 1; }
  float* device_arena(uint32_t which);
  float* norm_weight(uint64_t offset) const {
    return offset == LayerOffsets::NONE ? nullptr : storage_.params + offset;
  }
  float* norm_gradient(uint64_t offset) const {
    return offset == LayerOffsets::NONE ? nullptr : storage_.grad + offset;
  }

  mg_model_config config_;
  ModelLayout layout_;
  Stream stream_;
  Stream copies_;  // of snapshots, beside the other
  DeviceArray<unsigned char> area_;
  Storage<T> storage_;
  PinnedArray<unsigned char> host_area_;
  HostStorage host_;
  Relay relay_;
  Rounds rounds_;
  std::vector<WeightTask<T>> weight_tasks_;
  uint64_t adamw_pieces_ = 0;
  bool weights_ready_ = false;  // of the parameters as they are
  std::deque<TokenSlot> slots_;
  size_t next_slot_ = 0;
  PinnedArray<float> arenas_[8];  // made when they are first asked for
  std::map<Pass, std::unique_ptr<Graph>> micro_batches_;
  std::unique_ptr<Graph> update_graph_;
  Event started_, passed_, updated_;
  Event boundary_, copied_;  // of the last snapshot
  StepTimes times_;
};

extern template class TrainerOf<float>;
extern template class TrainerOf<bf16>;

}  // namespace magnet::gpu
