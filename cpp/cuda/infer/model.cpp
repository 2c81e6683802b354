// See model.hpp.
#include "model.hpp"

#include <algorithm>

#include "../../cpu/rope_tables.hpp"

namespace magnet::gpu {
namespace {

const PackedTernary& ternary_of(const Linear& linear) {
  require(linear.ternary.rows != 0, MG_E_UNSUPPORTED,
          "a GPU runs ternary models: this one has projections that are not; take the CPU");
  require(linear.ternary.block_scales.empty(), MG_E_UNSUPPORTED,
          "a GPU runs ternary matrices with one scale: a tensor of this file has several; take "
          "the CPU");
  return linear.ternary;
}

std::vector<DeviceLayer> upload_layers(const Stream& stream, const Model& host) {
  std::vector<DeviceLayer> layers;
  for (const Layer& l : host.layers) {
    DeviceLayer out;
    out.attn_norm = upload_floats(stream, l.attn_norm);
    out.ffn_norm = upload_floats(stream, l.ffn_norm);
    out.attn_sub_norm = upload_floats(stream, l.attn_sub_norm);
    out.ffn_sub_norm = upload_floats(stream, l.ffn_sub_norm);
    out.qkv = upload_stacked(stream, {&ternary_of(l.q), &ternary_of(l.k), &ternary_of(l.v)});
    out.o = upload_stacked(stream, {&ternary_of(l.o)});
    out.gate_up = upload_gated(stream, ternary_of(l.gate), ternary_of(l.up));
    out.down = upload_stacked(stream, {&ternary_of(l.down)});
    layers.push_back(std::move(out));
  }
  return layers;
}

std::function<void(uint32_t row, float* out)> rows_of(const Model& host, const DenseMatrix& m) {
  return [&](uint32_t r, float* out) {
    if (m.data == nullptr)
      head_row(host.packed_head, r, out);
    else
      dense_row(m, r, out);
  };
}

DeviceHead upload_matrix(const Stream& stream, const Model& host, const DenseMatrix& m,
                         HeadKind kind) {
  return upload_head(stream, kind, m.rows, m.cols, rows_of(host, m));
}

DeviceArray<fp16> upload_embedding_lost(const Stream& stream, const Model& host) {
  const DenseMatrix& m = host.embedding;
  return upload_lost(stream, m.rows, m.cols, rows_of(host, m));
}

DeviceHead upload_own_head(const Stream& stream, const Model& host, uint32_t head) {
  if (head == MG_HEAD_INT4) return upload_matrix(stream, host, host.head_matrix(), HeadKind::int4);
  if (head == MG_HEAD_INT8) return upload_matrix(stream, host, host.head_matrix(), HeadKind::int8);
  return host.head.empty() ? DeviceHead{} : upload_matrix(stream, host, host.head, HeadKind::fp16);
}

int64_t widest(const mg_model_config& c) {
  return std::max({int64_t{c.d_model}, int64_t{c.d_ff}, int64_t{c.n_heads} * c.head_dim});
}

int64_t query_width(const mg_model_config& c) {
  return int64_t{c.n_heads} * KvCache{c.n_layers, c.n_kv_heads, c.head_dim}.width();
}

}  // namespace

PassBuffers::PassBuffers(const Stream& stream, const mg_model_config& c, const HeadWeight& head)
    : x(stream, MG_BATCH_ROWS, c.d_model),
      qkv(stream, MG_BATCH_ROWS, int64_t{c.n_heads + 2 * c.n_kv_heads} * c.head_dim),
      attention(stream, MG_BATCH_ROWS, int64_t{c.n_heads} * c.head_dim),
      h(stream, MG_BATCH_ROWS, c.d_ff),
      queries(stream, MG_BATCH_ROWS, query_width(c)),
      codes(static_cast<uint64_t>(MG_BATCH_ROWS * chunks_of(widest(c)) * CHUNK_BYTES)),
      inverse(MG_BATCH_ROWS),
      sums(MG_BATCH_ROWS),
      planes(static_cast<uint64_t>(SKINNY_ROWS * 2 * head.chunks() * CHUNK_BYTES)),
      plane_scales(SKINNY_ROWS),
      logits(uint64_t{SKINNY_ROWS} * c.vocab_size),
      hidden(uint64_t{MG_BATCH_ROWS} * c.d_model),
      tops(c.vocab_size),
      wishes(c.vocab_size) {}

CodeTarget PassBuffers::target(int64_t rows, int64_t columns) const {
  return {{codes.data(), rows, columns, chunks_of(columns) * CHUNK_BYTES}, inverse.data(),
          sums.data()};
}

InferModel::InferModel(const Model& host, int on_device, uint32_t head)
    : device(on_device),
      config(host.config),
      activation(host.activation == magnet::Activation::relu_squared ? GateFunction::relu_squared
                                                                     : GateFunction::silu),
      layers(upload_layers(stream, host)),
      norm(upload_floats(stream, host.norm)),
      embedding(upload_matrix(stream, host, host.embedding, HeadKind::fp16)),
      embedding_lost(upload_embedding_lost(stream, host)),
      own_head(upload_own_head(stream, host, head)),
      buffers(stream, config, this->head().weight),
      inputs(config.context),
      spare_blocks(PassInputs::SPARE_BLOCKS * cache().block()) {
  const RopeTables tables(config.context, config.head_dim, static_cast<double>(config.rope_theta));
  cosines = upload_floats(stream, tables.cos);
  sines = upload_floats(stream, tables.sin);
  stream.wait();
}

uint64_t InferModel::bytes_weights() const {
  uint64_t bytes = head().bytes() + norm.size() * sizeof(float);
  for (const DeviceLayer& l : layers) {
    for (const DeviceArray<float>* n :
         {&l.attn_norm, &l.ffn_norm, &l.attn_sub_norm, &l.ffn_sub_norm})
      bytes += n->size() * sizeof(float);
    for (const DeviceTernary* w : {&l.qkv, &l.o, &l.gate_up, &l.down}) bytes += w->bytes();
  }
  return bytes;
}

const std::shared_ptr<InferModel>& infer_model_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the model handle is null");
  return *static_cast<const std::shared_ptr<InferModel>*>(handle);
}

