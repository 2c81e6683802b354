// Norms, SwiGLU and quantisers against plain loops in float64; formulas in
// tests/golden/bitnet/README.md.
#include "../kernels/norm.hpp"

#include <algorithm>

#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

constexpr float EPS = 1e-5f;

template <class T>
constexpr double TOLERANCE = std::is_same_v<T, float> ? 2e-6 : 8e-3;
template <class T>
const char* NAME = std::is_same_v<T, float> ? "float32" : "bf16";

struct Shape {
  int64_t rows, columns;
};
const Shape SHAPES[] = {{1, 16}, {3, 17}, {24, 32}, {5, 88}, {32, 64}, {7, 176}, {2, 1536}, {600, 24}};

size_t at(const Shape& s, int64_t row, int64_t c) {
  return static_cast<size_t>(row * s.columns + c);
}

double root_of(const Reals& x, const Shape& s, int64_t row) {
  double squares = 0.0;
  for (int64_t c = 0; c < s.columns; c++) squares += x[at(s, row, c)] * x[at(s, row, c)];
  return 1.0 / std::sqrt(squares / static_cast<double>(s.columns) + static_cast<double>(EPS));
}

Reals normed(const Reals& x, const Reals& w, const Shape& s) {
  Reals out(x.size());
  for (int64_t r = 0; r < s.rows; r++) {
    const double root = root_of(x, s, r);
    for (int64_t c = 0; c < s.columns; c++)
      out[at(s, r, c)] = x[at(s, r, c)] * root * w[static_cast<size_t>(c)];
  }
  return out;
}

template <class T>
struct Input {
  DeviceMatrix<int8_t> codes;
  DeviceArray<float> inverse;
  DeviceMatrix<T> values;
  Input(const Stream& stream, const Shape& s)
      : codes(stream, s.rows, s.columns),
        inverse(static_cast<uint64_t>(s.rows)),
        values(stream, s.rows, s.columns) {}
  QuantisedInput<T> view() const { return {codes.view(), inverse.data(), values.view()}; }
};

/** Codes are those of the values in float64, but where rounding to an integer is a close call. */
void check_codes(const Reals& codes, const Reals& inverse, const Reals& wanted, const Shape& s,
                 const std::string& what) {
  int64_t wrong = 0;
  double worst = 0.0;
  for (int64_t r = 0; r < s.rows; r++) {
    double most = 0.0;
    for (int64_t c = 0; c < s.columns; c++) most = std::max(most, std::fabs(wanted[at(s, r, c)]));
    const double scale = 127.0 / std::max(most, 1e-5);
    worst = std::max(worst, std::fabs(inverse[static_cast<size_t>(r)] * scale - 1.0));
    for (int64_t c = 0; c < s.columns; c++) {
      const double exact = wanted[at(s, r, c)] * scale;
      if (std::fabs(codes[at(s, r, c)] - exact) > 0.501) wrong++;
    }
  }
  check(wrong == 0, what + ": " + std::to_string(wrong) + " codes are wrong");
  check(worst < 1e-5, what + ": scales are off by " + std::to_string(worst));
}

