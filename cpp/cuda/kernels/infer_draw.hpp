// What draws need of rows of logits, so that the rows stay on the device: 128,256 logits are half a
// megabyte, their largest 256 are 3 KB. cpp/cpu/draw_reduced.hpp draws from it on the host, and says where
// only the whole row will do.
#pragma once
#include "../../cpu/draw_reduced.hpp"
#include "matrix.hpp"

namespace magnet::gpu {

/** Parts of DRAW_PART logits of a row, a block each; longer rows go to the host as they are. */
constexpr int DRAW_PARTS_MAX = 44;
constexpr int draw_parts(int64_t vocab) {
  return static_cast<int>((vocab + DRAW_PART - 1) / DRAW_PART);
}

/** Where a logit stands among others: above smaller ones, and above equal ones with a higher id. NaN stands
 * above all numbers; 0 is below all. */
struct LogitRank {
  uint64_t bits;
  __host__ __device__ int32_t id() const {
    return static_cast<int32_t>(0xffffffffu - static_cast<unsigned>(bits));
  }
};

/** The highest of a part, and its sum of exp(logit - the row's highest). */
struct PartTop {
  LogitRank highest;
  double sum;
};
/** tops: (rows, parts). */
void find_tops(const Stream& stream, const float* logits, int64_t rows, int64_t vocab,
               PartTop* tops);

/** A change of one logit: see LogitChanges of cpp/cpu/sampler.hpp. */
struct LogitEdit {
  int32_t id;
  float value;
};
struct RowWish {
  uint32_t row;  // of the logits
  uint32_t changed;     // 1: the edits and the mask apply
  uint32_t tokens;      // 1: its largest
  uint32_t block;       // 1: the block in which `number` falls
  float inverse_temperature;
  float penalty;
  uint32_t edits[4];    // where those of bias, of repeated, of drawn begin, and where they end
  uint32_t has_mask;
  uint32_t mask;        // its first word, of 64 tokens each
  double number;
};
/** total, tokens' number and block: see ReducedRow. */
struct RowDraw {
  double total;
  float top;
  int32_t n_tokens;
  ReducedBlock block;
};

struct WishArguments {
  const float* logits;
  int64_t vocab;
  const PartTop* tops;  // of the logits
  const RowWish* wishes;
  const LogitEdit* edits;
  const uint64_t* masks;
  // Of wishes:
  float* changed;            // (.., vocab)
  PartTop* changed_tops;     // (.., parts), without sums
  double* totals;            // (.., parts)
  float* block_sums;         // (.., blocks of DRAW_BLOCK)
  LogitRank* ranks;          // (.., parts, REDUCED_TOKENS)
  int32_t* counts;           // (.., parts)
  ReducedToken* tokens;      // (.., REDUCED_TOKENS)
  RowDraw* draws;
};
/** draws and tokens of `n` wishes, of which the first n_changed are changed. */
void grant_wishes(const Stream& stream, const WishArguments& arguments, int64_t n,
                  int64_t n_changed);

}  // namespace magnet::gpu
