// See forward.hpp; twin of cpp/cpu/infer_forward.cpp.
#include "forward.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "../../cpu/thread_pool.hpp"


namespace magnet::gpu {
namespace {

/** Positions that the smallest graph is good for; the next ones double. */
constexpr uint32_t GRAPH_POSITIONS = 256;

/** The kernels of one pass over rows whose inputs are on the device. */
class Pass {
 public:
  Pass(InferModel& model, const AttentionWork& work, uint32_t rows)
      : m_(model),
        c_(model.config),
        cache_(model.cache()),
        work_(work),
        rows_(rows),
        batch_(model.inputs.batch(rows)),
        x_(model.buffers.x.view(rows)) {}

  void layers() {
    embed_rows(m_.stream, m_.embedding.weight, m_.embedding_lost.data(), batch_.rows, x_);
    for (uint32_t i = 0; i < c_.n_layers; i++) {
      attention(i, m_.layers[i]);
      feed_forward(m_.layers[i]);
    }
  }
  /** Of the chosen rows from `first` on, at most SKINNY_ROWS, into the model's logits. */
  void head(uint32_t first, uint32_t n) const {
    const HeadWeight& w = m_.head().weight;
    const PassBuffers& b = m_.buffers;
    const int64_t stride = w.chunks() * CHUNK_BYTES;
    head_rows(m_.stream, x_, m_.inputs.chosen(rows_) + first, n, m_.norm.data(), c_.norm_eps,
              w.kind, b.planes.data(), stride, b.plane_scales.data());
    head_product(m_.stream, {b.planes.data(), stride, b.plane_scales.data(), n}, w,
                 b.logits.data());
    find_tops(m_.stream, b.logits.data(), n, c_.vocab_size, b.tops.on_device());
  }
  /** Normed states of the chosen rows from `first` on. */
  void hidden(uint32_t first, uint32_t n) const {
    normed_rows(m_.stream, x_, m_.inputs.chosen(rows_) + first, n, m_.norm.data(), c_.norm_eps,
                m_.buffers.hidden.data());
  }

 private:
  /** The product of x, normed where there is a norm. */
  void product(Matrix<const float> x, const DeviceArray<float>& norm, const DeviceTernary& w,
               bool add, Matrix<float> y) const {
    ternary_product_of(m_.stream, {x, norm.data(), c_.norm_eps},
                       m_.buffers.target(x.rows, x.columns), w.weight, add, y);
  }
  void attention(uint32_t index, const DeviceLayer& l) const {
    const Matrix<float> qkv = m_.buffers.qkv.view(rows_);
    const Matrix<float> mixed = m_.buffers.attention.view(rows_);
    product(x_, l.attn_norm, l.qkv, false, qkv);
    const int64_t q = int64_t{c_.n_heads} * c_.head_dim;
    const int64_t kv = int64_t{c_.n_kv_heads} * c_.head_dim;
    const auto columns = [&](int64_t first, int64_t count) {
      return Matrix<const float>{qkv.data + first, rows_, count, qkv.stride};
    };
    const Matrix<fp16> queries = m_.buffers.queries.view(rows_);
    const FreshRows fresh = {columns(0, q), columns(q, kv), columns(q + kv, kv),
                             m_.cosines.data(), m_.sines.data()};
    infer_attention(m_.stream, cache_, index, batch_, work_, c_.n_heads, fresh, queries, mixed);
    product(mixed, l.attn_sub_norm, l.o, true, x_);
  }
  void feed_forward(const DeviceLayer& l) const {
    const Matrix<float> h = m_.buffers.h.view(rows_);
    gated_product_of(m_.stream, {x_, l.ffn_norm.data(), c_.norm_eps},
                     m_.buffers.target(rows_, c_.d_model), l.gate_up.weight, m_.activation, h);
    product(h, l.ffn_sub_norm, l.down, true, x_);
  }

