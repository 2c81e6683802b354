// Tables as bins: every value becomes a byte. Bins of a number column ascend with the value (value
// x is in bin b where b edges are below x); missing values have a bin of their own above all
// others. A category is its own bin; where there are more than fit, the rarest share the last one.
#pragma once
#include <memory>
#include <vector>

#include "../cpu/live_handle.hpp"
#include "byte_stream.hpp"

namespace magnet::learn {

/** One byte holds them and the missing one. */
inline constexpr uint32_t BINS_LIMIT = 255;
/** Row numbers and gradient sums stay exact below it. */
inline constexpr uint64_t ROWS_LIMIT = uint64_t{1} << 24;
inline constexpr uint32_t COLUMNS_LIMIT = 1u << 20;
/** Levels of one category column; codes above are beyond float32's integers. */
inline constexpr int32_t LEVELS_LIMIT = 1 << 24;

struct ColumnBins {
  /** Bins of values, >= 1; the bin of this number is the missing values'. */
  uint32_t bins = 1;
  /** Of a number column: bins - 1 ascending edges, the last value of a bin or above it. */
  std::vector<float> edges;
  /** Of a category column: the bin of each level; empty for a number column. */
  std::vector<uint8_t> level_bins;
  bool is_category() const { return !level_bins.empty(); }
};

/** How columns were binned: what a model needs to read a new matrix. */
struct BinRules {
  std::vector<ColumnBins> columns;
  /** Equal rules, equal number. */
  uint64_t fingerprint = 0;

  void find_fingerprint();
  void save(Writer& out) const;
  static std::shared_ptr<const BinRules> load(Reader& in);
};

struct Matrix {
  const float* values;
  uint64_t rows;
  uint32_t columns;
  const float* column(uint32_t c) const { return values + c * rows; }
};

/** Some rows of something, or all of them. */
struct RowList {
  const uint32_t* rows;
  uint64_t count;
  uint32_t operator[](uint64_t i) const {
    return rows == nullptr ? static_cast<uint32_t>(i) : rows[i];
  }
};

struct BinnedData : LiveHandle {
  std::shared_ptr<const BinRules> rules;
  uint64_t rows = 0;
  /** Column-major. */
  std::vector<uint8_t> bins;
  uint32_t columns() const { return static_cast<uint32_t>(rules->columns.size()); }
  const uint8_t* column(uint32_t c) const { return bins.data() + c * rows; }
};

std::shared_ptr<const BinRules> find_rules(const Matrix& matrix, const int32_t* levels,
                                           const RowList& edge_rows, uint32_t bins_max,
                                           uint32_t threads, const int32_t* cancel);
/** The listed rows, binned by the rules, in the order of the list. */
std::unique_ptr<BinnedData> apply_rules(std::shared_ptr<const BinRules> rules, const Matrix& matrix,
                                        const RowList& rows, uint32_t threads,
                                        const int32_t* cancel);

}  // namespace magnet::learn
