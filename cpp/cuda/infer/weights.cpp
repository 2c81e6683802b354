// See weights.hpp.
#include "weights.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "../../cpu/thread_pool.hpp"

namespace magnet::gpu {
namespace {

/** A row of a matrix, or of none: rows behind the last. */
struct Source {
  const PackedTernary* matrix = nullptr;
  uint32_t row = 0;
};

/** Codes of columns 4c .. 4c+3 of a row, a byte each. */
uint32_t four_codes(const Source& from, uint32_t c) {
  const PackedTernary& m = *from.matrix;
  const uint64_t block = uint64_t{from.row / magnet::PANEL_ROWS} * m.blocks + c / 4;
  uint32_t word;
  std::memcpy(&word, m.codes + block * PANEL_BLOCK_BYTES + from.row % magnet::PANEL_ROWS * 4, 4);
  return word >> (c % 4 * 2) & 0x03030303u;
}

/** Row r of a panel, whose chunks are 512 bytes each. Codes of 0 stand behind the last column, where
 * activations are 0. */
void set_row(uint32_t* panel, int r, const Source& from) {
  for (uint32_t c = 0; c < from.matrix->blocks * 4; c++) {
    const uint32_t byte = 4 * c;
    const FragmentPlace at = fragment_place(r, static_cast<int>(byte % CHUNK_BYTES));
    panel[byte / CHUNK_BYTES * 128 + static_cast<uint32_t>(at.lane * 4 + at.step)] |=
        four_codes(from, c) << (2 * at.word);
  }
}

DeviceTernary upload_rows(const Stream& stream, const std::vector<Source>& rows, uint32_t columns) {
  const auto panels = static_cast<int64_t>(rows.size()) / PANEL_ROWS;
  const auto words = static_cast<uint64_t>(chunks_of(columns)) * 128;
  std::vector<uint32_t> packed(static_cast<uint64_t>(panels) * words);
  parallel_for(resolve_threads(0), panels, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin * PANEL_ROWS; i < end * PANEL_ROWS; i++) {
      const Source& from = rows[static_cast<size_t>(i)];
      if (from.matrix != nullptr)
        set_row(packed.data() + static_cast<uint64_t>(i / PANEL_ROWS) * words,
                static_cast<int>(i % PANEL_ROWS), from);
    }
  });
  DeviceTernary out;
  out.codes = DeviceArray<uint4>(packed.size() / 4);
  copy_in(stream, out.codes.data(), packed.data(), packed.size() * 4);
  stream.wait();
  out.weight.codes = out.codes.data();
  out.weight.columns = columns;
  return out;
}

constexpr uint32_t STEPS_OF_CHUNK = CHUNK_BYTES / HEAD_GROUP;

uint64_t whole_panels(uint64_t rows) {
  return static_cast<uint64_t>(panels_of(static_cast<int64_t>(rows))) * PANEL_ROWS;
}

/** A row of a panel in 4 bits, with its scales: as the CPU rounds a head, a step is the value of largest
 * magnitude / -8. */
void set_int4_row(unsigned char* panel, unsigned char* scales, int r, const float* values,
                  uint32_t columns) {
  for (uint32_t c = 0; c < columns; c += HEAD_GROUP) {
    const float* const end = values + std::min<uint32_t>(columns, c + HEAD_GROUP);
    const float most = *std::max_element(values + c, end, [](float a, float b) {
      return std::fabs(a) < std::fabs(b);
    });
    const fp16 scale = to_fp16(most / -8.0f);
    const uint32_t chunk = c / CHUNK_BYTES;
    const uint32_t within = c % CHUNK_BYTES;
    std::memcpy(scales + ((chunk * PANEL_ROWS + static_cast<uint32_t>(r)) * STEPS_OF_CHUNK +
                          within / HEAD_GROUP) * sizeof(fp16),
                &scale, sizeof(fp16));
    const float step = to_float(scale);
    for (const float* x = values + c; x < end; x++) {
      const float q = step == 0 ? 0 : std::clamp(std::rint(*x / step), -8.0f, 7.0f);
      const auto at = static_cast<int>(static_cast<uint32_t>(x - values) % CHUNK_BYTES);
      const FragmentPlace place = fragment_place(r, grouped_byte(at));
      // Two words a step: registers 0 and 1 in the halves of the first one's bytes, then 2 and 3.
      unsigned char& byte = panel[chunk * 1024 + static_cast<uint32_t>(
                                      place.step / 2 * 512 + place.lane * 16 + place.step % 2 * 8 +
                                      place.word / 2 * 4 + place.byte)];
      byte = static_cast<unsigned char>(byte | (static_cast<int>(q) & 15) << place.word % 2 * 4);
    }
  }
}

/** A panel of 16 rows of the head. */
void set_head_rows(HeadKind kind, unsigned char* panel, int r, const float* values,
                   uint32_t columns, float* scale) {
  const auto place = [&](uint32_t byte) {
    const FragmentPlace at = fragment_place(r, static_cast<int>(byte % CHUNK_BYTES));
    return panel + byte / CHUNK_BYTES * 2048 + (at.step * LANES + at.lane) * 16 + at.word * 4 +
           at.byte;
  };
  if (kind == HeadKind::fp16) {
    for (uint32_t c = 0; c < columns; c++) {
      const fp16 value = to_fp16(values[c]);
      std::memcpy(place(2 * c), &value, 2);
    }
    return;
  }
  // As the CPU rounds a head.
  float most = 0;
  for (uint32_t c = 0; c < columns; c++) most = std::max(most, std::fabs(values[c]));
  const float step = most / 127.0f;
  for (uint32_t c = 0; c < columns; c++) {
    const float q = step == 0 ? 0 : std::clamp(std::rint(values[c] / step), -127.0f, 127.0f);
    *place(c) = static_cast<unsigned char>(static_cast<int8_t>(q));
  }
  *scale = step;
}

}  // namespace

