// Pseudo-gradient, weighted sum and Nesterov outer step (paper 10, Eq. 1 and 2 with the momentum
// that Eq. 2 leaves out). Each call computes everything twice: first only to see that every result
// is finite, then to store it, so that a refused call leaves its arrays as they were.
#include "elementwise.hpp"

namespace magnet::codec {
namespace {

struct Step {
  float* theta;
  float* momentum;
  const float* delta;
  float lr;
  float mu;
};
struct Sum {
  float* sum;
  const float* delta;
  float weight;
};
struct Difference {
  float* out;
  const float* from;
  const float* to;
};

/** Bodies return the largest magnitude_bits that they produced, and store only where STORE. */
template <bool STORE>
MG_INLINE uint32_t body(const Step& s, uint64_t begin, uint64_t end) {
  uint32_t worst = 0;
  for (uint64_t i = begin; i < end; i++) {
    const float m = __builtin_fmaf(s.mu, s.momentum[i], s.delta[i]);
    const float g = __builtin_fmaf(s.mu, m, s.delta[i]);
    const float t = __builtin_fmaf(-s.lr, g, s.theta[i]);
    worst = std::max(worst, std::max(magnitude_bits(m), magnitude_bits(t)));
    if constexpr (STORE) {
      s.momentum[i] = m;
      s.theta[i] = t;
    }
  }
  return worst;
}

template <bool STORE>
MG_INLINE uint32_t body(const Sum& s, uint64_t begin, uint64_t end) {
  uint32_t worst = 0;
  for (uint64_t i = begin; i < end; i++) {
    const float x = __builtin_fmaf(s.weight, s.delta[i], s.sum[i]);
    worst = std::max(worst, magnitude_bits(x));
    if constexpr (STORE) s.sum[i] = x;
  }
  return worst;
}

template <bool STORE>
MG_INLINE uint32_t body(const Difference& s, uint64_t begin, uint64_t end) {
  uint32_t worst = 0;
  for (uint64_t i = begin; i < end; i++) {
    const float x = s.from[i] - s.to[i];
    worst = std::max(worst, magnitude_bits(x));
    if constexpr (STORE) s.out[i] = x;
  }
  return worst;
}

template <bool STORE, class S>
uint32_t run_scalar(const S& s, uint64_t begin, uint64_t end) {
  return body<STORE>(s, begin, end);
}
template <bool STORE, class S>
MG_TARGET_AVX2 uint32_t run_avx2(const S& s, uint64_t begin, uint64_t end) {
  return body<STORE>(s, begin, end);
}
template <bool STORE, class S>
uint32_t run(const S& s, uint64_t begin, uint64_t end) {
  return runs_avx2() ? run_avx2<STORE>(s, begin, end)
                                     : run_scalar<STORE>(s, begin, end);
}

/** Only the checking pass can be cancelled: a storing pass once begun is finished. */
template <class S>
void check_then_store(const S& s, uint64_t n, uint32_t threads, const int32_t* cancel,
                      const char* what) {
  const uint32_t worst = max_over_chunks(
      n, threads, cancel, [&](uint64_t b, uint64_t e) { return run<false>(s, b, e); });
  if (worst >= INFINITY_BITS) fail(MG_E_NUMERIC, "%s: a result is NaN or infinite", what);
  for_chunks(n, threads, nullptr, [&](uint64_t b, uint64_t e) { run<true>(s, b, e); });
}

bool is_finite(float x) { return magnitude_bits(x) < INFINITY_BITS; }

}  // namespace
}  // namespace magnet::codec

using namespace magnet;
using namespace magnet::codec;

extern "C" {

int32_t mg_delta_make(const float* theta_prev, const float* theta, float* out, uint64_t n,
                      uint32_t threads, const int32_t* cancel) {
  return guard([&] {
    require(n == 0 || (theta_prev != nullptr && theta != nullptr && out != nullptr), MG_E_INVALID,
            "mg_delta_make: an array is null");
    check_then_store(Difference{out, theta_prev, theta}, n, threads, cancel, "pseudo-gradient");
    return int32_t{MG_OK};
  });
}

int32_t mg_delta_accumulate(float* sum, const float* delta, float weight, uint64_t n,
                            uint32_t threads, const int32_t* cancel) {
  return guard([&] {
    require(n == 0 || (sum != nullptr && delta != nullptr && sum != delta), MG_E_INVALID,
            "mg_delta_accumulate: an array is null, or both are the same");
    require(is_finite(weight), MG_E_NUMERIC, "mg_delta_accumulate: the weight is not finite");
    check_then_store(Sum{sum, delta, weight}, n, threads, cancel, "weighted sum");
    return int32_t{MG_OK};
  });
}

int32_t mg_outer_step(float* theta, float* momentum, const float* delta, float lr, float mu,
                      uint64_t n, uint32_t threads, const int32_t* cancel) {
  return guard([&] {
    require(n == 0 || (theta != nullptr && momentum != nullptr && delta != nullptr), MG_E_INVALID,
            "mg_outer_step: an array is null");
    require(is_finite(lr) && lr >= 0 && mu >= 0 && mu < 1, MG_E_INVALID,
            "mg_outer_step: lr must be finite and not negative, mu in [0, 1)");
    check_then_store(Step{theta, momentum, delta, lr, mu}, n, threads, cancel, "outer step");
    return int32_t{MG_OK};
  });
}
}
