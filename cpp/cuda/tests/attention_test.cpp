// Rotary positions and attention, forward and backward, against plain loops in double precision.
#include <algorithm>

#include "../kernels/attention.hpp"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

/** Everything on the host, row-major without padding. */
struct Reference {
  Reals o, log_sums, dq, dk, dv;
};

/** One query head; at(row, head, column) indexes as the shape says. */
void reference_head(const AttentionShape& a, int64_t sequence, int64_t head,
                    const Reals& q, const Reals& k,
                    const Reals& v, const Reals& d_o, Reference& out) {
  const int64_t hd = a.head_dim;
  const int64_t kv = head / (a.heads / a.kv_heads);
  const double scale = 1 / std::sqrt(static_cast<double>(hd));
  const auto row_of = [&](int64_t i) { return ((sequence * a.context + i) * a.heads + head) * hd; };
  const auto kv_of = [&](int64_t i) { return ((sequence * a.context + i) * a.kv_heads + kv) * hd; };
  const auto dot = [&](const Reals& x, int64_t i, const Reals& y,
                       int64_t j) {
    double sum = 0;
    for (int64_t c = 0; c < hd; c++)
      sum += x[static_cast<size_t>(i + c)] * y[static_cast<size_t>(j + c)];
    return sum;
  };
  const auto add = [&](Reals& x, int64_t i, double factor,
                       const Reals& y, int64_t j) {
    for (int64_t c = 0; c < hd; c++)
      x[static_cast<size_t>(i + c)] += factor * y[static_cast<size_t>(j + c)];
  };
  for (int64_t i = 0; i < a.context; i++) {
    Reals p;
    for (int64_t j = 0; j <= i; j++) p.push_back(dot(q, row_of(i), k, kv_of(j)) * scale);
    const double top = *std::max_element(p.begin(), p.end());
    double sum = 0;
    for (double& x : p) sum += x = std::exp(x - top);
    out.log_sums.push_back(top + std::log(sum));
    for (int64_t j = 0; j <= i; j++)
      add(out.o, row_of(i), p[static_cast<size_t>(j)] /= sum, v, kv_of(j));
    const double delta = dot(d_o, row_of(i), out.o, row_of(i));
    for (int64_t j = 0; j <= i; j++) {
      const double pj = p[static_cast<size_t>(j)];
      const double ds = pj * (dot(d_o, row_of(i), v, kv_of(j)) - delta) * scale;
      add(out.dv, kv_of(j), pj, d_o, row_of(i));
      add(out.dk, kv_of(j), ds, q, row_of(i));
      add(out.dq, row_of(i), ds, k, kv_of(j));
    }
  }
}

struct Inputs {
  Reals q, k, v, d_o;
};

template <class T>
Inputs random_inputs(Random& random, const AttentionShape& a) {
  const int64_t rows = a.sequences * a.context;
  const int64_t width = rows * a.heads * a.head_dim;
  const int64_t kv_width = rows * a.kv_heads * a.head_dim;
  return {random.values<T>(width, 1.5), random.values<T>(kv_width, 1.5), random.values<T>(kv_width),
          random.values<T>(width)};
}

Reference reference(const AttentionShape& a, const Inputs& in) {
  Reference out;
  out.o.resize(in.q.size());
  out.dq.resize(in.q.size());
  out.dk.resize(in.k.size());
  out.dv.resize(in.k.size());
  for (int64_t s = 0; s < a.sequences; s++)
    for (int64_t h = 0; h < a.heads; h++) reference_head(a, s, h, in.q, in.k, in.v, in.d_o, out);
  return out;
}

/** Full of NaN, to see what a kernel does not write. */
template <class T>
DeviceMatrix<T> unset_matrix(const Stream& stream, int64_t rows, int64_t columns) {
  DeviceMatrix<T> out(stream, rows, columns);
  const Matrix<T> view = out.view();
  fill_bytes(stream, view.data, 0xff, static_cast<uint64_t>(rows * view.stride) * sizeof(T));
  return out;
}

/** Scales of weights, where gradients are multiplied by them. */
constexpr float SCALES[] = {0.5f, 2.0f, 0.25f};

/** Queries, keys and values beside each other, as the trainer keeps them; gradients too. */
template <class T>
struct Beside {
  DeviceMatrix<T> all;
  int64_t width, kv_width;

