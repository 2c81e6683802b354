// One forward pass over a batch of rows, its buffers, and the order of its steps. Private to
// infer_forward.cpp and infer_attention.cpp.
#pragma once
#include <vector>

#include "infer_kernels.hpp"
#include "infer_session.hpp"
#include "thread_pool.hpp"

namespace magnet {

/** Buffers of one pass, sized for its rows. */
struct Scratch {
  std::vector<float> x, norm, q, k, v, attention, gate, up, delta, rounded, cosine, sine;
  std::vector<int8_t> q8;
  std::vector<int16_t> sums16;
  std::vector<float> block_scale, scale;
  std::vector<int32_t> sum;
};

class Pass {
 public:
  Pass(const Model& model, uint32_t rounding, const std::vector<Row>& rows, const int32_t* cancel);
  void run();

 private:
  void embed();
  void rotary();
  void layer(uint32_t index);
  void attention_block(const Layer& l, uint32_t index);
  void feed_forward_block(const Layer& l);
  void store_and_rotate(uint32_t index);
  void attend(uint32_t index);
  void attend_head(uint32_t index, uint32_t t, uint32_t head, std::vector<float>& weights);
  void attend_head_llamacpp(const uint16_t* k, const uint16_t* v, const float* q, uint32_t count,
                            float* out) const;
  void norm_row(const float* x, const std::vector<float>& w, uint32_t n, float* y) const;
  void quantize_rows(const float* x, uint32_t n);
  void multiply(const Linear& w, const float* x, float* y);
  void multiply_dense(const DenseMatrix& w, const float* x, float* y);
  float dense_dot(const DenseMatrix& w, uint64_t r, const float* x) const;
  void add_delta();
  void logits();
  template <class F>
  void for_rows(F&& f) {
    parallel_for(model_.threads, n_, [&](int64_t begin, int64_t end, uint32_t) {
      for (auto t = static_cast<uint32_t>(begin); t < static_cast<uint32_t>(end); t++) f(t);
    });
  }

  const Model& model_;
  const mg_model_config& c_;
  const bool llamacpp_;
  const std::vector<Row>& rows_;
  const int32_t* cancel_;
  const Kernels& kernels_;
  const uint32_t n_;
  const uint32_t q_width_, kv_width_;
  Scratch s_;
  Int8Rows int8_;
};

}  // namespace magnet
