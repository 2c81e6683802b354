// An inference model on one GPU, the buffers of its passes, and pools of cached keys and values: the
// twins of cpp/cpu/infer_model.hpp and infer_kv.hpp. A model's calls run one at a time, in its stream.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "../../cpu/infer_model.hpp"
#include "../kernels/infer_fused.hpp"
#include "draws.hpp"
#include "inputs.hpp"
#include "weights.hpp"

namespace magnet::gpu {

struct DeviceLayer {
  DeviceArray<float> attn_norm, ffn_norm;
  DeviceArray<float> attn_sub_norm, ffn_sub_norm;  // without data in the llama variant
  DeviceTernary qkv, o, gate_up, down;
};

/** Activations of up to MG_BATCH_ROWS rows, and of SKINNY_ROWS rows of the head. */
struct PassBuffers {
  PassBuffers(const Stream& stream, const mg_model_config& config, const HeadWeight& head);
  DeviceMatrix<float> x, qkv, attention, h;
  DeviceMatrix<fp16> queries;
  DeviceArray<int8_t> codes;  // of the widest input
  DeviceArray<float> inverse;
  DeviceArray<int32_t> sums;
  DeviceArray<unsigned char> planes;
  DeviceArray<float> plane_scales, logits, hidden;
  TopBuffers tops;  // of the logits
  WishBuffers wishes;
  /** Codes of `rows` rows of an input of so many columns. */
  CodeTarget target(int64_t rows, int64_t columns) const;
};

/** What a captured decode step is good for. */
struct DecodeShape {
  uint32_t rows;
  uint32_t last_position;
  auto operator<=>(const DecodeShape&) const = default;
};

struct InferModel : LiveHandle {
  /** Of a model on the host, which may go afterwards, on the calling thread's device. */
  InferModel(const Model& host, int device, uint32_t head);

  const int device;
  const mg_model_config config;
  const GateFunction activation;
  std::mutex mutex;  // of whatever runs in the stream
  Stream stream;
  std::vector<DeviceLayer> layers;
  DeviceArray<float> norm;
  DeviceHead embedding;
  DeviceArray<fp16> embedding_lost;  // of float32 checkpoints; it is looked up and never multiplied
  DeviceHead own_head;  // where the head is not the embedding
  DeviceArray<float> cosines, sines;
  PassBuffers buffers;
  InputBuffers inputs;
  DeviceArray<fp16> spare_blocks;  // rows that only fill up a batch write them
  PinnedArray<float> pinned_logits;  // made when they are first asked for

  /** Decode steps, whatever pools their sequences lie in. */
  std::map<DecodeShape, std::unique_ptr<Graph>> graphs;

  KvCache cache() const { return {config.n_layers, config.n_kv_heads, config.head_dim}; }
  const DeviceHead& head() const { return own_head.weight.rows == 0 ? embedding : own_head; }
  /** Read for one decoded token. */
  uint64_t bytes_weights() const;
};

/** The model behind a handle of the C ABI. */
const std::shared_ptr<InferModel>& infer_model_of(void* handle);
/** Throws MG_E_UNSUPPORTED for what only the CPU computes. */
void check_infer_rounding(uint32_t rounding);

class KvDevicePool : public LiveHandle {
 public:
  KvDevicePool(std::shared_ptr<InferModel> model, uint32_t blocks, uint32_t kv_bits);
  /** When nothing runs any more that uses it. */
  ~KvDevicePool();
  KvDevicePool(const KvDevicePool&) = delete;
  KvDevicePool& operator=(const KvDevicePool&) = delete;

  uint32_t blocks() const { return blocks_; }
  fp16* data() const { return memory_.data(); }
  uint64_t block_bytes() const { return cache_.block() * sizeof(fp16); }
  InferModel& model() const { return *model_; }
  /** Throws MG_E_INVALID where the pool was made for a model of another shape or device. */
  void check_fits(const InferModel& model) const;

 private:
  std::shared_ptr<InferModel> model_;
  uint32_t blocks_;
  KvCache cache_;
  DeviceArray<fp16> memory_;
};

KvDevicePool& device_pool_of(void* handle);

}  // namespace magnet::gpu