template <class T>
void test_norm_quantise(const Shape& s, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const Reals x = random.values<float>(s.rows * s.columns);
  const Reals w = random.values<float>(s.columns);
  const auto dx = upload_matrix<float>(stream, s.rows, s.columns, x);
  const auto dw = upload_reals<float>(stream, w);
  const DeviceArray<float> r(static_cast<uint64_t>(s.rows));
  const std::string what = std::string("norm_quantise ") + NAME<T> + " " + std::to_string(s.rows) +
                           "x" + std::to_string(s.columns);
  const Input<T> out(stream, s);
  check_same_in_all_orders(
      [&] {
        norm_quantise<T>(stream, dx.view(), dw.data(), EPS, true, r.data(), out.view());
        return download_matrix(stream, out.values.view());
      },
      what);
  const Reals codes = download_matrix(stream, out.codes.view());
  const Reals inverse = download_reals(stream, out.inverse.data(), static_cast<uint64_t>(s.rows));
  check_codes(codes, inverse, normed(x, w, s), s, what);
  Reals values(codes.size());
  for (size_t i = 0; i < codes.size(); i++)
    values[i] = codes[i] * inverse[i / static_cast<size_t>(s.columns)];
  check_close(download_matrix(stream, out.values.view()), values, TOLERANCE<T>, what + " values");
  check(padding_is_zero(stream, out.codes.view()) && padding_is_zero(stream, out.values.view()),
        what + ": padding");
  norm_quantise<T>(stream, dx.view(), dw.data(), EPS, false, r.data(), out.view());
  check_close(download_matrix(stream, out.values.view()), normed(x, w, s), TOLERANCE<T>,
              what + ", not quantised");
  norm_quantise<T>(stream, dx.view(), nullptr, EPS, true, r.data(), out.view());
  check_codes(download_matrix(stream, out.codes.view()),
              download_reals(stream, out.inverse.data(), static_cast<uint64_t>(s.rows)), x, s,
              what + ", without a norm");
}

/** A row that is not finite is told by its inverse. */
void test_not_finite() {
  const Stream stream;
  const Shape s{3, 40};
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)}) {
    Reals x(120, 1.0);
    x[45] = bad;
    const auto dx = upload_matrix<float>(stream, 3, 40, x);
    const DeviceArray<float> r(3);
    const Input<float> out(stream, s);
    norm_quantise<float>(stream, dx.view(), nullptr, EPS, true, r.data(), out.view());
    const Reals inverse = download_reals(stream, out.inverse.data(), 3);
    check(std::isnan(inverse[1]) && std::isfinite(inverse[0]) && std::isfinite(inverse[2]),
          "norm_quantise: a row that is not finite");
  }
}

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

template <class T>
void test_swiglu(const Shape& s, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const int64_t n = s.rows * s.columns;
  using A = Activation<T>;
  const Reals gate = random.values<A>(n, 2.0);
  const Reals up = random.values<A>(n, 2.0);
  const Reals dh = random.values<T>(n);
  const Reals w = random.values<float>(s.columns);
  Reals h(gate.size());
  for (size_t i = 0; i < h.size(); i++) h[i] = gate[i] * sigmoid(gate[i]) * up[i];
  const auto dgate = upload_matrix<A>(stream, s.rows, s.columns, gate);
  const auto dup = upload_matrix<A>(stream, s.rows, s.columns, up);
  const auto ddh = upload_matrix<T>(stream, s.rows, s.columns, dh);
  const auto dw = upload_reals<float>(stream, w);
  const DeviceArray<float> r(static_cast<uint64_t>(s.rows));
  const Input<T> out(stream, s);
  const std::string what = std::string("swiglu ") + NAME<T> + " " + std::to_string(s.rows) + "x" +
                           std::to_string(s.columns);
  swiglu_norm_quantise<T>(stream, {dgate.view()}, {dup.view()}, dw.data(), EPS, true, r.data(),
                          out.view());
  check_codes(download_matrix(stream, out.codes.view()),
              download_reals(stream, out.inverse.data(), static_cast<uint64_t>(s.rows)),
              normed(h, w, s), s, what);
  for (const bool has_norm : {true, false}) {
    Reals want_gate(h.size()), want_up(h.size()), want_w(w.size(), 0.5);
    for (int64_t row = 0; row < s.rows; row++) {
      const double root = root_of(h, s, row);
      double dot = 0.0;
      for (int64_t c = 0; c < s.columns; c++)
        dot += dh[at(s, row, c)] * w[static_cast<size_t>(c)] * h[at(s, row, c)];
      for (int64_t c = 0; c < s.columns; c++) {
        const size_t i = at(s, row, c);
        double d = dh[i];
        if (has_norm) {
          want_w[static_cast<size_t>(c)] += dh[i] * h[i] * root;
          d = root * (dh[i] * w[static_cast<size_t>(c)] -
                      h[i] * root * root * dot / static_cast<double>(s.columns));
        }
        const double sg = sigmoid(gate[i]);
        // Scaled with a norm, not without.
        want_up[i] = d * gate[i] * sg * (has_norm ? 4.0 : 1.0);
        want_gate[i] = d * up[i] * (sg + gate[i] * sg * (1.0 - sg)) * (has_norm ? 0.5 : 1.0);
      }
    }
    const DeviceMatrix<T> out_gate(stream, s.rows, s.columns);
    const DeviceMatrix<T> out_up(stream, s.rows, s.columns);
    const DeviceArray<float> partial(norm_partials(s.columns));
    const auto weights = upload_reals<float>(stream, Reals(w.size(), 0.5));
    const auto scales = upload<float>(stream, {0.5f, 4.0f});
    const auto weight_gradient = [&] {
      copy_in(stream, weights.data(), std::vector<float>(w.size(), 0.5f).data(),
              w.size() * sizeof(float));
      swiglu_norm_backward<T>(stream, {dgate.view()}, {dup.view()},
                              has_norm ? dw.data() : nullptr, ddh.view(), r.data(),
                              has_norm ? scales.data() : nullptr, out_gate.view(), out_up.view(),
                              weights.data(), partial.data());
      return download_reals(stream, weights.data(), w.size());
    };
    check_same_in_all_orders(weight_gradient, what + " weights' gradient");
    const std::string which = what + (has_norm ? "" : ", no norm");
    check_close(download_matrix(stream, out_gate.view()), want_gate, TOLERANCE<T>, which + " gate");
    check_close(download_matrix(stream, out_up.view()), want_up, TOLERANCE<T>, which + " up");
    check_close(download_reals(stream, weights.data(), w.size()), want_w, 1e-5, which + " w");
  }
}

