// The hot loop of boosting: one load, one addition and one store for each cell of a row. Columns go
// in blocks of eight; eight histograms of 256 cells are 16 KiB.
#include "histogram.hpp"

#include <algorithm>
#include <cstring>

#include "../cpu/thread_pool.hpp"

namespace magnet::learn {
namespace {

/** Below so many cells a thread's wake-up costs more than it brings. */
constexpr uint64_t CELLS_FOR_THREADS = 1u << 17;

bool is_everything(const BinnedData& data, const std::vector<uint32_t>& rows) {
  if (rows.size() != data.rows) return false;
  for (uint32_t i = 0; i < rows.size(); i++)
    if (rows[i] != i) return false;
  return true;
}

}  // namespace

FitTable::FitTable(const BinnedData& data, const std::vector<uint32_t>& rows, uint32_t threads)
    : rows_(static_cast<uint32_t>(rows.size())), rules_(*data.rules), columns_(data.columns()) {
  if (is_everything(data, rows)) {
    for (uint32_t c = 0; c < data.columns(); c++) columns_[c] = data.column(c);
    return;
  }
  own_.resize(static_cast<size_t>(rows_) * data.columns());
  parallel_tasks(threads, data.columns(), [&](int64_t c) {
    uint8_t* const to = own_.data() + static_cast<size_t>(c) * rows_;
    const uint8_t* const from = data.column(static_cast<uint32_t>(c));
    for (uint32_t i = 0; i < rows_; i++) to[i] = from[rows[i]];
    columns_[static_cast<size_t>(c)] = to;
  });
}

void FitTable::choose_columns(const std::vector<uint32_t>& columns, uint32_t threads) {
  chosen_ = columns;
  offsets_.clear();
  cells_ = 0;
  for (const uint32_t c : columns) {
    offsets_.push_back(cells_);
    cells_ += rules_.columns[c].bins + 1;
  }
  const auto blocks = static_cast<uint32_t>((columns.size() + WIDTH - 1) / WIDTH);
  // Columns that fill up the last block add to one cell that nobody reads.
  offsets_.resize(blocks * WIDTH, cells_);
  cells_++;
  const size_t block_bytes = static_cast<size_t>(rows_) * WIDTH;
  uint8_t* const all = blocks_.reserve(static_cast<int64_t>(blocks * block_bytes));
  parallel_tasks(threads, blocks, [&](int64_t b) {
    uint8_t* const block = all + static_cast<size_t>(b) * block_bytes;
    const uint8_t* from[WIDTH];
    const size_t first = static_cast<size_t>(b) * WIDTH;
    const size_t here = std::min<size_t>(WIDTH, columns.size() - first);
    for (size_t i = 0; i < here; i++) from[i] = columns_[columns[first + i]];
    if (here < WIDTH) std::memset(block, 0, block_bytes);
    for (uint32_t row = 0; row < rows_; row++)
      for (size_t i = 0; i < here; i++) block[row * size_t{WIDTH} + i] = from[i][row];
  });
}

void FitTable::sum(const Packed* gradients, const uint32_t* rows, uint32_t count, Packed* histogram,
                   uint32_t threads) const {
  std::memset(histogram, 0, cells_ * sizeof(Packed));
  const auto blocks = static_cast<uint32_t>(offsets_.size() / WIDTH);
  const bool is_large = uint64_t{count} * chosen_.size() >= CELLS_FOR_THREADS;
  parallel_tasks(is_large ? threads : 1, blocks, [&](int64_t block) {
    sum_block(static_cast<uint32_t>(block), gradients, rows, count, histogram);
  });
}

void FitTable::sum_block(uint32_t block, const Packed* gradients, const uint32_t* rows,
                         uint32_t count, Packed* histogram) const {
  const uint8_t* const cells = blocks_.data() + static_cast<size_t>(block) * rows_ * WIDTH;
  Packed* h[WIDTH];
  for (uint32_t i = 0; i < WIDTH; i++) h[i] = histogram + offsets_[block * WIDTH + i];
  const auto add = [&](uint64_t bins, Packed v) __attribute__((always_inline)) {
    h[0][bins & 0xFF] += v;
    h[1][bins >> 8 & 0xFF] += v;
    h[2][bins >> 16 & 0xFF] += v;
    h[3][bins >> 24 & 0xFF] += v;
    h[4][bins >> 32 & 0xFF] += v;
    h[5][bins >> 40 & 0xFF] += v;
    h[6][bins >> 48 & 0xFF] += v;
    h[7][bins >> 56] += v;
  };
  for (uint32_t i = 0; i < count; i++) {
    const uint32_t row = rows[i];
    uint64_t bins;
    std::memcpy(&bins, cells + size_t{row} * WIDTH, WIDTH);
    add(bins, gradients[row]);
  }
}

}  // namespace magnet::learn
