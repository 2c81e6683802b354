// How far two pseudo-gradients are apart (audits by tolerance): three sums of squares in float64. Each
// chunk is summed in eight lanes and the chunks in order, so that the sums do not depend on threads or
// CPU path: two auditors with the same arrays see the same distance.
#include <cmath>
#include <vector>

#include "elementwise.hpp"

namespace magnet::codec {
namespace {

constexpr uint64_t LANES = 8;

struct Sums {
  double a = 0;
  double b = 0;
  double difference = 0;
};

struct Pair {
  const float* a;
  const float* b;
};

MG_INLINE Sums body(const Pair& pair, uint64_t begin, uint64_t end) {
  double a[LANES] = {}, b[LANES] = {}, difference[LANES] = {};
  const auto add = [&](uint64_t lane, uint64_t i) {
    const double x = pair.a[i], y = pair.b[i], d = x - y;
    a[lane] += x * x;
    b[lane] += y * y;
    difference[lane] += d * d;
  };
  uint64_t i = begin;
  for (; i + LANES <= end; i += LANES)
    for (uint64_t lane = 0; lane < LANES; lane++) add(lane, i + lane);
  for (uint64_t lane = 0; i < end; i++, lane++) add(lane, i);
  Sums sums;
  for (uint64_t lane = 0; lane < LANES; lane++) {
    sums.a += a[lane];
    sums.b += b[lane];
    sums.difference += difference[lane];
  }
  return sums;
}

Sums run_scalar(const Pair& pair, uint64_t begin, uint64_t end) { return body(pair, begin, end); }
MG_TARGET_AVX2 Sums run_avx2(const Pair& pair, uint64_t begin, uint64_t end) {
  return body(pair, begin, end);
}

}  // namespace
}  // namespace magnet::codec

using namespace magnet;
using namespace magnet::codec;

extern "C" int32_t mg_delta_compare(const float* a, const float* b, uint64_t n, uint32_t threads,
                                    const int32_t* cancel, double* out) {
  return guard([&] {
    require(out != nullptr && (n == 0 || (a != nullptr && b != nullptr)), MG_E_INVALID,
            "mg_delta_compare: an array is null");
    std::vector<Sums> chunks((n + CHUNK - 1) / CHUNK);
    const Pair pair{a, b};
    for_chunks(n, threads, cancel, [&](uint64_t begin, uint64_t end) {
      chunks[begin / CHUNK] = runs_avx2() ? run_avx2(pair, begin, end) : run_scalar(pair, begin, end);
    });
    Sums sums;
    for (const Sums& chunk : chunks) {
      sums.a += chunk.a;
      sums.b += chunk.b;
      sums.difference += chunk.difference;
    }
    // A NaN or an infinity in either array reaches the sum of its squares: 2^128 squared fits a double.
    require(std::isfinite(sums.a) && std::isfinite(sums.b), MG_E_NUMERIC,
            "mg_delta_compare: an array holds NaN or infinities");
    out[0] = sums.a;
    out[1] = sums.b;
    out[2] = sums.difference;
    return int32_t{MG_OK};
  });
}