  InferModel& m_;
  const mg_model_config& c_;
  const KvCache cache_;
  const AttentionWork& work_;
  const uint32_t rows_;
  const KvBatch batch_;
  const Matrix<float> x_;
};

AttentionWork work_of(InferModel& model, const PassInputs& in, uint32_t last_position) {
  const auto rows = static_cast<uint32_t>(in.rows.size());
  AttentionWork work = {model.inputs.tiles(rows), in.attention.prefill, in.single(), last_position,
                        nullptr};
  const uint64_t floats =
      attention_work_scratch(model.cache(), model.config.n_heads, work.single, last_position);
  if (floats > 0)
    work.scratch = static_cast<float*>(model.stream.workspace(floats * sizeof(float)));
  return work;
}

/** Rows of logits that the stream is computing, to their place on the host. */
void fetch_logits(InferModel& model, uint64_t row, uint64_t n) {
  const uint64_t vocab = model.config.vocab_size;
  PinnedArray<float>& pinned = model.pinned_logits;
  if (pinned.size() == 0) pinned = PinnedArray<float>(SKINNY_ROWS * vocab);
  copy_out(model.stream, pinned.data() + row * vocab, model.buffers.logits.data() + row * vocab,
           n * vocab * sizeof(float));
}

/** Draws outputs first .. first + n, whose logits the stream is computing. While it does, samplers say what
 * they need of them. Whole rows go to the host only where what they asked for does not decide. */
void draw_rows(InferModel& model, const BatchDraws& draws, uint64_t first, uint64_t n) {
  PassBuffers& b = model.buffers;
  b.wishes.plan(draws, first, n);
  b.wishes.start(model.stream, b.logits.data(), b.tops.on_device());
  b.tops.fetch(model.stream, n);
  model.stream.wait();
  std::vector<unsigned char> drawn(n);
  const auto each = [&](auto draw) {
    parallel_for(resolve_threads(0), static_cast<int64_t>(n),
                 [&](int64_t begin, int64_t end, uint32_t) {
                   for (auto i = static_cast<uint64_t>(begin); i < static_cast<uint64_t>(end); i++)
                     if (drawn[i] == 0) draw(i);
                 });
  };
  each([&](uint64_t i) {
    ReducedRow row = b.tops.row(i);
    const ReducedToken largest = {row.top, row.top, row.top_id};
    if (!b.wishes.complete(i, row)) {
      if (!draws.wants_largest(first + i)) return;
      row.tokens = &largest;
      row.n_tokens = 1;
    }
    drawn[i] = draws.draw_reduced(first + i, row) ? 1 : 0;
  });
  if (std::find(drawn.begin(), drawn.end(), 0) == drawn.end()) return;
  for (uint64_t i = 0; i < n; i++)
    if (drawn[i] == 0) fetch_logits(model, i, 1);
  model.stream.wait();
  const uint64_t vocab = model.config.vocab_size;
  each([&](uint64_t i) { draws.draw(first + i, model.pinned_logits.data() + i * vocab); });
}

/** What becomes of outputs first .. first + n, whose logits the stream is computing. */
void deliver(InferModel& model, const DeviceBatch& batch, uint64_t first, uint64_t n) {
  if (batch.logits == nullptr) return draw_rows(model, *batch.draws, first, n);
  const uint64_t vocab = model.config.vocab_size;
  fetch_logits(model, 0, n);
  model.stream.wait();
  std::memcpy(batch.logits + first * vocab, model.pinned_logits.data(), n * vocab * sizeof(float));
}

/** A power of two that holds n. */
uint32_t size_for(uint32_t n) { return std::bit_ceil(n); }

void run_decode(InferModel& model, const DeviceBatch& batch, PassInputs& in) {
  const auto n = static_cast<uint32_t>(in.rows.size());
  in.fill_up(size_for(n), model.spare_blocks.data(), model.cache());
  in.cut(model.config.n_heads, model.config.n_kv_heads);
  const auto rows = static_cast<uint32_t>(in.rows.size());
  const uint32_t reach = std::max(GRAPH_POSITIONS, size_for(in.attention.last_position + 1));
  const DecodeShape shape = {rows, reach - 1};
  model.inputs.send(model.stream, in);
  std::unique_ptr<Graph>& graph = model.graphs[shape];
  if (graph == nullptr) {
    const AttentionWork work = work_of(model, in, shape.last_position);
    graph = std::make_unique<Graph>(model.stream, [&] {
      Pass pass(model, work, rows);
      pass.layers();
      pass.head(0, rows);
    });
  }
  graph->start(model.stream);
  deliver(model, batch, 0, n);
}

void run_rows(InferModel& model, const DeviceBatch& batch, PassInputs& in) {
  in.cut(model.config.n_heads, model.config.n_kv_heads);
  model.inputs.send(model.stream, in);
  const AttentionWork work = work_of(model, in, in.attention.last_position);
  Pass pass(model, work, static_cast<uint32_t>(in.rows.size()));
  pass.layers();
  const auto hidden = static_cast<uint32_t>(in.chosen.size()) - in.logits;
  if (hidden > 0) {
    pass.hidden(in.logits, hidden);
    copy_out(model.stream, batch.hidden, model.buffers.hidden.data(),
             uint64_t{hidden} * model.config.d_model * sizeof(float));
  }
  for (uint32_t first = 0; first < in.logits; first += SKINNY_ROWS) {
    const uint32_t n = std::min<uint32_t>(SKINNY_ROWS, in.logits - first);
    pass.head(first, n);
    deliver(model, batch, first, n);
  }
  model.stream.wait();
}

}  // namespace

void run_batch(InferModel& model, const DeviceBatch& batch, const int32_t* cancel) {
  require(!is_cancelled(cancel), MG_E_CANCELLED, "cancelled");
  use_device(model.device);
  const std::lock_guard lock(model.mutex);
  PassInputs in(batch.rows, batch.n, batch.tables, batch.starts, batch.pools);
  if (in.is_decode() && batch.n <= SKINNY_ROWS)
    run_decode(model, batch, in);
  else
    run_rows(model, batch, in);
}

}  // namespace magnet::gpu