  Beside(const Stream& stream, int64_t rows, int64_t q, int64_t kv)
      : all(stream, rows, padded(q) + 2 * padded(kv)), width(q), kv_width(kv) {}
  Matrix<T> part(Matrix<T> of, int i) const {
    if (i == 0) return of.slice(0, width);
    return of.slice(padded(width) + (i - 1) * padded(kv_width), kv_width);
  }
  Matrix<T> part(int i) const { return part(all.view(), i); }
};

/** Values without padding to columns of a wider matrix. */
template <class T>
void put(const Stream& stream, const Matrix<T>& to, const Reals& values) {
  std::vector<T> row(static_cast<size_t>(to.columns));
  for (int64_t r = 0; r < to.rows; r++) {
    for (size_t c = 0; c < row.size(); c++)
      row[c] = element_of<T>(values[static_cast<size_t>(r) * row.size() + c]);
    copy_in(stream, to.row(r), row.data(), row.size() * sizeof(T));
    stream.wait();
  }
}
template <class T>
Reals taken(const Stream& stream, const Matrix<T>& from) {
  Reals out;
  for (int64_t r = 0; r < from.rows; r++)
    for (const double x : download_reals(stream, from.row(r), static_cast<uint64_t>(from.columns)))
      out.push_back(x);
  return out;
}

/** What fp16 loses of x. */
Reals lost(const Reals& x) {
  Reals out;
  for (const double e : x) out.push_back(e - real_of(element_of<fp16>(e)));
  return out;
}

template <class T>
Reference compute(const AttentionShape& a, const Inputs& in, bool scaled = false,
                  bool split = false,
                  const Angles& turns = {}) {
  using A = Activation<T>;
  const Stream stream;
  const int64_t rows = a.sequences * a.context;
  const int64_t width = a.heads * a.head_dim;
  const int64_t kv_width = a.kv_heads * a.head_dim;
  const Beside<A> qkv(stream, rows, width, kv_width);
  put(stream, qkv.part(0), in.q);
  put(stream, qkv.part(1), in.k);
  put(stream, qkv.part(2), in.v);
  const DeviceMatrix<T> d_o = upload_matrix<T>(stream, rows, width, in.d_o);
  const Beside<A> low(stream, rows, width, kv_width);
  AttentionInput<A> input{qkv.part(0), qkv.part(1), qkv.part(2)};
  if (split) {
    put(stream, low.part(0), lost(in.q));
    put(stream, low.part(1), lost(in.k));
    put(stream, low.part(2), lost(in.v));
    input = {qkv.part(0), qkv.part(1), qkv.part(2), low.part(0), low.part(1), low.part(2)};
  }
  const DeviceMatrix<float> o = unset_matrix<float>(stream, rows, width);
  const Beside<T> gradients(stream, rows, width, kv_width);
  const Matrix<T> all = gradients.all.view();
  fill_bytes(stream, all.data, 0xff, static_cast<uint64_t>(rows * all.stride) * sizeof(T));
  const auto scales = upload<float>(stream, {SCALES[0], SCALES[1], SCALES[2]});
  const DeviceArray<float> log_sums(static_cast<uint64_t>(a.sequences * a.heads * a.context));
  const DeviceArray<float> scratch(attention_scratch(a));
  attention_forward<A>(stream, a, input, o.view(), log_sums.data());
  attention_backward<T>(stream, a, qkv.part(0), qkv.part(1), qkv.part(2), o.view(), d_o.view(),
                        log_sums.data(), scaled ? scales.data() : nullptr, turns,
                        gradients.part(0), gradients.part(1), gradients.part(2), scratch.data());
  check(padding_is_zero(stream, o.view()), "zeros behind the last column");
  for (int i = 0; i < 3; i++) {
    Matrix<T> part = gradients.part(i);
    const int64_t columns = part.columns;
    part.columns = padded(columns);
    const Reals found = taken(stream, part);
    bool zeros = true;
    for (size_t j = 0; j < found.size(); j++)
      if (static_cast<int64_t>(j) % part.columns >= columns) zeros = zeros && found[j] == 0.0;
    check(zeros, "zeros behind the columns of each gradient");
  }
  return {download_matrix(stream, o.view()),
          download_reals(stream, log_sums.data(), log_sums.size()),
          taken(stream, gradients.part(0)), taken(stream, gradients.part(1)),
          taken(stream, gradients.part(2))};
}

