// mg_trainer_* of libmagnet_cuda: argument checks around the trainer, and the device for each call,
// which may come from any thread. One call at a time per trainer.
#include <cstring>

#include "../../cpu/model.hpp"
#include "../../cpu/optimizer_factors.hpp"
#include "../platform/runtime.hpp"
#include "rounds.hpp"
#include "trainer.hpp"

using namespace magnet;
using namespace magnet::gpu;

static_assert(sizeof(mg_trainer_options) == 32);
static_assert(sizeof(mg_step_result) == 32);
static_assert(sizeof(mg_orpo_result) == 72);
static_assert(sizeof(mg_trainer_memory) == 48);

namespace {

/** The trainer behind a handle, marked as in use for a scope, its device in use by this thread. */
class Use {
 public:
  explicit Use(void* handle) : trainer_(static_cast<Trainer*>(handle)) {
    require(handle != nullptr, MG_E_INVALID, "trainer: the handle is null");
    require(!trainer_->busy.test_and_set(), MG_E_INVALID, "trainer: another call is running");
    try {
      use_device(trainer_->device());
    } catch (...) {
      trainer_->busy.clear();
      throw;
    }
  }
  ~Use() { trainer_->busy.clear(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  Trainer* operator->() const { return trainer_; }

 private:
  Trainer* trainer_;
};

void check_rows(const char* symbol, uint32_t rows, uint32_t most) {
  if (rows < 1 || rows > most)
    fail(MG_E_INVALID, "%s: rows is %u, must be 1..%u", symbol, rows, most);
}

void check_labelled(const char* symbol, const Use& use, uint64_t sequences, uint32_t width) {
  if (sequences < 1 || sequences > use->batch())
    fail(MG_E_INVALID, "%s: %llu sequences, must be 1..%u", symbol,
         static_cast<unsigned long long>(sequences), use->batch());
  if (width < 2 || width > use->context() + 1)
    fail(MG_E_INVALID, "%s: width is %u, must be 2..%u", symbol, width, use->context() + 1);
}

void check_accumulate(uint32_t accumulate) {
  if (accumulate < 1 || accumulate > 65536)
    fail(MG_E_INVALID, "trainer: accumulate is %u, must be 1..65536", accumulate);
}

template <class F>
int32_t with(void* trainer, const F& body) {
  return guard([&] {
    const Use use(trainer);
    body(use);
    return int32_t{MG_OK};
  });
}

}  // namespace

extern "C" {

int32_t mg_trainer_bytes(const mg_model_config* config, const mg_trainer_options* options,
                         uint64_t* out_bytes) {
  return guard([&] {
    check_config(config);
    require(options != nullptr && out_bytes != nullptr, MG_E_INVALID,
            "mg_trainer_bytes: null argument");
    use_device(static_cast<int>(options->device));
    const mg_trainer_memory parts = memory_needed(*config, *options);
    *out_bytes = parts.arenas + parts.weights + parts.activations + parts.workspace;
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_memory_parts(const mg_model_config* config, const mg_trainer_options* options,
                                mg_trainer_memory* out) {
  return guard([&] {
    check_config(config);
    require(options != nullptr && out != nullptr, MG_E_INVALID,
            "mg_trainer_memory_parts: null argument");
    use_device(static_cast<int>(options->device));
    *out = memory_needed(*config, *options);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_create(const mg_model_config* config, const mg_trainer_options* options,
                          void** out_trainer) {
  return guard([&] {
    check_config(config);
    require(options != nullptr && out_trainer != nullptr, MG_E_INVALID,
            "mg_trainer_create: null argument");
    check_options(*config, *options);
    use_device(static_cast<int>(options->device));
    *out_trainer = make_trainer(*config, *options).release();
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_free(void* trainer) {
  return guard([&] {
    if (trainer == nullptr) return int32_t{MG_OK};
    auto* const mine = static_cast<Trainer*>(trainer);
    use_device(mine->device());
    delete mine;
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_arena(void* trainer, uint32_t which, float** out) {
  return with(trainer, [&](const Use& use) {
    require(out != nullptr, MG_E_INVALID, "mg_trainer_arena: null argument");
    *out = use->arena(which);
  });
}

int32_t mg_trainer_pull(void* trainer, uint32_t which) {
  return with(trainer, [&](const Use& use) { use->pull(which); });
}

int32_t mg_trainer_push(void* trainer, uint32_t which) {
  return with(trainer, [&](const Use& use) { use->push(which); });
}

int32_t mg_trainer_snapshot(void* trainer) {
  return with(trainer, [&](const Use& use) { use->start_snapshot(); });
}

int32_t mg_trainer_snapshot_wait(void* trainer) {
  return guard([&] {
    require(trainer != nullptr, MG_E_INVALID, "mg_trainer_snapshot_wait: null argument");
    // Not marked as in use: a step may run.
    auto* const mine = static_cast<Trainer*>(trainer);
    use_device(mine->device());
    mine->wait_for_snapshot();
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_copy(void* trainer, uint32_t from, uint32_t to) {
  return with(trainer, [&](const Use& use) { use->copy(from, to); });
}

int32_t mg_trainer_release(void* trainer, uint32_t which) {
  return with(trainer, [&](const Use& use) { use->release(which); });
}

int32_t mg_trainer_delta_compress(void* trainer, uint32_t kind, uint32_t feedback, uint8_t* out,
                                  uint64_t out_bytes, const int32_t* cancel) {
  return with(trainer, [&](const Use& use) {
    require(feedback <= 1, MG_E_INVALID, "mg_trainer_delta_compress: feedback must be 0 or 1");
    use->rounds().compress(kind, feedback == 1, out, out_bytes, cancel);
  });
}

int32_t mg_trainer_delta_check(void* trainer, const uint8_t* bytes, uint64_t length,
                               const int32_t* cancel) {
  return with(trainer, [&](const Use& use) { use->rounds().check(bytes, length, cancel); });
}

int32_t mg_trainer_outer_add(void* trainer, const uint8_t* bytes, uint64_t length, float weight,
                             const int32_t* cancel) {
  return with(trainer, [&](const Use& use) { use->rounds().add(bytes, length, weight, cancel); });
}

int32_t mg_trainer_outer_step(void* trainer, float lr, float mu, const int32_t* cancel) {
  return with(trainer, [&](const Use& use) {
    use->rounds().outer_step(lr, mu, cancel);
    use->release(Rounds::SUM);  // its copy too
  });
}

int32_t mg_trainer_step(void* trainer, const int32_t* tokens, uint32_t accumulate,
                        const mg_optimizer* optimizer, const int32_t* cancel, mg_step_result* out) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && out != nullptr, MG_E_INVALID, "mg_trainer_step: null argument");
    check_accumulate(accumulate);
    check_optimizer(optimizer);
    *out = use->step(tokens, accumulate, *optimizer, cancel);
  });
}

int32_t mg_trainer_profile(void* trainer, uint32_t reset, char* out, uint64_t capacity) {
  return with(trainer, [&](const Use& use) {
    require(out != nullptr, MG_E_INVALID, "mg_trainer_profile: out is null");
    const std::string text = use->profile_json(reset);
    require(text.size() < capacity, MG_E_INVALID, "mg_trainer_profile: no room for the answer");
    std::memcpy(out, text.c_str(), text.size() + 1);
  });
}

int32_t mg_trainer_gradient(void* trainer, const int32_t* tokens, const int32_t* cancel,
                            mg_step_result* out) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && out != nullptr, MG_E_INVALID,
            "mg_trainer_gradient: null argument");
    *out = use->gradient(tokens, 1, cancel);
  });
}

int32_t mg_trainer_eval(void* trainer, const int32_t* tokens, uint32_t rows, const int32_t* cancel,
                        double* out_nll_sum, uint64_t* out_count) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && out_nll_sum != nullptr && out_count != nullptr, MG_E_INVALID,
            "mg_trainer_eval: null argument");
    check_rows("mg_trainer_eval", rows, use->batch());
    use->evaluate(tokens, rows, cancel, out_nll_sum, out_count);
  });
}

int32_t mg_trainer_token_losses(void* trainer, const int32_t* tokens, uint32_t rows,
                                const int32_t* cancel, float* out_losses,
                                mg_stream_stats* out_streams) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && out_losses != nullptr, MG_E_INVALID,
            "mg_trainer_token_losses: null argument");
    check_rows("mg_trainer_token_losses", rows, use->batch());
    use->token_losses(tokens, rows, cancel, out_losses, out_streams);
  });
}

int32_t mg_trainer_tensor_stats(void* trainer, mg_tensor_stats* out) {
  return with(trainer, [&](const Use& use) {
    require(out != nullptr, MG_E_INVALID, "mg_trainer_tensor_stats: out is null");
    use->tensor_stats(out);
  });
}

int32_t mg_trainer_logits(void* trainer, const int32_t* tokens, uint32_t n_tokens, float* out) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && out != nullptr, MG_E_INVALID, "mg_trainer_logits: null argument");
    if (n_tokens < 1 || n_tokens > use->context())
      fail(MG_E_INVALID, "mg_trainer_logits: %u tokens, must be 1..%u", n_tokens, use->context());
    use->logits(tokens, n_tokens, out);
  });
}

