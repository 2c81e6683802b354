// mg_op_*: the kernels of training one by one, for the known-answer tests and for audits. Each
// calls exactly what the trainer calls.
#include <algorithm>
#include <vector>

#include "attention.hpp"
#include "bitlinear.hpp"
#include "embedding.hpp"
#include "gemm.hpp"
#include "loss.hpp"
#include "norm.hpp"
#include "odds_ratio.hpp"
#include "optimizer.hpp"
#include "swiglu.hpp"
#include "thread_pool.hpp"

using namespace magnet;

namespace {

/** Sizes of single ops are small; this bound keeps every product of two or three below 2^63. */
constexpr uint32_t SIZE_MAX_OP = 1u << 20;

template <class... Sizes>
void check_sizes(Sizes... sizes) {
  for (const uint32_t size : {sizes...})
    if (size < 1 || size > SIZE_MAX_OP) fail(MG_E_INVALID, "op: size %u, must be 1..2^20", size);
}

template <class... Pointers>
void check_pointers(Pointers... pointers) {
  require((... && (pointers != nullptr)), MG_E_INVALID, "op: null argument");
}

/** Quantised rows that own their memory. */
struct OwnedRows {
  OwnedRows(const float* x, int64_t rows, int64_t k)
      : q(static_cast<size_t>(rows * padded_codes(k))),
        inverse(static_cast<size_t>(rows)),
        sum(static_cast<size_t>(rows)) {
    for (int64_t i = 0; i < rows; i++)
      quantize_row(x + i * k, k, q.data() + i * padded_codes(k), &inverse[static_cast<size_t>(i)],
                   &sum[static_cast<size_t>(i)]);
  }
  QuantizedRows view() { return {q.data(), inverse.data(), sum.data()}; }
  std::vector<int8_t> q;
  std::vector<float> inverse;
  std::vector<int32_t> sum;
};

struct OwnedTernary {
  OwnedTernary(uint32_t threads, const float* w, int64_t count) : t(static_cast<size_t>(count)) {
    inverse = ternarize(threads, w, count, t.data());
    require(inverse == inverse, MG_E_NUMERIC, "op: weights hold NaN or infinity");
  }
  TernaryWeights view() const { return {t.data(), inverse}; }
  std::vector<int8_t> t;
  float inverse;
};

AttentionShape attention(uint32_t sequences, uint32_t context, uint32_t heads, uint32_t kv_heads,
                         uint32_t head_dim) {
  check_sizes(sequences, context, heads, kv_heads, head_dim);
  require(heads % kv_heads == 0, MG_E_SHAPE, "op: heads must be a multiple of kv_heads");
  const uint64_t rows = uint64_t{sequences} * context;
  require(rows <= SIZE_MAX_OP && uint64_t{heads} * head_dim <= SIZE_MAX_OP, MG_E_INVALID,
          "op: sequences * context and heads * head_dim must be at most 2^20 each");
  return {sequences, context, heads, kv_heads, head_dim};
}

template <class F>
int32_t op(F&& body) {
  return guard([&] {
    const FloatEnvironment environment;
    body();
    return int32_t{MG_OK};
  });
}

}  // namespace

