// How little a decode step asks of a GPU: kernels, copies, waits, and what it reads; from a model that
// the emulation runs, and for the paper's 618 million parameters from its shapes. docs/serving.md has the
// table that this prints.
#include "../infer/forward.hpp"
#include "../kernels/infer_draw.hpp"
#include "../platform/emulation_counts.hpp"
#include "../../cpu/model.hpp"
#include "check.hpp"

using namespace magnet;
using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

constexpr mg_model_config SMALL = {1, 300, 64, 3, 4, 2, 16, 96, 512, 10000.0f, 1e-5f, 0};
/** genkidama-618m. */
constexpr mg_model_config PAPER = {1, 128256, 1536, 17, 16, 4, 96, 4096, 1024, 10000.0f, 1e-5f, 0};

/** Bytes that a step reads of weights, and of keys and values for a row at a position. */
struct StepBytes {
  double layers, head, cache;
};
StepBytes bytes_of(const mg_model_config& c, HeadKind kind, double position) {
  const auto matrix = [](uint32_t rows, uint32_t columns) {
    return static_cast<double>(panels_of(rows) * chunks_of(columns) * 512);
  };
  const uint32_t q = c.n_heads * c.head_dim;
  const uint32_t kv = c.n_kv_heads * c.head_dim;
  const double layer = matrix(q + 2 * kv, c.d_model) + matrix(c.d_model, q) +
                       2 * matrix(c.d_ff, c.d_model) + matrix(c.d_model, c.d_ff);
  const HeadWeight head{kind, nullptr, nullptr, c.vocab_size, c.d_model};
  const double scales = kind == HeadKind::int8   ? 4.0 * c.vocab_size
                        : kind == HeadKind::int4 ? 2.0 * c.vocab_size * c.d_model / HEAD_GROUP
                                                 : 0.0;
  const KvCache cache{c.n_layers, c.n_kv_heads, c.head_dim};
  return {layer * c.n_layers, static_cast<double>(head.bytes()) + scales,
          position * static_cast<double>(cache.block() * sizeof(fp16) / MG_KV_BLOCK)};
}

/** Kernels of a step: those of a layer, and embedding, head (2) and tops (2). */
uint64_t kernels_of(const mg_model_config& c, bool is_split, bool is_fused) {
  return uint64_t{c.n_layers} * (is_fused ? (is_split ? 6 : 5) : 9) + 5;
}

void print_table() {
  std::printf("618M     rows  head  kernels  MB of weights  MB of keys, values  of weights\n");
  for (const uint32_t rows : {1u, 64u})
    for (const HeadKind kind : {HeadKind::fp16, HeadKind::int8, HeadKind::int4}) {
      constexpr const char* NAMES[] = {"fp16", "int8", "int4"};
      const StepBytes b = bytes_of(PAPER, kind, 512);
      const double weights = b.layers + b.head;
      const double cache = b.cache * rows;
      const bool is_split = rows * PAPER.n_kv_heads < 256;
      std::printf("position 512 %4u  %s  %7llu  %13.1f  %18.1f  %9.0f%%\n", rows,
                  NAMES[static_cast<int>(kind)],
                  static_cast<unsigned long long>(kernels_of(PAPER, is_split, rows <= 4)),
                  weights / 1e6, cache / 1e6, 100 * weights / (weights + cache));
    }
}

struct Asked {
  uint64_t kernels, copies_in, bytes_in, copies_out, bytes_out, waits;
};
Asked asked() {
  const DeviceCounts& c = *device_counts();
  return {c.kernels, c.copies_in, c.bytes_in, c.copies_out, c.bytes_out, c.waits};
}

