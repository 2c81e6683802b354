// Model configuration: limits, tensor order of the parameter arena, reproducible initialisation.
#include "model.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "math.hpp"
#include "thread_pool.hpp"

static_assert(sizeof(mg_model_config) == 48);
static_assert(sizeof(mg_tensor_info) == 128);

namespace magnet {
namespace {

// Limits: every size below multiplies without overflow in 64 bits, and an integer dot product of a
// row (127 * K) stays exact in float32 (below 2^24) and in int32.
constexpr uint32_t VOCAB_MAX = 1u << 20;
constexpr uint32_t WIDTH_MAX = 1u << 16;
constexpr uint32_t LAYERS_MAX = 512;
constexpr uint32_t HEADS_MAX = 512;
constexpr uint32_t HEAD_DIM_MAX = 512;
constexpr uint32_t CONTEXT_MAX = 1u << 17;

void in_range(const char* name, uint32_t value, uint32_t low, uint32_t high) {
  if (value < low || value > high)
    fail(MG_E_INVALID, "model config: %s is %u, must be %u..%u", name, value, low, high);
}

uint64_t add(ModelLayout& layout, std::string name, uint32_t rows, uint32_t cols, bool ternary) {
  const uint64_t offset = layout.count;
  layout.tensors.push_back({std::move(name), offset, rows, cols, rows > 1 || ternary, ternary});
  layout.count += layout.tensors.back().size();
  return offset;
}

LayerOffsets add_layer(ModelLayout& layout, const mg_model_config& c, uint32_t layer) {
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  const uint32_t q_width = c.n_heads * c.head_dim;
  const uint32_t kv_width = c.n_kv_heads * c.head_dim;
  const bool sub_norms = c.variant == 1;
  auto norm = [&](const char* name, uint32_t n) { return add(layout, prefix + name, 1, n, false); };
  auto linear = [&](const char* name, uint32_t rows, uint32_t cols) {
    return add(layout, prefix + name, rows, cols, true);
  };
  LayerOffsets o;
  o.input_norm = norm("input_layernorm.weight", c.d_model);
  o.q = linear("self_attn.q_proj.weight", q_width, c.d_model);
  o.k = linear("self_attn.k_proj.weight", kv_width, c.d_model);
  o.v = linear("self_attn.v_proj.weight", kv_width, c.d_model);
  o.attn_sub_norm =
      sub_norms ? norm("self_attn.attn_sub_norm.weight", q_width) : LayerOffsets::NONE;
  o.o = linear("self_attn.o_proj.weight", c.d_model, q_width);
  o.post_norm = norm("post_attention_layernorm.weight", c.d_model);
  o.gate = linear("mlp.gate_proj.weight", c.d_ff, c.d_model);
  o.up = linear("mlp.up_proj.weight", c.d_ff, c.d_model);
  o.ffn_sub_norm = sub_norms ? norm("mlp.ffn_sub_norm.weight", c.d_ff) : LayerOffsets::NONE;
  o.down = linear("mlp.down_proj.weight", c.d_model, c.d_ff);
  return o;
}

/** Bijective mixing of 64 bits (the finaliser of SplitMix64). */
uint64_t mix(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/** Two independent standard normals from (key, counter), by Box-Muller. */
SinCos normal_pair(uint64_t key, uint64_t counter) {
  const uint64_t bits = mix(mix(counter * 0x9E3779B97F4A7C15ull + key) + key);
  const double u1 = (static_cast<double>(bits >> 32) + 0.5) * 0x1p-32;
  const double u2 = static_cast<double>(bits & 0xFFFF'FFFFull) * 0x1p-32;
  const double radius = std::sqrt(-2.0 * log_fixed(u1));
  const SinCos angle = sincos_fixed(6.283185307179586 * u2);
  return {radius * angle.sin, radius * angle.cos};
}

void init_tensor(const Tensor& tensor, uint64_t key, float* params) {
  float* const p = params + tensor.offset;
  if (!tensor.is_matrix) {
    std::fill(p, p + tensor.size(), 1.0f);
    return;
  }
  constexpr double STD = 0.02;
  const auto n = static_cast<int64_t>(tensor.size());
  const uint64_t tensor_key = mix(key ^ mix(tensor.offset + 1));
  parallel_for(resolve_threads(0), (n + 1) / 2, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++) {
      const SinCos pair = normal_pair(tensor_key, static_cast<uint64_t>(i));
      p[2 * i] = static_cast<float>(STD * pair.cos);
      if (2 * i + 1 < n) p[2 * i + 1] = static_cast<float>(STD * pair.sin);
    }
  });
}

}  // namespace

void check_config(const mg_model_config* config) {
  require(config != nullptr, MG_E_INVALID, "model config is null");
  const mg_model_config& c = *config;
  in_range("variant", c.variant, 0, 1);
  in_range("vocab_size", c.vocab_size, 2, VOCAB_MAX);
  in_range("d_model", c.d_model, 2, WIDTH_MAX);
  in_range("n_layers", c.n_layers, 1, LAYERS_MAX);
  in_range("n_heads", c.n_heads, 1, HEADS_MAX);
  in_range("n_kv_heads", c.n_kv_heads, 1, c.n_heads);
  in_range("head_dim", c.head_dim, 2, HEAD_DIM_MAX);
  in_range("d_ff", c.d_ff, 2, WIDTH_MAX);
  in_range("context", c.context, 1, CONTEXT_MAX);
  if (c.head_dim % 2 != 0)
    fail(MG_E_SHAPE, "model config: head_dim is %u, must be even (RoPE rotates pairs)", c.head_dim);
  if (c.n_heads % c.n_kv_heads != 0)
    fail(MG_E_SHAPE, "model config: n_heads %u is not a multiple of n_kv_heads %u", c.n_heads,
         c.n_kv_heads);
  if (c.n_heads * c.head_dim > WIDTH_MAX)
    fail(MG_E_SHAPE, "model config: n_heads * head_dim is %u, at most %u", c.n_heads * c.head_dim,
         WIDTH_MAX);
  if (!(c.rope_theta >= 1.0f && c.rope_theta <= 1e9f))
    fail(MG_E_INVALID, "model config: rope_theta is %g, must be 1..1e9", c.rope_theta);
  if (!(c.norm_eps > 0.0f && c.norm_eps <= 0.1f))
    fail(MG_E_INVALID, "model config: norm_eps is %g, must be above 0, at most 0.1", c.norm_eps);
  in_range("quantization", c.quantization, 0, 1);
}

ModelLayout model_layout(const mg_model_config& c) {
  ModelLayout layout;
  layout.embedding = add(layout, "model.embed_tokens.weight", c.vocab_size, c.d_model, false);
  for (uint32_t i = 0; i < c.n_layers; i++) layout.layers.push_back(add_layer(layout, c, i));
  layout.final_norm = add(layout, "model.norm.weight", 1, c.d_model, false);
  return layout;
}

}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_model_param_count(const mg_model_config* config, uint64_t* out_count) {
  return guard([&] {
    check_config(config);
    require(out_count != nullptr, MG_E_INVALID, "mg_model_param_count: out is null");
    *out_count = model_layout(*config).count;
    return int32_t{MG_OK};
  });
}

