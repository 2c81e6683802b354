// A model in training on one GPU: the twin of cpp/cpu/trainer.hpp behind the same C ABI. Rows are
// positions: row = sequence * context + position. What a step reads of the host (tokens, scales, the
// optimizer's numbers) lies at fixed places on the device, so a micro-batch and an update are graphs
// that were captured once.
#pragma once
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "../../cpu/common.hpp"

namespace magnet::gpu {

/** Sequences of `width` tokens whose label, where it is not -100, is the target at its place. */
struct LabelledTokens {
  const int32_t* tokens;  // (sequences, width)
  const int32_t* labels;
  int64_t sequences;
  int64_t width;
};

/** Preference pairs: (accumulate, pairs, 2, width), chosen before rejected. */
struct PairBatch {
  const int32_t* tokens;
  const int32_t* labels;
  int64_t pairs;
  int64_t width;
  uint32_t accumulate;
};

/** params, m and v: what a checkpoint holds. */
constexpr uint32_t STATE_ARENAS = 3;

class Rounds;

/** See magnet_train.h for every call. */
class Trainer {
 public:
  virtual ~Trainer() = default;
  virtual mg_step_result step(const int32_t* tokens, uint32_t accumulate,
                              const mg_optimizer& optimizer, const int32_t* cancel) = 0;
  virtual mg_step_result gradient(const int32_t* tokens, uint32_t accumulate,
                                  const int32_t* cancel) = 0;
  virtual void evaluate(const int32_t* tokens, uint32_t rows, const int32_t* cancel,
                        double* nll_sum, uint64_t* count) = 0;
  virtual void token_losses(const int32_t* tokens, uint32_t rows, const int32_t* cancel, float* out,
                            mg_stream_stats* streams) = 0;
  virtual void tensor_stats(mg_tensor_stats* out) = 0;
  virtual void logits(const int32_t* tokens, uint32_t count, float* out) = 0;
  virtual mg_orpo_result orpo(const PairBatch& pairs, float beta, const mg_optimizer* optimizer,
                              const int32_t* cancel) = 0;
  virtual void log_probs(const LabelledTokens& batch, const int32_t* cancel, double* sums,
                         uint64_t* counts) = 0;
  /** The host's copy of an arena, as it was when it was last pulled; zeros before that. */
  virtual float* arena(uint32_t which) = 0;
  /** From the device into the host's copy, and back. */
  virtual void pull(uint32_t which) = 0;
  virtual void push(uint32_t which) = 0;
  /** The second may run beside any other call. */
  virtual void start_snapshot() = 0;
  virtual void wait_for_snapshot() = 0;
  /** Between arenas on the device. */
  virtual void copy(uint32_t from, uint32_t to) = 0;
  virtual void release(uint32_t which) = 0;
  /** What rounds of training together do with the arenas from 4 on. */
  virtual Rounds& rounds() = 0;
  virtual std::string profile_json(uint32_t reset) = 0;

  uint32_t batch() const { return options_.batch; }
  uint32_t context() const { return options_.context; }
  int device() const { return static_cast<int>(options_.device); }

  std::atomic_flag busy = ATOMIC_FLAG_INIT;

 protected:
  explicit Trainer(const mg_trainer_options& options) : options_(options) {}
  mg_trainer_options options_;
};

/** Throws MG_E_INVALID for options that are out of range or do not fit the model. */
void check_options(const mg_model_config& config, const mg_trainer_options& options);
/** Of the memory of the calling thread's device. */
mg_trainer_memory memory_needed(const mg_model_config& config, const mg_trainer_options& options);
/** On options.device, which must be in use by the calling thread, at options.precision. */
std::unique_ptr<Trainer> make_trainer(const mg_model_config& config,
                                      const mg_trainer_options& options);

}  // namespace magnet::gpu