int32_t mg_trainer_orpo(void* trainer, const int32_t* tokens, const int32_t* labels, uint32_t pairs,
                        uint32_t width, uint32_t accumulate, float beta,
                        const mg_optimizer* optimizer, const int32_t* cancel, mg_orpo_result* out) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && labels != nullptr && out != nullptr, MG_E_INVALID,
            "mg_trainer_orpo: null argument");
    check_labelled("mg_trainer_orpo", use, 2 * uint64_t{pairs}, width);
    check_accumulate(accumulate);
    if (!(beta >= 0.0f && beta <= 1000.0f))
      fail(MG_E_INVALID, "trainer: beta is %g, must be 0..1000", static_cast<double>(beta));
    if (optimizer != nullptr) check_optimizer(optimizer);
    *out = use->orpo({tokens, labels, pairs, width, accumulate}, beta, optimizer, cancel);
  });
}

int32_t mg_trainer_logps(void* trainer, const int32_t* tokens, const int32_t* labels,
                         uint32_t sequences, uint32_t width, const int32_t* cancel,
                         double* out_sums, uint64_t* out_counts) {
  return with(trainer, [&](const Use& use) {
    require(tokens != nullptr && labels != nullptr && out_sums != nullptr && out_counts != nullptr,
            MG_E_INVALID, "mg_trainer_logps: null argument");
    check_labelled("mg_trainer_logps", use, sequences, width);
    use->log_probs({tokens, labels, sequences, width}, cancel, out_sums, out_counts);
  });
}
}