int32_t mg_model_tensor_count(const mg_model_config* config, uint32_t* out_count) {
  return guard([&] {
    check_config(config);
    require(out_count != nullptr, MG_E_INVALID, "mg_model_tensor_count: out is null");
    *out_count = static_cast<uint32_t>(model_layout(*config).tensors.size());
    return int32_t{MG_OK};
  });
}

int32_t mg_model_tensor_info(const mg_model_config* config, uint32_t index, mg_tensor_info* out) {
  return guard([&] {
    check_config(config);
    require(out != nullptr, MG_E_INVALID, "mg_model_tensor_info: out is null");
    const ModelLayout layout = model_layout(*config);
    const auto count = static_cast<uint32_t>(layout.tensors.size());
    if (index >= count) fail(MG_E_INVALID, "tensor %u of a model that has %u", index, count);
    const Tensor& tensor = layout.tensors[index];
    std::memset(out, 0, sizeof *out);
    std::snprintf(out->name, sizeof out->name, "%s", tensor.name.c_str());
    out->offset = tensor.offset;
    out->rows = tensor.rows;
    out->cols = tensor.cols;
    out->is_matrix = tensor.is_matrix ? 1 : 0;
    out->is_ternary = tensor.is_ternary ? 1 : 0;
    return int32_t{MG_OK};
  });
}

int32_t mg_model_init(const mg_model_config* config, uint64_t seed, float* params, uint64_t n) {
  return guard([&] {
    check_config(config);
    const FloatEnvironment environment;
    const ModelLayout layout = model_layout(*config);
    require(params != nullptr, MG_E_INVALID, "mg_model_init: params is null");
    if (n != layout.count)
      fail(MG_E_SHAPE, "the model has %llu parameters, the array %llu",
           static_cast<unsigned long long>(layout.count), static_cast<unsigned long long>(n));
    const uint64_t key = mix(seed + 0x6D61676E6574ull);
    for (const Tensor& tensor : layout.tensors) init_tensor(tensor, key, params);
    return int32_t{MG_OK};
  });
}
}
