// Exports of batches over a KV pool: what a caller asks for is checked in full before anything
// runs, since its block numbers become addresses.
#include <algorithm>
#include <vector>

#include "infer_forward.hpp"
#include "sampler.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

static_assert(sizeof(mg_batch_row) == 16);

/** What mg_batch_eval and mg_batch_step take alike. */
struct BatchCall {
  void* model;
  void* pool;
  uint32_t rounding;
  const mg_batch_row* rows;
  uint64_t n_rows;
  const uint32_t* tables;
  const uint32_t* starts;
  uint64_t n_sequences;
};

struct CheckedBatch {
  std::shared_ptr<Model> model;
  std::vector<Row> rows;
  uint64_t logits = 0;  // rows with an output of each kind
  uint64_t hidden = 0;
};

void check_tables(const BatchCall& call, const KvPool& pool) {
  require(call.starts[0] == 0, MG_E_INVALID, "batch: the first table does not start at 0");
  for (uint64_t s = 0; s < call.n_sequences; s++)
    if (call.starts[s + 1] < call.starts[s])
      fail(MG_E_INVALID, "batch: the table of sequence %llu ends before it starts",
           static_cast<unsigned long long>(s));
  const uint32_t n = call.starts[call.n_sequences];
  require(n == 0 || call.tables != nullptr, MG_E_INVALID, "batch: the tables are null");
  for (uint32_t i = 0; i < n; i++)
    if (call.tables[i] >= pool.blocks())
      fail(MG_E_INVALID, "batch: block %u at index %u of the tables; the pool has %u",
           call.tables[i], i, pool.blocks());
}

/** Row i by itself, and against the one before. */
void check_row(const BatchCall& call, const Model& model, uint64_t i) {
  const mg_batch_row& row = call.rows[i];
  const auto at = static_cast<unsigned long long>(i);
  const mg_model_config& c = model.config;
  if (row.token < 0 || static_cast<uint32_t>(row.token) >= c.vocab_size)
    fail(MG_E_INVALID, "batch: token %d of row %llu is outside the vocabulary of %u", row.token, at,
         c.vocab_size);
  if (row.sequence >= call.n_sequences)
    fail(MG_E_INVALID, "batch: row %llu is of sequence %u of %llu", at, row.sequence,
         static_cast<unsigned long long>(call.n_sequences));
  if (row.output > MG_OUTPUT_HIDDEN)
    fail(MG_E_INVALID, "batch: output %u of row %llu", row.output, at);
  if (row.position >= c.context)
    fail(MG_E_INVALID, "batch: position %u of row %llu; the model was made for %u tokens",
         row.position, at, c.context);
  const uint32_t blocks = call.starts[row.sequence + 1] - call.starts[row.sequence];
  if (row.position / MG_KV_BLOCK >= blocks)
    fail(MG_E_INVALID, "batch: position %u of row %llu has no block in a table of %u", row.position,
         at, blocks);
  if (i == 0) return;
  const mg_batch_row& before = call.rows[i - 1];
  if (before.sequence == row.sequence && before.position + 1 != row.position)
    fail(MG_E_INVALID, "batch: row %llu is at position %u, the one before it at %u", at,
         row.position, before.position);
}

/** Every sequence's rows stand together, and no block is written by two sequences. */
void check_writers(const std::vector<Row>& rows) {
  std::vector<uint32_t> sequences;
  std::vector<uint32_t> written;
  for (size_t i = 0; i < rows.size(); i++) {
    const bool follows = i > 0 && rows[i - 1].sequence == rows[i].sequence;
    if (!follows) sequences.push_back(rows[i].sequence);
    if (!follows || rows[i].position % MG_KV_BLOCK == 0)
      written.push_back(rows[i].table[rows[i].position / MG_KV_BLOCK]);
  }
  const auto repeated = [](std::vector<uint32_t>& values) {
    std::sort(values.begin(), values.end());
    return std::adjacent_find(values.begin(), values.end());
  };
  if (const auto twice = repeated(sequences); twice != sequences.end())
    fail(MG_E_INVALID, "batch: the rows of sequence %u do not stand together", *twice);
  if (const auto twice = repeated(written); twice != written.end())
    fail(MG_E_INVALID, "batch: block %u is written for two places", *twice);
}

