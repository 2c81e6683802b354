// The forward pass (formulas: tests/golden/bitnet/README.md). Two roundings: `bitnet` quantises
// activations per token as training does; `llamacpp` gives llama.cpp's bits (infer_llamacpp.hpp):
// it rounds wherever llama.cpp does (Q8_K per 256 columns for TQ weights, f16 for F16 weights,
// queries and attention weights; norms summed in double) and sums in its order.
#include "infer_forward.hpp"

#include <algorithm>
#include <cmath>

#include "infer_llamacpp.hpp"
#include "infer_pass.hpp"
#include "infer_rows.hpp"
#include "math.hpp"

namespace magnet {
namespace {

/** Rows whose activations stay in the caches while all weights of a layer pass over them. */
constexpr uint32_t CHUNK_ROWS = 128;

/** Panels of gate and up whose results are multiplied while they are in the cache. */
constexpr uint64_t PIECE_PANELS = 4;

/** Outputs whose logits are kept inside at a time. */
constexpr uint64_t READ_OUTPUTS = 64;

}  // namespace

std::unique_ptr<Scratch> ScratchShelf::take() {
  const std::lock_guard lock(mutex_);
  if (free_.empty()) return std::make_unique<Scratch>();
  std::unique_ptr<Scratch> scratch = std::move(free_.back());
  free_.pop_back();
  return scratch;
}

void ScratchShelf::put(std::unique_ptr<Scratch> scratch) {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(scratch));
}

Pass::Pass(const Model& model, uint32_t rounding, Team& team, Scratch& scratch,
           const int32_t* cancel)
    : model_(model),
      c_(model.config),
      llamacpp_(rounding == MG_ROUNDING_LLAMACPP),
      cancel_(cancel),
      team_(team),
      kernels_(kernels()),
      s_(scratch),
      q_width_(c_.n_heads * c_.head_dim),
      kv_width_(c_.n_kv_heads * c_.head_dim) {}

void Pass::embed(uint32_t t) {
  const auto token = static_cast<uint32_t>(rows_[t].token);
  float* const x = s_.x.data() + uint64_t{t} * c_.d_model;
  if (model_.embedding_is_packed())
    head_row(model_.packed_head, token, x);
  else
    dense_row(model_.embedding, token, x);
}

/** Cosine and sine of a row's angles. */
void Pass::rotary(uint32_t t) {
  const uint32_t half = c_.head_dim / 2;
  float* cosine = s_.cosine.data() + uint64_t{t} * half;
  float* sine = s_.sine.data() + uint64_t{t} * half;
  if (llamacpp_) return llamacpp::rotary(rows_[t].position, c_.rope_theta, half, cosine, sine);
  for (uint32_t j = 0; j < half; j++) {
    const SinCos at =
        sincos_fixed(static_cast<double>(rows_[t].position) * model_.inverse_frequency[j]);
    cosine[j] = static_cast<float>(at.cos);
    sine[j] = static_cast<float>(at.sin);
  }
}

void Pass::norm_row(const float* x, const std::vector<float>& w, uint32_t n, float* y) const {
  if (!llamacpp_) return norm_row_fused({x, w.data(), n, c_.norm_eps, y});
  double sum = 0;
  for (uint32_t i = 0; i < n; i++) sum += static_cast<double>(x[i] * x[i]);
  const auto mean = static_cast<float>(sum / n);
  kernels_.norm_apply(x, w.data(), 1.0f / std::sqrt(mean + c_.norm_eps), n, y);
}

/** Gate, up and their product; where all are at hand, piece by piece while it is in the cache. */
void Pass::feed_forward(const Layer& l) {
  float* const gate = s_.gate.reserve(int64_t{n_} * c_.d_ff);
  float* const up = s_.up.reserve(int64_t{n_} * c_.d_ff);
  const bool relu = model_.activation == Activation::relu_squared;
  const auto activate = relu        ? relu_squared_gate
                        : llamacpp_ ? kernels_.llamacpp.swiglu
                                    : silu_gate;
  if (llamacpp_) {
    multiply({{l.gate, gate}, {l.up, up}});
    for_rows([&](uint32_t t) {
      activate(gate + uint64_t{t} * c_.d_ff, up + uint64_t{t} * c_.d_ff, c_.d_ff);
    });
    return;
  }
  const uint64_t panels = (c_.d_ff + PANEL_ROWS - 1) / PANEL_ROWS;
  team_.each(panels, 1, [&](uint64_t begin, uint64_t end) {
    for (uint64_t p = begin; p < end; p += PIECE_PANELS) {
      const uint64_t last = std::min<uint64_t>(p + PIECE_PANELS, end);
      product_panels(l.gate, input_, p, last, gate);
      product_panels(l.up, input_, p, last, up);
      const uint64_t column = p * PANEL_ROWS;
      const auto columns =
          static_cast<uint32_t>(std::min<uint64_t>(last * PANEL_ROWS, c_.d_ff) - column);
      for (uint32_t t = 0; t < n_; t++) {
        const uint64_t at = uint64_t{t} * c_.d_ff + column;
        activate(gate + at, up + at, columns);
      }
    }
  });
}

