// Sums of gradients by bin. A row's gradient and curvature are whole numbers packed into one 64-bit
// word, so a histogram is a sum of integers: exact, the same in any order, one addition a cell, and
// a sibling's histogram is the parent's less the other's.
#pragma once
#include <vector>

#include "../cpu/aligned_buffer.hpp"
#include "binning.hpp"

namespace magnet::learn {

/** Upper half: sum of gradients, signed. Lower half: sum of curvatures, >= 0. */
using Packed = int64_t;
inline Packed pack(int32_t gradient, uint32_t curvature) {
  const uint64_t upper = static_cast<uint32_t>(gradient);
  return static_cast<Packed>((upper << 32) + curvature);
}
inline double gradient_of(Packed sum) { return static_cast<double>(sum >> 32); }
inline double curvature_of(Packed sum) { return static_cast<double>(static_cast<uint32_t>(sum)); }

/** The rows and columns of one fit side by side: rows are numbered anew from 0. */
class FitTable {
 public:
  /** Columns whose cells lie together, by row: their histograms stay in the first-level cache. */
  static constexpr uint32_t WIDTH = 8;

  FitTable(const BinnedData& data, const std::vector<uint32_t>& rows, uint32_t threads);
  /** Takes these columns into the histograms from now on. */
  void choose_columns(const std::vector<uint32_t>& columns, uint32_t threads);

  uint32_t rows() const { return rows_; }
  const BinRules& rules() const { return rules_; }
  const uint8_t* column(uint32_t c) const { return columns_[c]; }
  /** The chosen columns. */
  const std::vector<uint32_t>& chosen() const { return chosen_; }
  /** Where the i-th chosen column begins in a histogram; its missing values' cell is its last. */
  const uint32_t* offsets() const { return offsets_.data(); }
  uint32_t cells() const { return cells_; }

  /** Fills a histogram with the sums over a list of rows. */
  void sum(const Packed* gradients, const uint32_t* rows, uint32_t count, Packed* histogram,
           uint32_t threads) const;

 private:
  void sum_block(uint32_t block, const Packed* gradients, const uint32_t* rows, uint32_t count,
                 Packed* histogram) const;

  uint32_t rows_;
  const BinRules& rules_;
  /** Compact copies, unless all rows of the table are fitted in order. */
  std::vector<uint8_t> own_;
  std::vector<const uint8_t*> columns_;
  std::vector<uint32_t> chosen_;
  std::vector<uint32_t> offsets_;
  uint32_t cells_ = 0;
  /** (blocks, rows, WIDTH) */
  AlignedBuffer<uint8_t> blocks_;
};

}  // namespace magnet::learn