DeviceTernary upload_stacked(const Stream& stream, const std::vector<const PackedTernary*>& parts) {
  std::vector<Source> rows;
  int64_t ends[3];
  float scales[3];
  for (size_t i = 0; i < 3; i++) {
    const PackedTernary* const part = i < parts.size() ? parts[i] : nullptr;
    for (uint32_t r = 0; part != nullptr && r < part->rows; r++) rows.push_back({part, r});
    ends[i] = static_cast<int64_t>(rows.size());
    scales[i] = part == nullptr ? 0.0f : part->scale;
  }
  rows.resize(whole_panels(rows.size()));
  DeviceTernary out = upload_rows(stream, rows, parts[0]->cols);
  out.weight.rows = ends[2];
  std::copy_n(ends, 2, out.weight.ends);
  std::copy_n(scales, 3, out.weight.scales);
  return out;
}

DeviceTernary upload_gated(const Stream& stream, const PackedTernary& gate,
                           const PackedTernary& up) {
  std::vector<Source> rows;
  for (uint32_t first = 0; first < gate.rows; first += PANEL_ROWS)
    for (const PackedTernary* const part : {&gate, &up})
      for (uint32_t r = first; r < first + PANEL_ROWS; r++)
        rows.push_back(r < part->rows ? Source{part, r} : Source{});
  DeviceTernary out = upload_rows(stream, rows, gate.cols);
  out.weight.rows = static_cast<int64_t>(rows.size());
  out.weight.scales[0] = gate.scale;
  out.weight.scales[1] = up.scale;
  return out;
}

DeviceHead upload_head(const Stream& stream, HeadKind kind, uint32_t rows, uint32_t columns,
                       const std::function<void(uint32_t row, float* out)>& read) {
  DeviceHead out;
  out.weight = {kind, nullptr, nullptr, rows, columns};
  std::vector<unsigned char> packed(out.weight.bytes());
  std::vector<float> scales(kind == HeadKind::int8 ? rows : 0);
  const uint64_t panel_bytes = out.weight.panel_bytes();
  const uint64_t panel_scales =
      kind == HeadKind::int4 ? static_cast<uint64_t>(out.weight.chunks()) * PANEL_ROWS : 0;
  std::vector<uint2> group_scales(static_cast<uint64_t>(panels_of(rows)) * panel_scales);
  std::atomic<bool> fits = true;
  parallel_for(resolve_threads(0), panels_of(rows), [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<float> row(columns);
    const auto last = std::min<uint32_t>(static_cast<uint32_t>(end * PANEL_ROWS), rows);
    for (auto r = static_cast<uint32_t>(begin * PANEL_ROWS); r < last; r++) {
      read(r, row.data());
      if (!std::all_of(row.begin(), row.end(), [](float v) { return std::fabs(v) < 65504.0f; }))
        fits = false;
      unsigned char* const panel = packed.data() + r / PANEL_ROWS * panel_bytes;
      const auto within = static_cast<int>(r % PANEL_ROWS);
      if (kind == HeadKind::int4)
        set_int4_row(panel,
                     reinterpret_cast<unsigned char*>(group_scales.data() +
                                                      r / PANEL_ROWS * panel_scales),
                     within, row.data(), columns);
      else
        set_head_rows(kind, panel, within, row.data(), columns,
                      scales.empty() ? nullptr : &scales[r]);
    }
  });
  require(fits, MG_E_NUMERIC, "the embedding or the head has values that float16 does not hold");
  out.values = DeviceArray<uint4>(packed.size() / sizeof(uint4));
  copy_in(stream, out.values.data(), packed.data(), packed.size());
  stream.wait();
  out.scales = upload_floats(stream, scales);
  if (!group_scales.empty()) {
    out.group_scales = DeviceArray<uint2>(group_scales.size());
    copy_in(stream, out.group_scales.data(), group_scales.data(),
            group_scales.size() * sizeof(uint2));
    stream.wait();
    out.weight.group_scales = out.group_scales.data();
  }
  out.weight.values = out.values.data();
  out.weight.scales = out.scales.data();
  return out;
}

DeviceArray<fp16> upload_lost(const Stream& stream, uint32_t rows, uint32_t columns,
                              const std::function<void(uint32_t row, float* out)>& read) {
  std::vector<fp16> lost(uint64_t{rows} * columns);
  std::atomic<bool> is_exact = true;
  parallel_for(resolve_threads(0), rows, [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<float> row(columns);
    for (auto r = static_cast<uint32_t>(begin); r < static_cast<uint32_t>(end); r++) {
      read(r, row.data());
      for (uint32_t c = 0; c < columns; c++) {
        const float low = row[c] - to_float(to_fp16(row[c]));
        lost[uint64_t{r} * columns + c] = to_fp16(low);
        if (low != 0) is_exact = false;
      }
    }
  });
  if (is_exact) return {};
  DeviceArray<fp16> out(lost.size());
  copy_in(stream, out.data(), lost.data(), lost.size() * sizeof(fp16));
  stream.wait();
  return out;
}

DeviceArray<float> upload_floats(const Stream& stream, const std::vector<float>& values) {
  DeviceArray<float> out(values.size());
  if (values.empty()) return out;
  copy_in(stream, out.data(), values.data(), values.size() * sizeof(float));
  stream.wait();
  return out;
}

}  // namespace magnet::gpu