void Pass::layer(uint32_t index, bool last) {
  const Layer& l = model_.layers[index];
  float* const x = s_.x.data();
  float* const norm = s_.norm.data();
  float* const delta = s_.delta.data();
  float* const q = s_.q.reserve(int64_t{n_} * q_width_);
  float* const k = s_.k.reserve(int64_t{n_} * kv_width_);
  float* const v = s_.v.reserve(int64_t{n_} * kv_width_);
  float* const mixed = s_.attention.reserve(int64_t{n_} * q_width_);
  multiply({{l.q, q}, {l.k, k}, {l.v, v}});
  attention(index);
  begin_input(mixed, q_width_);
  for_rows([&](uint32_t t) {
    prepare_row(t, mixed + uint64_t{t} * q_width_, l.attn_sub_norm);
  });
  multiply({{l.o, delta}});
  begin_input(norm, c_.d_model);
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t{t} * c_.d_model;
    add_row(x + at, delta + at, c_.d_model);
    prepare_row(t, x + at, l.ffn_norm);
  });
  feed_forward(l);
  begin_input(s_.gate.data(), c_.d_ff);
  for_rows([&](uint32_t t) {
    prepare_row(t, s_.gate.data() + uint64_t{t} * c_.d_ff, l.ffn_sub_norm);
  });
  multiply({{l.down, delta}});
  if (!last) begin_input(norm, c_.d_model);
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t{t} * c_.d_model;
    add_row(x + at, delta + at, c_.d_model);
    if (!last) prepare_row(t, x + at, model_.layers[index + 1].attn_norm);
  });
}

/** Norms the rows that are asked for. Those with logits wait for the head, which reads its weights
 * once for all chunks. */
void Pass::collect(float*& hidden) {
  for (uint32_t t = 0; t < n_; t++) {
    if (rows_[t].output == MG_OUTPUT_NONE) continue;
    const bool for_head = rows_[t].output == MG_OUTPUT_LOGITS;
    float* out = for_head ? s_.outputs.data() + uint64_t{outputs_++} * c_.d_model : hidden;
    if (!for_head) hidden += c_.d_model;
    norm_row(s_.x.data() + uint64_t{t} * c_.d_model, model_.norm, c_.d_model, out);
  }
}

void Pass::layers(const Row* rows, uint32_t n, float*& hidden) {
  rows_ = rows;
  n_ = n;
  const int64_t floats = int64_t{n} * c_.d_model;
  float* const x = s_.x.reserve(floats);
  float* const norm = s_.norm.reserve(floats);
  s_.delta.reserve(floats);
  s_.cosine.reserve(int64_t{n} * c_.head_dim / 2);
  s_.sine.reserve(int64_t{n} * c_.head_dim / 2);
  cut_tiles();
  begin_input(norm, c_.d_model);
  for_rows([&](uint32_t t) {
    const uint64_t at = uint64_t{t} * c_.d_model;
    embed(t);
    rotary(t);
    prepare_row(t, x + at, model_.layers[0].attn_norm);
  });
  for (uint32_t i = 0; i < c_.n_layers; i++) {
    require(!is_cancelled(cancel_), MG_E_CANCELLED, "cancelled");
    layer(i, i + 1 == c_.n_layers);
  }
  collect(hidden);
}

void forward(const Model& model, uint32_t rounding, const Batch& batch, Team& team,
             const int32_t* cancel) {
  struct Borrowed {
    ScratchShelf& shelf;
    std::unique_ptr<Scratch> scratch;
    ~Borrowed() { shelf.put(std::move(scratch)); }
  } borrowed{model.scratch, model.scratch.take()};
  Pass pass(model, rounding, team, *borrowed.scratch, cancel);
  uint64_t outputs = 0;
  for (uint64_t i = 0; i < batch.n; i++) outputs += batch.rows[i].output == MG_OUTPUT_LOGITS;
  borrowed.scratch->outputs.reserve(static_cast<int64_t>(outputs * model.config.d_model));
  float* hidden = batch.hidden;
  for (uint64_t at = 0; at < batch.n; at += CHUNK_ROWS)
    pass.layers(batch.rows + at,
                static_cast<uint32_t>(std::min<uint64_t>(CHUNK_ROWS, batch.n - at)), hidden);
  const uint64_t vocab = model.config.vocab_size;
  const uint64_t together = batch.logits != nullptr ? outputs : std::min(outputs, READ_OUTPUTS);
  float* room = batch.logits;
  if (room == nullptr)
    room = borrowed.scratch->logits.reserve(static_cast<int64_t>(together * vocab));
  for (uint64_t at = 0; at < outputs; at += together) {
    const uint64_t n = std::min(together, outputs - at);
    pass.head(at, static_cast<uint32_t>(n), room);
    if (batch.read) batch.read(team, at, n, room);
  }
}

void forward(const Model& model, uint32_t rounding, const Batch& batch, const int32_t* cancel) {
  Team::run(model.threads,
            [&](Team& team) { forward(model, rounding, batch, team, cancel); });
}

void check_rounding(const Model& model, uint32_t rounding) {
  require(rounding <= MG_ROUNDING_LLAMACPP, MG_E_INVALID, "rounding is 0 or 1");
  if (rounding != MG_ROUNDING_LLAMACPP) return;
  require(model.from_gguf, MG_E_UNSUPPORTED, "llamacpp rounding needs a model from a GGUF file");
  require(model.packed_head.empty() || model.packed_head.format == HeadFormat::q6k,
          MG_E_UNSUPPORTED, "llamacpp rounding needs the head as the file has it");
  for (const Layer& l : model.layers)
    for (const Linear* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
      require(w->ternary.is_tq || !w->dense.empty(), MG_E_UNSUPPORTED,
              "llamacpp rounding: llama.cpp does not load I2_S; export as TQ2_0, TQ1_0 or F16");
}

}  // namespace magnet
