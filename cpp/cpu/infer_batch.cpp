// Exports of batches over a KV pool.
#include <vector>

#include "infer_checks.hpp"
#include "infer_forward.hpp"
#include "sampler.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

struct CheckedBatch {
  std::shared_ptr<Model> model;
  std::vector<Row> rows;
  BatchOutputs outputs;
};

CheckedBatch check(void* model_handle, void* pool_handle, uint32_t rounding,
                   const BatchCall& call) {
  const KvPool& pool = kv_pool_of(pool_handle);
  CheckedBatch batch;
  batch.model = model_of(model_handle);
  const Model& model = *batch.model;
  check_rounding(model, rounding);
  pool.check_fits(model);
  require(pool.bits() == 16 || rounding == MG_ROUNDING_BITNET, MG_E_INVALID,
          "batch: llamacpp rounding takes a pool of 16 bits");
  batch.outputs = check_batch(call, model.config, pool.blocks());
  for (uint64_t i = 0; i < call.n_rows; i++) {
    const mg_batch_row& row = call.rows[i];
    batch.rows.push_back({&pool, call.tables + call.starts[row.sequence], row.sequence,
                          row.position, row.token, row.output});
  }
  return batch;
}

}  // namespace
}  // namespace magnet

using namespace magnet;

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
    forward(*batch.model, rounding,
            {batch.rows.data(), batch.rows.size(), out_logits, out_hidden, {}}, cancel);
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
    check_samplers(samplers, n_outputs, batch.outputs.logits, batch.model->config.vocab_size);
    const BatchDraws draws{samplers, out_tokens, out_logprobs, out_top_ids, out_top_logprobs};
    const uint64_t vocab = batch.model->config.vocab_size;
    const auto draw_all = [&](Team& team, uint64_t first, uint64_t n, const float* logits) {
      team.each(n, 1, 1, [&](uint64_t begin, uint64_t end) {
        for (uint64_t i = begin; i < end; i++) draws.draw(first + i, logits + i * vocab);
      });
    };
    forward(*batch.model, rounding,
            {batch.rows.data(), batch.rows.size(), nullptr, out_hidden, draw_all}, cancel);
    return int32_t{MG_OK};
  });
}
}