extern "C" {

int32_t mg_op_gemm(uint32_t threads, uint32_t m, uint32_t n, uint32_t k, const float* a,
                   uint32_t a_transposed, const float* b, uint32_t b_transposed,
                   uint32_t accumulate, float* c) {
  return op([&] {
    check_sizes(m, n, k);
    check_pointers(a, b, c);
    const GemmLeft left = a_transposed != 0 ? GemmLeft{a, 1, m} : GemmLeft{a, k, 1};
    const GemmRight right = b_transposed != 0 ? GemmRight{b, 1, k} : GemmRight{b, n, 1};
    gemm(resolve_threads(threads), {m, n, k}, left, right, c, n, accumulate != 0);
  });
}

int32_t mg_op_rmsnorm(uint32_t threads, const float* x, const float* w, uint32_t rows, uint32_t n,
                      float eps, float* out) {
  return op([&] {
    check_sizes(rows, n);
    check_pointers(x, w, out);
    std::vector<float> r(rows);
    rmsnorm(resolve_threads(threads), x, w, rows, n, eps, out, r.data());
  });
}

int32_t mg_op_rmsnorm_backward(uint32_t threads, const float* x, const float* w, const float* dy,
                               uint32_t rows, uint32_t n, float eps, float* dx, float* dw) {
  return op([&] {
    check_sizes(rows, n);
    check_pointers(x, w, dy, dx, dw);
    std::vector<float> r(rows);
    std::vector<float> out(static_cast<size_t>(rows) * n);
    const uint32_t count = resolve_threads(threads);
    rmsnorm(count, x, w, rows, n, eps, out.data(), r.data());
    rmsnorm_backward(count, x, w, dy, r.data(), rows, n, false, dx, dw);
  });
}

int32_t mg_op_rope(uint32_t threads, float* x, uint32_t rows, uint32_t context, uint32_t heads,
                   uint32_t head_dim, float theta, uint32_t backward) {
  return op([&] {
    check_sizes(rows, context, heads, head_dim);
    check_pointers(x);
    require(head_dim % 2 == 0, MG_E_SHAPE, "op: head_dim must be even");
    const RopeTables tables(context, head_dim, static_cast<double>(theta));
    rope(resolve_threads(threads), tables, x, rows, context, heads, backward != 0);
  });
}

int32_t mg_op_swiglu(const float* gate, const float* up, uint64_t n, float* h) {
  return op([&] {
    check_pointers(gate, up, h);
    swiglu(gate, up, static_cast<int64_t>(n), h);
  });
}

int32_t mg_op_swiglu_backward(const float* gate, const float* up, const float* dh, uint64_t n,
                              float* dgate, float* dup) {
  return op([&] {
    check_pointers(gate, up, dh, dgate, dup);
    swiglu_backward(gate, up, dh, static_cast<int64_t>(n), dgate, dup);
  });
}

int32_t mg_op_gqa(uint32_t threads, const float* q, const float* k, const float* v,
                  uint32_t sequences, uint32_t context, uint32_t heads, uint32_t kv_heads,
                  uint32_t head_dim, float* o) {
  return op([&] {
    const AttentionShape shape = attention(sequences, context, heads, kv_heads, head_dim);
    check_pointers(q, k, v, o);
    std::vector<float> stats(size_t{2} * sequences * context * heads);
    attention_forward(resolve_threads(threads), shape, q, k, v, o, stats.data());
  });
}

int32_t mg_op_gqa_backward(uint32_t threads, const float* q, const float* k, const float* v,
                           const float* d_o, uint32_t sequences, uint32_t context, uint32_t heads,
                           uint32_t kv_heads, uint32_t head_dim, float* dq, float* dk, float* dv) {
  return op([&] {
    const AttentionShape shape = attention(sequences, context, heads, kv_heads, head_dim);
    check_pointers(q, k, v, d_o, dq, dk, dv);
    const size_t rows = size_t{sequences} * context;
    std::vector<float> stats(2 * rows * heads);
    std::vector<float> o(rows * heads * head_dim);
    const uint32_t count = resolve_threads(threads);
    attention_forward(count, shape, q, k, v, o.data(), stats.data());
    attention_backward(count, shape, q, k, v, stats.data(), d_o, dq, dk, dv);
  });
}

int32_t mg_op_bitlinear(uint32_t threads, const float* x, const float* w, uint32_t rows, uint32_t n,
                        uint32_t k, float* y, int8_t* w_ternary, float* w_inverse, int8_t* x_int8,
                        float* x_inverse) {
  return op([&] {
    check_sizes(rows, n, k);
    check_pointers(x, w, y, w_ternary, w_inverse, x_int8, x_inverse);
    const uint32_t count = resolve_threads(threads);
    OwnedRows q(x, rows, k);
    const OwnedTernary t(count, w, int64_t{n} * k);
    bitlinear_forward(count, q.view(), t.view(), rows, n, k, nullptr, y);
    std::copy(t.t.begin(), t.t.end(), w_ternary);
    *w_inverse = t.inverse;
    std::copy(q.inverse.begin(), q.inverse.end(), x_inverse);
    for (int64_t i = 0; i < rows; i++)
      std::copy_n(q.q.data() + i * padded_codes(k), k, x_int8 + i * k);
  });
}

int32_t mg_op_bitlinear_backward(uint32_t threads, const float* x, const float* w, const float* dy,
                                 uint32_t rows, uint32_t n, uint32_t k, float* dx, float* dw) {
  return op([&] {
    check_sizes(rows, n, k);
    check_pointers(x, w, dy, dx, dw);
    const uint32_t count = resolve_threads(threads);
    OwnedRows q(x, rows, k);
    const OwnedTernary t(count, w, int64_t{n} * k);
    bitlinear_backward(count, q.view(), t.view(), dy, rows, n, k, false, dx, dw);
  });
}

int32_t mg_op_cross_entropy(const float* logits, const int32_t* targets, uint32_t rows,
                            uint32_t vocab, double* out_loss, float* dlogits) {
  return op([&] {
    check_sizes(rows, vocab);
    check_pointers(logits, targets, out_loss, dlogits);
    uint32_t counted = 0;
    for (uint32_t i = 0; i < rows; i++) {
      const int32_t t = targets[i];
      const bool fits = t == IGNORED_TARGET || (t >= 0 && t < static_cast<int64_t>(vocab));
      if (!fits) fail(MG_E_INVALID, "op: target %d is outside the vocabulary", t);
      if (t != IGNORED_TARGET) counted++;
    }
    require(counted > 0, MG_E_INVALID, "op: no target is counted");
    const auto scale = static_cast<float>(1.0 / counted);
    double sum = 0.0;
    for (uint32_t i = 0; i < rows; i++) {
      float* const row = dlogits + size_t{i} * vocab;
      if (targets[i] == IGNORED_TARGET) {
        std::fill_n(row, vocab, 0.0f);
        continue;
      }
      std::copy_n(logits + size_t{i} * vocab, vocab, row);
      sum += cross_entropy_row(row, vocab, targets[i], scale);
    }
    *out_loss = sum / counted;
  });
}

int32_t mg_op_embed(const float* embedding, const int32_t* ids, uint32_t rows, uint32_t width,
                    uint32_t vocab, float* x) {
  return op([&] {
    check_sizes(rows, width, vocab);
    check_pointers(embedding, ids, x);
    for (uint32_t i = 0; i < rows; i++)
      require(ids[i] < static_cast<int64_t>(vocab), MG_E_INVALID, "op: id outside the vocabulary");
    embed(1, embedding, ids, rows, width, x);
  });
}

int32_t mg_op_embed_backward(const float* dx, const int32_t* ids, uint32_t rows, uint32_t width,
                             uint32_t vocab, float* dembedding) {
  return op([&] {
    check_sizes(rows, width, vocab);
    check_pointers(dx, ids, dembedding);
    for (uint32_t i = 0; i < rows; i++)
      require(ids[i] < static_cast<int64_t>(vocab), MG_E_INVALID, "op: id outside the vocabulary");
    embed_backward(1, dx, ids, rows, width, dembedding);
  });
}

int32_t mg_op_adamw(uint32_t threads, const mg_optimizer* optimizer, const float* g, float* p,
                    float* m, float* v, uint64_t n) {
  return op([&] {
    check_optimizer(optimizer);
    check_pointers(g, p, m, v);
    const uint32_t count = resolve_threads(threads);
    const float clip = clip_factor(l2_norm(count, g, static_cast<int64_t>(n)), optimizer->clip);
    adamw_step(count, *optimizer, optimizer->weight_decay, clip, g, p, m, v,
               static_cast<int64_t>(n));
  });
}

int32_t mg_op_odds_ratio(const double* logp_chosen, const double* logp_rejected, uint32_t pairs,
                         double* log_odds, double* loss, double* d_chosen, double* d_rejected) {
  return op([&] {
    check_pointers(logp_chosen, logp_rejected, log_odds, loss, d_chosen, d_rejected);
    for (uint32_t i = 0; i < pairs; i++) {
      require(logp_chosen[i] <= 0.0 && logp_rejected[i] <= 0.0, MG_E_INVALID,
              "op: a log-probability is above 0 or NaN");
      const OddsRatio odds = odds_ratio(logp_chosen[i], logp_rejected[i]);
      log_odds[i] = odds.log_odds;
      loss[i] = odds.loss;
      d_chosen[i] = odds.d_chosen;
      d_rejected[i] = odds.d_rejected;
    }
  });
}
}
