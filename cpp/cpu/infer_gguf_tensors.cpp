// Conversion of the tensors of a GGUF file; see infer_gguf.hpp.
#include "infer_gguf.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quants.hpp"

namespace magnet {
namespace {

/** One scale where all blocks agree (a block of zeros may have any), else one per block. */
void settle_scales(PackedTernary& m, std::vector<float>& scales, const std::vector<uint8_t>& zero) {
  float common = 0;
  bool uniform = true;
  for (size_t i = 0; i < scales.size(); i++) {
    if (zero[i] != 0) continue;
    if (common == 0) common = scales[i];
    uniform = uniform && scales[i] == common;
  }
  m.scale = common;
  if (!uniform) m.block_scales = std::move(scales);
}

}  // namespace

DenseMatrix gguf_dense(const GgufFile& file, const GgufTensor& t, uint32_t heads,
                       uint32_t threads) {
  DenseMatrix m;
  m.rows = static_cast<uint32_t>(t.rows);
  m.cols = static_cast<uint32_t>(t.cols);
  m.is_q6k = t.type == MG_TYPE_Q6_K;
  const uint64_t row_bytes = t.data_bytes / t.rows;
  if (t.type == MG_TYPE_F16)
    m.half.resize(t.rows * t.cols);
  else
    m.single.resize(t.rows * t.cols);
  const auto convert = [&](uint32_t first, uint32_t count, const uint8_t* in) {
    const uint64_t at = uint64_t{first} * m.cols;
    const uint64_t n = uint64_t{count} * m.cols;
    bool finite = true;
    if (t.type == MG_TYPE_F16) {
      std::memcpy(m.half.data() + at, in, count * row_bytes);
      finite = std::all_of(m.half.data() + at, m.half.data() + at + n,
                           [](uint16_t h) { return (h & 0x7c00u) != 0x7c00u; });
    } else {
      if (t.type == MG_TYPE_F32)
        std::memcpy(m.single.data() + at, in, count * row_bytes);
      else
        for (uint64_t b = 0; b < n / 256; b++)
          unpack_q6k_block(in + 210 * b, m.single.data() + at + 256 * b);
      finite = std::all_of(m.single.data() + at, m.single.data() + at + n,
                           [](float v) { return std::isfinite(v); });
    }
    if (!finite)
      fail(MG_E_NUMERIC, "GGUF: tensor %.*s holds NaN or infinity",
           static_cast<int>(t.name.size()), t.name.data());
  };
  for_row_groups(file, t, row_bytes, heads, 16, threads, convert);
  return m;
}

PackedTernary gguf_ternary(const GgufFile& file, const GgufTensor& t, uint32_t heads,
                           uint32_t threads) {
  PackedTernary m = empty_packed(static_cast<uint32_t>(t.rows), static_cast<uint32_t>(t.cols));
  m.is_tq = t.type != MG_TYPE_I2_S;
  const BlockLayout layout = block_layout(t.type);
  const uint32_t per_row = m.cols / layout.elements;
  const uint64_t row_bytes = uint64_t{per_row} * layout.bytes;
  std::vector<float> scales(m.is_tq ? uint64_t{m.rows} * per_row : 0);
  std::vector<uint8_t> zero(scales.size());
  const auto convert_row = [&](uint32_t r, const uint8_t* in, int8_t* trits) {
    bool valid = true;
    for (uint32_t b = 0; b < per_row; b++, in += layout.bytes) {
      int8_t* out = trits + uint64_t{b} * layout.elements;
      uint16_t half = 0;
      if (t.type == MG_TYPE_TQ2_0)
        valid = unpack_tq2_block(in, out, &half) && valid;
      else if (t.type == MG_TYPE_TQ1_0)
        valid = unpack_tq1_block(in, out, &half) && valid;
      else
        valid = unpack_i2s_block(in, out) && valid;
      if (!m.is_tq) continue;
      valid = valid && (half & 0x7c00u) != 0x7c00u;
      if (half << 1 == 0)
        std::fill(out, out + 256, int8_t{0});  // a scale of 0: zeros, whatever the codes
      const uint64_t at = uint64_t{r} * per_row + b;
      zero[at] = std::all_of(out, out + 256, [](int8_t v) { return v == 0; });
      scales[at] = from_half(half);
    }
    if (!valid)
      fail(MG_E_FORMAT, "GGUF: tensor %.*s, row %u: a code of 3 or a scale that is not finite",
           static_cast<int>(t.name.size()), t.name.data(), r);
    set_packed_row(m, r, trits);
  };
  for_row_groups(file, t, row_bytes, heads, 16, threads,
                 [&](uint32_t first, uint32_t count, const uint8_t* in) {
                   std::vector<int8_t> trits(m.cols);
                   for (uint32_t i = 0; i < count; i++)
                     convert_row(first + i, in + i * row_bytes, trits.data());
                 });
  if (m.is_tq) {
    settle_scales(m, scales, zero);
  } else {
    file.bytes.read(t.offset + m.rows * row_bytes, 4, reinterpret_cast<uint8_t*>(&m.scale));
    if (!std::isfinite(m.scale))
      fail(MG_E_NUMERIC, "GGUF: tensor %.*s has no finite scale", static_cast<int>(t.name.size()),
           t.name.data());
  }
  return m;
}

bool make_ternary(const DenseMatrix& m, PackedTernary& out) {
  const auto at = [&](uint64_t i) { return m.half.empty() ? m.single[i] : from_half(m.half[i]); };
  const uint64_t n = uint64_t{m.rows} * m.cols;
  float scale = 0;
  for (uint64_t i = 0; i < n; i++) {
    const float magnitude = std::fabs(at(i));
    if (magnitude == 0) continue;
    if (scale == 0)
      scale = magnitude;
    else if (magnitude != scale)
      return false;
  }
  out = empty_packed(m.rows, m.cols);
  out.scale = scale;
  std::vector<int8_t> trits(m.cols);
  for (uint32_t r = 0; r < m.rows; r++) {
    for (uint32_t i = 0; i < m.cols; i++) {
      const float v = at(uint64_t{r} * m.cols + i);
      trits[i] = static_cast<int8_t>((v > 0) - (v < 0));
    }
    set_packed_row(out, r, trits.data());
  }
  return true;
}

}  // namespace magnet
