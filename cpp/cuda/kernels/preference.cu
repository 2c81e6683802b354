// One block weighs all pairs, one after the other: microseconds each, beside two passes of the model over
// the pair, and the sums have the order of the pairs.
#include "preference.hpp"

#include "../../cpu/odds_ratio.hpp"
#include "head.hpp"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 512;

/** Of a response. */
struct Labels {
  double nll;
  double count;
};
__device__ Labels labels_of(const float* nll, const int32_t* targets, int64_t context,
                            double* scratch) {
  double sum = 0.0;
  double count = 0.0;
  for (int64_t t = threadIdx.x; t < context; t += blockDim.x) {
    if (targets[t] == IGNORED) continue;
    sum += static_cast<double>(nll[t]);
    count += 1.0;
  }
  sum = block_sum(sum, scratch);
  return {sum, block_sum(count, scratch)};
}

__global__ void __launch_bounds__(THREADS)
    weigh_pairs_kernel(const float* nll, const int32_t* targets, int64_t pairs, int64_t context,
                       const PairScales* scales, float* row_scales, PairTotals* totals,
                       double* loss) {
  __shared__ double scratch[LANES];
  __shared__ float row_scale[2];
  const PairScales by = *scales;
  PairTotals total = *totals;
  for (int64_t i = 0; i < pairs; i++) {
    const int64_t first = 2 * i * context;
    const Labels chosen = labels_of(nll + first, targets + first, context, scratch);
    const Labels rejected =
        labels_of(nll + first + context, targets + first + context, context, scratch);
    if (threadIdx.x == 0) {
      const double logp_chosen = -chosen.nll / chosen.count;
      const double logp_rejected = -rejected.nll / rejected.count;
      const OddsRatio odds = odds_ratio(logp_chosen, logp_rejected);
      const double weight = by.beta * by.pair;
      // A row's gradient is scale * (softmax - onehot), that of a negative log-probability.
      row_scale[0] =
          static_cast<float>(by.chosen_token - weight * odds.d_chosen / chosen.count);
      row_scale[1] = static_cast<float>(-weight * odds.d_rejected / rejected.count);
      total.nll += chosen.nll * by.chosen_token;
      total.odds_loss += odds.loss * by.pair;
      total.log_odds += odds.log_odds * by.pair;
      total.logp_chosen += logp_chosen * by.pair;
      total.logp_rejected += logp_rejected * by.pair;
      total.wins += logp_chosen > logp_rejected ? 1 : 0;
    }
    __syncthreads();
    for (int64_t t = threadIdx.x; t < 2 * context; t += blockDim.x)
      row_scales[first + t] = row_scale[t < context ? 0 : 1];
    // The next pair's sums begin with a barrier: nobody is behind with these scales then.
  }
  if (threadIdx.x != 0) return;
  *totals = total;
  *loss = total.nll + by.beta * total.odds_loss;
}

}  // namespace

void weigh_pairs(const Stream& stream, const float* nll, const int32_t* targets, int64_t pairs,
                 int64_t context, const PairScales* scales, float* row_scales, PairTotals* totals,
                 double* loss) {
  MG_LAUNCH(weigh_pairs_kernel, stream, {dim3(1), dim3(THREADS)}, nll, targets, pairs, context,
            scales, row_scales, totals, loss);
}

}  // namespace magnet::gpu
