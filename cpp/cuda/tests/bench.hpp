// What the benches share.
#pragma once
#include <algorithm>

#include "check.hpp"

namespace magnet::gpu::test {

/** Seconds of one run, of the fastest of three series. */
template <class F>
double time_of(const Stream& stream, int runs, const F& run) {
  double best = INFINITY;
  run();
  for (int series = 0; series < 3; series++) {
    Event begin;
    Event end;
    begin.record(stream);
    for (int i = 0; i < runs; i++) run();
    end.record(stream);
    end.wait();
    best = std::min(best, end.seconds_since(begin) / runs);
  }
  return best;
}

}  // namespace magnet::gpu::test
