// Reading of the tensors of a GGUF file; see infer_gguf.hpp.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "infer_gguf.hpp"
#include "quants.hpp"
#include "ternary_panels.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

/** Row of an interleaved file tensor that holds row `r` of the half-split one; heads = 0: the same.
 */
uint32_t file_row(uint32_t r, uint32_t rows, uint32_t heads) {
  if (heads == 0) return r;
  const uint32_t head_dim = rows / heads;
  const uint32_t within = r % head_dim;
  return r - within + 2 * (within % (head_dim / 2)) + within / (head_dim / 2);
}

/** The rows of one tensor in the order of the model. */
struct Rows {
  const GgufFile& file;
  const GgufTensor& tensor;
  uint64_t row_bytes;
  uint32_t heads;

  uint32_t count() const { return static_cast<uint32_t>(tensor.rows); }
  void read(uint32_t first, uint32_t n, uint8_t* out) const {
    if (heads == 0) return file.bytes.read(tensor.offset + first * row_bytes, n * row_bytes, out);
    for (uint32_t i = 0; i < n; i++)
      file.bytes.read(tensor.offset + file_row(first + i, count(), heads) * row_bytes, row_bytes,
                      out + i * row_bytes);
  }
};

/**
 * Calls fn(first, n) for all panels of 16 rows (the last may be smaller), on several threads. What has
 * been read is given back, so that a model that is being loaded takes the memory of one.
 */
template <class F>
void for_panels(const Rows& rows, uint32_t threads, const F& fn) {
  constexpr uint64_t GIVE_BACK_BYTES = 1u << 22;
  const uint32_t panels = (rows.count() + PANEL_ROWS - 1) / PANEL_ROWS;
  parallel_for(threads, panels, [&](int64_t begin, int64_t end, uint32_t) {
    uint32_t kept = static_cast<uint32_t>(begin) * PANEL_ROWS;  // rows before it were given back
    for (auto p = static_cast<uint32_t>(begin); p < static_cast<uint32_t>(end); p++) {
      const uint32_t first = p * PANEL_ROWS;
      const uint32_t n = std::min(PANEL_ROWS, rows.count() - first);
      fn(first, n);
      const uint64_t bytes = (first + n - kept) * rows.row_bytes;
      if (bytes < GIVE_BACK_BYTES && p + 1 < static_cast<uint32_t>(end)) continue;
      rows.file.bytes.give_back(rows.tensor.offset + kept * rows.row_bytes, bytes);
      kept = first + n;
    }
  });
}

/** One scale where all blocks agree (a block of zeros has none), else one per block. */
void settle_scales(PackedTernary& m, const std::vector<uint16_t>& scales) {
  uint16_t common = 0;
  bool uniform = true;
  for (const uint16_t scale : scales) {
    if (scale == 0) continue;
    if (common == 0) common = scale;
    uniform = uniform && scale == common;
  }
  m.scale = from_half(common);
  if (uniform) return;
  m.block_scales.resize(scales.size());
  std::transform(scales.begin(), scales.end(), m.block_scales.begin(), from_half);
}

}  // namespace

bool is_ternary_type(uint32_t type) {
  return type == MG_TYPE_TQ1_0 || type == MG_TYPE_TQ2_0 || type == MG_TYPE_I2_S;
}

uint64_t gguf_weight_bytes(const GgufTensor& t) {
  const auto rows = static_cast<uint32_t>(t.rows);
  const auto cols = static_cast<uint32_t>(t.cols);
  uint64_t bytes = t.data_bytes;
  if (is_ternary_type(t.type)) bytes = packed_ternary_bytes(rows, cols);
  // A few rows more than the file's, if it becomes the head.
  if (t.type == MG_TYPE_Q6_K) bytes = packed_head_bytes(HeadFormat::q6k, rows, cols);
  return WeightMemory::padded(bytes);
}

PackedHead gguf_head(const GgufFile& file, const GgufTensor& t, uint32_t threads,
                     WeightMemory& memory) {
  const auto row_count = static_cast<uint32_t>(t.rows);
  const auto cols = static_cast<uint32_t>(t.cols);
  const uint64_t bytes = packed_head_bytes(HeadFormat::q6k, row_count, cols);
  PackedHead head =
      empty_head(HeadFormat::q6k, row_count, cols, memory.memory(), memory.take(bytes));
  const Rows rows{file, t, packed_bytes(t.type, 1, cols), 0};
  for_panels(rows, threads, [&](uint32_t first, uint32_t n) {
    DenseMatrix panel = dense_view(t.type, n, cols);
    std::vector<uint8_t> blocks(n * rows.row_bytes);
    panel.data = blocks.data();
    rows.read(first, n, panel.data);
    if (!dense_rows_finite(panel, 0, n))
      fail(MG_E_NUMERIC, "GGUF: tensor %.*s holds NaN or infinity",
           static_cast<int>(t.name.size()), t.name.data());
    for (uint32_t r = 0; r < n; r++) set_head_row_q6k(head, first + r, panel.row(r));
  });
  return head;
}