/** Sums as a product leaves them, some beyond the knee, and what float32 makes of them. */
struct SumsAndValues {
  DeviceMatrix<fp16> sums;
  DeviceMatrix<float> values;
};
SumsAndValues random_sums(const Stream& stream, Random& random, const Shape& s,
                          const std::vector<float>& row_scales, float scale, float step) {
  const DeviceMatrix<int16_t> codes(stream, s.rows, s.columns);
  Reals code, value;
  for (int64_t i = 0; i < s.rows * s.columns; i++) {
    const int64_t x = i % 7 == 3 ? random.below(65535) - 32767 : random.below(4001) - 2000;
    const auto size = static_cast<float>(std::abs(x));
    const float sum = size <= SUM_KNEE ? size : SUM_KNEE + (size - SUM_KNEE) * step;
    const float row_scale = row_scales[static_cast<size_t>(i / s.columns)];
    code.push_back(static_cast<double>(x));
    value.push_back(static_cast<double>((x < 0 ? -sum : sum) * row_scale * scale));
  }
  const auto whole = upload_matrix<int16_t>(stream, s.rows, s.columns, code);
  SumsAndValues out{DeviceMatrix<fp16>(stream, s.rows, s.columns),
                    upload_matrix<float>(stream, s.rows, s.columns, value)};
  copy_on_device(stream, out.sums.view().data, whole.view().data,
                 static_cast<uint64_t>(s.rows * whole.view().stride) * sizeof(int16_t));
  stream.wait();
  return out;
}

