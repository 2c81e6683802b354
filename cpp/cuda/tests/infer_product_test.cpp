// Products of inference against plain integer loops, exactly; rows before and after them; and that a
// row's bits are the same whichever kernel takes it and whatever stands beside it.
#include <algorithm>

#include "../../cpu/packed_head.hpp"
#include "../infer/weights.hpp"
#include "../kernels/infer_fused.hpp"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;
using magnet::PackedTernary;

namespace {

using Trits = std::vector<int8_t>;

struct HostTernary {
  uint32_t rows, columns;
  Trits trits;
  PackedTernary packed;

  HostTernary(Random& random, uint32_t n, uint32_t k, float scale)
      : rows(n), columns(k), trits(size_t{n} * k), packed(magnet::empty_packed(n, k)) {
    packed.scale = scale;
    for (int8_t& t : trits) t = static_cast<int8_t>(random.below(3) - 1);
    for (uint32_t r = 0; r < n; r++)
      magnet::set_packed_row(packed, r, trits.data() + size_t{r} * k);
  }
  int32_t dot(uint32_t row, const int8_t* x) const {
    int32_t sum = 0;
    for (uint32_t c = 0; c < columns; c++) sum += trits[size_t{row} * columns + c] * x[c];
    return sum;
  }
};

/** Random codes in memory as products take them. */
struct Codes {
  uint32_t rows, columns;
  std::vector<int8_t> values;  // without padding
  std::vector<float> inverse;
  DeviceArray<int8_t> device;
  DeviceArray<float> device_inverse;
  DeviceArray<int32_t> device_sums;

