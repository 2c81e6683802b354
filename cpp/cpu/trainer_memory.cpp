// Memory of a trainer: what its options allow, how much they take, and where everything lies.
#include <algorithm>

#include "muon.hpp"
#include "thread_pool.hpp"
#include "trainer.hpp"

static_assert(sizeof(mg_trainer_options) == 32);

namespace magnet {
namespace {

uint64_t aligned(uint64_t bytes) { return (bytes + 63) / 64 * 64; }
uint64_t arena_bytes(uint64_t count) { return aligned(count * sizeof(float)); }

/** Hands out 64-byte aligned pieces of a mapping; without one it only counts. */
class Carver {
 public:
  explicit Carver(uint8_t* base) : base_(base) {}
  template <class T>
  T* take(int64_t count) {
    const uint64_t at = used_;
    used_ += aligned(static_cast<uint64_t>(count) * sizeof(T));
    return base_ == nullptr ? nullptr : reinterpret_cast<T*>(base_ + at);
  }
  /** `same`: values that are there already and serve as the input of a plain model. */
  LinearInput take_input(bool plain, int64_t rows, int64_t n, float* same = nullptr) {
    if (plain) return {{}, same != nullptr ? same : take<float>(rows * n)};
    return {{take<int8_t>(rows * padded_codes(n)), take<float>(rows), take<int32_t>(rows)},
            nullptr};
  }
  uint64_t used() const { return used_; }

