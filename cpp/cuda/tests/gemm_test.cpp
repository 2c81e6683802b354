// Matrix products against loops in float64: every layout and type, shapes that no tile divides, c
// with any stride, tiles cut along k. Arguments: names of paths (MAGNET_GEMM), none: the device's
// own.
#include "../kernels/gemm.hpp"

#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

struct Shape {
  int64_t m, n, k;
};
const Shape SHAPES[] = {{1, 1, 1},     {17, 33, 5},    {24, 64, 32},  {130, 97, 88},
                        {48, 257, 64}, {176, 64, 200}, {300, 20, 72}, {40, 50, 2600}};

std::string name_of(const char* what, const Shape& s, bool a_mn, bool b_mn) {
  return std::string(what) + " (" + std::to_string(s.m) + ", " + std::to_string(s.n) + ", " +
         std::to_string(s.k) + ")" + (a_mn ? " a transposed" : "") + (b_mn ? " b plain" : "");
}

/** Of float32 sums: tensor cores cut them after each 16 k, always towards zero. */
template <class T>
double tolerance(int64_t k) {
  return 1e-6 + (sizeof(T) == 2 ? 4e-9 * static_cast<double>(k) : 0.0);
}

size_t place(int64_t row, int64_t column, int64_t columns) {
  return static_cast<size_t>(row * columns + column);
}

/** a b in float64; the operands as they lie in memory. */
Reals product(const Shape& s, const Reals& a, bool a_mn, const Reals& b, bool b_mn) {
  Reals c(static_cast<size_t>(s.m * s.n), 0.0);
  for (int64_t i = 0; i < s.m; i++)
    for (int64_t j = 0; j < s.n; j++) {
      double sum = 0.0;
      for (int64_t k = 0; k < s.k; k++)
        sum += a[a_mn ? place(k, i, s.m) : place(i, k, s.k)] *
               b[b_mn ? place(k, j, s.n) : place(j, k, s.k)];
      c[place(i, j, s.n)] = sum;
    }
  return c;
}

/** c += scale a b in rows of an odd stride at an address that is a multiple of 4 alone. */
template <class T>
void test_gradient(const Shape& s, bool a_mn, bool b_mn, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const std::string what = name_of(sizeof(T) == 4 ? "float32" : "bf16", s, a_mn, b_mn);
  const Reals a = random.values<T>(s.m * s.k);
  const Reals b = random.values<T>(s.n * s.k);
  const bool odd = seed % 2 == 1;
  const int64_t stride = odd ? s.n + 1 + s.n % 2 : (s.n + 3) / 4 * 4;
  const Reals before = random.values<float>(s.m * stride + 1);
  const auto da = upload_matrix<T>(stream, a_mn ? s.k : s.m, a_mn ? s.m : s.k, a);
  const auto db = upload_matrix<T>(stream, b_mn ? s.k : s.n, b_mn ? s.n : s.k, b);
  const auto scale = upload<float>(stream, {0.75f});
  auto compute = [&] {
    const auto c = upload_reals<float>(stream, before);
    const Matrix<float> view{c.data() + (odd ? 1 : 0), s.m, s.n, stride};
    gemm<T, float>(stream, da.view(), a_mn ? Layout::transposed : Layout::plain, db.view(),
                   b_mn ? Layout::plain : Layout::transposed, {scale.data(), true}, view);
    return download_reals(stream, c.data(), c.size());
  };
  const Reals got = compute();
  Reals wanted = before;
  const Reals p = product(s, a, a_mn, b, b_mn);
  for (int64_t i = 0; i < s.m; i++)
    for (int64_t j = 0; j < s.n; j++)
      wanted[static_cast<size_t>(i * stride + j + (odd ? 1 : 0))] += 0.75 * p[place(i, j, s.n)];
  check_close(got, wanted, tolerance<T>(s.k), what);
  if (s.m * s.n * s.k < 2000000) check_same_in_all_orders(compute, what);
}

/** c = a b as bf16, with the zeros behind its columns. */
void test_operand(const Shape& s, bool a_mn, bool b_mn, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const std::string what = name_of("bf16 c", s, a_mn, b_mn);
  const Reals a = random.values<bf16>(s.m * s.k);
  const Reals b = random.values<bf16>(s.n * s.k);
  const auto da = upload_matrix<bf16>(stream, a_mn ? s.k : s.m, a_mn ? s.m : s.k, a);
  const auto db = upload_matrix<bf16>(stream, b_mn ? s.k : s.n, b_mn ? s.n : s.k, b);
  const DeviceMatrix<bf16> c(stream, s.m, s.n);
  fill_bytes(stream, c.view().data, 0xff, static_cast<uint64_t>(s.m * padded(s.n)) * 2);
  gemm<bf16, bf16>(stream, da.view(), a_mn ? Layout::transposed : Layout::plain, db.view(),
                   b_mn ? Layout::plain : Layout::transposed, {}, c.view());
  check_close(download_matrix(stream, c.view()), product(s, a, a_mn, b, b_mn), 4e-3, what);
  check(padding_is_zero(stream, c.view()), what + ": padding");
}

