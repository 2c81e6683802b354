// Newton-Schulz orthogonalisation in float32 with the deterministic products of gemm.hpp. What is
// between them is single multiplications and additions without fused ones, the same bits on every
// path however the compiler vectorises it.
#include "muon.hpp"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "gemm.hpp"
#include "optimizer.hpp"
#include "profile.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

constexpr int STEPS = 5;
/** x -> A x + B x^3 + C x^5 of every singular value: steep at 0, and brings all of (0, 1] to
 * 0.7..1.2 in five steps (coefficients of K. Jordan's Muon). */
constexpr float A = 3.4445f;
constexpr float B = -4.7750f;
constexpr float C = 2.0315f;

int64_t aligned(int64_t floats) { return (floats + 15) / 16 * 16; }

template <class F>
void each(uint32_t threads, int64_t n, const F& f) {
  constexpr int64_t UNIT = 4096;
  parallel_for(threads, (n + UNIT - 1) / UNIT, [&](int64_t begin, int64_t end, uint32_t) {
    const int64_t last = std::min(n, end * UNIT);
    for (int64_t i = begin * UNIT; i < last; i++) f(i);
  });
}

/** One matrix, of which `least` is the shorter side. */
struct Matrix {
  uint32_t threads;
  int64_t rows;
  int64_t cols;
  int64_t least() const { return std::min(rows, cols); }
  bool is_wide() const { return rows <= cols; }
};

/**
 * out (n, n) = A A^T, given as a left operand and its transpose: the lower triangle by blocks of
 * rows, and its mirror image. The bits are those of the whole product: x y = y x.
 */
void symmetric_product(uint32_t threads, int64_t n, int64_t k, GemmLeft left,
                       const GemmRight& right, float* out) {
  constexpr int64_t LEAST = 64;  // smaller blocks would pack more than they save
  const int64_t block = std::max(LEAST, (n / 4 + 15) / 16 * 16);
  for (int64_t from = 0; from < n; from += block) {
    const int64_t to = std::min(n, from + block);
    gemm(threads, {to - from, to, k}, {left.data + from * left.row, left.row, left.col}, right,
         out + from * n, n, false);
  }
  parallel_for(threads, n, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++)
      for (int64_t j = (i / block + 1) * block; j < n; j++) out[i * n + j] = out[j * n + i];
  });
}

/** gram (least, least) = X X^T of a wide matrix, X^T X of a tall one. */
void gram_of(const Matrix& s, const float* x, float* gram) {
  const int64_t k = std::max(s.rows, s.cols);
  const GemmLeft left{x, s.is_wide() ? s.cols : 1, s.is_wide() ? 1 : s.cols};
  const GemmRight right{x, s.is_wide() ? 1 : s.cols, s.is_wide() ? s.cols : 1};
  symmetric_product(s.threads, s.least(), k, left, right, gram);
}

/** y += P X of a wide matrix, X P of a tall one; P is (least, least). */
void add_product(const Matrix& s, const float* p, const float* x, float* y) {
  const GemmShape shape{s.rows, s.cols, s.least()};
  const GemmLeft matrix_left{x, s.cols, 1};
  const GemmRight matrix_right{x, s.cols, 1};
  if (s.is_wide()) {
    gemm(s.threads, shape, {p, s.rows, 1}, matrix_right, y, s.cols, true);
  } else {
    gemm(s.threads, shape, matrix_left, {p, s.cols, 1}, y, s.cols, true);
  }
}

/** Orthogonalises x (overwritten); returns where the result is: x or `other`. */
const float* orthogonalize(const Matrix& s, float* x, float* other, float* gram, float* poly) {
  const int64_t n = s.rows * s.cols;
  const int64_t least = s.least();
  const auto shrink = static_cast<float>(1.0 / (l2_norm(s.threads, x, n) + 1e-7));
  each(s.threads, n, [&](int64_t i) { x[i] *= shrink; });
  for (int step = 0; step < STEPS; step++) {
    gram_of(s, x, gram);
    // gram is its own transpose.
    symmetric_product(s.threads, least, least, {gram, least, 1}, {gram, least, 1}, poly);
    each(s.threads, least * least, [&](int64_t i) { poly[i] = B * gram[i] + C * poly[i]; });
    each(s.threads, n, [&](int64_t i) { other[i] = A * x[i]; });
    add_product(s, poly, x, other);
    std::swap(x, other);
  }
  return x;
}

}  // namespace

int64_t muon_workspace(int64_t rows, int64_t cols) {
  const int64_t least = std::min(rows, cols);
  return 2 * aligned(rows * cols) + 2 * aligned(least * least);
}

void muon_step(uint32_t threads, const mg_optimizer& o, float weight_decay, float clip,
               const float* g, float* p, float* m, int64_t rows, int64_t cols, float* workspace) {
  const KernelScope scope(Kernel::optimizer);
  const Matrix shape{threads, rows, cols};
  const int64_t n = rows * cols;
  float* const x = workspace;
  float* const other = x + aligned(n);
  float* const gram = other + aligned(n);
  float* const poly = gram + aligned(shape.least() * shape.least());
  const float momentum = o.momentum;
  each(threads, n, [&](int64_t i) {
    const float gi = clip * g[i];
    m[i] = momentum * m[i] + gi;
    x[i] = gi + momentum * m[i];
  });
  const float* const direction = orthogonalize(shape, x, other, gram, poly);
  const double lr = o.lr;
  const auto decay = static_cast<float>(1.0 - lr * weight_decay);
  const auto size =
      static_cast<float>(lr * 0.2 * std::sqrt(static_cast<double>(std::max(rows, cols))));
  each(threads, n, [&](int64_t i) { p[i] = p[i] * decay - size * direction[i]; });
}

}  // namespace magnet

using namespace magnet;

extern "C" int32_t mg_op_muon(uint32_t threads, const mg_optimizer* optimizer, const float* g,
                              float* p, float* m, uint32_t rows, uint32_t cols) {
  return guard([&] {
    const FloatEnvironment environment;
    check_optimizer(optimizer);
    require(g != nullptr && p != nullptr && m != nullptr, MG_E_INVALID, "mg_op_muon: null argument");
    require(rows >= 1 && rows <= 65536 && cols >= 1 && cols <= 65536, MG_E_INVALID,
            "mg_op_muon: rows and cols must be 1..65536");
    const uint32_t count = resolve_threads(threads);
    const float clip = clip_factor(l2_norm(count, g, int64_t{rows} * cols), optimizer->clip);
    std::vector<float> workspace(static_cast<size_t>(muon_workspace(rows, cols)));
    muon_step(count, *optimizer, optimizer->weight_decay, clip, g, p, m, rows, cols,
              workspace.data());
    return int32_t{MG_OK};
  });
}
