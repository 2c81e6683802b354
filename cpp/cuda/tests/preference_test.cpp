// ORPO's figures and gradient scales between two passes, beside loops on the host with the CPU's own
// odds ratio: responses of different lengths, sequences longer than a block, several micro-batches.
#include "../../cpu/odds_ratio.hpp"
#include "../kernels/head.hpp"
#include "../kernels/preference.hpp"
#include "check.hpp"

using namespace magnet;
using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

struct Batch {
  int64_t pairs, context;
  std::vector<float> nll;
  std::vector<int32_t> targets;

  Batch(Random& random, int64_t pairs_, int64_t context_) : pairs(pairs_), context(context_) {
    for (int64_t s = 0; s < 2 * pairs; s++) {
      const int64_t prompt = random.below(context);  // at least one label follows
      const int64_t end = prompt + 1 + random.below(context - prompt);
      for (int64_t t = 0; t < context; t++) {
        const bool counted = t >= prompt && t < end;
        targets.push_back(counted ? 1 : IGNORED);
        // What is not counted must not be read as a loss.
        const double loss = counted ? std::fabs(random.normal()) + 0.01 : 5.0;
        nll.push_back(static_cast<float>(loss));
      }
    }
  }
  /** Sum of the losses of a sequence, and its labels. */
  std::pair<double, double> labels(int64_t s) const {
    double sum = 0.0;
    double count = 0.0;
    for (int64_t t = s * context; t < (s + 1) * context; t++) {
      if (targets[static_cast<size_t>(t)] == IGNORED) continue;
      sum += static_cast<double>(nll[static_cast<size_t>(t)]);
      count += 1.0;
    }
    return {sum, count};
  }
};

Reals as_reals(const PairTotals& t, double loss) {
  return {t.nll,         t.odds_loss,     t.log_odds, t.logp_chosen,
          t.logp_rejected, static_cast<double>(t.wins), loss};
}

Reals on_device(const std::vector<Batch>& batches, const PairScales& by) {
  const Stream stream;
  const DeviceArray<PairScales> scales = upload<PairScales>(stream, {by});
  const DeviceArray<PairTotals> totals = upload<PairTotals>(stream, {{}});
  const DeviceArray<double> loss(1);
  Reals all;
  for (const Batch& b : batches) {
    const DeviceArray<float> nll = upload(stream, b.nll);
    const DeviceArray<int32_t> targets = upload(stream, b.targets);
    const DeviceArray<float> rows(b.nll.size());
    weigh_pairs(stream, nll.data(), targets.data(), b.pairs, b.context, scales.data(), rows.data(),
                totals.data(), loss.data());
    for (const double x : download_reals(stream, rows.data(), b.nll.size())) all.push_back(x);
  }
  const PairTotals found = download(stream, totals.data(), 1)[0];
  for (const double x : as_reals(found, download(stream, loss.data(), 1)[0])) all.push_back(x);
  return all;
}

Reals on_host(const std::vector<Batch>& batches, const PairScales& by) {
  Reals all;
  PairTotals total{};
  for (const Batch& b : batches)
    for (int64_t i = 0; i < b.pairs; i++) {
      const auto [chosen_nll, chosen] = b.labels(2 * i);
      const auto [rejected_nll, rejected] = b.labels(2 * i + 1);
      const OddsRatio odds = odds_ratio(-chosen_nll / chosen, -rejected_nll / rejected);
      const double slope = by.beta * by.pair;
      all.insert(all.end(), static_cast<size_t>(b.context),
                 by.chosen_token - slope * odds.d_chosen / chosen);
      all.insert(all.end(), static_cast<size_t>(b.context),
                 -slope * odds.d_rejected / rejected);
      total.nll += chosen_nll * by.chosen_token;
      total.odds_loss += odds.loss * by.pair;
      total.log_odds += odds.log_odds * by.pair;
      total.logp_chosen -= chosen_nll / chosen * by.pair;
      total.logp_rejected -= rejected_nll / rejected * by.pair;
      total.wins += chosen_nll / chosen < rejected_nll / rejected ? 1 : 0;
    }
  for (const double x : as_reals(total, total.nll + by.beta * total.odds_loss)) all.push_back(x);
  return all;
}

}  // namespace

int main() {
  Random random(11);
  for (const auto& [pairs, context] : {std::pair<int64_t, int64_t>{1, 1}, {3, 24}, {2, 1029}}) {
    const std::vector<Batch> batches{Batch(random, pairs, context), Batch(random, pairs, context)};
    const PairScales by{1.0 / 37.0, 1.0 / static_cast<double>(2 * pairs), 0.25};
    const std::string name = std::to_string(pairs) + " pairs of " + std::to_string(context);
    const Reals expected = on_host(batches, by);
    const Reals found = on_device(batches, by);
    check(found.size() == expected.size(), name + ": as many figures");
    for (size_t i = 0; i < expected.size(); i++)
      if (std::fabs(found[i] - expected[i]) > 1e-7 * std::fabs(expected[i]))
        check(false, name + ": figure " + std::to_string(i) + " of " +
                         std::to_string(expected.size()));
    check_same_in_all_orders([&] { return on_device(batches, by); }, name);
  }
  return finish("preference");
}