void check_infer_rounding(uint32_t rounding) {
  require(rounding <= MG_ROUNDING_LLAMACPP, MG_E_INVALID, "rounding is 0 or 1");
  require(rounding == MG_ROUNDING_BITNET, MG_E_UNSUPPORTED,
          "llamacpp rounding is the CPU's only: take --device cpu, or rounding bitnet");
}

KvDevicePool::KvDevicePool(std::shared_ptr<InferModel> model, uint32_t blocks, uint32_t kv_bits)
    : model_(std::move(model)), blocks_(blocks), cache_(model_->cache()) {
  require(kv_bits == 16, MG_E_UNSUPPORTED,
          "a GPU keeps keys and values in 16 bits; 32 are the CPU's");
  require(blocks >= 1, MG_E_INVALID, "a KV pool has at least one block");
  memory_ = DeviceArray<fp16>(uint64_t{blocks} * cache_.block());
}

KvDevicePool::~KvDevicePool() {
  const std::lock_guard lock(model_->mutex);
  memory_ = {};
}

void KvDevicePool::check_fits(const InferModel& model) const {
  const KvCache own = model.cache();
  require(own.layers == cache_.layers && own.kv_heads == cache_.kv_heads &&
              own.head_dim == cache_.head_dim && model.device == model_->device,
          MG_E_INVALID, "the KV pool was made for a model of another shape or GPU");
}

KvDevicePool& device_pool_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the KV pool's handle is null");
  return *static_cast<KvDevicePool*>(handle);
}

}  // namespace magnet::gpu