/** From sums: the codes and scales that float32 gives, bit by bit; gradients up to their rounding. */
void test_swiglu_of_sums(const Shape& s, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const std::string what = "swiglu of sums " + std::to_string(s.rows) + "x" +
                           std::to_string(s.columns);
  constexpr float STEP = 16.0f;
  const float scales[] = {0.7f, 0.3f};
  std::vector<float> row_scales;
  for (int64_t i = 0; i < s.rows; i++)
    row_scales.push_back(static_cast<float>(std::abs(random.normal()) * 1e-3));
  const auto rows = upload(stream, row_scales);
  const auto of_weights = upload<float>(stream, {scales[0], scales[1]});
  const SumsAndValues gate = random_sums(stream, random, s, row_scales, scales[0], STEP);
  const SumsAndValues up = random_sums(stream, random, s, row_scales, scales[1], STEP);
  const Product<bf16> gate_sums{gate.sums.view(), rows.data(), of_weights.data(), STEP};
  const Product<bf16> up_sums{up.sums.view(), rows.data(), of_weights.data() + 1, STEP};
  const auto w = upload_reals<float>(stream, random.values<float>(s.columns));
  const Reals gradient = random.values<bf16>(s.rows * s.columns);
  const auto partial = DeviceArray<float>(norm_partials(s.columns));
  const auto all = [&]<class T>(const Product<T>& g, const Product<T>& u, const Input<T>& out) {
    const DeviceArray<float> r(static_cast<uint64_t>(s.rows));
    swiglu_norm_quantise<T>(stream, g, u, w.data(), EPS, true, r.data(), out.view());
    const auto dh = upload_matrix<T>(stream, s.rows, s.columns, gradient);
    const DeviceMatrix<T> dgate(stream, s.rows, s.columns), dup(stream, s.rows, s.columns);
    const auto dw = upload_reals<float>(stream, Reals(static_cast<size_t>(s.columns), 0.0));
    swiglu_norm_backward<T>(stream, g, u, w.data(), dh.view(), r.data(), nullptr, dgate.view(),
                            dup.view(), dw.data(), partial.data());
    return std::vector<Reals>{download_matrix(stream, out.codes.view()),
                              download_reals(stream, out.inverse.data(), out.inverse.size()),
                              download_reals(stream, r.data(), r.size()),
                              download_reals(stream, dw.data(), dw.size()),
                              download_matrix(stream, dgate.view()),
                              download_matrix(stream, dup.view())};
  };
  const auto got = all(gate_sums, up_sums, Input<bf16>(stream, s));
  const auto want = all(Product<float>{gate.values.view()}, Product<float>{up.values.view()},
                        Input<float>(stream, s));
  const char* const names[] = {" codes", " inverses", " roots", " weights' gradient"};
  for (size_t i = 0; i < 4; i++) check(got[i] == want[i], what + names[i]);
  check_close(got[4], want[4], TOLERANCE<bf16>, what + " gate");
  check_close(got[5], want[5], TOLERANCE<bf16>, what + " up");
}

template <class D, class G, class T>
void test_norm_backward(const Shape& s, unsigned seed, bool accumulate) {
  const Stream stream;
  Random random(seed);
  const int64_t n = s.rows * s.columns;
  const Reals x = random.values<float>(n);
  const Reals dy = random.values<D>(n);
  const Reals before = random.values<G>(n);
  const Reals w = random.values<float>(s.columns);
  Reals want = accumulate ? before : Reals(x.size(), 0.0);
  Reals want_w(w.size(), 0.0);
  std::vector<float> roots;
  for (int64_t row = 0; row < s.rows; row++) {
    const double root = root_of(x, s, row);
    roots.push_back(static_cast<float>(root));
    double dot = 0.0;
    for (int64_t c = 0; c < s.columns; c++)
      dot += dy[at(s, row, c)] * w[static_cast<size_t>(c)] * x[at(s, row, c)];
    for (int64_t c = 0; c < s.columns; c++) {
      const size_t i = at(s, row, c);
      want[i] += root * (dy[i] * w[static_cast<size_t>(c)] -
                         x[i] * root * root * dot / static_cast<double>(s.columns));
      want_w[static_cast<size_t>(c)] += dy[i] * x[i] * root;
    }
  }
  const auto dx = upload_matrix<float>(stream, s.rows, s.columns, x);
  const auto ddy = upload_matrix<D>(stream, s.rows, s.columns, dy);
  const auto out = upload_matrix<G>(stream, s.rows, s.columns, before);
  const DeviceMatrix<T> operand(stream, s.rows, s.columns);
  const auto dw = upload_reals<float>(stream, w);
  const auto r = upload(stream, roots);
  const auto gradient = upload_reals<float>(stream, Reals(w.size(), 0.0));
  const DeviceArray<float> partial(norm_partials(s.columns));
  norm_backward<D, G, T>(stream, dx.view(), dw.data(), ddy.view(), r.data(), accumulate,
                            out.view(), operand.view(), gradient.data(), partial.data());
  const std::string what = std::string("norm_backward ") + NAME<T> + " " + std::to_string(s.rows) +
                           "x" + std::to_string(s.columns);
  check_close(download_matrix(stream, out.view()), want, TOLERANCE<G>, what);
  check_close(download_matrix(stream, operand.view()), want, TOLERANCE<T>, what + " operand");
  check_close(download_reals(stream, gradient.data(), w.size()), want_w, 1e-5, what + " weights");
}

