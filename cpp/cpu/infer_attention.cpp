// The attention part of a forward pass: rotary positions, the KV cache, and causal attention of
// each row over its own session.
#include "infer_pass.hpp"

#include <algorithm>
#include <cmath>

#include "infer_llamacpp.hpp"
#include "math.hpp"

namespace magnet {

/** Cosine and sine of every row's angles. */
void Pass::rotary() {
  const uint32_t half = c_.head_dim / 2;
  for_rows([&](uint32_t t) {
    float* cosine = s_.cosine.data() + uint64_t{t} * half;
    float* sine = s_.sine.data() + uint64_t{t} * half;
    if (llamacpp_) return llamacpp::rotary(rows_[t].position, c_.rope_theta, half, cosine, sine);
    for (uint32_t j = 0; j < half; j++) {
      const SinCos at =
          sincos_fixed(static_cast<double>(rows_[t].position) * model_.inverse_frequency[j]);
      cosine[j] = static_cast<float>(at.cos);
      sine[j] = static_cast<float>(at.sin);
    }
  });
}

/** Rotates queries and keys in place (half-split pairs) and appends keys and values to the caches.
 */
void Pass::store_and_rotate(uint32_t index) {
  const uint32_t half = c_.head_dim / 2;
  const auto rotate = [&](float* x, uint32_t t) {
    const float* cosine = s_.cosine.data() + uint64_t{t} * half;
    const float* sine = s_.sine.data() + uint64_t{t} * half;
    if (llamacpp_) return llamacpp::rotate(x, cosine, sine, half, c_.variant == 0);
    for (uint32_t j = 0; j < half; j++) {
      const float a = x[j];
      const float b = x[j + half];
      x[j] = a * cosine[j] - b * sine[j];
      x[j + half] = b * cosine[j] + a * sine[j];
    }
  };
  for_rows([&](uint32_t t) {
    float* q = s_.q.data() + uint64_t{t} * q_width_;
    float* k = s_.k.data() + uint64_t{t} * kv_width_;
    const float* v = s_.v.data() + uint64_t{t} * kv_width_;
    for (uint32_t h = 0; h < c_.n_heads; h++) rotate(q + h * c_.head_dim, t);
    for (uint32_t h = 0; h < c_.n_kv_heads; h++) rotate(k + h * c_.head_dim, t);
    if (llamacpp_) kernels_.round_half(q, q_width_);
    Session& session = *rows_[t].session;
    const uint64_t at = (uint64_t{index} * session.context + rows_[t].position) * kv_width_;
    if (session.cache.k16 != nullptr) {
      kernels_.to_half_row(k, kv_width_, session.cache.k16.get() + at);
      kernels_.to_half_row(v, kv_width_, session.cache.v16.get() + at);
    } else {
      std::copy_n(k, kv_width_, session.cache.k32.get() + at);
      std::copy_n(v, kv_width_, session.cache.v32.get() + at);
    }
  });
}

/** llama.cpp sums over all positions of its cache, 256 at a time: those behind the last token weigh
 * 0. Here the row ends at the next multiple of 32, which gives the same lanes. */
void Pass::attend_head_llamacpp(const uint16_t* k, const uint16_t* v, const float* q,
                                uint32_t count, float* out) const {
  const uint32_t padded = (count + 31) / 32 * 32;
  std::vector<float> weights(padded);
  std::vector<uint16_t> column(padded);
  for (uint32_t p = 0; p < count; p++)
    weights[p] = kernels_.llamacpp.dot_half(k + uint64_t{p} * kv_width_, q, c_.head_dim);
  kernels_.llamacpp.softmax(weights.data(), 1.0f / std::sqrt(static_cast<float>(c_.head_dim)),
                            count);
  kernels_.round_half(weights.data(), count);
  for (uint32_t j = 0; j < c_.head_dim; j++) {
    for (uint32_t p = 0; p < count; p++) column[p] = v[uint64_t{p} * kv_width_ + j];
    out[j] = kernels_.llamacpp.dot_half(column.data(), weights.data(), padded);
  }
}

void Pass::attend_head(uint32_t index, uint32_t t, uint32_t head, std::vector<float>& weights) {
  const Session& session = *rows_[t].session;
  const uint32_t count = rows_[t].position + 1;
  const uint32_t kv_head = head / (c_.n_heads / c_.n_kv_heads);
  const uint64_t start =
      uint64_t{index} * session.context * kv_width_ + uint64_t{kv_head} * c_.head_dim;
  const float* q = s_.q.data() + uint64_t{t} * q_width_ + uint64_t{head} * c_.head_dim;
  float* out = s_.attention.data() + uint64_t{t} * q_width_ + uint64_t{head} * c_.head_dim;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c_.head_dim));
  const KvCache& cache = session.cache;
  if (llamacpp_)
    return attend_head_llamacpp(cache.k16.get() + start, cache.v16.get() + start, q, count, out);
  weights.resize(count);
  for (uint32_t p = 0; p < count; p++) {
    const uint64_t at = start + uint64_t{p} * kv_width_;
    weights[p] = cache.k16 != nullptr ? kernels_.dot_half(cache.k16.get() + at, q, c_.head_dim)
                                      : kernels_.dot(cache.k32.get() + at, q, c_.head_dim);
  }
  kernels_.softmax(weights.data(), scale, count);
  if (cache.v16 != nullptr)
    kernels_.weighted_half(cache.v16.get() + start, kv_width_, weights.data(), count, c_.head_dim,
                           out);
  else
    kernels_.weighted(cache.v32.get() + start, kv_width_, weights.data(), count, c_.head_dim, out);
}

void Pass::attend(uint32_t index) {
  parallel_for(model_.threads, int64_t{n_} * c_.n_heads, [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<float> weights;
    for (int64_t i = begin; i < end; i++)
      attend_head(index, static_cast<uint32_t>(i / c_.n_heads),
                  static_cast<uint32_t>(i % c_.n_heads), weights);
  });
}

}  // namespace magnet
