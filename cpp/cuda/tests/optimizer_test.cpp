// AdamW, the global norm and clipping against float64, element for element where the CPU's formula is
// the measure; what is skipped; and tensors that begin anywhere in the arena.
#include "../kernels/optimizer.hpp"

#include <algorithm>

#include "check.hpp"

using namespace magnet;
using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

mg_optimizer settings(uint64_t step, float clip) {
  return {MG_OPTIMIZER_ADAMW, 1e-3f, 0.9f, 0.95f, 1e-8f, 0.1f, clip, 0.95f, step, 0};
}

struct Arena {
  DeviceArray<float> g, p, m, v;
  Arena(const Stream& s, const Reals& gradient, const Reals& params, const Reals& first,
        const Reals& second)
      : g(upload_reals<float>(s, gradient)),
        p(upload_reals<float>(s, params)),
        m(upload_reals<float>(s, first)),
        v(upload_reals<float>(s, second)) {}
};

/** State after norm and clipping of n gradients. */
struct Prepared {
  DeviceArray<double> partial{NORM_PARTIALS};
  DeviceArray<double> loss;
  DeviceArray<StepNumbers> numbers;
  DeviceArray<StepState> state{1};
  Prepared(const Stream& s, const mg_optimizer& o, double loss_value, const DeviceArray<float>& g)
      : loss(upload<double>(s, {loss_value})), numbers(upload<StepNumbers>(s, {step_numbers(o)})) {
    global_norm(s, g.data(), g.size(), partial.data(), state.data());
    clip_and_check(s, loss.data(), numbers.data(), state.data());
  }
  StepState read(const Stream& s) const { return download(s, state.data(), 1)[0]; }
};

/** Of a tensor that decays. */
void update(const Stream& stream, const Arena& arena, const Prepared& prepared, int64_t first,
            int64_t n) {
  std::vector<AdamwPiece> pieces;
  add_pieces(pieces, static_cast<uint64_t>(first), static_cast<uint64_t>(n), true);
  const DeviceArray<AdamwPiece> table = upload(stream, pieces);
  adamw(stream, arena.g.data(), arena.p.data(), arena.m.data(), arena.v.data(), table.data(),
        table.size(), prepared.numbers.data(), prepared.state.data());
  stream.wait();  // the table ends
}

void test_adamw(int64_t n, int64_t begin, int64_t end, uint64_t step, float clip) {
  const Stream stream;
  Random random(static_cast<unsigned>(n));
  const Reals g = random.values<float>(n, 0.1);
  const Reals p = random.values<float>(n);
  const Reals m = random.values<float>(n, 0.1);
  Reals v = random.values<float>(n, 0.1);
  for (double& x : v) x = std::fabs(x);
  const std::string what = "adamw " + std::to_string(n) + " step " + std::to_string(step);
  const mg_optimizer o = settings(step, clip);
  double squares = 0.0;
  for (const double x : g) squares += x * x;
  const double norm = std::sqrt(squares);
  const double factor = clip == 0.0f ? 1.0 : std::min(1.0, static_cast<double>(clip) / (norm + 1e-6));
  Arena arena(stream, g, p, m, v);
  const Prepared prepared(stream, o, 1.0, arena.g);
  const StepState state = prepared.read(stream);
  check(std::fabs(state.norm / norm - 1.0) < 1e-12, what + ": norm");
  check(std::fabs(static_cast<double>(state.factor) / factor - 1.0) < 1e-6, what + ": clip factor");
  check(state.skips == 0, what + ": not skipped");
  update(stream, arena, prepared, begin, end - begin);
  Reals want_p = p, want_m = m, want_v = v;
  const double b1 = 0.9, b2 = 0.95;
  for (auto i = static_cast<size_t>(begin); i < static_cast<size_t>(end); i++) {
    const double gi = g[i] * factor;
    want_m[i] = b1 * m[i] + (1 - b1) * gi;
    want_v[i] = b2 * v[i] + (1 - b2) * gi * gi;
    const double t = static_cast<double>(step);
    want_p[i] = p[i] * (1 - 1e-3 * 0.1) - 1e-3 * (want_m[i] / (1 - std::pow(b1, t))) /
                                              (std::sqrt(want_v[i] / (1 - std::pow(b2, t))) + 1e-8);
  }
  const auto count = static_cast<uint64_t>(n);
  check_close(download_reals(stream, arena.p.data(), count), want_p, 1e-6, what + ": p");
  check_close(download_reals(stream, arena.m.data(), count), want_m, 1e-6, what + ": m");
  check_close(download_reals(stream, arena.v.data(), count), want_v, 1e-6, what + ": v");
  const Reals after = download_reals(stream, arena.p.data(), count);
  bool outside = true;
  for (int64_t i = 0; i < n; i++)
    if (i < begin || i >= end)
      outside = outside && after[static_cast<size_t>(i)] == p[static_cast<size_t>(i)];
  check(outside, what + ": nothing outside the tensor is touched");
}

