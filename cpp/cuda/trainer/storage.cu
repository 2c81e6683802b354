// Sizes and places; see storage.hpp.
#include "storage.hpp"

#include <algorithm>
#include <initializer_list>

#include "relay.hpp"
#include "trainer.hpp"

namespace magnet::gpu {

namespace {

constexpr uint64_t ALIGNMENT = 256;
/** Logits of one chunk: enough rows to fill a GPU, small beside the activations. */
constexpr uint64_t LOGIT_BYTES = uint64_t{1} << 30;
constexpr int64_t CHUNK_MIN = 128;

class Carver {
 public:
  explicit Carver(void* base) : base_(static_cast<unsigned char*>(base)) {}
  template <class E>
  E* take(uint64_t count) {
    const uint64_t at = used_;
    used_ += (count * sizeof(E) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return base_ == nullptr ? nullptr : reinterpret_cast<E*>(base_ + at);
  }
  template <class E>
  Matrix<E> matrix(int64_t rows, int64_t columns) {
    return {take<E>(static_cast<uint64_t>(rows * padded(columns))), rows, columns, padded(columns)};
  }
  template <class T>
  QuantisedInput<T> input(bool plain, int64_t rows, int64_t columns) {
    if (plain) return {{}, nullptr, matrix<T>(rows, columns)};
    return {matrix<int8_t>(rows, columns), take<float>(static_cast<uint64_t>(rows)),
            matrix<T>(rows, columns)};
  }
  template <class T>
  JoinedWeight<T> weight(bool plain, std::initializer_list<int64_t> parts, int64_t columns) {
    JoinedWeight<T> w{};
    int64_t all = 0;
    for (const int64_t rows : parts) {
      w.first[w.parts] = all;
      w.rows[w.parts++] = rows;
      all += padded(rows);
    }
    const auto count = static_cast<uint64_t>(w.parts);
    const Matrix<int8_t> codes = plain ? Matrix<int8_t>{} : matrix<int8_t>(all, columns);
    w.all = {codes, matrix<T>(all, columns), take<float>(count), take<float>(count)};
    return w;
  }
  uint64_t used() const { return used_; }

 private:
  unsigned char* base_;
  uint64_t used_ = 0;
};

struct Widths {
  bool plain;
  int64_t rows, d, q, kv, ff, heads;
};

/** Everything of a block but x_in. */
template <class T>
void carve_block(Carver& from, const Widths& w, LayerState<T>& s) {
  const auto rows = static_cast<uint64_t>(w.rows);
  s.norm_in = from.take<float>(rows);
  s.a_in = from.input<T>(w.plain, w.rows, w.d);
  s.qkv = from.matrix<Activation<T>>(w.rows, padded(w.q) + 2 * padded(w.kv));
  s.log_sums = from.take<float>(rows * static_cast<uint64_t>(w.heads));
  s.o = from.matrix<float>(w.rows, w.q);
  s.norm_attn = from.take<float>(rows);
  s.a_attn = from.input<T>(w.plain, w.rows, w.q);
  s.x_mid = from.matrix<float>(w.rows, w.d);
  s.norm_mid = from.take<float>(rows);
  s.a_mid = from.input<T>(w.plain, w.rows, w.d);
  s.gate_up = from.matrix<Activation<T>>(w.rows, 2 * padded(w.ff));
  s.norm_ffn = from.take<float>(rows);
  s.a_ffn = from.input<T>(w.plain, w.rows, w.ff);
}

template <class T>
void carve_gradients(Carver& from, const mg_model_config& c, const mg_trainer_options& o,
                     const Widths& w, Workspace<T>& work) {
  work.d_hidden = from.matrix<T>(w.rows, w.d);
  work.dx = from.matrix<float>(w.rows, w.d);
  work.dx_operand = from.matrix<T>(w.rows, w.d);
  work.d_norm = from.matrix<T>(w.rows, w.d);
  work.d_attn = from.matrix<T>(w.rows, w.q);
  work.dqkv = from.matrix<T>(w.rows, padded(w.q) + 2 * padded(w.kv));
  work.dh = from.matrix<T>(w.rows, w.ff);
  const AttentionShape shape{o.batch, o.context, c.n_heads, c.n_kv_heads, c.head_dim};
  work.attention_scratch = from.take<float>(attention_scratch(shape));
  work.norm_partials = from.take<float>(norm_partials(std::max({w.d, w.q, w.ff})));
}

}  // namespace

int64_t head_chunk(int64_t rows, int64_t vocab, uint64_t element_bytes) {
  const auto fit = static_cast<int64_t>(LOGIT_BYTES / (static_cast<uint64_t>(padded(vocab)) *
                                                       element_bytes));
  // Whole tiles of the products.
  const int64_t chunk = std::max(CHUNK_MIN, fit / CHUNK_MIN * CHUNK_MIN);
  return std::min(rows, chunk);
}

template <class T>
Storage<T> carve(const mg_model_config& c, const mg_trainer_options& o, void* base) {
  Carver from(base);
  const ModelLayout layout = model_layout(c);
  const Widths w{c.quantization == 1,
                 int64_t{o.batch} * o.context,
                 c.d_model,
                 int64_t{c.n_heads} * c.head_dim,
                 int64_t{c.n_kv_heads} * c.head_dim,
                 c.d_ff,
                 c.n_heads};
  const auto rows = static_cast<uint64_t>(w.rows);
  Storage<T> s;
  s.parts = {};
  auto part = [&, before = uint64_t{0}](uint64_t& bytes) mutable {
    bytes += from.used() - before;
    before = from.used();
  };
  s.params = from.take<float>(layout.count);
  s.m = from.take<float>(layout.count);
  s.v = from.take<float>(layout.count);
  s.grad = from.take<float>(layout.count);
  part(s.parts.arenas);
  s.layers.resize(c.n_layers);
  s.weights.resize(c.n_layers);
  for (size_t i = 0; i < s.layers.size(); i++) {
    if (i > 0 && o.recompute == 1)
      s.layers[i] = s.layers[0];
    else
      carve_block(from, w, s.layers[i]);
    s.layers[i].x_in = from.matrix<float>(w.rows, w.d);
    part(s.parts.activations);
    s.weights[i] = {from.weight<T>(w.plain, {w.q, w.kv, w.kv}, w.d),
                    from.weight<T>(w.plain, {w.d}, w.q),
                    from.weight<T>(w.plain, {w.ff, w.ff}, w.d),
                    from.weight<T>(w.plain, {w.d}, w.ff)};
    part(s.parts.weights);
  }
  Workspace<T>& work = s.work;
  work.x_out = from.matrix<float>(w.rows, w.d);
  work.norm_final = from.take<float>(rows);
  work.hidden = from.matrix<T>(w.rows, w.d);
  part(s.parts.activations);
  work.embedding = from.matrix<T>(c.vocab_size, w.d);
  part(s.parts.weights);
  work.logits = from.matrix<T>(head_chunk(w.rows, c.vocab_size, sizeof(T)), c.vocab_size);
  carve_gradients(from, c, o, w, work);
  const uint64_t weights = w.plain ? 0 : 7 * uint64_t{c.n_layers};
  work.partials = from.take<double>(std::max((1 + weights) * WEIGHT_PARTIALS, NORM_PARTIALS));
  work.weight_tasks = from.take<WeightTask<T>>(weights);
  work.adamw_pieces = from.take<AdamwPiece>(adamw_pieces_of(layout, o).size());
  uint64_t muon = 0;
  if (o.optimizer == MG_OPTIMIZER_MUON)
    for (const Tensor& t : layout.tensors)
      if (t.is_ternary) muon = std::max(muon, muon_scratch<T>(t.rows, t.cols));
  work.muon = from.take<unsigned char>(muon);
  const uint64_t angles = uint64_t{o.context} * (c.head_dim / 2);
  work.cosines = from.take<float>(angles);
  work.sines = from.take<float>(angles);
  work.inputs = from.take<int32_t>(rows);
  work.targets = from.take<int32_t>(rows);
  work.order = from.take<int32_t>(token_order_size(w.rows));
  work.nll = from.take<float>(rows);
  work.row_scales = from.take<float>(rows);
  work.gradient_scale = from.take<float>(1);
  work.loss = from.take<double>(1);
  work.pair_scales = from.take<PairScales>(1);
  work.pairs = from.take<PairTotals>(1);
  work.numbers = from.take<StepNumbers>(1);
  work.state = from.take<StepState>(1);
  part(s.parts.workspace);
  return s;
}

std::vector<AdamwPiece> adamw_pieces_of(const ModelLayout& layout, const mg_trainer_options& o) {
  std::vector<AdamwPiece> pieces;
  for (const Tensor& t : layout.tensors)
    if (o.optimizer != MG_OPTIMIZER_MUON || !t.is_ternary)
      add_pieces(pieces, t.offset, t.size(), t.is_matrix);
  return pieces;
}

HostStorage carve_host(const mg_trainer_options& o, void* base) {
  Carver from(base);
  const int64_t count = int64_t{o.batch} * o.context;
  const auto rows = static_cast<uint64_t>(count);
  HostStorage s{};
  for (TokenPlaces& slot : s.slots)
    slot = {from.take<int32_t>(rows), from.take<int32_t>(rows),
            from.take<int32_t>(token_order_size(count))};
  s.nll = from.take<float>(rows);
  s.gradient_scale = from.take<float>(1);
  s.inverse = from.take<float>(1);
  s.pair_scales = from.take<PairScales>(1);
  s.pairs = from.take<PairTotals>(1);
  s.loss = from.take<double>(1);
  s.numbers = from.take<StepNumbers>(1);
  s.state = from.take<StepState>(1);
  s.relay = from.take<unsigned char>(Relay::BYTES);
  s.bytes = from.used();
  return s;
}

template Storage<float> carve(const mg_model_config&, const mg_trainer_options&, void*);
template Storage<bf16> carve(const mg_model_config&, const mg_trainer_options&, void*);

void check_options(const mg_model_config& c, const mg_trainer_options& o) {
  if (o.batch < 1 || o.batch > 65536)
    fail(MG_E_INVALID, "trainer: batch is %u, must be 1..65536", o.batch);
  if (o.context < 1 || o.context > c.context)
    fail(MG_E_INVALID, "trainer: context is %u, must be 1..%u", o.context, c.context);
  constexpr int64_t ROWS_MAX = 1 << 22;
  if (int64_t{o.batch} * o.context > ROWS_MAX)
    fail(MG_E_INVALID, "trainer: batch * context is over %lld", static_cast<long long>(ROWS_MAX));
  require(o.recompute <= 1, MG_E_INVALID, "trainer: recompute must be 0 or 1");
  require(o.optimizer <= MG_OPTIMIZER_MUON, MG_E_INVALID,
          "trainer: optimizer must be 0 adamw or 1 muon");
  require(o.precision <= MG_PRECISION_FLOAT32, MG_E_INVALID, "trainer: precision must be 0 or 1");
  require(o.reserved == 0, MG_E_INVALID, "trainer: reserved must be 0");
}

namespace {
template <class T>
mg_trainer_memory memory_of(const mg_model_config& config, const mg_trainer_options& options) {
  mg_trainer_memory parts = carve<T>(config, options, nullptr).parts;
  parts.workspace += workspace_of<T>();
  parts.host_steps = carve_host(options, nullptr).bytes;
  parts.host_copies = STATE_ARENAS * model_layout(config).count * sizeof(float);
  return parts;
}
}  // namespace

mg_trainer_memory memory_needed(const mg_model_config& config, const mg_trainer_options& options) {
  check_options(config, options);
  return options.precision == MG_PRECISION_FLOAT32 ? memory_of<float>(config, options)
                                                   : memory_of<bf16>(config, options);
}

}  // namespace magnet::gpu
