// See infer_checks.hpp.
#include "infer_checks.hpp"

#include <algorithm>
#include <vector>

#include "sampler.hpp"

namespace magnet {
namespace {

static_assert(sizeof(mg_batch_row) == 16);
static_assert(sizeof(mg_session_options) == 16);

void check_tables(const BatchCall& call, uint32_t pool_blocks) {
  require(call.starts[0] == 0, MG_E_INVALID, "batch: the first table does not start at 0");
  for (uint64_t s = 0; s < call.n_sequences; s++)
    if (call.starts[s + 1] < call.starts[s])
      fail(MG_E_INVALID, "batch: the table of sequence %llu ends before it starts",
           static_cast<unsigned long long>(s));
  const uint32_t n = call.starts[call.n_sequences];
  require(n == 0 || call.tables != nullptr, MG_E_INVALID, "batch: the tables are null");
  for (uint32_t i = 0; i < n; i++)
    if (call.tables[i] >= pool_blocks)
      fail(MG_E_INVALID, "batch: block %u at index %u of the tables; the pool has %u",
           call.tables[i], i, pool_blocks);
}

/** Row i by itself, and against the one before. */
void check_row(const BatchCall& call, const mg_model_config& c, uint64_t i) {
  const mg_batch_row& row = call.rows[i];
  const auto at = static_cast<unsigned long long>(i);
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
void check_writers(const BatchCall& call) {
  std::vector<uint32_t> sequences;
  std::vector<uint32_t> written;
  for (uint64_t i = 0; i < call.n_rows; i++) {
    const mg_batch_row& row = call.rows[i];
    const bool follows = i > 0 && call.rows[i - 1].sequence == row.sequence;
    if (!follows) sequences.push_back(row.sequence);
    if (!follows || row.position % MG_KV_BLOCK == 0)
      written.push_back(call.tables[call.starts[row.sequence] + row.position / MG_KV_BLOCK]);
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

}  // namespace

BatchOutputs check_batch(const BatchCall& call, const mg_model_config& config,
                         uint32_t pool_blocks) {
  require(call.rows != nullptr && call.starts != nullptr, MG_E_INVALID, "batch: null argument");
  if (call.n_rows < 1 || call.n_rows > MG_BATCH_ROWS || call.n_sequences < 1 ||
      call.n_sequences > MG_BATCH_ROWS)
    fail(MG_E_INVALID, "batch: %llu rows of %llu sequences; 1..%d of each",
         static_cast<unsigned long long>(call.n_rows),
         static_cast<unsigned long long>(call.n_sequences), int{MG_BATCH_ROWS});
  check_tables(call, pool_blocks);
  BatchOutputs outputs;
  for (uint64_t i = 0; i < call.n_rows; i++) {
    check_row(call, config, i);
    outputs.logits += call.rows[i].output == MG_OUTPUT_LOGITS;
    outputs.hidden += call.rows[i].output == MG_OUTPUT_HIDDEN;
  }
  check_writers(call);
  return outputs;
}

void check_samplers(void* const* samplers, uint64_t n, uint64_t outputs, uint32_t vocab) {
  if (n != outputs)
    fail(MG_E_INVALID, "mg_batch_step: %llu samplers for %llu rows with logits",
         static_cast<unsigned long long>(n), static_cast<unsigned long long>(outputs));
  std::vector<void*> all(samplers, samplers + n);
  for (void* sampler : all)
    require(sampler != nullptr && static_cast<Sampler*>(sampler)->vocab() == vocab, MG_E_INVALID,
            "mg_batch_step: a sampler is null or of another vocabulary");
  std::sort(all.begin(), all.end());
  require(std::adjacent_find(all.begin(), all.end()) == all.end(), MG_E_INVALID,
          "mg_batch_step: a sampler appears twice");
}

uint32_t check_session_options(const mg_session_options& o, const mg_model_config& config) {
  require(o.rounding <= MG_ROUNDING_LLAMACPP && o.reserved == 0, MG_E_INVALID,
          "mg_session_create: rounding is 0 or 1, reserved is 0");
  require(o.kv_bits == 16 || (o.kv_bits == 32 && o.rounding == MG_ROUNDING_BITNET), MG_E_INVALID,
          "mg_session_create: kv_bits is 16, or 32 with bitnet rounding");
  const uint32_t context = o.context == 0 ? config.context : o.context;
  if (context > config.context)
    fail(MG_E_INVALID, "a context of %u tokens; the model was made for at most %u", context,
         config.context);
  return context;
}

void check_tokens(const int32_t* tokens, uint64_t n, uint32_t length, uint32_t context,
                  uint32_t vocab) {
  require(tokens != nullptr || n == 0, MG_E_INVALID, "tokens are null");
  for (uint64_t i = 0; i < n; i++)
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= vocab)
      fail(MG_E_INVALID, "token %d at index %llu is outside the vocabulary of %u", tokens[i],
           static_cast<unsigned long long>(i), vocab);
  if (n > context - length)
    fail(MG_E_INVALID, "%llu more tokens after %u do not fit into the context of %u",
         static_cast<unsigned long long>(n), length, context);
}

}  // namespace magnet
