// Pools of KV blocks, and their exports (mg_kv_*).
#include "infer_kv.hpp"

#include "infer_model.hpp"

namespace magnet {
namespace {

constexpr uint64_t PAGE = 4096;
/** No machine holds more; below it no product of sizes overflows. */
constexpr uint64_t POOL_BYTES_MAX = 1ull << 46;

constexpr uint64_t round_up(uint64_t n, uint64_t step) { return (n + step - 1) / step * step; }

}  // namespace

KvPool::KvPool(const Model& model, uint32_t blocks, uint32_t kv_bits)
    : blocks_(blocks),
      bits_(kv_bits),
      layers_(model.config.n_layers),
      kv_heads_(model.config.n_kv_heads),
      head_dim_(model.config.head_dim),
      value_stride_(static_cast<uint32_t>(round_up(model.config.head_dim, 16))),
      slice_bytes_((uint64_t{head_dim_} + value_stride_) * MG_KV_BLOCK * (kv_bits / 8)),
      // Whole pages, so that a block can be given back by itself.
      block_bytes_(round_up(uint64_t{layers_} * kv_heads_ * slice_bytes_, PAGE)) {
  require(blocks >= 1, MG_E_INVALID, "a KV pool has at least one block");
  if (blocks > POOL_BYTES_MAX / block_bytes_)
    fail(MG_E_MEMORY, "a KV pool of %u blocks of %llu bytes is beyond every machine", blocks,
         static_cast<unsigned long long>(block_bytes_));
  memory_ = std::make_unique<Mapping>(blocks * block_bytes_, "cached keys and values");
  data_ = memory_->as<uint8_t>();
}

void KvPool::check_fits(const Model& model) const {
  const mg_model_config& c = model.config;
  require(c.n_layers == layers_ && c.n_kv_heads == kv_heads_ && c.head_dim == head_dim_,
          MG_E_INVALID, "the KV pool was made for a model of another shape");
}

void KvPool::release(uint32_t block) const {
  madvise(data_ + block * block_bytes_, block_bytes_, MADV_DONTNEED);
}

KvPool& kv_pool_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the KV pool's handle is null");
  return *static_cast<KvPool*>(handle);
}

}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_kv_create(void* model, uint32_t blocks, uint32_t kv_bits, void** out_pool) {
  return guard([&] {
    require(out_pool != nullptr, MG_E_INVALID, "mg_kv_create: null argument");
    require(kv_bits == 16 || kv_bits == 32, MG_E_INVALID, "mg_kv_create: kv_bits is 16 or 32");
    *out_pool = std::make_unique<KvPool>(*model_of(model), blocks, kv_bits).release();
    return int32_t{MG_OK};
  });
}

int32_t mg_kv_free(void* pool) {
  return guard([&] {
    delete static_cast<KvPool*>(pool);
    return int32_t{MG_OK};
  });
}

int32_t mg_kv_block_bytes(void* pool, uint64_t* out_bytes) {
  return guard([&] {
    require(out_bytes != nullptr, MG_E_INVALID, "mg_kv_block_bytes: null argument");
    *out_bytes = kv_pool_of(pool).block_bytes();
    return int32_t{MG_OK};
  });
}

int32_t mg_kv_release(void* pool, const uint32_t* blocks, uint64_t n) {
  return guard([&] {
    const KvPool& p = kv_pool_of(pool);
    require(blocks != nullptr || n == 0, MG_E_INVALID, "mg_kv_release: null argument");
    for (uint64_t i = 0; i < n; i++)
      if (blocks[i] >= p.blocks())
        fail(MG_E_INVALID, "mg_kv_release: block %u of a pool of %u", blocks[i], p.blocks());
    for (uint64_t i = 0; i < n; i++) p.release(blocks[i]);
    return int32_t{MG_OK};
  });
}
}
