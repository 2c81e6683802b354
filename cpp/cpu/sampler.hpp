// A sequence's sampler: options, bias, the tokens that penalties look back on, and the run of a
// constraint. One thread at a time.
#pragma once
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "draw_reduced.hpp"
#include "grammar.hpp"

namespace magnet {

struct LogitBias {
  int32_t id;
  float value;
};

/** How the next draw changes a row, in this order: logits of `bias` += value; of `repeated` / penalty
 * where positive, else * penalty; of `drawn` -= value; -Inf where the mask has no bit. No id is twice in
 * a list. */
struct LogitChanges {
  std::vector<LogitBias> bias;
  std::vector<int32_t> repeated;
  std::vector<LogitBias> drawn;
  float penalty = 1;
  std::shared_ptr<const TokenMask> mask;
};

/** What the next draw needs of a row that stays on a device. */
struct DrawPlan {
  std::optional<LogitChanges> changes;
  DrawNeed need{};
  bool alternatives = false;  // raw tokens
  float inverse_temperature = 1;
  double number = 0;  // in [0, 1)
};

class Sampler : public LiveHandle {
 public:
  /** grammar: may be null. Throws MG_E_INVALID naming what is out of range. */
  Sampler(uint64_t vocab, const mg_sampler_options& options, std::vector<LogitBias> bias,
          std::shared_ptr<Grammar> grammar);

  uint64_t vocab() const { return vocab_; }
  /** Tokens of the prompt, for the repetition penalty. */
  void prompt(const int32_t* tokens, uint64_t n);

  struct Drawn {
    int32_t token;
    float logprob;
  };
  /**
   * Draws and accepts the next token; top_ids and top_logprobs: MG_TOP_LOGPROBS each, or both null.
   * Throws MG_E_NUMERIC where a logit is NaN or nothing can be drawn, and is as before then.
   */
  Drawn draw(const float* logits, int32_t* top_ids, float* top_logprobs);
  /**
   * For batches, where one sequence's failure is not the others': the token, or the status MG_E_* (below
   * 0, its message is this thread's last error).
   */
  int32_t try_draw(const float* logits, float* logprob, int32_t* top_ids,
                   float* top_logprobs) noexcept;
  /** Whether the next draw is the largest logit's token (the lowest of equals) whatever the others are,
   * and reports no alternatives. */
  bool wants_largest() const;
  /** What else it is; nothing where only the whole row will do. */
  std::optional<DrawPlan> plan() const;
  /** As draw, from what the plan asked for. Nothing, and as before, where that does not decide: then draw
   * takes the whole row. */
  std::optional<Drawn> draw_reduced(const ReducedRow& row, int32_t* top_ids, float* top_logprobs);

 private:
  bool changes_logits() const;
  /** For the draw that comes. */
  std::shared_ptr<const TokenMask> mask() const;
  std::vector<int32_t> repeated() const;
  float drawn_penalty(uint32_t count) const;
  void adjust(float* logits);
  void take(int32_t token);
  void remember(int32_t token);
  void accept(int32_t token);

  uint64_t vocab_;
  mg_sampler_options options_;
  std::vector<LogitBias> bias_;
  std::vector<int32_t> recent_;  // a ring once it is full
  size_t oldest_ = 0;
  std::unordered_map<int32_t, uint32_t> drawn_;  // how often; kept where a penalty asks for it
  bool bias_has_twins_ = false;
  mutable std::optional<GrammarRun> constraint_;  // whose masks are made when they are asked for
  uint64_t step_;
};

/** Where the draws of a batch go: the arguments of mg_batch_step, which are checked. */
struct BatchDraws {
  void* const* samplers;
  int32_t* tokens;
  float* logprobs;
  int32_t* top_ids;
  float* top_logprobs;
  void draw(uint64_t i, const float* logits) const noexcept;
  bool wants_largest(uint64_t i) const { return sampler(i).wants_largest(); }
  std::optional<DrawPlan> plan(uint64_t i) const noexcept;
  /** False where it takes the whole row. */
  bool draw_reduced(uint64_t i, const ReducedRow& row) const noexcept;
  Sampler& sampler(uint64_t i) const { return *static_cast<Sampler*>(samplers[i]); }
};

}  // namespace magnet
