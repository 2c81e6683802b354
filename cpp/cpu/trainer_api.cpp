// mg_trainer_*: argument checks around Trainer. One call at a time per trainer.
#include <cstring>
#include <limits>

#include "optimizer.hpp"
#include "thread_pool.hpp"
#include "trainer.hpp"

using namespace magnet;

namespace {

/** The trainer behind a handle, marked as in use for a scope, with the kernels' float environment.
 */
class Use {
 public:
  explicit Use(void* handle) : trainer_(static_cast<Trainer*>(handle)) {
    require(handle != nullptr, MG_E_INVALID, "trainer: the handle is null");
    require(!trainer_->busy.test_and_set(), MG_E_INVALID, "trainer: another call is running");
  }
  ~Use() { trainer_->busy.clear(); }
  Use(const Use&) = delete;
  Use& operator=(const Use&) = delete;
  Trainer* operator->() const { return trainer_; }
  Trainer& operator*() const { return *trainer_; }

 private:
  Trainer* trainer_;
  FloatEnvironment environment_;
};

/** Checks the shape of labelled sequences against what the trainer has room for. */
void check_labelled(const char* symbol, const Trainer& trainer, uint64_t sequences,
                    uint32_t width) {
  if (sequences < 1 || sequences > trainer.batch())
    fail(MG_E_INVALID, "%s: %llu sequences, must be 1..%u", symbol,
         static_cast<unsigned long long>(sequences), trainer.batch());
  if (width < 2 || width > trainer.context() + 1)
    fail(MG_E_INVALID, "%s: width is %u, must be 2..%u", symbol, width, trainer.context() + 1);
}

}  // namespace