CheckedBatch check(const BatchCall& call) {
  const KvPool& pool = kv_pool_of(call.pool);
  CheckedBatch batch;
  batch.model = model_of(call.model);
  const Model& model = *batch.model;
  require(call.rows != nullptr && call.starts != nullptr, MG_E_INVALID, "batch: null argument");
  if (call.n_rows < 1 || call.n_rows > MG_BATCH_ROWS || call.n_sequences < 1 ||
      call.n_sequences > MG_BATCH_ROWS)
    fail(MG_E_INVALID, "batch: %llu rows of %llu sequences; 1..%d of each",
         static_cast<unsigned long long>(call.n_rows),
         static_cast<unsigned long long>(call.n_sequences), int{MG_BATCH_ROWS});
  check_rounding(model, call.rounding);
  pool.check_fits(model);
  require(pool.bits() == 16 || call.rounding == MG_ROUNDING_BITNET, MG_E_INVALID,
          "batch: llamacpp rounding takes a pool of 16 bits");
  check_tables(call, pool);
  for (uint64_t i = 0; i < call.n_rows; i++) {
    check_row(call, model, i);
    const mg_batch_row& row = call.rows[i];
    batch.rows.push_back({&pool, call.tables + call.starts[row.sequence], row.sequence,
                          row.position, row.token, row.output});
    batch.logits += row.output == MG_OUTPUT_LOGITS;
    batch.hidden += row.output == MG_OUTPUT_HIDDEN;
  }
  check_writers(batch.rows);
  return batch;
}

/** One sampler for each output, of the model's vocabulary; each is drawn from by one thread. */
void check_samplers(const CheckedBatch& batch, void* const* samplers, uint64_t n) {
  if (n != batch.logits)
    fail(MG_E_INVALID, "mg_batch_step: %llu samplers for %llu rows with logits",
         static_cast<unsigned long long>(n), static_cast<unsigned long long>(batch.logits));
  std::vector<void*> all(samplers, samplers + n);
  for (void* sampler : all)
    require(sampler != nullptr &&
                static_cast<Sampler*>(sampler)->vocab() == batch.model->config.vocab_size,
            MG_E_INVALID, "mg_batch_step: a sampler is null or of another vocabulary");
  std::sort(all.begin(), all.end());
  require(std::adjacent_find(all.begin(), all.end()) == all.end(), MG_E_INVALID,
          "mg_batch_step: a sampler appears twice");
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
        check({model, pool, rounding, rows, n_rows, tables, starts, n_sequences});
    require((batch.logits == 0 || out_logits != nullptr) &&
                (batch.hidden == 0 || out_hidden != nullptr),
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
        check({model, pool, rounding, rows, n_rows, tables, starts, n_sequences});
    require((n_outputs == 0 || (samplers != nullptr && out_tokens != nullptr &&
                                out_logprobs != nullptr)) &&
                (out_top_ids == nullptr) == (out_top_logprobs == nullptr) &&
                (batch.hidden == 0 || out_hidden != nullptr),
            MG_E_INVALID, "mg_batch_step: null argument");
    check_samplers(batch, samplers, n_outputs);
    const auto draw = [&](uint64_t i, const float* logits) {
      const uint64_t top = i * MG_TOP_LOGPROBS;
      out_logprobs[i] = 0;
      out_tokens[i] = static_cast<Sampler*>(samplers[i])
                          ->try_draw(logits, out_logprobs + i,
                                     out_top_ids == nullptr ? nullptr : out_top_ids + top,
                                     out_top_ids == nullptr ? nullptr : out_top_logprobs + top);
    };
    const uint64_t vocab = batch.model->config.vocab_size;
    const auto draw_all = [&](Team& team, uint64_t first, uint64_t n, const float* logits) {
      team.each(n, 1, 1, [&](uint64_t begin, uint64_t end) {
        for (uint64_t i = begin; i < end; i++) draw(first + i, logits + i * vocab);
      });
    };
    forward(*batch.model, rounding,
            {batch.rows.data(), batch.rows.size(), nullptr, out_hidden, draw_all}, cancel);
    return int32_t{MG_OK};
  });
}
}