/** Codes: float32 results are exactly the formula's. */
template <class Y>
void test_codes(const Shape& s, bool residual, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const std::string what = name_of(residual ? "codes, residual" : "codes", s, false, false);
  Reals x(static_cast<size_t>(s.m * s.k));
  Reals w(static_cast<size_t>(s.n * s.k));
  for (double& e : x) e = static_cast<double>(random.below(255) - 127);
  for (double& e : w) e = static_cast<double>(random.below(3) - 1);
  const Reals inverse = random.values<float>(s.m, 0.01);
  const auto dx = upload_matrix<int8_t>(stream, s.m, s.k, x);
  const auto dw = upload_matrix<int8_t>(stream, s.n, s.k, w);
  const auto x_inverse = upload_reals<float>(stream, inverse);
  const auto w_inverse = upload<float>(stream, {0.3f});
  const Reals before = random.values<float>(s.m * s.n);
  const auto kept = upload_matrix<float>(stream, s.m, s.n, before);
  const DeviceMatrix<Y> fresh(stream, s.m, s.n);
  Matrix<Y> y = fresh.view();
  if constexpr (std::is_same_v<Y, float>)
    if (residual) y = kept.view();  // in place
  const Matrix<const float> added = kept.view();
  gemm_codes<Y>(stream, dx.view(), x_inverse.data(), dw.view(), w_inverse.data(),
                residual ? &added : nullptr, y);
  Reals wanted = product(s, x, false, w, false);
  for (int64_t i = 0; i < s.m; i++)
    for (int64_t j = 0; j < s.n; j++) {
      double& e = wanted[place(i, j, s.n)];
      float v = static_cast<float>(e) * static_cast<float>(inverse[static_cast<size_t>(i)]);
      v *= 0.3f;
      if (residual) v += static_cast<float>(before[place(i, j, s.n)]);
      e = static_cast<double>(as_float(from_float<Y>(v)));
    }
  check(download_matrix(stream, y) == wanted, what);
}

/** Parts of columns with inverses of their own; and, of a product that the same parts of rows. */
void test_parts(const Shape& s, unsigned seed) {
  const Stream stream;
  Random random(seed);
  const int64_t n = padded(s.n) + 48;  // in three parts
  const Parts parts{16, padded(s.n) + 16};
  const Shape all{s.m, n, s.k};
  const std::string what = name_of("parts", all, false, false);
  const auto part_of = [&](int64_t i) { return i < parts.second ? 0 : i < parts.third ? 1 : 2; };
  const float scales[] = {0.3f, 0.7f, 1.1f};
  const auto dev_scales = upload<float>(stream, {scales[0], scales[1], scales[2]});
  Reals x(static_cast<size_t>(s.m * s.k));
  Reals w(static_cast<size_t>(n * s.k));
  for (double& e : x) e = static_cast<double>(random.below(255) - 127);
  for (double& e : w) e = static_cast<double>(random.below(3) - 1);
  const Reals inverse = random.values<float>(s.m, 0.01);
  const auto dx = upload_matrix<int8_t>(stream, s.m, s.k, x);
  const auto dw = upload_matrix<int8_t>(stream, n, s.k, w);
  const auto x_inverse = upload_reals<float>(stream, inverse);
  const DeviceMatrix<fp16> y(stream, s.m, n);
  gemm_codes<fp16>(stream, dx.view(), x_inverse.data(), dw.view(), dev_scales.data(), nullptr,
                   y.view(), parts);
  Reals wanted = product(all, x, false, w, false);
  for (int64_t i = 0; i < s.m; i++)
    for (int64_t j = 0; j < n; j++) {
      double& e = wanted[place(i, j, n)];
      const float v = static_cast<float>(e) * static_cast<float>(inverse[static_cast<size_t>(i)]);
      e = real_of(from_float<fp16>(v * scales[part_of(j)]));
    }
  check(download_matrix(stream, y.view()) == wanted, what + " of columns, fp16");

  const Shape gradient{n, s.m, s.k};
  const Reals a = random.values<bf16>(n * s.k);
  const Reals b = random.values<bf16>(s.m * s.k);
  const Reals before = random.values<float>(n * s.m);
  const auto da = upload_matrix<bf16>(stream, s.k, n, a);
  const auto db = upload_matrix<bf16>(stream, s.k, s.m, b);
  const auto c = upload_reals<float>(stream, before);
  gemm<bf16, float>(stream, da.view(), Layout::transposed, db.view(), Layout::plain,
                    {dev_scales.data(), true, parts}, {c.data(), n, s.m, s.m});
  wanted = product(gradient, a, true, b, true);
  for (int64_t i = 0; i < n; i++)
    for (int64_t j = 0; j < s.m; j++)
      wanted[place(i, j, s.m)] = before[place(i, j, s.m)] +
                                 static_cast<double>(scales[part_of(i)]) * wanted[place(i, j, s.m)];
  check_close(download_reals(stream, c.data(), c.size()), wanted, tolerance<bf16>(s.k),
              what + " of rows");
}