extern "C" {

int32_t mg_trainer_bytes(const mg_model_config* config, const mg_trainer_options* options,
                         uint64_t* out_bytes) {
  return guard([&] {
    check_config(config);
    require(options != nullptr && out_bytes != nullptr, MG_E_INVALID,
            "mg_trainer_bytes: null argument");
    const mg_trainer_memory parts = Trainer::memory_needed(*config, *options);
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
    *out = Trainer::memory_needed(*config, *options);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_create(const mg_model_config* config, const mg_trainer_options* options,
                          void** out_trainer) {
  return guard([&] {
    check_config(config);
    require(options != nullptr && out_trainer != nullptr, MG_E_INVALID,
            "mg_trainer_create: null argument");
    Trainer::check_options(*config, *options);
    cpu_path();  // an unusable MAGNET_CPU is reported here, not in the first step
    *out_trainer = new Trainer(*config, *options);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_free(void* trainer) {
  return guard([&] {
    delete static_cast<Trainer*>(trainer);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_arena(void* trainer, uint32_t which, float** out) {
  return guard([&] {
    require(trainer != nullptr && out != nullptr, MG_E_INVALID, "mg_trainer_arena: null argument");
    *out = static_cast<Trainer*>(trainer)->arena(which);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_pull(void* trainer, uint32_t which) {
  return guard([&] {
    require(trainer != nullptr, MG_E_INVALID, "mg_trainer_pull: null argument");
    static_cast<Trainer*>(trainer)->arena(which);  // checks it; the arena is the host's already
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_push(void* trainer, uint32_t which) {
  return guard([&] {
    require(trainer != nullptr, MG_E_INVALID, "mg_trainer_push: null argument");
    static_cast<Trainer*>(trainer)->arena(which);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_snapshot(void* trainer) {
  return guard([&] {
    require(trainer != nullptr, MG_E_INVALID, "mg_trainer_snapshot: null argument");
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_snapshot_wait(void* trainer) {
  return guard([&] {
    require(trainer != nullptr, MG_E_INVALID, "mg_trainer_snapshot_wait: null argument");
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_copy(void* trainer, uint32_t from, uint32_t to) {
  return guard([&] {
    const Use use(trainer);
    use->copy(from, to);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_release(void* trainer, uint32_t which) {
  return guard([&] {
    const Use use(trainer);
    use->release(which);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_delta_compress(void* trainer, uint32_t kind, uint32_t feedback, uint8_t* out,
                                  uint64_t out_bytes, const int32_t* cancel) {
  return guard([&] {
    const Use use(trainer);
    require(feedback <= 1, MG_E_INVALID, "mg_trainer_delta_compress: feedback must be 0 or 1");
    return use->compress_delta(kind, feedback == 1, out, out_bytes, cancel);
  });
}

int32_t mg_trainer_delta_check(void* trainer, const uint8_t* bytes, uint64_t length,
                               const int32_t* cancel) {
  return guard([&] { return Use(trainer)->check_delta(bytes, length, cancel); });
}

int32_t mg_trainer_outer_add(void* trainer, const uint8_t* bytes, uint64_t length, float weight,
                             const int32_t* cancel) {
  return guard([&] { return Use(trainer)->add_to_sum(bytes, length, weight, cancel); });
}

int32_t mg_trainer_outer_step(void* trainer, float lr, float mu, const int32_t* cancel) {
  return guard([&] { return Use(trainer)->outer_step(lr, mu, cancel); });
}

int32_t mg_trainer_step(void* trainer, const int32_t* tokens, uint32_t accumulate,
                        const mg_optimizer* optimizer, const int32_t* cancel,
                        mg_step_result* out) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && out != nullptr, MG_E_INVALID, "mg_trainer_step: null argument");
    if (accumulate < 1 || accumulate > 65536)
      fail(MG_E_INVALID, "trainer: accumulate is %u, must be 1..65536", accumulate);
    check_optimizer(optimizer);
    *out = use->step(tokens, accumulate, *optimizer, cancel);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_profile(void* trainer, uint32_t reset, char* out, uint64_t capacity) {
  return guard([&] {
    const Use use(trainer);
    require(out != nullptr, MG_E_INVALID, "mg_trainer_profile: out is null");
    const std::string text = use->profile.json();
    require(text.size() < capacity, MG_E_INVALID, "mg_trainer_profile: no room for the answer");
    std::memcpy(out, text.c_str(), text.size() + 1);
    if (reset != 0) use->profile.reset();
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_gradient(void* trainer, const int32_t* tokens, const int32_t* cancel,
                            mg_step_result* out) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && out != nullptr, MG_E_INVALID,
            "mg_trainer_gradient: null argument");
    *out = use->gradient(tokens, 1, cancel);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_eval(void* trainer, const int32_t* tokens, uint32_t rows, const int32_t* cancel,
                        double* out_nll_sum, uint64_t* out_count) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && out_nll_sum != nullptr && out_count != nullptr, MG_E_INVALID,
            "mg_trainer_eval: null argument");
    if (rows < 1 || rows > use->batch())
      fail(MG_E_INVALID, "mg_trainer_eval: rows is %u, must be 1..%u", rows, use->batch());
    use->evaluate(tokens, rows, cancel, out_nll_sum, out_count);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_token_losses(void* trainer, const int32_t* tokens, uint32_t rows,
                                const int32_t* cancel, float* out_losses,
                                mg_stream_stats* out_streams) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && out_losses != nullptr, MG_E_INVALID,
            "mg_trainer_token_losses: null argument");
    if (rows < 1 || rows > use->batch())
      fail(MG_E_INVALID, "mg_trainer_token_losses: rows is %u, must be 1..%u", rows, use->batch());
    use->token_losses(tokens, rows, cancel, out_losses, out_streams);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_tensor_stats(void* trainer, mg_tensor_stats* out) {
  return guard([&] {
    const Use use(trainer);
    require(out != nullptr, MG_E_INVALID, "mg_trainer_tensor_stats: out is null");
    use->tensor_stats(out);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_logits(void* trainer, const int32_t* tokens, uint32_t n_tokens, float* out) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && out != nullptr, MG_E_INVALID, "mg_trainer_logits: null argument");
    if (n_tokens < 1 || n_tokens > use->context())
      fail(MG_E_INVALID, "mg_trainer_logits: %u tokens, must be 1..%u", n_tokens, use->context());
    use->logits(tokens, n_tokens, out);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_orpo(void* trainer, const int32_t* tokens, const int32_t* labels, uint32_t pairs,
                        uint32_t width, uint32_t accumulate, float beta, const mg_optimizer* optimizer,
                        const int32_t* cancel, mg_orpo_result* out) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && labels != nullptr && out != nullptr, MG_E_INVALID,
            "mg_trainer_orpo: null argument");
    check_labelled("mg_trainer_orpo", *use, 2 * uint64_t{pairs}, width);
    if (accumulate < 1 || accumulate > 65536)
      fail(MG_E_INVALID, "trainer: accumulate is %u, must be 1..65536", accumulate);
    if (!(beta >= 0.0f && beta <= 1000.0f))
      fail(MG_E_INVALID, "trainer: beta is %g, must be 0..1000", static_cast<double>(beta));
    if (optimizer != nullptr) check_optimizer(optimizer);
    *out = use->orpo({tokens, labels, pairs, width, accumulate}, beta, optimizer, cancel);
    return int32_t{MG_OK};
  });
}

int32_t mg_trainer_logps(void* trainer, const int32_t* tokens, const int32_t* labels,
                         uint32_t sequences, uint32_t width, const int32_t* cancel,
                         double* out_sums, uint64_t* out_counts) {
  return guard([&] {
    const Use use(trainer);
    require(tokens != nullptr && labels != nullptr && out_sums != nullptr && out_counts != nullptr,
            MG_E_INVALID, "mg_trainer_logps: null argument");
    check_labelled("mg_trainer_logps", *use, sequences, width);
    use->log_probs({tokens, labels, sequences, width}, cancel, out_sums, out_counts);
    return int32_t{MG_OK};
  });
}
}