  Codes(const Stream& stream, Random& random, uint32_t n, uint32_t k) : rows(n), columns(k) {
    const auto stride = static_cast<size_t>(chunks_of(k) * CHUNK_BYTES);
    std::vector<int8_t> padded_rows(n * stride, 0);
    std::vector<int32_t> sums;
    for (uint32_t r = 0; r < n; r++) {
      int32_t sum = 0;
      for (uint32_t c = 0; c < k; c++) {
        const auto q = static_cast<int8_t>(random.below(256) - 128);
        values.push_back(q);
        padded_rows[r * stride + c] = q;
        sum += q;
      }
      sums.push_back(sum);
      inverse.push_back(static_cast<float>(0.01 + 0.001 * static_cast<double>(random.below(50))));
    }
    device = upload(stream, padded_rows);
    device_inverse = upload(stream, inverse);
    device_sums = upload(stream, sums);
  }
  /** `count` rows from `first` on. */
  CodeRows part(uint32_t first, uint32_t count) const {
    const int64_t stride = chunks_of(columns) * CHUNK_BYTES;
    return {{device.data() + first * stride, count, columns, stride},
            device_inverse.data() + first,
            device_sums.data() + first};
  }
  const int8_t* row(uint32_t r) const { return values.data() + size_t{r} * columns; }
};

float dequantise(int32_t sum, float inverse, float scale) {
  return static_cast<float>(sum) * (inverse * scale);
}

std::string shape_name(const char* what, uint32_t rows, uint32_t n, uint32_t k) {
  return std::string(what) + " " + std::to_string(rows) + " x " + std::to_string(n) + " x " +
         std::to_string(k);
}

/** Three matrices one below the other, written and added to. */
void test_stacked(Random& random, uint32_t rows, std::vector<uint32_t> parts, uint32_t k) {
  const Stream stream;
  std::vector<HostTernary> weights;
  for (const uint32_t n : parts)
    weights.emplace_back(random, n, k, 0.5f + 0.25f * static_cast<float>(weights.size()));
  std::vector<const PackedTernary*> packed;
  for (const HostTernary& w : weights) packed.push_back(&w.packed);
  const DeviceTernary device = upload_stacked(stream, packed);
  const Codes x(stream, random, rows, k);
  const auto n = static_cast<uint32_t>(device.weight.rows);
  const Reals before = random.values<float>(int64_t{rows} * n);
  Reals want;
  for (uint32_t r = 0; r < rows; r++)
    for (const HostTernary& w : weights)
      for (uint32_t i = 0; i < w.rows; i++)
        want.push_back(real_of(dequantise(w.dot(i, x.row(r)), x.inverse[r], w.packed.scale)));
  const auto product = [&](uint32_t first, uint32_t count, bool add) {
    const Reals some(before.begin() + int64_t{first} * n, before.begin() + int64_t{first + count} * n);
    const DeviceMatrix<float> y = upload_matrix<float>(stream, count, n, some);
    ternary_product(stream, x.part(first, count), device.weight, add, y.view());
    check(padding_is_zero(stream, y.view()), "padding of a product");
    return download_matrix(stream, y.view());
  };
  const std::string name = shape_name("ternary", rows, n, k);
  check(product(0, rows, false) == want, name);
  // A piece from the middle, by the kernel of few rows.
  const uint32_t first = rows / 3;
  const uint32_t count = std::min(rows - first, 3u);
  const Reals piece(want.begin() + int64_t{first} * n, want.begin() + int64_t{first + count} * n);
  check(product(first, count, false) == piece, name + ": a piece");
  Reals added = want;
  for (size_t i = 0; i < added.size(); i++)
    added[i] = real_of(static_cast<float>(want[i]) + static_cast<float>(before[i]));
  check(product(0, rows, true) == added, name + ", added");
  if (rows <= 70)
    check_same_in_all_orders([&] { return product(0, rows, false); }, name);
}

void test_gated(Random& random, uint32_t rows, uint32_t n, uint32_t k, GateFunction activation) {
  const Stream stream;
  const HostTernary gate(random, n, k, 0.02f);
  const HostTernary up(random, n, k, 0.03f);
  const DeviceTernary device = upload_gated(stream, gate.packed, up.packed);
  const Codes x(stream, random, rows, k);
  Reals want;
  for (uint32_t r = 0; r < rows; r++)
    for (uint32_t i = 0; i < n; i++) {
      const double g = real_of(dequantise(gate.dot(i, x.row(r)), x.inverse[r], 0.02f));
      const double u = real_of(dequantise(up.dot(i, x.row(r)), x.inverse[r], 0.03f));
      const double positive = g > 0 ? g : 0.0;
      want.push_back(activation == GateFunction::silu ? g / (1 + std::exp(-g)) * u
                                                    : positive * positive * u);
    }
  const auto product = [&](uint32_t first, uint32_t count) {
    const DeviceMatrix<float> h(stream, count, n);
    gated_product(stream, x.part(first, count), device.weight, activation, h.view());
    return download_matrix(stream, h.view());
  };
  const std::string name = shape_name("gated", rows, n, k);
  const Reals all = product(0, rows);
  check_close(all, want, 1e-6, name);
  const Reals last(all.end() - n, all.end());
  check(product(rows - 1, 1) == last, name + ": the last row");
}

/** Embedding, norm and head, all from one matrix. */
/** By the CPU's library, whose sums have the same order. */
Reals host_logits(HeadKind kind, const Reals& weights, uint32_t vocab, uint32_t d,
                  const std::vector<float>& states) {
  magnet::PackedHead head = magnet::empty_head(
      kind == HeadKind::int8 ? magnet::HeadFormat::int8 : magnet::HeadFormat::int4, vocab, d);
  for (uint32_t r = 0; r < vocab; r++) {
    std::vector<float> row;
    for (uint32_t c = 0; c < d; c++) row.push_back(static_cast<float>(weights[size_t{r} * d + c]));
    magnet::set_head_row(head, r, row.data());
  }
  const auto n = static_cast<uint32_t>(states.size()) / d;
  const uint32_t stride = (d + 31) / 32 * 32;
  std::vector<int8_t> high(size_t{n} * stride), low(size_t{n} * stride);
  std::vector<int16_t> high_shift(size_t{n} * stride / 8), low_shift(size_t{n} * stride / 8);
  std::vector<int32_t> sums(size_t{n} * 2);
  std::vector<float> scale(n), logits(size_t{n} * vocab);
  const magnet::Int15Rows x = {stride,           high.data(), low.data(),  high_shift.data(),
                               low_shift.data(), sums.data(), scale.data()};
  for (uint32_t t = 0; t < n; t++) magnet::quantize_int15(states.data() + size_t{t} * d, d, x, t);
  magnet::head_product(head, 0, head.panels(), x, n, logits.data(), vocab);
  return Reals(logits.begin(), logits.end());
}

void test_head(Random& random, HeadKind kind, uint32_t rows, uint32_t vocab, uint32_t d) {
  const Stream stream;
  constexpr const char* KINDS[] = {"fp16 head", "int8 head", "int4 head"};
  const std::string name = shape_name(KINDS[static_cast<int>(kind)], rows, vocab, d);
  const Reals weights = random.values<float>(int64_t{vocab} * d, 0.02);
  const auto read = [&](uint32_t r, float* out) {
    for (uint32_t c = 0; c < d; c++) out[c] = static_cast<float>(weights[size_t{r} * d + c]);
  };
  const DeviceHead embedding = upload_head(stream, HeadKind::fp16, vocab, d, read);
  const DeviceHead head = upload_head(stream, kind, vocab, d, read);
  const Reals values = random.values<float>(int64_t{rows} * d);
  const Reals norm = random.values<float>(d);
  const DeviceMatrix<float> x = upload_matrix<float>(stream, rows, d, values);
  const DeviceArray<float> w = upload_reals<float>(stream, norm);
  const int64_t stride = head.weight.chunks() * CHUNK_BYTES;
  const auto logits = [&](const std::vector<uint32_t>& chosen) {
    const auto n = static_cast<int64_t>(chosen.size());
    const DeviceArray<uint32_t> rows_of = upload(stream, chosen);
    const DeviceArray<unsigned char> planes(static_cast<uint64_t>(n * 2 * stride));
    const DeviceArray<float> scales(chosen.size());
    const DeviceArray<float> out(chosen.size() * vocab);
    head_rows(stream, x.view(), rows_of.data(), n, w.data(), 1e-5f, kind, planes.data(), stride,
              scales.data());
    head_product(stream, {planes.data(), stride, scales.data(), n}, head.weight, out.data());
    return download_reals(stream, out.data(), out.size());
  };
  std::vector<uint32_t> all;
  for (uint32_t i = 0; i < rows; i++) all.push_back(rows - 1 - i);
  Reals want;
  Reals want_states;
  for (const uint32_t r : all) {
    double squares = 0;
    for (uint32_t c = 0; c < d; c++) squares += std::pow(values[size_t{r} * d + c], 2);
    const double root = 1 / std::sqrt(squares / d + 1e-5);
    for (uint32_t c = 0; c < d; c++) want_states.push_back(values[size_t{r} * d + c] * root * norm[c]);
    for (uint32_t v = 0; v < vocab; v++) {
      double sum = 0;
      for (uint32_t c = 0; c < d; c++)
        sum += want_states[want_states.size() - d + c] * weights[size_t{v} * d + c];
      want.push_back(sum);
    }
  }
  const Reals got = logits(all);
  constexpr double TOLERANCES[] = {5e-4, 1e-2, 0.15};
  check_close(got, want, TOLERANCES[static_cast<int>(kind)], name);
  check(logits({0}) == Reals(got.end() - vocab, got.end()), name + ": one row by itself");
  const DeviceArray<uint32_t> chosen = upload(stream, all);
  const DeviceArray<float> states(uint64_t{rows} * d);
  normed_rows(stream, x.view(), chosen.data(), rows, w.data(), 1e-5f, states.data());
  check_close(download_reals(stream, states.data(), states.size()), want_states, 1e-6,
              name + ": normed states");
  if (kind != HeadKind::fp16)
    check(got == host_logits(kind, weights, vocab, d,
                             download(stream, states.data(), states.size())),
          name + ": differs from the CPU's");
  std::vector<mg_batch_row> tokens;
  Reals want_rows, want_high;
  for (uint32_t i = 0; i < rows; i++) {
    tokens.push_back({static_cast<int32_t>(random.below(vocab)), i, 0, 0});
    for (uint32_t c = 0; c < d; c++) {
      want_rows.push_back(weights[static_cast<size_t>(tokens.back().token) * d + c]);
      want_high.push_back(real_of(to_float(to_fp16(static_cast<float>(want_rows.back())))));
    }
  }
  const DeviceArray<mg_batch_row> device_tokens = upload(stream, tokens);
  embed_rows(stream, embedding.weight, nullptr, device_tokens.data(), x.view());
  check(download_matrix(stream, x.view()) == want_high, name + ": embedding in 16 bits");
  const DeviceArray<fp16> lost = upload_lost(stream, vocab, d, read);
  embed_rows(stream, embedding.weight, lost.data(), device_tokens.data(), x.view());
  // Subnormals of fp16 end at 6e-8.
  check_close(download_matrix(stream, x.view()), want_rows, 1e-5, name + ": embedding");
  const auto exact = [&](uint32_t r, float* out) {
    for (uint32_t c = 0; c < d; c++)
      out[c] = to_float(to_fp16(static_cast<float>(weights[size_t{r} * d + c])));
  };
  check(upload_lost(stream, vocab, d, exact).size() == 0, name + ": nothing lost");
  if (rows < 20) check_same_in_all_orders([&] { return logits(all); }, name);
}

/** Codes are within half a step of the normed values, and use the whole range. */
void test_quantise(Random& random, uint32_t rows, uint32_t d, bool normed) {
  const Stream stream;
  const std::string name = shape_name("quantise", rows, d, normed);
  const Reals values = random.values<float>(int64_t{rows} * d, 3.0);
  const Reals weights = random.values<float>(d);
  const DeviceMatrix<float> x = upload_matrix<float>(stream, rows, d, values);
  const DeviceArray<float> w = upload_reals<float>(stream, weights);
  const int64_t stride = chunks_of(d) * CHUNK_BYTES;
  const DeviceArray<int8_t> codes(static_cast<uint64_t>(rows * stride));
  const DeviceArray<float> inverse(rows);
  const DeviceArray<int32_t> sums(rows);
  quantise_rows(stream, x.view(), normed ? w.data() : nullptr, 1e-5f,
                {{codes.data(), rows, d, stride}, inverse.data(), sums.data()});
  const std::vector<int8_t> q = download(stream, codes.data(), codes.size());
  const std::vector<float> steps = download(stream, inverse.data(), rows);
  const std::vector<int32_t> totals = download(stream, sums.data(), rows);
  bool close = true;
  bool exact = true;
  for (uint32_t r = 0; r < rows; r++) {
    double squares = 0;
    for (uint32_t c = 0; c < d; c++) squares += std::pow(values[size_t{r} * d + c], 2);
    const double root = normed ? 1 / std::sqrt(squares / d + 1e-5) : 1.0;
    const double step = static_cast<double>(steps[r]);
    int32_t sum = 0;
    int most = 0;
    for (int64_t c = 0; c < stride; c++) {
      const int code = q[static_cast<size_t>(r * stride + c)];
      sum += code;
      most = std::max(most, std::abs(code));
      const auto at = static_cast<size_t>(c);
      const double y = c < d ? values[size_t{r} * d + at] * root * (normed ? weights[at] : 1.0) : 0.0;
      close = close && std::fabs(code * step - y) <= step * 0.5001;
    }
    exact = exact && sum == totals[r] && most == 127;
  }
  check(close, name + ": codes are not the nearest");
  check(exact, name + ": sums of codes, or the largest");
}

/** Rows that are normed, quantised and multiplied in one kernel, or in several where they are many. */
void test_fused(Random& random, uint32_t rows, uint32_t n, uint32_t k, bool normed) {
  const Stream stream;
  const std::string name = shape_name("fused", rows, n, k);
  const HostTernary first(random, n, k, 0.02f);
  const HostTernary second(random, n, k, 0.03f);
  const DeviceTernary stacked = upload_stacked(stream, {&first.packed, &second.packed});
  const DeviceTernary both = upload_gated(stream, first.packed, second.packed);
  const DeviceMatrix<float> x =
      upload_matrix<float>(stream, rows, k, random.values<float>(int64_t{rows} * k, 2.0));
  const DeviceArray<float> w = upload_reals<float>(stream, random.values<float>(k));
  const int64_t stride = chunks_of(k) * CHUNK_BYTES;
  const DeviceArray<int8_t> codes(static_cast<uint64_t>(rows * stride));
  const DeviceArray<float> inverse(rows);
  const DeviceArray<int32_t> sums(rows);
  const CodeTarget scratch{{codes.data(), rows, k, stride}, inverse.data(), sums.data()};
  const FloatRows in{x.view(), normed ? w.data() : nullptr, 1e-5f};
  const auto run = [&](bool gated, bool fused) {
    const DeviceMatrix<float> y(stream, rows, gated ? n : 2 * n);
    if (!fused) quantise_rows(stream, in.x, in.norm, in.eps, scratch);
    const CodeRows apart{scratch.codes, scratch.inverse, scratch.sums};
    if (gated && fused)
      gated_product_of(stream, in, scratch, both.weight, GateFunction::silu, y.view());
    else if (gated)
      gated_product(stream, apart, both.weight, GateFunction::silu, y.view());
    else if (fused)
      ternary_product_of(stream, in, scratch, stacked.weight, true, y.view());
    else
      ternary_product(stream, apart, stacked.weight, true, y.view());
    return download_matrix(stream, y.view());
  };
  for (const bool gated : {false, true}) {
    const Reals want = run(gated, false);
    check(run(gated, true) == want, name + (gated ? ", gated" : ""));
    check_same_in_all_orders([&] { return run(gated, true); }, name);
  }
}

}  // namespace

