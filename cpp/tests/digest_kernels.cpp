// Products, and row kernels at every remainder of a vector with values at the edge of float32.
#include <bit>
#include <cmath>
#include <iterator>

#include "digest.hpp"

namespace digest {
namespace {

/** Values that a row may hold: plain ones, and now and then what is at the edge of float32. */
std::vector<float> edgy(size_t n) {
  constexpr float EDGE[] = {0.0f,     -0.0f,    0.5f,  -1.5f, 2.5f,  88.3f,    -87.3f,
                            -87.4f,   -103.0f,  1e-45f, -1e-45f, 1.2e-38f, 3.4e38f, -3.4e38f,
                            INFINITY, -INFINITY, NAN};
  std::vector<float> out = floats(n, 4.0f);
  for (float& x : out) {
    const uint64_t bits = random_bits();
    if (bits % 24 == 0) x = EDGE[(bits >> 32) % std::size(EDGE)];
  }
  return out;
}

/** Adds v with one NaN for all: which one comes out of an operation differs by architecture. */
void add_values(Digest& digest, std::vector<float> v) {
  for (float& x : v)
    if (std::isnan(x)) x = std::bit_cast<float>(0x7FC00000u);
  digest.add(v);
}

void normalisation(Digest& digest, uint32_t n) {
  const std::vector<float> x = edgy(3 * n), w = floats(n), dy = edgy(3 * n);
  std::vector<float> out(3 * n), dx(3 * n), dw(n);
  CHECK(mg_op_rmsnorm(threads, x.data(), w.data(), 3, n, 1e-5f, out.data()));
  CHECK(mg_op_rmsnorm_backward(threads, x.data(), w.data(), dy.data(), 3, n, 1e-5f, dx.data(),
                               dw.data()));
  for (const auto* v : {&out, &dx, &dw}) add_values(digest, *v);
}

void activation(Digest& digest, uint32_t n) {
  const std::vector<float> gate = edgy(n), up = edgy(n), dh = edgy(n);
  std::vector<float> h(n), dgate(n), dup(n);
  CHECK(mg_op_swiglu(gate.data(), up.data(), n, h.data()));
  CHECK(mg_op_swiglu_backward(gate.data(), up.data(), dh.data(), n, dgate.data(), dup.data()));
  for (const auto* v : {&h, &dgate, &dup}) add_values(digest, *v);
}

void loss_and_update(Digest& digest, uint32_t n) {
  const std::vector<float> logits = edgy(2 * n);
  const std::vector<int32_t> targets = tokens_below(2, n);
  std::vector<float> dlogits(2 * n);
  double loss = 0.0;
  CHECK(mg_op_cross_entropy(logits.data(), targets.data(), 2, n, &loss, dlogits.data()));
  add_values(digest, dlogits);
  digest.add(std::isnan(loss) ? 0.0 : loss);
  const std::vector<float> g = edgy(n);
  std::vector<float> p = floats(n), m = edgy(n), v = edgy(n);
  for (float& x : v) x = std::fabs(x);
  const mg_optimizer adamw{
      MG_OPTIMIZER_ADAMW, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, 0.0f, 0.0f, 3, 0};
  CHECK(mg_op_adamw(threads, &adamw, g.data(), p.data(), m.data(), v.data(), n));
  for (const auto* values : {&p, &m, &v}) add_values(digest, *values);
}

void quantisers(Digest& digest, uint32_t n) {
  const std::vector<float> x = edgy(3 * n), w = floats(2 * n);
  std::vector<float> y(6), inverses(3);
  std::vector<int8_t> w_codes(2 * n), x_codes(3 * n);
  float inverse = 0.0f;
  CHECK(mg_op_bitlinear(threads, x.data(), w.data(), 3, 2, n, y.data(), w_codes.data(), &inverse,
                        x_codes.data(), inverses.data()));
  add_values(digest, y);
  add_values(digest, inverses);
  digest.add(w_codes);
  digest.add(x_codes);
  digest.add(inverse);
}

}  // namespace

void rows() {
  seed(8);
  Digest norm("rmsnorm"), swiglu("swiglu"), update("loss-adamw"), codes("quantise");
  for (uint32_t n = 1; n <= 70; n++) {
    normalisation(norm, n);
    activation(swiglu, n);
    loss_and_update(update, n);
    quantisers(codes, n);
  }
}

void products() {
  struct Shape {
    uint32_t m, n, k;
  };
  seed(3);
  for (const Shape s : {Shape{1, 1, 1}, {7, 17, 5}, {29, 35, 300}, {6, 100, 258}, {61, 40, 37}}) {
    const std::string size =
        std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k);
    const std::vector<float> a = floats(size_t{s.m} * s.k);
    const std::vector<float> b = floats(size_t{s.n} * s.k);
    const std::vector<float> dy = floats(size_t{s.m} * s.n);
    {
      Digest digest("gemm-" + size);
      std::vector<float> c(size_t{s.m} * s.n);
      for (uint32_t how = 0; how < 8; how++) {
        CHECK(mg_op_gemm(threads, s.m, s.n, s.k, a.data(), how & 1, b.data(), how >> 1 & 1,
                         how >> 2, c.data()));
        digest.add(c);
      }
    }
    Digest digest("ternary-" + size);
    std::vector<float> y(size_t{s.m} * s.n);
    std::vector<int8_t> w_codes(size_t{s.n} * s.k);
    std::vector<int8_t> x_codes(size_t{s.m} * s.k);
    std::vector<float> scales(s.m);
    float scale = 0.0f;
    CHECK(mg_op_bitlinear(threads, a.data(), b.data(), s.m, s.n, s.k, y.data(), w_codes.data(),
                          &scale, x_codes.data(), scales.data()));
    std::vector<float> dx(size_t{s.m} * s.k);
    std::vector<float> dw(size_t{s.n} * s.k);
    CHECK(mg_op_bitlinear_backward(threads, a.data(), b.data(), dy.data(), s.m, s.n, s.k,
                                   dx.data(), dw.data()));
    for (const auto* v : {&y, &scales, &dx, &dw}) digest.add(*v);
    digest.add(w_codes);
    digest.add(x_codes);
    digest.add(scale);
  }
}

/** The largest sums of the integer product: every code 127 or -127, every weight of one sign. */
void largest_sums() {
  constexpr uint32_t K = 2 * 255 * 4 + 131;  // beyond what 16 bits add up, with a remainder
  constexpr uint32_t N = 19;
  std::vector<float> x(K, 1.0f);
  std::vector<float> w(size_t{N} * K, 1.0f);
  for (size_t i = 0; i < w.size(); i++)
    if (i / K % 2 == 1) w[i] = -1.0f;
  std::vector<float> y(N);
  std::vector<int8_t> w_codes(w.size());
  std::vector<int8_t> x_codes(K);
  float scales[2];
  CHECK(mg_op_bitlinear(threads, x.data(), w.data(), 1, N, K, y.data(), w_codes.data(), scales,
                        x_codes.data(), scales + 1));
  Digest digest("largest-sums");
  digest.add(y);
  if (y[0] != static_cast<float>(127 * K) * (1.0f / 127.0f)) stop("largest sums are wrong", 0);
}

}  // namespace digest