Reals all_of(const Reference& r) {
  Reals out;
  for (const Reals* x : {&r.o, &r.log_sums, &r.dq, &r.dk, &r.dv})
    out.insert(out.end(), x->begin(), x->end());
  return out;
}

/** cos and sin of t * 10000^(-2j/head_dim), as float32 holds them. */
void angles(int64_t positions, int64_t head_dim, Reals& cosines, Reals& sines) {
  for (int64_t i = 0; i < positions; i++)
    for (int64_t j = 0; j < head_dim / 2; j++) {
      const double fraction = 2.0 * static_cast<double>(j) / static_cast<double>(head_dim);
      const double angle = static_cast<double>(i) * std::pow(1e4, -fraction);
      cosines.push_back(real_of(static_cast<float>(std::cos(angle))));
      sines.push_back(real_of(static_cast<float>(std::sin(angle))));
    }
}

/** Rows of heads, rotated by the angles times sign. */
Reals rotated(Reals x, const AttentionShape& a, int64_t heads, double sign) {
  Reals cosines, sines;
  angles(a.context, a.head_dim, cosines, sines);
  const int64_t half = a.head_dim / 2;
  for (int64_t i = 0; i < a.sequences * a.context * heads; i++)
    for (int64_t j = 0; j < half; j++) {
      double& first = x[static_cast<size_t>(i * a.head_dim + j)];
      double& second = x[static_cast<size_t>(i * a.head_dim + half + j)];
      const auto at = static_cast<size_t>(i / heads % a.context * half + j);
      const double turned = first * cosines[at] - second * sign * sines[at];
      second = second * cosines[at] + first * sign * sines[at];
      first = turned;
    }
  return x;
}

/** Gradients of what was rotated, by the angles of its positions. */
template <class T>
void test_turned(const AttentionShape& a, const Inputs& in, const Reference& want, double limit,
                 const std::string& of) {
  const Stream stream;
  Reals cosines, sines;
  angles(a.context, a.head_dim, cosines, sines);
  const DeviceArray<float> dev_cosines = upload_reals<float>(stream, cosines);
  const DeviceArray<float> dev_sines = upload_reals<float>(stream, sines);
  const Reference got = compute<T>(a, in, false, false, {dev_cosines.data(), dev_sines.data()});
  check_close(got.dq, rotated(want.dq, a, a.heads, -1.0), limit, of + "dq turned back");
  check_close(got.dk, rotated(want.dk, a, a.kv_heads, -1.0), limit, of + "dk turned back");
  check_close(got.dv, want.dv, limit, of + "dv, which is not turned");
}

template <class T>
void test_attention(const char* precision, Random& random, const AttentionShape& a, double limit) {
  char name[128];
  std::snprintf(name, sizeof name, "%s, %d x %d positions, %d heads of %d, %d kv heads: ",
                precision, static_cast<int>(a.sequences), static_cast<int>(a.context),
                static_cast<int>(a.heads), static_cast<int>(a.head_dim),
                static_cast<int>(a.kv_heads));
  const std::string of = name;
  const Inputs in = random_inputs<T>(random, a);
  const Reference got = compute<T>(a, in);
  const Reference want = reference(a, in);
  std::printf("%so %.1e, dq %.1e, dk %.1e, dv %.1e\n", name, relative_l2(got.o, want.o),
              relative_l2(got.dq, want.dq), relative_l2(got.dk, want.dk),
              relative_l2(got.dv, want.dv));
  std::fflush(stdout);
  check_close(got.o, want.o, limit, of + "o");
  check_close(got.log_sums, want.log_sums, 1e-5, of + "log sums");
  check_close(got.dq, want.dq, limit, of + "dq");
  check_close(got.dk, want.dk, limit, of + "dk");
  check_close(got.dv, want.dv, limit, of + "dv");
  if (a.context <= 70)
    check_same_in_all_orders([&] { return all_of(compute<T>(a, in)); }, of + "results");
  test_turned<T>(a, in, want, limit, of);
  const Reference other = compute<T>(a, in, true);
  const auto times = [](Reals x, float scale) {
    for (double& e : x) e *= static_cast<double>(scale);
    return x;
  };
  check(other.dq == times(got.dq, SCALES[0]) && other.dk == times(got.dk, SCALES[1]) &&
            other.dv == times(got.dv, SCALES[2]),
        of + "powers of two as scales of weights give other digits");
  if (a.sequences == 1) return;
  AttentionShape alone = a;
  alone.sequences = 1;
  const auto last = [&](const Reals& x) {
    return Reals(x.end() - static_cast<int64_t>(x.size()) / a.sequences, x.end());
  };
  const Reference one = compute<T>(alone, {last(in.q), last(in.k), last(in.v), last(in.d_o)});
  check(one.o == last(got.o) && one.dq == last(got.dq) && one.dk == last(got.dk) &&
            one.dv == last(got.dv),
        of + "a sequence alone gives other bits");
}

