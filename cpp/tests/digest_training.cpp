// Training steps and alignment of small models with odd sizes.
#include "digest.hpp"

namespace digest {
namespace {

struct Training {
  const char* name;
  uint32_t variant;
  uint32_t quantization;
  uint32_t optimizer;
  uint32_t recompute;
};

void add_arenas(Digest& digest, void* trainer, uint64_t n) {
  for (uint32_t which = 0; which < 4; which++) {
    float* arena = nullptr;
    CHECK(mg_trainer_arena(trainer, which, &arena));
    digest.add_bytes(arena, n * sizeof(float));
  }
}

mg_optimizer optimizer_at(uint32_t kind, uint64_t step) {
  float lr = 0.0f;
  float decay = 0.0f;
  CHECK(mg_schedule(1 + static_cast<uint32_t>(step % 3), step, 40, 1e-2f, &lr));
  CHECK(mg_decay_schedule(1, step, 5, 0.1f, &decay));
  return {kind, lr, 0.9f, 0.98f, 1e-8f, decay, 1.0f, 0.95f, step, 0};
}

void train(const Training& how) {
  constexpr uint32_t BATCH = 2;
  constexpr uint64_t STEPS = 4;
  const mg_model_config config = odd_model(how.variant, how.quantization);
  seed(1);
  uint64_t n = 0;
  CHECK(mg_model_param_count(&config, &n));
  const mg_trainer_options options{
      BATCH, config.context, threads, how.recompute, how.optimizer, MG_PRECISION_BACKEND, 0, 0};
  void* trainer = nullptr;
  CHECK(mg_trainer_create(&config, &options, &trainer));
  float* params = nullptr;
  CHECK(mg_trainer_arena(trainer, 0, &params));
  CHECK(mg_model_init(&config, 7, params, n));
  Digest digest(how.name);
  for (uint64_t step = 1; step <= STEPS; step++) {
    const auto accumulate = static_cast<uint32_t>(1 + step % 2);
    std::vector<int32_t> tokens =
        tokens_below(size_t{accumulate} * BATCH * (config.context + 1), config.vocab_size);
    tokens.back() = -100;
    const mg_optimizer optimizer = optimizer_at(how.optimizer, step);
    mg_step_result result{};
    CHECK(mg_trainer_step(trainer, tokens.data(), accumulate, &optimizer, nullptr, &result));
    digest.add(result.loss);
    digest.add(result.grad_norm);
  }
  add_arenas(digest, trainer, n);
  CHECK(mg_trainer_free(trainer));
}

}  // namespace

void training() {
  for (const Training& how : {Training{"train-bitnet", 1, 0, MG_OPTIMIZER_ADAMW, 0},
                              {"train-llama", 0, 0, MG_OPTIMIZER_ADAMW, 1},
                              {"train-muon", 1, 0, MG_OPTIMIZER_MUON, 0},
                              {"train-float", 0, 1, MG_OPTIMIZER_ADAMW, 0}})
    train(how);
}

/** One step of ORPO, and log-probs. */
void alignment() {
  const mg_model_config config = odd_model(1, 0);
  constexpr uint32_t PAIRS = 2;
  constexpr uint32_t WIDTH = 23;
  seed(2);
  uint64_t n = 0;
  CHECK(mg_model_param_count(&config, &n));
  const mg_trainer_options options{2 * PAIRS, config.context, threads, 0, 0, MG_PRECISION_BACKEND, 0, 0};
  void* trainer = nullptr;
  CHECK(mg_trainer_create(&config, &options, &trainer));
  float* params = nullptr;
  CHECK(mg_trainer_arena(trainer, 0, &params));
  CHECK(mg_model_init(&config, 8, params, n));
  const std::vector<int32_t> tokens = tokens_below(2 * PAIRS * WIDTH, config.vocab_size);
  std::vector<int32_t> labels = tokens;
  for (size_t i = 0; i < labels.size(); i++)
    if (i % WIDTH < 9) labels[i] = -100;
  const mg_optimizer optimizer = optimizer_at(MG_OPTIMIZER_ADAMW, 1);
  mg_orpo_result result{};
  CHECK(mg_trainer_orpo(trainer, tokens.data(), labels.data(), PAIRS, WIDTH, 1, 0.1f, &optimizer,
                        nullptr, &result));
  Digest digest("orpo");
  digest.add(result);
  add_arenas(digest, trainer, n);
  std::vector<double> sums(2 * PAIRS);
  std::vector<uint64_t> counts(2 * PAIRS);
  CHECK(mg_trainer_logps(trainer, tokens.data(), labels.data(), 2 * PAIRS, WIDTH, nullptr,
                         sums.data(), counts.data()));
  digest.add(sums);
  digest.add(counts);
  CHECK(mg_trainer_free(trainer));
}

}  // namespace digest
