// Which block of a persistent grid computes what of a product. Tiles are dealt out in rounds;
// where the last round would leave many multiprocessors idle, the last tiles are instead cut along
// k so that each block has the same number of steps ("streamed"). A block that computes a part of
// a tile writes its sums to a slot of the workspace, and a second kernel adds the parts in the
// order of k: the result depends on the shape and on the number of blocks, on nothing else.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

struct Schedule {
  int tiles_m;
  int tiles_n;
  int steps;     // along k, of a tile
  int blocks;    // of the grid
  int whole;     // tiles 0 .. whole-1 are computed by one block each, in rounds
  int streamed;  // how many follow, each cut among blocks

  /** First step of block b in the streamed tiles' steps laid end to end. */
  __host__ __device__ int64_t first_step(int b) const {
    return static_cast<int64_t>(streamed) * steps * b / blocks;
  }
  /** The block whose steps hold this one. */
  __host__ __device__ int block_of(int64_t step) const {
    int b = static_cast<int>(step * blocks / (static_cast<int64_t>(streamed) * steps));
    // Rounding can be off by one.
    while (b + 1 < blocks && first_step(b + 1) <= step) b++;
    while (first_step(b) > step) b--;
    return b;
  }
  /** Where a block keeps its part: it has at most one tile that it ends and one that it begins. */
  __host__ __device__ int slot(int b, bool begins) const { return 2 * b + (begins ? 1 : 0); }
};

/** A block's part of a tile. */
struct Segment {
  int tile_m;
  int tile_n;
  int begin;  // steps
  int end;
  int slot;  // of the workspace; -1: the whole tile
};

/** Tiles that run at the same time share rows and columns, so that they find them in the L2 cache:
 * 16 rows of tiles are walked column by column. */
constexpr int RASTER_ROWS = 16;
__host__ __device__ __forceinline__ void place_tile(const Schedule& s, int tile, int& m, int& n) {
  const int group = tile / (RASTER_ROWS * s.tiles_n);
  const int within = tile % (RASTER_ROWS * s.tiles_n);
  const int left = s.tiles_m - group * RASTER_ROWS;
  const int rows = left < RASTER_ROWS ? left : RASTER_ROWS;
  m = group * RASTER_ROWS + within % rows;
  n = within / rows;
}

/** A block's segments, one after the other. */
class Segments {
 public:
  __host__ __device__ __forceinline__ Segments(const Schedule& s, int block)
      : s_(s),
        block_(block),
        tile_(block),
        at_(s.first_step(block)),
        end_(s.first_step(block + 1)) {}

  __host__ __device__ __forceinline__ bool next(Segment& segment) {
    if (tile_ < s_.whole) {
      place_tile(s_, tile_, segment.tile_m, segment.tile_n);
      segment.begin = 0;
      segment.end = s_.steps;
      segment.slot = -1;
      tile_ += s_.blocks;
      return true;
    }
    if (at_ >= end_) return false;
    const int tile = static_cast<int>(at_ / s_.steps);
    place_tile(s_, s_.whole + tile, segment.tile_m, segment.tile_n);
    segment.begin = static_cast<int>(at_ % s_.steps);
    const int64_t left = end_ - at_;
    segment.end =
        left < s_.steps - segment.begin ? segment.begin + static_cast<int>(left) : s_.steps;
    const bool begins = segment.begin == 0;
    segment.slot = begins && segment.end == s_.steps ? -1 : s_.slot(block_, begins);
    at_ += segment.end - segment.begin;
    return true;
  }

 private:
  const Schedule& s_;
  int block_;
  int tile_;
  int64_t at_;
  int64_t end_;
};

/** What making the schedule takes. */
struct ScheduleLimits {
  int blocks;    // that run at once
  int overhead;  // of cutting tiles, in steps: slots written and read, a second kernel
  bool may_cut;
};

inline Schedule make_schedule(int64_t m, int64_t n, int64_t k, int tile_m, int tile_n, int step,
                              const ScheduleLimits& limits) {
  Schedule s{};
  s.tiles_m = static_cast<int>((m + tile_m - 1) / tile_m);
  s.tiles_n = static_cast<int>((n + tile_n - 1) / tile_n);
  s.steps = static_cast<int>((k + step - 1) / step);
  const int64_t tiles = static_cast<int64_t>(s.tiles_m) * s.tiles_n;
  if (tiles > 0x3fffffff)
    fail(MG_E_INVALID, "a product of %lld tiles", static_cast<long long>(tiles));
  const int all = static_cast<int>(tiles);
  const int rounds = (all + limits.blocks - 1) / limits.blocks;
  // In steps of the whole device.
  const double idle =
      static_cast<double>(rounds) * s.steps - static_cast<double>(all) * s.steps / limits.blocks;
  s.whole = all;
  if (limits.may_cut && idle > limits.overhead) {
    // One more round than is left over: the parts stay long.
    s.streamed = rounds > 1 ? all % limits.blocks + limits.blocks : all;
    s.whole = all - s.streamed;
  }
  s.blocks = s.streamed > 0 ? limits.blocks : all < limits.blocks ? all : limits.blocks;
  // Parts of at least four steps.
  const int64_t parts = static_cast<int64_t>(s.streamed) * s.steps / 4;
  if (s.whole == 0 && s.streamed > 0 && parts < s.blocks)
    s.blocks = parts < 1 ? 1 : static_cast<int>(parts);
  return s;
}

}  // namespace magnet::gpu