/** Forward of values that fp16 does not hold, with what it loses beside. */
void test_split(Random& random, const AttentionShape& a) {
  Inputs in = random_inputs<float>(random, a);
  const Reference got = compute<bf16>(a, in, false, true);
  const Reference want = reference(a, in);
  const std::string of = "split, " + std::to_string(a.context) + " positions, heads of " +
                         std::to_string(a.head_dim) + ": ";
  const bool fits = a.head_dim <= 128;  // else as without
  std::printf("%so %.1e, log sums %.1e\n", of.c_str(), relative_l2(got.o, want.o),
              relative_l2(got.log_sums, want.log_sums));
  check_close(got.o, want.o, fits ? 2e-6 : 1e-3, of + "o");
  check_close(got.log_sums, want.log_sums, fits ? 1e-6 : 1e-3, of + "log sums");
  if (a.context <= 70)
    check_same_in_all_orders([&] { return compute<bf16>(a, in, false, true).o; }, of + "o");
}

/** Scores of some tens, as in a trained model: a small error of one is a large one of a probability. */
void test_sharp(Random& random, const AttentionShape& a) {
  Inputs in = random_inputs<float>(random, a);
  for (double& x : in.q) x = real_of(static_cast<float>(8 * x));
  const Reference got = compute<bf16>(a, in, false, true);
  const Reference want = reference(a, in);
  const std::string of = "sharp scores, heads of " + std::to_string(a.head_dim) + ": ";
  std::printf("%sdq %.1e, dk %.1e, dv %.1e\n", of.c_str(), relative_l2(got.dq, want.dq),
              relative_l2(got.dk, want.dk), relative_l2(got.dv, want.dv));
  // Where shared memory has no room for two kinds of tiles, scores are made of bf16.
  const bool fits = a.head_dim <= 64 || (a.head_dim <= 128 && capability().major < 12);
  const double limit = fits ? 1.7e-2 : 6e-2;
  check_close(got.dq, want.dq, limit, of + "dq");
  check_close(got.dk, want.dk, limit, of + "dk");
  check_close(got.dv, want.dv, limit, of + "dv");
}

template <class T>
void test_rope(const char* precision, Random& random, const AttentionShape& a, double limit) {
  const Stream stream;
  const int64_t rows = a.sequences * a.context;
  Reals cosines, sines;
  angles(a.context, a.head_dim, cosines, sines);
  const Reals x = random.values<T>(rows * a.heads * a.head_dim);
  const DeviceArray<float> dev_cosines = upload_reals<float>(stream, cosines);
  const DeviceArray<float> dev_sines = upload_reals<float>(stream, sines);
  for (const double sign : {1.0, -1.0}) {
    const DeviceMatrix<T> dev = upload_matrix<T>(stream, rows, a.heads * a.head_dim, x);
    rope<T>(stream, dev.view(), a.context, a.heads, a.head_dim, dev_cosines.data(),
            dev_sines.data(), sign < 0);
    const Reals want = rotated(x, a, a.heads, sign);
    check_close(download_matrix(stream, dev.view()), want, limit,
                std::string(precision) + ", rope, heads of " + std::to_string(a.head_dim));
    check(padding_is_zero(stream, dev.view()), "zeros behind the last column");
  }
}

