// The memory of cached keys and values: blocks of 16 positions. A block holds, for every layer and
// kv head, the keys transposed (head_dim x 16 positions, so that a SIMD lane is a position) and the
// values as they come (16 x head_dim, rows padded to whole lanes). Who owns which block is the
// caller's business.
#pragma once
#include <cstdint>
#include <memory>

#include "live_handle.hpp"
#include "mapping.hpp"

namespace magnet {

struct Model;

class KvPool : public LiveHandle {
 public:
  KvPool(const Model& model, uint32_t blocks, uint32_t kv_bits);

  uint32_t blocks() const { return blocks_; }
  uint32_t bits() const { return bits_; }
  uint64_t block_bytes() const { return block_bytes_; }
  /** Numbers in a row of values: head_dim rounded up to whole lanes. */
  uint32_t value_stride() const { return value_stride_; }
  /** Throws MG_E_INVALID where the pool was made for a model of another shape. */
  void check_fits(const Model& model) const;

  /** Keys of a layer and kv head in a block: (head_dim, 16). E: uint16_t or float, as bits says. */
  template <class E>
  E* keys(uint32_t block, uint32_t layer, uint32_t head) const {
    return reinterpret_cast<E*>(slice(block, layer, head));
  }
  /** And values: (16, value_stride). */
  template <class E>
  E* values(uint32_t block, uint32_t layer, uint32_t head) const {
    return keys<E>(block, layer, head) + uint64_t{head_dim_} * MG_KV_BLOCK;
  }
  /** Gives a block's pages back; they read as zeros afterwards. */
  void release(uint32_t block) const;

 private:
  uint8_t* slice(uint32_t block, uint32_t layer, uint32_t head) const {
    return data_ + block * block_bytes_ + (uint64_t{layer} * kv_heads_ + head) * slice_bytes_;
  }

  uint32_t blocks_, bits_, layers_, kv_heads_, head_dim_, value_stride_;
  uint64_t slice_bytes_, block_bytes_;
  std::unique_ptr<Mapping> memory_;
  uint8_t* data_;
};

/** The pool behind a handle of the C ABI. */
KvPool& kv_pool_of(void* handle);

}  // namespace magnet
