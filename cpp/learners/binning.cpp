// Finding bins and applying them. Values are radix-sorted by column; where a column has at most
// bins_max distinct ones each is a bin with edges halfway, else bins hold equal shares of the rows,
// but never split equal values.
#include "binning.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "../cpu/thread_pool.hpp"

namespace magnet::learn {
namespace {

/** Unsigned order of the keys is the order of the values; -0 is 0. */
uint32_t sort_key(float x) {
  const auto bits = std::bit_cast<uint32_t>(x + 0.0f);
  return bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x8000'0000u);
}
float from_sort_key(uint32_t key) {
  const uint32_t mask = (key & 0x8000'0000u) != 0 ? 0x8000'0000u : 0xFFFF'FFFFu;
  return std::bit_cast<float>(key ^ mask);
}

/** Sorts by BITS at a time, least significant first. */
template <int BITS>
void radix_sort(std::vector<uint32_t>& keys, std::vector<uint32_t>& spare) {
  constexpr int PASSES = (32 + BITS - 1) / BITS;
  constexpr uint32_t MASK = (1u << BITS) - 1;
  std::vector<uint32_t> counts(static_cast<size_t>(PASSES) << BITS);
  for (const uint32_t key : keys)
    for (int pass = 0; pass < PASSES; pass++)
      counts[(static_cast<size_t>(pass) << BITS) + (key >> (pass * BITS) & MASK)]++;
  spare.resize(keys.size());
  for (int pass = 0; pass < PASSES; pass++) {
    uint32_t* const count = counts.data() + (static_cast<size_t>(pass) << BITS);
    const int shift = pass * BITS;
    if (count[keys[0] >> shift & MASK] == keys.size()) continue;  // all have the same digit
    uint32_t place = 0;
    for (uint32_t digit = 0; digit <= MASK; digit++) place += std::exchange(count[digit], place);
    for (const uint32_t key : keys) spare[count[key >> shift & MASK]++] = key;
    keys.swap(spare);
  }
}

struct Group {
  float value;
  uint32_t count;
};

/** The column's distinct values with their counts, ascending; missing ones left out. */
void find_groups(const float* column, const RowList& rows, std::vector<Group>& groups) {
  thread_local std::vector<uint32_t> keys;
  thread_local std::vector<uint32_t> spare;
  keys.clear();
  for (uint64_t i = 0; i < rows.count; i++) {
    const float x = column[rows[i]];
    if (!std::isnan(x)) keys.push_back(sort_key(x));
  }
  groups.clear();
  if (keys.empty()) return;
  // Below, filling and adding up the larger counts costs more than another pass.
  constexpr size_t FEW = 6000;
  if (keys.size() < FEW) {
    radix_sort<8>(keys, spare);
  } else {
    radix_sort<11>(keys, spare);
  }
  for (const uint32_t key : keys) {
    const float x = from_sort_key(key);
    if (groups.empty() || groups.back().value != x) groups.push_back({x, 0});
    groups.back().count++;
  }
}

/** Halfway, and so that a <= edge < b whatever the two are. */
float edge_between(float a, float b) {
  const auto middle = static_cast<float>(a + (static_cast<double>(b) - a) / 2);
  return middle >= a && middle < b ? middle : a;
}

ColumnBins number_bins(const std::vector<Group>& groups, uint32_t bins_max) {
  ColumnBins out;
  const bool all = groups.size() <= bins_max;
  double left = 0;
  for (const Group& group : groups) left += group.count;
  uint32_t in_bin = 0;
  for (size_t i = 0; i + 1 < groups.size(); i++) {
    in_bin += groups[i].count;
    const auto bins_left = static_cast<double>(bins_max - out.edges.size());
    // A bin ends where its share is full, or where the next value would overfill it by more than
    // it now lacks.
    const double wanted = left / bins_left;
    const double with_next = in_bin + static_cast<double>(groups[i + 1].count);
    if (!all && in_bin < wanted && with_next - wanted <= wanted - in_bin) continue;
    out.edges.push_back(edge_between(groups[i].value, groups[i + 1].value));
    left -= in_bin;
    in_bin = 0;
    if (out.edges.size() + 1 == bins_max) break;
  }
  out.bins = static_cast<uint32_t>(out.edges.size()) + 1;
  return out;
}

ColumnBins category_bins(const float* column, int32_t levels, const RowList& rows,
                         uint32_t bins_max) {
  ColumnBins out;
  out.level_bins.resize(static_cast<size_t>(levels));
  if (static_cast<uint32_t>(levels) <= bins_max) {
    std::iota(out.level_bins.begin(), out.level_bins.end(), uint8_t{0});
    out.bins = static_cast<uint32_t>(levels);
    return out;
  }
  std::vector<uint32_t> counts(static_cast<size_t>(levels));
  for (uint64_t i = 0; i < rows.count; i++) {
    const float x = column[rows[i]];
    if (x >= 0 && x < static_cast<float>(levels)) counts[static_cast<size_t>(x)]++;
  }
  std::vector<uint32_t> order(counts.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return counts[a] > counts[b]; });
  for (size_t i = 0; i < order.size(); i++)
    out.level_bins[order[i]] = static_cast<uint8_t>(std::min<size_t>(i, bins_max - 1));
  out.bins = bins_max;
  return out;
}

/** Edges in a tree of fixed depth for a search without branches; +Inf where there are none. */
struct EdgeSearch {
  std::array<float, 256> edges;
  uint32_t first_step;
  explicit EdgeSearch(const std::vector<float>& from) {
    edges.fill(std::numeric_limits<float>::infinity());
    std::copy(from.begin(), from.end(), edges.begin());
    first_step = std::bit_ceil(static_cast<uint32_t>(from.size()) + 1) / 2;
  }
  /** How many edges are below x. */
  uint32_t operator()(float x) const {
    uint32_t below = 0;
    for (uint32_t step = first_step; step > 0; step /= 2)
      below += edges[below + step - 1] < x ? step : 0;
    return below;
  }
};

void bin_column(const ColumnBins& rules, const float* column, const RowList& rows, uint8_t* out) {
  const auto missing = static_cast<uint8_t>(rules.bins);
  if (rules.is_category()) {
    const auto levels = static_cast<float>(rules.level_bins.size());
    for (uint64_t i = 0; i < rows.count; i++) {
      const float x = column[rows[i]];
      out[i] = x >= 0 && x < levels ? rules.level_bins[static_cast<size_t>(x)] : missing;
    }
    return;
  }
  const EdgeSearch search(rules.edges);
  for (uint64_t i = 0; i < rows.count; i++) {
    const float x = column[rows[i]];
    const auto bin = static_cast<uint8_t>(search(x));
    out[i] = std::isnan(x) ? missing : bin;
  }
}

}  // namespace

void BinRules::find_fingerprint() {
  Writer bytes;
  save(bytes);
  const std::vector<uint8_t> all = bytes.finish();
  fingerprint = checksum(all.data(), all.size());
}

void BinRules::save(Writer& out) const {
  out.put(static_cast<uint32_t>(columns.size()));
  for (const ColumnBins& column : columns) {
    out.put(column.bins);
    out.put_all(column.edges);
    out.put_all(column.level_bins);
  }
}

std::shared_ptr<const BinRules> BinRules::load(Reader& in) {
  auto rules = std::make_shared<BinRules>();
  const auto columns = in.take<uint32_t>();
  require_format(columns >= 1 && columns <= COLUMNS_LIMIT, "a model has too many columns");
  for (uint32_t c = 0; c < columns; c++) {
    ColumnBins column;
    column.bins = in.take<uint32_t>();
    column.edges = in.take_all<float>("edges");
    column.level_bins = in.take_all<uint8_t>("levels");
    require_format(column.bins >= 1 && column.bins <= BINS_LIMIT, "a column's bins are too many");
    if (column.is_category()) {
      require_format(column.edges.empty(), "a category has edges");
      for (const uint8_t bin : column.level_bins)
        require_format(bin < column.bins, "a level's bin does not exist");
    } else {
      require_format(column.edges.size() == column.bins - 1, "a column's edges are not its bins'");
      for (size_t i = 0; i < column.edges.size(); i++) {
        const bool ascends = i == 0 || column.edges[i - 1] < column.edges[i];
        require_format(ascends && !std::isnan(column.edges[i]), "edges do not ascend");
      }
    }
    rules->columns.push_back(std::move(column));
  }
  rules->find_fingerprint();
  return rules;
}

std::shared_ptr<const BinRules> find_rules(const Matrix& matrix, const int32_t* levels,
                                           const RowList& edge_rows, uint32_t bins_max,
                                           uint32_t threads, const int32_t* cancel) {
  auto rules = std::make_shared<BinRules>();
  rules->columns.resize(matrix.columns);
  parallel_tasks(threads, matrix.columns, [&](int64_t task) {
    if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "binning: cancelled");
    const auto c = static_cast<uint32_t>(task);
    if (levels[c] > 0) {
      rules->columns[c] = category_bins(matrix.column(c), levels[c], edge_rows, bins_max);
      return;
    }
    thread_local std::vector<Group> groups;
    find_groups(matrix.column(c), edge_rows, groups);
    rules->columns[c] = number_bins(groups, bins_max);
  });
  rules->find_fingerprint();
  return rules;
}

std::unique_ptr<BinnedData> apply_rules(std::shared_ptr<const BinRules> rules, const Matrix& matrix,
                                        const RowList& rows, uint32_t threads,
                                        const int32_t* cancel) {
  auto data = std::make_unique<BinnedData>();
  data->rules = std::move(rules);
  data->rows = rows.count;
  data->bins.resize(rows.count * matrix.columns);
  parallel_tasks(threads, matrix.columns, [&](int64_t task) {
    if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "binning: cancelled");
    const auto c = static_cast<uint32_t>(task);
    bin_column(data->rules->columns[c], matrix.column(c), rows, data->bins.data() + c * rows.count);
  });
  return data;
}

}  // namespace magnet::learn
