// An inference model: packed ternary matrices, norms, and dense matrices for embedding and head.
// Built once (from a latent arena or a GGUF file), immutable afterwards, shared by its
// sessions.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common.hpp"
#include "dense_matrix.hpp"
#include "infer_scratch.hpp"
#include "live_handle.hpp"
#include "packed_head.hpp"
#include "packed_ternary.hpp"

namespace magnet {

/** A projection. A float tensor whose values are all 0 or +-a is held both ways: packed for the
 * training arithmetic, dense for llama.cpp's. */
struct Linear {
  PackedTernary ternary;
  DenseMatrix dense;
  uint32_t rows() const { return ternary.rows != 0 ? ternary.rows : dense.rows; }
};

struct Layer {
  std::vector<float> attn_norm, ffn_norm;
  std::vector<float> attn_sub_norm, ffn_sub_norm;  // empty in the llama variant
  Linear q, k, v, o, gate, up, down;
};

/** Between the gate and the up projection: silu(g) * u, or relu(g)^2 * u. */
enum class Activation { silu, relu_squared };

struct Model : LiveHandle {
  mg_model_config config{};
  Activation activation = Activation::silu;
  DenseMatrix embedding;
  DenseMatrix head;        // empty: tied to the embedding
  PackedHead packed_head;  // the head in panels, where it is
  std::vector<Layer> layers;
  std::vector<float> norm;
  std::vector<double> inverse_frequency;  // (head_dim / 2), theta^(-2j/hd)
  bool from_gguf = false;
  bool has_block_scales = false;  // some matrix has a scale per block
  uint32_t threads = 0;
  mutable ScratchShelf scratch;

  /** Its data may be null: then the packed head is all there is. */
  const DenseMatrix& head_matrix() const { return head.empty() ? embedding : head; }
  bool embedding_is_packed() const { return embedding.data == nullptr; }
};

/** Fills what follows from the config (rotary frequencies). */
void finish_model(Model& model);

std::shared_ptr<Model> model_from_params(const mg_model_config& config, const float* params,
                                         uint64_t n, uint32_t threads);
struct GgufFile;
/** head: MG_HEAD_*. */
std::shared_ptr<Model> model_from_gguf(const GgufFile& file, uint32_t threads, uint32_t head);
/** The model behind a handle of the C ABI. */
const std::shared_ptr<Model>& model_of(void* handle);

}  // namespace magnet
