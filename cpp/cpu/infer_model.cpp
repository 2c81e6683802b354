// Building an inference model from a latent arena, and the parts that both builders share.
#include "infer_model.hpp"

#include <algorithm>
#include <cmath>

#include "math.hpp"
#include "model.hpp"
#include "quants.hpp"
#include "thread_pool.hpp"

namespace magnet {

void finish_model(Model& model) {
  for (const Layer& l : model.layers)
    for (const Linear* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
      model.has_block_scales = model.has_block_scales || !w->ternary.block_scales.empty();
  const uint32_t half = model.config.head_dim / 2;
  const double log_theta = log_fixed(static_cast<double>(model.config.rope_theta));
  model.inverse_frequency.resize(half);
  for (uint32_t j = 0; j < half; j++)
    model.inverse_frequency[j] = exp_fixed(-2.0 * static_cast<double>(j) /
                                           static_cast<double>(model.config.head_dim) * log_theta);
}

namespace {

void require_finite(const float* x, uint64_t n, const std::string& name) {
  if (!std::all_of(x, x + n, [](float v) { return std::isfinite(v); }))
    fail(MG_E_NUMERIC, "%s holds NaN or infinity", name.c_str());
}

Linear pack_latent(const float* w, const Tensor& tensor, uint32_t threads) {
  Linear linear;
  require_finite(w, tensor.size(), tensor.name);
  linear.ternary = empty_packed(tensor.rows, tensor.cols);
  linear.ternary.scale = ternary_scale(w, tensor.size());
  parallel_for(threads, tensor.rows, [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<int8_t> trits(tensor.cols);
    for (auto r = static_cast<uint32_t>(begin); r < static_cast<uint32_t>(end); r++) {
      ternarize(w + uint64_t{r} * tensor.cols, tensor.cols, linear.ternary.scale, trits.data());
      set_packed_row(linear.ternary, r, trits.data());
    }
  });
  return linear;
}

}  // namespace

std::shared_ptr<Model> model_from_params(const mg_model_config& config, const float* params,
                                         uint64_t n, uint32_t threads) {
  check_config(&config);
  const ModelLayout layout = model_layout(config);
  if (n != layout.count)
    fail(MG_E_SHAPE, "the arena has %llu parameters, the configuration %llu",
         static_cast<unsigned long long>(n), static_cast<unsigned long long>(layout.count));
  auto model = std::make_shared<Model>();
  model->config = config;
  model->threads = threads;
  auto tensor_at = [&](uint64_t offset) -> const Tensor& {
    return *std::find_if(layout.tensors.begin(), layout.tensors.end(),
                         [&](const Tensor& t) { return t.offset == offset; });
  };
  auto floats = [&](uint64_t offset) {
    if (offset == LayerOffsets::NONE) return std::vector<float>{};
    const Tensor& t = tensor_at(offset);
    require_finite(params + offset, t.size(), t.name);
    return std::vector<float>(params + offset, params + offset + t.size());
  };
  auto dense = [&](uint64_t offset) {
    const Tensor& t = tensor_at(offset);
    require_finite(params + offset, t.size(), t.name);
    DenseMatrix m = empty_dense(MG_TYPE_F32, t.rows, t.cols);
    std::copy(params + offset, params + offset + t.size(), reinterpret_cast<float*>(m.data));
    return m;
  };
  auto linear = [&](uint64_t offset) {
    const Tensor& t = tensor_at(offset);
    if (config.quantization == 0) return pack_latent(params + offset, t, threads);
    return Linear{{}, dense(offset)};
  };
  model->embedding = dense(layout.embedding);
  model->norm = floats(layout.final_norm);
  for (const LayerOffsets& at : layout.layers)
    model->layers.push_back({floats(at.input_norm), floats(at.post_norm), floats(at.attn_sub_norm),
                             floats(at.ffn_sub_norm), linear(at.q), linear(at.k), linear(at.v),
                             linear(at.o), linear(at.gate), linear(at.up), linear(at.down)});
  finish_model(*model);
  return model;
}

}  // namespace magnet