 private:
  uint8_t* base_;
  uint64_t used_ = 0;
};

/** Everything of a block but x_in. */
void carve_block(const mg_model_config& c, int64_t rows, Carver& carver, LayerState& s) {
  const bool plain = c.quantization == 1;
  const bool sub_norms = c.variant == 1;
  const int64_t d = c.d_model;
  const int64_t q_width = int64_t{c.n_heads} * c.head_dim;
  const int64_t kv_width = int64_t{c.n_kv_heads} * c.head_dim;
  const int64_t ff = c.d_ff;
  s.norm_in = carver.take<float>(rows);
  s.a_in = carver.take_input(plain, rows, d);
  s.q = carver.take<float>(rows * q_width);
  s.k = carver.take<float>(rows * kv_width);
  s.v = carver.take<float>(rows * kv_width);
  s.stats = carver.take<float>(rows * c.n_heads * 2);
  s.o = carver.take<float>(rows * q_width);
  s.norm_attn = carver.take<float>(rows);
  s.a_attn = carver.take_input(plain, rows, q_width, sub_norms ? nullptr : s.o);
  s.x_mid = carver.take<float>(rows * d);
  s.norm_mid = carver.take<float>(rows);
  s.a_mid = carver.take_input(plain, rows, d);
  s.gate = carver.take<float>(rows * ff);
  s.up = carver.take<float>(rows * ff);
  s.norm_ffn = carver.take<float>(rows);
  s.a_ffn = carver.take_input(plain, rows, ff);
}

/** Scratch of the kernels and of the process around them: packed blocks of operands, and what
 * attention packs: all keys and values in forward; in backward, for every thread, the scores of its
 * blocks of queries and five operands of a head. */
uint64_t scratch_bytes(const mg_model_config& c, const mg_trainer_options& options) {
  constexpr uint64_t SHARED = 12 << 20;
  constexpr uint64_t BY_THREAD = 1 << 20;
  constexpr uint64_t QUERIES = 28 + 2 * 56;
  const uint64_t rows = uint64_t{options.batch} * options.context;
  const uint64_t kv_width = uint64_t{c.n_kv_heads} * c.head_dim;
  const uint64_t by_thread = (QUERIES + 5 * uint64_t{c.head_dim}) * options.context;
  return SHARED + 2 * rows * kv_width * sizeof(float) +
         resolve_threads(options.threads) * (BY_THREAD + by_thread * sizeof(float));
}

/** Floats of the largest workspace that the optimizer asks for. */
int64_t optimizer_floats(const ModelLayout& layout, const mg_trainer_options& options) {
  int64_t most = 0;
  if (options.optimizer == MG_OPTIMIZER_MUON)
    for (const Tensor& t : layout.tensors)
      if (t.is_ternary) most = std::max(most, muon_workspace(t.rows, t.cols));
  return most;
}

}  // namespace

uint64_t Trainer::carve(const mg_model_config& c, const mg_trainer_options& options, uint8_t* base,
                        std::vector<LayerState>& layers, Workspace& w) {
  Carver carver(base);
  const int64_t rows = int64_t{options.batch} * options.context;
  const int64_t d = c.d_model;
  const int64_t q_width = int64_t{c.n_heads} * c.head_dim;
  const int64_t kv_width = int64_t{c.n_kv_heads} * c.head_dim;
  const int64_t ff = c.d_ff;
  layers.resize(c.n_layers);
  for (size_t i = 0; i < layers.size(); i++) {
    if (i > 0 && options.recompute == 1) {
      layers[i] = layers[0];
    } else {
      carve_block(c, rows, carver, layers[i]);
    }
    layers[i].x_in = carver.take<float>(rows * d);
  }
  w.x_out = carver.take<float>(rows * d);
  w.norm_final = carver.take<float>(rows);
  w.hidden = carver.take<float>(rows * d);
  w.nll = carver.take<double>(rows);
  w.scales = carver.take<float>(rows);
  w.inputs = carver.take<int32_t>(rows);
  w.targets = carver.take<int32_t>(rows);
  w.dx = carver.take<float>(rows * d);
  w.d_norm = carver.take<float>(rows * d);
  w.d_attn = carver.take<float>(rows * q_width);
  w.dq = carver.take<float>(rows * q_width);
  w.dk = carver.take<float>(rows * kv_width);
  w.dv = carver.take<float>(rows * kv_width);
  w.h = carver.take<float>(c.variant == 1 ? rows * ff : 0);
  w.dh = carver.take<float>(rows * ff);
  // The optimizer runs when no activation is needed any more, in the same memory.
  return std::max(carver.used(), arena_bytes(static_cast<uint64_t>(
                                     optimizer_floats(model_layout(c), options))));
}

void Trainer::check_options(const mg_model_config& c, const mg_trainer_options& o) {
  if (o.batch < 1 || o.batch > 65536)
    fail(MG_E_INVALID, "trainer: batch is %u, must be 1..65536", o.batch);
  if (o.context < 1 || o.context > c.context)
    fail(MG_E_INVALID, "trainer: context is %u, must be 1..%u", o.context, c.context);
  constexpr int64_t ROWS_MAX = 1 << 22;  // 4M positions: sizes in bytes stay far below 2^63
  if (int64_t{o.batch} * o.context > ROWS_MAX)
    fail(MG_E_INVALID, "trainer: batch * context is over %lld", static_cast<long long>(ROWS_MAX));
  if (o.threads > THREADS_MAX)
    fail(MG_E_INVALID, "trainer: threads is %u, must be 0..%u", o.threads, THREADS_MAX);
  require(o.recompute <= 1, MG_E_INVALID, "trainer: recompute must be 0 or 1");
  require(o.optimizer <= MG_OPTIMIZER_MUON, MG_E_INVALID,
          "trainer: optimizer must be 0 adamw or 1 muon");
  require(o.precision <= MG_PRECISION_FLOAT32, MG_E_INVALID, "trainer: precision must be 0 or 1");
  require(o.device == 0 && o.reserved == 0, MG_E_INVALID,
          "trainer: device and reserved must be 0");
}

mg_trainer_memory Trainer::memory_needed(const mg_model_config& c,
                                         const mg_trainer_options& options) {
  check_options(c, options);
  const ModelLayout layout = model_layout(c);
  std::vector<LayerState> layers;
  Workspace work;
  const uint64_t activations = carve(c, options, nullptr, layers, work);
  const int64_t rows = int64_t{options.batch} * options.context;
  const int64_t chunk = std::min(rows, head_chunk_rows(c.vocab_size));
  const auto logits = static_cast<uint64_t>(chunk) * c.vocab_size * sizeof(float);
  uint64_t in_blocks = 0;
  for (const Tensor& t : layout.tensors)
    if (t.is_ternary) in_blocks += t.size();
  // Codes are made for the matrices of the blocks; Muon has no second moment for them.
  const uint64_t codes = c.quantization == 1 ? 0 : in_blocks;
  const uint64_t untouched =
      options.optimizer == MG_OPTIMIZER_MUON ? in_blocks * sizeof(float) : 0;
  return {4 * arena_bytes(layout.count) - untouched, codes, activations,
          logits + scratch_bytes(c, options), 0, 0};
}

Trainer::Trainer(const mg_model_config& config, const mg_trainer_options& options)
    : config_(config),
      options_(options),
      layout_(model_layout(config)),
      threads_(resolve_threads(options.threads)),
      rope_(options.context, config.head_dim, static_cast<double>(config.rope_theta)),
      weights_(config.n_layers) {
  const uint64_t arena_size = arena_bytes(layout_.count);
  arenas_ = std::make_unique<Mapping>(4 * arena_size, "parameters, gradient and moments");
  auto* const base = arenas_->as<uint8_t>();
  params_ = reinterpret_cast<float*>(base);
  m_ = reinterpret_cast<float*>(base + arena_size);
  v_ = reinterpret_cast<float*>(base + 2 * arena_size);
  grad_ = reinterpret_cast<float*>(base + 3 * arena_size);
  if (options.optimizer == MG_OPTIMIZER_MUON) Mapping::use_small_pages(v_, arena_size);
  const uint64_t codes = is_plain() ? 0 : aligned(layout_.count);
  const uint64_t activations = carve(config_, options_, nullptr, layers_, work_);
  state_ = std::make_unique<Mapping>(codes + activations, "activations");
  if (!is_plain()) ternary_ = state_->as<int8_t>();
  uint8_t* const behind = state_->as<uint8_t>() + codes;
  activations_ = reinterpret_cast<float*>(behind);
  carve(config_, options_, behind, layers_, work_);
}

}  // namespace magnet
