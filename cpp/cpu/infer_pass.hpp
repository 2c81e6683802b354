// One forward pass over a chunk of rows, its buffers, and the order of its steps. Private to
// infer_forward.cpp, infer_linear.cpp and infer_attention.cpp.
#pragma once
#include <initializer_list>
#include <vector>

#include "aligned_buffer.hpp"
#include "infer_attention.hpp"
#include "infer_forward.hpp"
#include "infer_kernels.hpp"
#include "infer_scratch.hpp"

namespace magnet {

/** y (n, w's rows) = x w^T for the pass's input x. */
struct Product {
  const Linear& w;
  float* y;
};

class Pass {
 public:
  Pass(const Model& model, uint32_t rounding, Team& team, Scratch& scratch,
       const int32_t* cancel);
  /** The layers, for a chunk of rows. Normed last states go to `hidden`, which moves on, or wait
   * for the head. */
  void layers(const Row* rows, uint32_t n, float*& hidden);
  uint32_t outputs() const { return outputs_; }
  /** The head of some of what has been collected: (n, vocab). */
  void head(uint64_t first, uint32_t n, float* logits);

 private:
  void embed(uint32_t t);
  void rotary(uint32_t t);
  void layer(uint32_t index, bool last);
  void norm_row(const float* x, const std::vector<float>& w, uint32_t n, float* y) const;
  void feed_forward(const Layer& l);
  void collect(float*& hidden);

  void head_packed(const float* x, float* logits);
  void head_as_llamacpp(const float* x, float* logits);
  void begin_input(float* x, uint32_t cols);
  void prepare_row(uint32_t t, const float* x, const std::vector<float>& w);
  void multiply(std::initializer_list<Product> products);
  void multiply_as_llamacpp(const Product& product);
  const float* rounded_input(const DenseMatrix& w);
  void product_panels(const Linear& w, const float* x, uint64_t begin, uint64_t end,
                      float* y) const;

  void cut_tiles();
  bool is_uneven() const;
  void attention(uint32_t index);
  void rotate(float* x, uint32_t t) const;
  void store_row(uint32_t index, uint32_t t, uint32_t kv_head);
  float* rotated_queries(uint32_t first, uint32_t rows, uint32_t kv_head) const;
  template <class E>
  void attend(uint32_t index, const Tile& tile, uint32_t kv_head);
  template <class E>
  void begin_split(uint32_t index, std::vector<AttentionTask<E>>& tasks);
  template <class E>
  void attend_split(uint32_t index);
  void attend_llamacpp(uint32_t index, const Tile& tile, uint32_t kv_head);

  /** fn(t) for every row. A single one is not worth a stage. */
  template <class F>
  void for_rows(const F& fn) {
    if (n_ == 1) return fn(uint32_t{0});
    team_.each(n_, 1, [&](uint64_t begin, uint64_t end) {
      for (uint64_t t = begin; t < end; t++) fn(static_cast<uint32_t>(t));
    });
  }

  const Model& model_;
  const mg_model_config& c_;
  const bool llamacpp_;
  const int32_t* cancel_;
  Team& team_;
  const Kernels& kernels_;
  Scratch& s_;
  const uint32_t q_width_, kv_width_;
  const Row* rows_ = nullptr;
  uint32_t n_ = 0;
  uint32_t outputs_ = 0;
  bool lone_tiles_ = false;  // no sequence has rows in two blocks
  bool splits_ = false;      // threads share the attention of single rows
  float* input_ = nullptr;  // of the products that follow: (n, input_cols_)
  uint32_t input_cols_ = 0;
  Int8Rows int8_;
};

}  // namespace magnet
