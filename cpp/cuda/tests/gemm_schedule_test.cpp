// That a schedule's segments cover every step of every tile once, that parts get slots of their
// own, and that the kernel which adds them looks where they are.
#include "../kernels/gemm_schedule.hpp"

#include <map>

#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

/** The place of a tile by its number, for the streamed ones. */
std::pair<int, int> place_of(const Schedule& s, int tile) {
  int m = 0;
  int n = 0;
  place_tile(s, tile, m, n);
  return {m, n};
}

void test_schedule(int64_t m, int64_t n, int64_t k, int blocks, int overhead) {
  const Schedule s = make_schedule(m, n, k, 128, 256, 64, {blocks, overhead, true});
  const std::string what = std::to_string(m) + " x " + std::to_string(n) + " x " +
                           std::to_string(k) + " on " + std::to_string(blocks);
  std::map<std::pair<int, int>, std::vector<int>> times;
  std::map<int, Segment> slots;
  int most = 0;
  bool sound = s.blocks >= 1 && s.blocks <= blocks;
  for (int b = 0; b < s.blocks; b++) {
    Segments segments(s, b);
    Segment now;
    int steps = 0;
    while (segments.next(now)) {
      auto& done = times[{now.tile_m, now.tile_n}];
      done.resize(static_cast<size_t>(s.steps), 0);
      for (int i = now.begin; i < now.end; i++) done[static_cast<size_t>(i)]++;
      sound = sound && now.begin < now.end && now.end <= s.steps;
      sound = sound && (now.slot < 0) == (now.begin == 0 && now.end == s.steps);
      if (now.slot >= 0)
        sound = sound && now.slot < 2 * s.blocks && slots.emplace(now.slot, now).second;
      steps += now.end - now.begin;
    }
    most = std::max(most, steps);
  }
  bool covered = static_cast<int64_t>(times.size()) == int64_t{s.tiles_m} * s.tiles_n;
  for (const auto& [tile, done] : times)
    for (const int count : done) covered = covered && count == 1;
  check(sound, what + ": segments");
  check(covered, what + ": steps that are missing or done twice");
  // What gemm_combine adds.
  for (int tile = 0; tile < s.streamed; tile++) {
    const int64_t begin = static_cast<int64_t>(tile) * s.steps;
    const int first = s.block_of(begin);
    const int last = s.block_of(begin + s.steps - 1);
    int at = 0;
    for (int b = first; b <= last && first != last; b++) {
      const auto part = slots.find(s.slot(b, b == first));
      const bool there = part != slots.end();
      check(there && part->second.begin == at &&
                std::pair(part->second.tile_m, part->second.tile_n) == place_of(s, s.whole + tile),
            what + ": a part is not where it is looked for");
      if (there) at = part->second.end;
      if (there) slots.erase(part);
    }
    check(first == last || at == s.steps, what + ": parts do not reach the end");
  }
  check(slots.empty(), what + ": parts that nobody adds");
  // No block has more than a round more than the mean.
  const int64_t all = int64_t{s.tiles_m} * s.tiles_n * s.steps;
  check(most <= all / s.blocks + s.steps, what + ": a block with too much");
}

}  // namespace

int main() {
  Random random(3);
  for (int i = 0; i < 300; i++)
    test_schedule(1 + random.below(5000), 1 + random.below(3000), 1 + random.below(20000),
                  static_cast<int>(1 + random.below(140)), static_cast<int>(random.below(40)));
  for (const int64_t rows : {8192, 16384, 65536}) {
    test_schedule(1536, 1536, rows, 132, 30);
    test_schedule(384, 1536, rows, 132, 30);
    test_schedule(4096, 1536, rows, 132, 30);
    test_schedule(rows, 4096, 1536, 132, 30);
    test_schedule(128256, 1536, rows / 8, 132, 30);
  }
  return finish("gemm_schedule");
}