template <class T>
void test_ternarise(const Shape& s, unsigned seed) {
  const Stream stream;
  Random random(seed);
  Reals w = random.values<float>(s.rows * s.columns, 0.02);
  const auto dw = upload_reals<float>(stream, w);
  const DeviceMatrix<int8_t> codes(stream, s.rows, s.columns);
  const DeviceMatrix<T> values(stream, s.rows, s.columns);
  const DeviceArray<float> inverse(1);
  const DeviceArray<float> scale(1);
  // Beside one of another shape that is not finite.
  const auto bad = upload_reals<float>(stream, Reals(3 * 40, static_cast<double>(NAN)));
  const DeviceMatrix<int8_t> bad_codes(stream, 3, 40);
  const DeviceMatrix<T> bad_values(stream, 3, 40);
  const DeviceArray<float> bad_inverse(1);
  const std::vector<WeightTask<T>> tasks{
      {bad.data(), {bad_codes.view(), bad_values.view(), bad_inverse.data()}},
      {dw.data(), {codes.view(), values.view(), inverse.data(), scale.data()}}};
  const DeviceArray<WeightTask<T>> on_device = upload(stream, tasks);
  const DeviceArray<double> partial(tasks.size() * WEIGHT_PARTIALS);
  ternarise<T>(stream, tasks, on_device.data(), partial.data());
  double mean = 0.0;
  for (const double x : w) mean += std::fabs(x);
  mean = std::max(mean / static_cast<double>(w.size()), 1e-5);
  for (double& x : w) x = std::clamp(std::nearbyint(x / mean), -1.0, 1.0);
  const std::string what = std::string("ternarise ") + NAME<T> + " " + std::to_string(s.rows) + "x" +
                           std::to_string(s.columns);
  check_close(download_matrix(stream, codes.view()), w, 0.05, what);  // a tie may fall either way
  check(download_matrix(stream, codes.view()) == download_matrix(stream, values.view()),
        what + ": codes and values");
  check(std::fabs(download_reals(stream, inverse.data(), 1)[0] / mean - 1.0) < 1e-6, what + " scale");
  check(std::fabs(download_reals(stream, scale.data(), 1)[0] * mean - 1.0) < 1e-6, what + " 1/scale");
  check(padding_is_zero(stream, codes.view()), what + ": padding");
  check(std::isnan(download_reals(stream, bad_inverse.data(), 1)[0]), what + ": not finite");
}

}  // namespace

int main() {
  unsigned seed = 1;
  for (const Shape& s : SHAPES) {
    test_norm_quantise<float>(s, seed++);
    test_norm_quantise<bf16>(s, seed++);
    test_swiglu<float>(s, seed++);
    test_swiglu<bf16>(s, seed++);
    test_swiglu_of_sums(s, seed++);
    test_norm_backward<float, float, float>(s, seed++, true);
    test_norm_backward<float, float, bf16>(s, seed++, true);
    test_norm_backward<bf16, float, bf16>(s, seed++, false);
    test_norm_backward<bf16, bf16, bf16>(s, seed++, false);
    test_ternarise<float>(s, seed++);
    test_ternarise<bf16>(s, seed++);
  }
  test_not_finite();
  return finish("norm_test");
}
