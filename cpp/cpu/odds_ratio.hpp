// The odds-ratio part of ORPO for one pair of mean log-probs, in float64 and with a limited
// gradient. Formulas: tests/golden/bitnet/README.md.
#pragma once
#include "math.hpp"

namespace magnet {

struct OddsRatio {
  double log_odds;    // log of odds(chosen) / odds(rejected)
  double loss;        // -log sigmoid(log_odds)
  double d_chosen;    // derivative of the loss by the chosen response's mean log-prob, <= 0
  double d_rejected;  // by the rejected one's, >= 0
};

/** log(1 - e^p) for p < 0. */
MG_ALSO_ON_GPU inline double log_one_minus_exp(double p) {
  constexpr double LN2 = 0.69314718055994531;
  return p > -LN2 ? log_fixed(-expm1_fixed(p)) : log1p_fixed(-exp_fixed(p));
}

MG_ALSO_ON_GPU inline OddsRatio odds_ratio(double logp_chosen, double logp_rejected) {
  // Odds are infinite at probability 1. A float32 softmax resolves no smaller loss than 2^-24, so a
  // mean log-prob above -2^-24 counts as that: all results stay finite.
  constexpr double LOGP_MAX = -0x1p-24;
  const double pw = logp_chosen > LOGP_MAX ? LOGP_MAX : logp_chosen;
  const double pl = logp_rejected > LOGP_MAX ? LOGP_MAX : logp_rejected;
  const double log_odds = (pw - pl) - (log_one_minus_exp(pw) - log_one_minus_exp(pl));
  const double e = exp_fixed(-std::fabs(log_odds));
  const double loss = log1p_fixed(e) + (log_odds < 0.0 ? -log_odds : 0.0);
  const double slope = (log_odds < 0.0 ? 1.0 : e) / (1.0 + e);  // sigmoid(-log_odds)
  return {log_odds, loss, slope / expm1_fixed(pw), -slope / expm1_fixed(pl)};
}

}  // namespace magnet
