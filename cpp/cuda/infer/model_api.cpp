// mg_infer_* and mg_kv_* of libmagnet_cuda. `threads` is the index of the GPU here.
#include "../../cpu/gguf.hpp"
#include "../../cpu/thread_pool.hpp"
#include "model.hpp"

using namespace magnet;
using namespace magnet::gpu;

namespace {

/** The host's model goes when its weights are on the GPU. */
void* handle_of(const Model& host, uint32_t device, uint32_t head) {
  auto model = std::make_shared<InferModel>(host, static_cast<int>(device), head);
  return new std::shared_ptr<InferModel>(std::move(model));
}

void check_device(uint32_t device) {
  require(device <= 1u << 16, MG_E_INVALID, "mg_infer: no GPU has this index");
  use_device(static_cast<int>(device));
}

}  // namespace

extern "C" {

int32_t mg_infer_from_params(const mg_model_config* config, const float* params, uint64_t n,
                             uint32_t threads, void** out_model) {
  return guard([&] {
    const FloatEnvironment environment;
    require(config != nullptr && params != nullptr && out_model != nullptr, MG_E_INVALID,
            "mg_infer_from_params: null argument");
    check_device(threads);
    const auto host = model_from_params(*config, params, n, resolve_threads(0));
    *out_model = handle_of(*host, threads, MG_HEAD_FILE);
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_from_gguf(void* file, uint32_t threads, uint32_t head, void** out_model) {
  return guard([&] {
    const FloatEnvironment environment;
    require(out_model != nullptr, MG_E_INVALID, "mg_infer_from_gguf: null argument");
    require(head <= MG_HEAD_INT4, MG_E_INVALID, "mg_infer_from_gguf: head is 0, 1 or 2");
    check_device(threads);
    // The head is rounded on its way to the GPU.
    const auto host = model_from_gguf(gguf_of(file), resolve_threads(0), MG_HEAD_FILE);
    *out_model = handle_of(*host, threads, head);
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_free(void* model) {
  return guard([&] {
    if (model == nullptr) return int32_t{MG_OK};
    use_device(infer_model_of(model)->device);
    delete static_cast<std::shared_ptr<InferModel>*>(model);
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_config(void* model, mg_model_config* out) {
  return guard([&] {
    require(out != nullptr, MG_E_INVALID, "mg_infer_config: null argument");
    *out = infer_model_of(model)->config;
    return int32_t{MG_OK};
  });
}

int32_t mg_infer_bytes(void* model, uint64_t* out_bytes_weights) {
  return guard([&] {
    require(out_bytes_weights != nullptr, MG_E_INVALID, "mg_infer_bytes: null argument");
    *out_bytes_weights = infer_model_of(model)->bytes_weights();
    return int32_t{MG_OK};
  });
}

int32_t mg_kv_create(void* model, uint32_t blocks, uint32_t kv_bits, void** out_pool) {
  return guard([&] {
    require(out_pool != nullptr, MG_E_INVALID, "mg_kv_create: null argument");
    require(kv_bits == 16 || kv_bits == 32, MG_E_INVALID, "mg_kv_create: kv_bits is 16 or 32");
    const std::shared_ptr<InferModel>& m = infer_model_of(model);
    use_device(m->device);
    *out_pool = std::make_unique<KvDevicePool>(m, blocks, kv_bits).release();
    return int32_t{MG_OK};
  });
}

int32_t mg_kv_free(void* pool) {
  return guard([&] {
    if (pool == nullptr) return int32_t{MG_OK};
    use_device(device_pool_of(pool).model().device);
    delete static_cast<KvDevicePool*>(pool);
    return int32_t{MG_OK};
  });
}

int32_t mg_kv_block_bytes(void* pool, uint64_t* out_bytes) {
  return guard([&] {
    require(out_bytes != nullptr, MG_E_INVALID, "mg_kv_block_bytes: null argument");
    *out_bytes = device_pool_of(pool).block_bytes();
    return int32_t{MG_OK};
  });
}

/** Memory of a GPU is taken when the pool is made and stays until it goes. */
int32_t mg_kv_release(void* pool, const uint32_t* blocks, uint64_t n) {
  return guard([&] {
    const KvDevicePool& p = device_pool_of(pool);
    require(blocks != nullptr || n == 0, MG_E_INVALID, "mg_kv_release: null argument");
    for (uint64_t i = 0; i < n; i++)
      if (blocks[i] >= p.blocks())
        fail(MG_E_INVALID, "mg_kv_release: block %u of a pool of %u", blocks[i], p.blocks());
    return int32_t{MG_OK};
  });
}
}