PackedHead round_head(const DenseMatrix& w, HeadFormat format, uint32_t threads) {
  PackedHead head = empty_head(format, w.rows, w.cols);
  parallel_for(threads, head.panels(), [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<float> row(w.cols);
    const auto last = std::min(static_cast<uint32_t>(end) * PANEL_ROWS, w.rows);
    for (uint32_t r = static_cast<uint32_t>(begin) * PANEL_ROWS; r < last; r++) {
      dense_row(w, r, row.data());
      set_head_row(head, r, row.data());
    }
  });
  return head;
}

DenseMatrix gguf_dense(const GgufFile& file, const GgufTensor& t, uint32_t heads, uint32_t threads,
                       WeightMemory& memory) {
  DenseMatrix m = empty_dense(t.type, static_cast<uint32_t>(t.rows), static_cast<uint32_t>(t.cols),
                              memory.memory(), memory.take(t.data_bytes));
  const Rows rows{file, t, m.row_bytes, heads};
  for_panels(rows, threads, [&](uint32_t first, uint32_t n) {
    rows.read(first, n, m.data + first * m.row_bytes);
    if (!dense_rows_finite(m, first, n))
      fail(MG_E_NUMERIC, "GGUF: tensor %.*s holds NaN or infinity",
           static_cast<int>(t.name.size()), t.name.data());
  });
  return m;
}

PackedTernary gguf_ternary(const GgufFile& file, const GgufTensor& t, uint32_t heads,
                           uint32_t threads, WeightMemory& memory) {
  const auto row_count = static_cast<uint32_t>(t.rows);
  const auto cols = static_cast<uint32_t>(t.cols);
  const uint64_t offset = memory.take(packed_ternary_bytes(row_count, cols));
  PackedTernary m = empty_packed(row_count, cols, memory.memory(), offset);
  m.is_tq = t.type != MG_TYPE_I2_S;
  const BlockLayout layout = block_layout(t.type);
  const uint32_t per_row = m.is_tq ? cols / 256 : 0;
  const Rows rows{file, t, cols / layout.elements * uint64_t{layout.bytes}, heads};
  std::vector<uint16_t> scales(uint64_t{m.panels()} * PANEL_ROWS * per_row);
  for_panels(rows, threads, [&](uint32_t first, uint32_t n) {
    std::vector<uint8_t> panel(PANEL_ROWS * rows.row_bytes);
    rows.read(first, n, panel.data());
    clear_rows(t.type, panel.data() + n * rows.row_bytes, (PANEL_ROWS - n) * rows.row_bytes);
    if (!set_panel(t.type, panel.data(), rows.row_bytes, cols,
                   m.codes + first / PANEL_ROWS * m.panel_bytes(),
                   scales.data() + uint64_t{first} * per_row))
      fail(MG_E_FORMAT, "GGUF: tensor %.*s, rows from %u: a code of 3 or a scale that is not finite",
           static_cast<int>(t.name.size()), t.name.data(), first);
  });
  if (m.is_tq) {
    scales.resize(uint64_t{row_count} * per_row);  // without the rows that are not there
    settle_scales(m, scales);
    return m;
  }
  file.bytes.read(t.offset + row_count * rows.row_bytes, 4, reinterpret_cast<uint8_t*>(&m.scale));
  if (!std::isfinite(m.scale))
    fail(MG_E_NUMERIC, "GGUF: tensor %.*s has no finite scale", static_cast<int>(t.name.size()),
         t.name.data());
  return m;
}

bool make_ternary(const DenseMatrix& m, PackedTernary& out) {
  std::vector<float> row(m.cols);
  float scale = 0;
  for (uint32_t r = 0; r < m.rows; r++) {
    dense_row(m, r, row.data());
    for (const float value : row) {
      const float magnitude = std::fabs(value);
      if (magnitude == 0) continue;
      if (scale == 0)
        scale = magnitude;
      else if (magnitude != scale)
        return false;
    }
  }
  out = empty_packed(m.rows, m.cols);
  out.scale = scale;
  std::vector<int8_t> trits(m.cols);
  for (uint32_t r = 0; r < m.rows; r++) {
    dense_row(m, r, row.data());
    std::transform(row.begin(), row.end(), trits.begin(),
                   [](float v) { return static_cast<int8_t>((v > 0) - (v < 0)); });
    set_packed_row(out, r, trits.data());
  }
  return true;
}

}  // namespace magnet
