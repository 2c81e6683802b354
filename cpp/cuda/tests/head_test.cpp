// Embedding lookup and its gradient, and cross-entropy, against plain loops in float64.
#include "../kernels/head.hpp"

#include <algorithm>

#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

template <class T>
constexpr double TOLERANCE = std::is_same_v<T, float> ? 2e-6 : 8e-3;

std::vector<int32_t> tokens(Random& random, int64_t rows, int64_t vocab, bool ignored) {
  std::vector<int32_t> out(static_cast<size_t>(rows));
  for (int32_t& id : out) {
    // Few different tokens, some of them often.
    id = static_cast<int32_t>(random.below(2) == 0 ? random.below(vocab)
                                                   : random.below(std::min<int64_t>(vocab, 3)));
    if (ignored && random.below(5) == 0) id = IGNORED;
  }
  return out;
}

void test_embedding(int64_t rows, int64_t vocab, int64_t d) {
  const Stream stream;
  Random random(static_cast<unsigned>(rows + vocab));
  const Reals embedding = random.values<float>(vocab * d);
  const std::vector<int32_t> ids = tokens(random, rows, vocab, true);
  const auto table = upload_reals<float>(stream, embedding);
  const auto device_ids = upload(stream, ids);
  const DeviceMatrix<float> x(stream, rows, d);
  embed(stream, table.data(), device_ids.data(), x.view());
  const Reals dx = random.values<float>(rows * d);
  Reals want(dx.size()), want_gradient(embedding.size(), 0.25);
  for (int64_t r = 0; r < rows; r++)
    for (int64_t c = 0; c < d; c++) {
      const auto i = static_cast<size_t>(r * d + c);
      const int64_t id = std::max(0, ids[static_cast<size_t>(r)]);
      const auto at = static_cast<size_t>(id * d + c);
      want[i] = embedding[at];
      want_gradient[at] += dx[i];
    }
  const std::string what = "embedding " + std::to_string(rows) + "x" + std::to_string(d);
  check(download_matrix(stream, x.view()) == want, what + ": lookup");
  std::vector<int32_t> order(token_order_size(rows));
  token_order(ids.data(), rows, vocab, order.data());
  const auto device_order = upload(stream, order);
  const auto device_dx = upload_matrix<float>(stream, rows, d, dx);
  const auto gradient = upload_reals<float>(stream, Reals(embedding.size(), 0.25));
  embed_backward(stream, device_dx.view(), token_order_in(device_order.data(), rows),
                 gradient.data());
  check_close(download_reals(stream, gradient.data(), gradient.size()), want_gradient, 1e-6,
              what + ": gradient");
}

template <class T>
void test_cross_entropy(int64_t rows, int64_t vocab, double spread) {
  const Stream stream;
  Random random(static_cast<unsigned>(vocab));
  Reals logits = random.values<T>(rows * vocab, spread);
  const std::vector<int32_t> targets = tokens(random, rows, vocab, true);
  const Reals scales = random.values<float>(rows);
  const auto device_targets = upload(stream, targets);
  const auto device_scales = upload_reals<float>(stream, scales);
  const auto scale = upload<float>(stream, {0.5f});
  const DeviceArray<float> nll(static_cast<uint64_t>(rows));
  const std::string what = std::string("cross_entropy ") +
                           (std::is_same_v<T, float> ? "float32 " : "bf16 ") +
                           std::to_string(vocab);
  Reals want_nll(static_cast<size_t>(rows), 0.0), want(logits.size(), 0.0);
  double total = 0.0;
  for (int64_t r = 0; r < rows; r++) {
    const int32_t target = targets[static_cast<size_t>(r)];
    if (target == IGNORED) continue;
    const double* const l = logits.data() + r * vocab;
    const double most = *std::max_element(l, l + vocab);
    double sum = 0.0;
    for (int64_t c = 0; c < vocab; c++) sum += std::exp(l[c] - most);
    want_nll[static_cast<size_t>(r)] = std::log(sum) + most - l[target];
    total += want_nll[static_cast<size_t>(r)];
    for (int64_t c = 0; c < vocab; c++)
      want[static_cast<size_t>(r * vocab + c)] =
          (std::exp(l[c] - most) / sum - (c == target ? 1.0 : 0.0)) * 0.5 *
          scales[static_cast<size_t>(r)];
  }
  const auto matrix = upload_matrix<T>(stream, rows, vocab, logits);
  cross_entropy<T>(stream, matrix.view(), device_targets.data(), nullptr, nullptr, nll.data());
  check_close(download_reals(stream, nll.data(), nll.size()), want_nll, 1e-5, what + ": loss");
  check(download_matrix(stream, matrix.view()) == logits, what + ": logits stay without a gradient");
  check_same_in_all_orders(
      [&] {
        const auto again = upload_matrix<T>(stream, rows, vocab, logits);
        cross_entropy<T>(stream, again.view(), device_targets.data(), scale.data(),
                         device_scales.data(), nll.data());
        return download_matrix(stream, again.view());
      },
      what);
  cross_entropy<T>(stream, matrix.view(), device_targets.data(), scale.data(), device_scales.data(),
                   nll.data());
  check_close(download_matrix(stream, matrix.view()), want, TOLERANCE<T>, what + ": gradient");
  check(padding_is_zero(stream, matrix.view()), what + ": padding");
  const auto sum = upload<double>(stream, {3.0});
  add_losses(stream, nll.data(), rows, sum.data());
  check(std::fabs(download(stream, sum.data(), 1)[0] - 3.0 - total) < 1e-5 * (1.0 + total),
        what + ": sum of the losses");
}

}  // namespace

int main() {
  test_embedding(24, 97, 32);
  test_embedding(7, 257, 64);
  test_embedding(300, 11, 17);
  for (const double spread : {1.0, 30.0}) {
    test_cross_entropy<float>(6, 97, spread);
    test_cross_entropy<float>(4, 257, spread);
    test_cross_entropy<bf16>(6, 97, spread);
    test_cross_entropy<bf16>(3, 5000, spread);
    test_cross_entropy<float>(2, 4098, spread);
  }
  return finish("head_test");
}