/** Sums in 16 bits: exact up to the knee, and no further off than half a step beyond it. */
void test_sums(const Shape& s, unsigned seed) {
  const Stream stream;
  Random random(seed);
  Reals x(static_cast<size_t>(s.m * s.k));
  Reals w(static_cast<size_t>(s.n * s.k));
  // Rows 1, 4, .. of both are as alike as they can be.
  for (size_t i = 0; i < x.size(); i++)
    x[i] = static_cast<int64_t>(i) / s.k % 3 == 1 ? 127.0
                                                  : static_cast<double>(random.below(255) - 127);
  for (size_t i = 0; i < w.size(); i++) {
    const int64_t row = static_cast<int64_t>(i) / s.k;
    w[i] = row % 3 == 1 ? (row % 2 == 0 ? 1.0 : -1.0) : static_cast<double>(random.below(3) - 1);
  }
  const auto dx = upload_matrix<int8_t>(stream, s.m, s.k, x);
  const auto dw = upload_matrix<int8_t>(stream, s.n, s.k, w);
  const DeviceMatrix<int16_t> y(stream, s.m, s.n);
  const Matrix<int16_t> view = y.view();
  gemm_sums(stream, dx.view(), dw.view(),
            {reinterpret_cast<sum16*>(view.data), view.rows, view.columns, view.stride});
  const Reals got = download_matrix(stream, view);
  const Reals wanted = product(s, x, false, w, false);
  const auto step = static_cast<double>(sum_step(s.k));
  constexpr auto KNEE = static_cast<double>(SUM_KNEE);
  bool exact = true;
  bool near = true;
  for (size_t i = 0; i < got.size(); i++) {
    const double size = std::abs(got[i]);
    const double sum = std::copysign(size <= KNEE ? size : KNEE + (size - KNEE) * step, got[i]);
    exact = exact && (std::abs(wanted[i]) > KNEE || sum == wanted[i]);
    near = near && std::abs(sum - wanted[i]) <= step / 2;
  }
  const std::string what = name_of("sums", s, false, false);
  check(exact, what + ": a sum up to the knee is not exact");
  check(near, what + ": a sum beyond the knee is off by more than half a step");
  check(padding_is_zero(stream, view), what + ": padding");
}

/** fp16 has no infinity to give: what is beyond its range stays at its end, NaN stays NaN. */
void test_saturation() {
  const Stream stream;
  const auto x = upload_matrix<int8_t>(stream, 3, 16, Reals(48, 100.0));
  const auto w = upload_matrix<int8_t>(stream, 8, 16, Reals(128, 1.0));
  const auto x_inverse = upload<float>(stream, {1e6f, -1e6f, NAN});
  const auto w_inverse = upload<float>(stream, {1.0f});
  const DeviceMatrix<fp16> y(stream, 3, 8);
  gemm_codes<fp16>(stream, x.view(), x_inverse.data(), w.view(), w_inverse.data(), nullptr,
                   y.view());
  const Reals got = download_matrix(stream, y.view());
  for (size_t i = 0; i < 8; i++)
    check(got[i] == 65504.0 && got[8 + i] == -65504.0 && std::isnan(got[16 + i]), "saturation");
}

void test_all(const char* path) {
  if (path != nullptr) setenv("MAGNET_GEMM", path, 1);
  unsigned i = 0;
  test_saturation();
  for (const Shape& s : SHAPES) {
    for (unsigned layout = 0; layout < 4; layout++, i++) {
      const bool a_mn = layout % 2 == 1;
      const bool b_mn = layout / 2 == 1;
      // All of one type with each shape, the layouts in turn for the others.
      test_gradient<bf16>(s, a_mn, b_mn, i);
      if (layout == i / 4 % 4) {
        test_gradient<float>(s, a_mn, b_mn, i);
        test_operand(s, a_mn, b_mn, i);
      }
    }
    test_codes<float>(s, i % 8 == 0, i);
    test_codes<bf16>(s, i % 8 != 0, i);
    test_parts(s, i);
    test_sums(s, i);
  }
}

}  // namespace

int main(int count, char** paths) {
  setenv("MAGNET_EMULATION_MULTIPROCESSORS", "3", 0);
  if (count == 1) test_all(nullptr);
  // Where cuBLASLt is installed no other path was taken, and on Hopper hardly ever that of other GPUs.
  if (count == 1 && !MG_EMULATED) test_all("wgmma");
  if (count == 1) test_all("mma");
  for (int i = 1; i < count; i++) test_all(paths[i]);
  return finish("gemm");
}
