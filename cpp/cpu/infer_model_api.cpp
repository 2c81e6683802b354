// Exports of inference models (mg_infer_*).
#include "gguf.hpp"
#include "infer_model.hpp"
#include "thread_pool.hpp"

namespace magnet {

const std::shared_ptr<Model>& model_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the model handle is null");
  return *static_cast<const std::shared_ptr<Model>*>(handle);
}

namespace {
uint64_t bytes_of(const Linear& l) {
  const PackedTernary& t = l.ternary;
  return t.rows != 0 ? packed_ternary_bytes(t.rows, t.cols) + t.block_scales.size() * 4
                     : l.dense.bytes();
}
}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_infer_from_params(const mg_model_config* config, const float* params, uint64_t n,
                             uint32_t threads, void** out_model) {
  return guard([&] {
    const FloatEnvironment environment;
    require(config != nullptr && params != nullptr && out_model != nullptr, MG_E_INVALID,
            "mg_infer_from_params: null argument");
    auto model = model_from_params(*config, params, n, resolve_threads(threads));
    *out_model = new std::shared_ptr<Model>(std::move(model));
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_from_gguf(void* file, uint32_t threads, uint32_t head, void** out_model) {
  return guard([&] {
    const FloatEnvironment environment;
    require(out_model != nullptr, MG_E_INVALID, "mg_infer_from_gguf: null argument");
    require(head <= MG_HEAD_INT4, MG_E_INVALID, "mg_infer_from_gguf: head is 0, 1 or 2");
    auto model = model_from_gguf(gguf_of(file), resolve_threads(threads), head);
    *out_model = new std::shared_ptr<Model>(std::move(model));
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_free(void* model) {
  return guard([&] {
    delete static_cast<std::shared_ptr<Model>*>(model);
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_config(void* model, mg_model_config* out) {
  return guard([&] {
    require(out != nullptr, MG_E_INVALID, "mg_infer_config: null argument");
    *out = model_of(model)->config;
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_bytes(void* model, uint64_t* out_bytes_weights) {
  return guard([&] {
    require(out_bytes_weights != nullptr, MG_E_INVALID, "mg_infer_bytes: null argument");
    const Model& m = *model_of(model);
    const PackedHead& head = m.packed_head;
    uint64_t bytes = head.empty() ? m.head_matrix().bytes()
                                  : packed_head_bytes(head.format, head.rows, head.cols);
    bytes += m.norm.size() * 4;
    for (const Layer& l : m.layers) {
      bytes += (l.attn_norm.size() + l.ffn_norm.size() + l.attn_sub_norm.size() +
                l.ffn_sub_norm.size()) *
               4;
      for (const Linear* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
        bytes += bytes_of(*w);
    }
    *out_bytes_weights = bytes;
    return int32_t{MG_OK};
  });
}
}