/** A loss or a gradient that is not finite changes nothing. */
void test_skips() {
  const Stream stream;
  const Reals ones(100, 1.0);
  Reals bad = ones;
  bad[57] = static_cast<double>(NAN);
  for (const bool bad_loss : {true, false}) {
    Arena arena(stream, bad_loss ? ones : bad, ones, ones, ones);
    const Prepared prepared(stream, settings(1, 1.0f), bad_loss ? static_cast<double>(INFINITY) : 1.0,
                            arena.g);
    check(prepared.read(stream).skips == 1, "a step that is not finite is skipped");
    update(stream, arena, prepared, 0, 100);
    check(download_reals(stream, arena.p.data(), 100) == ones, "a skipped step leaves p");
    check(download_reals(stream, arena.m.data(), 100) == ones, "a skipped step leaves m");
  }
}

Reals transposed(const Reals& x, int64_t rows, int64_t columns) {
  Reals out(x.size());
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < columns; c++)
      out[static_cast<size_t>(c * rows + r)] = x[static_cast<size_t>(r * columns + c)];
  return out;
}
Reals product(const Reals& a, const Reals& b, int64_t m, int64_t k, int64_t n) {
  Reals out(static_cast<size_t>(m * n), 0.0);
  for (int64_t i = 0; i < m; i++)
    for (int64_t l = 0; l < k; l++)
      for (int64_t j = 0; j < n; j++)
        out[static_cast<size_t>(i * n + j)] +=
            a[static_cast<size_t>(i * k + l)] * b[static_cast<size_t>(l * n + j)];
  return out;
}

template <class T>
void test_muon(int64_t rows, int64_t columns, double tolerance) {
  const Stream stream;
  Random random(static_cast<unsigned>(rows * 1000 + columns));
  const int64_t n = rows * columns;
  const Reals g = random.values<float>(n, 0.1);
  const Reals p = random.values<float>(n);
  const Reals m = random.values<float>(n, 0.1);
  mg_optimizer o = settings(3, 1.0f);
  o.kind = MG_OPTIMIZER_MUON;
  Arena arena(stream, g, p, m, Reals(g.size(), 0.0));
  const Prepared prepared(stream, o, 1.0, arena.g);
  const auto factor = static_cast<double>(prepared.read(stream).factor);
  const DeviceArray<unsigned char> scratch(muon_scratch<T>(rows, columns));
  muon<T>(stream, arena.g.data(), arena.p.data(), arena.m.data(), rows, columns,
          prepared.numbers.data(), prepared.state.data(), scratch.data());
  Reals want_m(g.size()), x(g.size());
  double squares = 0.0;
  for (size_t i = 0; i < g.size(); i++) {
    want_m[i] = 0.95 * m[i] + factor * g[i];
    x[i] = factor * g[i] + 0.95 * want_m[i];
    squares += x[i] * x[i];
  }
  for (double& e : x) e /= std::sqrt(squares) + 1e-7;
  for (int step = 0; step < 5; step++) {
    const Reals gram = product(x, transposed(x, rows, columns), rows, columns, rows);
    const Reals square = product(gram, gram, rows, rows, rows);
    Reals polynomial(gram.size());
    for (size_t i = 0; i < gram.size(); i++)
      polynomial[i] = -4.7750 * gram[i] + 2.0315 * square[i];
    const Reals added = product(polynomial, x, rows, rows, columns);
    for (size_t i = 0; i < x.size(); i++) x[i] = 3.4445 * x[i] + added[i];
  }
  const double size = 1e-3 * 0.2 * std::sqrt(static_cast<double>(std::max(rows, columns)));
  Reals change(x.size()), want(x.size());
  const auto count = static_cast<uint64_t>(n);
  const Reals after = download_reals(stream, arena.p.data(), count);
  for (size_t i = 0; i < x.size(); i++) {
    change[i] = after[i] - p[i] * (1 - 1e-3 * 0.1);
    want[i] = -size * x[i];
  }
  const std::string what = "muon " + std::to_string(rows) + "x" + std::to_string(columns) +
                           (std::is_same_v<T, float> ? " float32" : " bf16");
  check_close(change, want, tolerance, what);
  check_close(download_reals(stream, arena.m.data(), count), want_m, 1e-6, what + ": momentum");
}

}  // namespace

int main() {
  for (const uint64_t step : {uint64_t{1}, uint64_t{7}, uint64_t{1000}}) {
    test_adamw(1000, 0, 1000, step, 1.0f);
    test_adamw(1003, 1, 1002, step, 0.0f);
    test_adamw(70, 3, 5, step, 1e9f);
  }
  test_adamw(70000, 17, 69999, 2, 1.0f);  // three pieces
  test_skips();
  test_muon<float>(24, 40, 1e-3);
  test_muon<float>(40, 17, 1e-3);
  test_muon<float>(32, 32, 1e-3);
  test_muon<bf16>(24, 40, 0.1);
  test_muon<bf16>(64, 48, 0.1);
  return finish("optimizer_test");
}