int main() {
  Random random(23);
  test_stacked(random, 1, {64, 32, 32}, 64);
  test_stacked(random, 3, {33, 11, 11}, 150);
  test_stacked(random, 8, {24}, 1100);
  test_stacked(random, 13, {40}, 150);
  test_stacked(random, 17, {64, 16, 16}, 176);
  test_stacked(random, 33, {40}, 333);
  test_stacked(random, 64, {16}, 88);
  test_stacked(random, 65, {150, 50, 50}, 150);
  test_stacked(random, 130, {48}, 520);
  test_stacked(random, 1, {16}, 4500);
  for (const uint32_t rows : {1u, 9u, 20u, 64u, 70u})
    test_gated(random, rows, rows == 9 ? 88 : 37, rows == 20 ? 300 : 64,
               rows == 64 ? GateFunction::relu_squared : GateFunction::silu);
  for (const HeadKind kind : {HeadKind::fp16, HeadKind::int8, HeadKind::int4}) {
    test_head(random, kind, 1, 257, 64);
    test_head(random, kind, 11, 97, 150);
    test_head(random, kind, 30, 97, 32);
    test_head(random, kind, 64, 130, 200);
  }
  test_fused(random, 1, 64, 64, true);
  test_fused(random, 3, 37, 150, true);
  test_fused(random, 4, 24, 4200, false);
  test_fused(random, 2, 20, 1100, false);
  test_fused(random, 5, 16, 88, true);
  for (const uint32_t d : {32u, 64u, 88u, 150u, 1536u, 4096u}) {
    test_quantise(random, 3, d, true);
    test_quantise(random, 2, d, false);
  }
  return finish("infer_product");
}
