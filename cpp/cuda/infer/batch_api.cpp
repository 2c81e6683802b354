// mg_batch_* of libmagnet_cuda: the checks of the CPU's library, and its samplers.
#include "../../cpu/infer_checks.hpp"
#include "../../cpu/thread_pool.hpp"
#include "forward.hpp"

using namespace magnet;
using namespace magnet::gpu;

namespace {

struct CheckedBatch {
  std::shared_ptr<InferModel> model;
  std::vector<fp16*> pools;  // the same for every sequence
  BatchOutputs outputs;
};

CheckedBatch check(void* model, void* pool, uint32_t rounding, const BatchCall& call) {
  const KvDevicePool& of = device_pool_of(pool);
  CheckedBatch batch = {infer_model_of(model), {}, {}};
  check_infer_rounding(rounding);
  of.check_fits(*batch.model);
  batch.outputs = check_batch(call, batch.model->config, of.blocks());
  batch.pools.assign(call.n_sequences, of.data());
  return batch;
}

}  // namespace

extern "C" {

int32_t mg_batch_eval(void* model, void* pool, uint32_t rounding, const mg_batch_row* rows,
                      uint64_t n_rows, const uint32_t* tables, const uint32_t* starts,
                      uint64_t n_sequences, float* out_logits, float* out_hidden,
                      const int32_t* cancel) {
  return guard([&] {
    const FloatEnvironment environment;
    const CheckedBatch batch =
        check(model, pool, rounding, {rows, n_rows, tables, starts, n_sequences});
    require((batch.outputs.logits == 0 || out_logits != nullptr) &&
                (batch.outputs.hidden == 0 || out_hidden != nullptr),
            MG_E_INVALID, "mg_batch_eval: no room for an output that a row asks for");
    run_batch(*batch.model,
              {rows, static_cast<uint32_t>(n_rows), tables, starts, batch.pools.data(),
               out_logits, out_hidden},
              cancel);
    return int32_t{MG_OK};
  });
}

int32_t mg_batch_step(void* model, void* pool, uint32_t rounding, const mg_batch_row* rows,
                      uint64_t n_rows, const uint32_t* tables, const uint32_t* starts,
                      uint64_t n_sequences, void* const* samplers, uint64_t n_outputs,
                      int32_t* out_tokens, float* out_logprobs, int32_t* out_top_ids,
                      float* out_top_logprobs, float* out_hidden, const int32_t* cancel) {
  return guard([&] {
    const FloatEnvironment environment;
    const CheckedBatch batch =
        check(model, pool, rounding, {rows, n_rows, tables, starts, n_sequences});
    require((n_outputs == 0 || (samplers != nullptr && out_tokens != nullptr &&
                                out_logprobs != nullptr)) &&
                (out_top_ids == nullptr) == (out_top_logprobs == nullptr) &&
                (batch.outputs.hidden == 0 || out_hidden != nullptr),
            MG_E_INVALID, "mg_batch_step: null argument");
    const uint32_t vocab = batch.model->config.vocab_size;
    check_samplers(samplers, n_outputs, batch.outputs.logits, vocab);
    const BatchDraws draws{samplers, out_tokens, out_logprobs, out_top_ids, out_top_logprobs};
    run_batch(*batch.model,
              {rows, static_cast<uint32_t>(n_rows), tables, starts, batch.pools.data(), nullptr,
               out_hidden, &draws},
              cancel);
    return int32_t{MG_OK};
  });
}
}