/** From sums to two fp16: what rope gives of the values in double, to 21 bits. */
void test_rope_split(Random& random, const AttentionShape& a) {
  const Stream stream;
  const int64_t rows = a.sequences * a.context;
  const int64_t widths[] = {a.heads * a.head_dim, a.kv_heads * a.head_dim, a.kv_heads * a.head_dim};
  Reals cosines, sines;
  angles(a.context, a.head_dim, cosines, sines);
  const auto dev_cosines = upload_reals<float>(stream, cosines);
  const auto dev_sines = upload_reals<float>(stream, sines);
  const auto scales = upload<float>(stream, {SCALES[0], SCALES[1], SCALES[2]});
  const Reals row_scales = random.values<float>(rows, 1e-3);
  const auto dev_rows = upload_reals<float>(stream, row_scales);
  const Beside<int16_t> sums(stream, rows, widths[0], widths[1]);
  const Beside<fp16> low(stream, rows, widths[0], widths[1]);
  Reals want[3];
  for (int part = 0; part < 3; part++) {
    Reals codes;
    for (int64_t i = 0; i < rows * widths[part]; i++)
      codes.push_back(static_cast<double>(random.below(20001) - 10000));
    put(stream, sums.part(part), codes);
    for (size_t i = 0; i < codes.size(); i++)
      want[part].push_back(codes[i] * row_scales[i / static_cast<size_t>(widths[part])] *
                           static_cast<double>(SCALES[part]));
    for (int64_t i = 0; part < 2 && i < rows * widths[part] / a.head_dim; i++)
      for (int64_t j = 0; j < a.head_dim / 2; j++) {
        double& x = want[part][static_cast<size_t>(i * a.head_dim + j)];
        double& y = want[part][static_cast<size_t>(i * a.head_dim + a.head_dim / 2 + j)];
        const auto at = static_cast<size_t>(
            i / (widths[part] / a.head_dim) % a.context * (a.head_dim / 2) + j);
        const double turned = x * cosines[at] - y * sines[at];
        y = y * cosines[at] + x * sines[at];
        x = turned;
      }
  }
  const Matrix<int16_t> all = sums.all.view();
  const Matrix<fp16> of{reinterpret_cast<fp16*>(all.data), all.rows, all.columns, all.stride};
  const auto first = [&](int part) { return sums.part(part).data - all.data; };
  rope_split(stream, a,
             {of, low.all.view(), first(1), first(2), dev_rows.data(), scales.data(), 1.0f},
             dev_cosines.data(), dev_sines.data());
  for (int part = 0; part < 3; part++) {
    const std::string what = "rope_split, part " + std::to_string(part) + ", heads of " +
                             std::to_string(a.head_dim);
    Reals got = taken(stream, low.part(of, part));
    check_close(got, want[part], 4e-4, what + ", high");
    const Reals lows = taken(stream, low.part(part));
    for (size_t i = 0; i < got.size(); i++) got[i] += lows[i];
    check_close(got, want[part], 3e-7, what);
  }
}

template <class T>
void test_all(const char* precision, double rope_limit, double limit) {
  Random random(7);
  const AttentionShape turned[] = {{2, 24, 2, 2, 8}, {1, 7, 3, 3, 6}, {2, 65, 4, 4, 96}};
  for (const AttentionShape& a : turned) {
    test_rope<T>(precision, random, a, rope_limit);
    if (!std::is_same_v<T, float>) test_rope<Activation<T>>("fp16", random, a, rope_limit / 8);
  }
  if (!std::is_same_v<T, float>)
    for (const AttentionShape& a : {turned[1], turned[2], AttentionShape{3, 5, 6, 2, 48}})
      test_rope_split(random, a);
  const AttentionShape shapes[] = {
      {1, 32, 4, 2, 16},  // golden
      {2, 24, 4, 2, 8},   // golden
      {3, 1, 2, 1, 2},    {1, 33, 1, 1, 6},    {2, 70, 3, 1, 10},  {1, 129, 4, 1, 96},
      {1, 65, 8, 2, 64},  {2, 40, 2, 2, 128},  {1, 100, 6, 3, 80}, {1, 67, 2, 1, 256},
      {1, 49, 2, 1, 160}, {1, 200, 2, 1, 32},
  };
  for (const AttentionShape& shape : shapes) {
    test_attention<T>(precision, random, shape, limit);
    if (!std::is_same_v<T, float>) test_split(random, shape);
    if (!std::is_same_v<T, float> && shape.context >= 16) test_sharp(random, shape);
  }
}

}  // namespace

/** Without arguments all, else what depends on the device's shared memory. */
int main(int count, char**) {
  if (count > 1) {
    Random random(11);
    for (const AttentionShape& a : {AttentionShape{2, 65, 4, 2, 96}, AttentionShape{1, 40, 2, 2, 128}}) {
      test_attention<bf16>("bf16", random, a, 1e-2);
      test_sharp(random, a);
    }
    return finish("attention");
  }
  test_all<float>("float32", 1e-7, 3e-6);
  test_all<bf16>("bf16", 4e-3, 1e-2);
  return finish("attention");
}
