// What a model is made of: the checked configuration and the canonical order of tensors in the
// arena.
#pragma once
#include <string>
#include <vector>

#include "common.hpp"

namespace magnet {

struct Tensor {
  std::string name;
  uint64_t offset;
  uint32_t rows;
  uint32_t cols;
  bool is_matrix;
  bool is_ternary;
  uint64_t size() const { return static_cast<uint64_t>(rows) * cols; }
};

/** Offsets into the arena of one block; NONE where the variant has no such tensor. */
struct LayerOffsets {
  static constexpr uint64_t NONE = ~uint64_t{0};
  uint64_t input_norm, q, k, v, attn_sub_norm, o, post_norm, gate, up, ffn_sub_norm, down;
};

struct ModelLayout {
  std::vector<Tensor> tensors;
  std::vector<LayerOffsets> layers;
  uint64_t embedding = 0;
  uint64_t final_norm = 0;
  uint64_t count = 0;
};

/** Throws MG_E_INVALID or MG_E_SHAPE with the field, its value and its limit. */
void check_config(const mg_model_config* config);
/** Canonical order, see magnet.h. The configuration must have been checked. */
ModelLayout model_layout(const mg_model_config& config);

}  // namespace magnet