/** Sequences that decode together, each in blocks of its own. */
struct Decoding {
  Decoding(InferModel& of, KvDevicePool& pool, uint32_t n) : model(of), pools(n, pool.data()) {
    const uint32_t each = SMALL.context / MG_KV_BLOCK;
    for (uint32_t i = 0; i < n; i++) {
      starts.push_back(i * each);
      for (uint32_t b = 0; b < each; b++) tables.push_back(i * each + b);
    }
    starts.push_back(n * each);
  }
  Asked step(uint32_t position, const mg_sampler_options& options) {
    const auto n = static_cast<uint32_t>(pools.size());
    std::vector<mg_batch_row> rows;
    std::vector<std::unique_ptr<Sampler>> owned;
    std::vector<void*> samplers;
    for (uint32_t i = 0; i < n; i++) {
      rows.push_back({static_cast<int32_t>(i + 1), position, i, MG_OUTPUT_LOGITS});
      owned.push_back(std::make_unique<Sampler>(SMALL.vocab_size, options,
                                                std::vector<LogitBias>{}, nullptr));
      samplers.push_back(owned.back().get());
    }
    std::vector<int32_t> tokens(n);
    std::vector<float> logprobs(n);
    const BatchDraws draws{samplers.data(), tokens.data(), logprobs.data(), nullptr, nullptr};
    const Asked before = asked();
    run_batch(model, {rows.data(), n, tables.data(), starts.data(), pools.data(), nullptr, nullptr,
                      &draws}, nullptr);
    const Asked after = asked();
    for (const int32_t token : tokens) check(token >= 0, "a token is drawn");
    return {after.kernels - before.kernels,       after.copies_in - before.copies_in,
            after.bytes_in - before.bytes_in,     after.copies_out - before.copies_out,
            after.bytes_out - before.bytes_out,   after.waits - before.waits};
  }
  InferModel& model;
  std::vector<fp16*> pools;
  std::vector<uint32_t> tables, starts;
};

void test_counts() {
  Random random(3);
  const uint64_t n = model_layout(SMALL).count;
  std::vector<float> params(n);
  for (float& x : params) x = static_cast<float>(0.1 * random.normal());
  const auto host = model_from_params(SMALL, params.data(), n, 1);
  const auto model = std::make_shared<InferModel>(*host, 0, MG_HEAD_FILE);
  KvDevicePool pool(model, 6 * SMALL.context / MG_KV_BLOCK, 16);
  // Positions that nobody has computed are attended to below.
  fill_bytes(model->stream, pool.data(), 0, pool.blocks() * pool.block_bytes());
  mg_sampler_options greedy{};
  greedy.sampling.top_p = greedy.sampling.repetition_penalty = 1;
  mg_sampler_options plain = greedy;
  plain.sampling.temperature = 1;
  mg_sampler_options cut = plain;
  cut.sampling.top_p = 0.9f;
  cut.sampling.top_k = 50;
  for (const uint32_t rows : {1u, 6u})
    for (const uint32_t position : {3u, 300u}) {
      Decoding decoding(*model, pool, rows);
      decoding.step(position, greedy);  // captures the graph
      const std::string name =
          std::to_string(rows) + " rows at " + std::to_string(position) + ": ";
      const Asked a = decoding.step(position, greedy);
      const bool is_split = position >= 256;
      const uint64_t extra = !is_split && rows > 4 ? 0 : rows > 4 ? SMALL.n_layers : 0;
      check(a.kernels == kernels_of(SMALL, is_split, rows <= 4) + extra,
            name + std::to_string(a.kernels) + " kernels");
      check(a.copies_in == 1 && a.copies_out == 1 && a.waits == 1,
            name + "greedy: one copy each way, one wait");
      check(a.bytes_out <= 64 * rows, name + std::to_string(a.bytes_out) + " bytes to the host");
      decoding.step(position, cut);  // takes its memory
      for (const mg_sampler_options& options : {plain, cut}) {
        const Asked b = decoding.step(position, options);
        check(b.kernels == a.kernels + 2 && b.copies_in == 2 && b.waits == 1,
              name + "sampled: two kernels and a copy more, one wait");
        check(b.bytes_out <= 4096u * rows, name + std::to_string(b.bytes_out) + " bytes, sampled");
      }
    }
}

}  // namespace

int main() {
  print_table();
  if (device_counts() != nullptr) test_counts();
  return finish("infer_step");
}
