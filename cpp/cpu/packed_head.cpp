// Packing of heads, the choice of the path, and the scalar product: a naive loop, the oracle of the
// other paths.
#include "packed_head.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu_detect.hpp"
#include "quants.hpp"

namespace magnet {
namespace {

constexpr uint32_t ROWS = 16;
constexpr uint32_t VECTOR = 64;
constexpr uint32_t Q6K_CODES = 48 * VECTOR;        // of 256 columns
constexpr uint32_t Q6K_SCALES = 16 * ROWS + 32;    // of 256 columns
constexpr uint32_t Q6K_D = 16 * ROWS;              // where the binary16 scales stand
constexpr uint32_t Q6K_BLOCK = 210;

uint32_t up(uint32_t n, uint32_t to) { return (n + to - 1) / to * to; }

/** Bytes of a panel. */
struct PanelBytes {
  uint32_t codes;
  uint32_t scales;
};
PanelBytes panel_bytes(HeadFormat format, uint32_t cols) {
  switch (format) {
    case HeadFormat::q6k:
      return {cols / 256 * Q6K_CODES, cols / 256 * Q6K_SCALES};
    case HeadFormat::int8:
      return {up(cols, 16) * ROWS, ROWS * 4};
    default:
      return {up(cols, 32) / 2 * ROWS, up(cols, 32) / 32 * ROWS * 2};
  }
}

/** Where a code lies: byte of the panel, shift in it. */
struct Place {
  uint32_t byte;
  uint32_t shift;
};
Place nibble_place(uint32_t vector, uint32_t row, uint32_t col) {
  return {vector * VECTOR + row * 4 + col % 4, col / 4 % 2 * 4};
}
Place q6k_low(uint32_t row, uint32_t col) {
  return nibble_place(col / 16 * 3 + col % 16 / 8, row, col);
}
Place q6k_high(uint32_t row, uint32_t col) {
  return {(col / 16 * 3 + 2) * VECTOR + row * 4 + col % 4, col % 16 / 4 * 2};
}
Place int4_place(uint32_t row, uint32_t col) { return nibble_place(col / 8, row, col); }
uint32_t int8_byte(uint32_t row, uint32_t col) { return col / 4 * VECTOR + row * 4 + col % 4; }

/** Sets bits of a byte to a value of `bits` bits. */
void put(uint8_t* panel, Place at, unsigned value, unsigned bits) {
  const unsigned mask = ((1u << bits) - 1) << at.shift;
  panel[at.byte] = static_cast<uint8_t>((panel[at.byte] & ~mask) | (value << at.shift));
}
unsigned get(const uint8_t* panel, Place at, unsigned bits) {
  return (static_cast<unsigned>(panel[at.byte]) >> at.shift) & ((1u << bits) - 1);
}

const uint8_t* codes_of(const PackedHead& w, uint32_t row) {
  return w.codes + uint64_t{row / ROWS} * w.panel_codes;
}
const uint8_t* scales_of(const PackedHead& w, uint32_t row) {
  return w.scales + uint64_t{row / ROWS} * w.panel_scales;
}

/** The signed value of a code. */
int code_at(const PackedHead& w, uint32_t row, uint32_t col) {
  const uint8_t* const panel = codes_of(w, row);
  const uint32_t r = row % ROWS;
  switch (w.format) {
    case HeadFormat::q6k:
      return static_cast<int>(get(panel, q6k_low(r, col), 4) |
                              get(panel, q6k_high(r, col), 2) << 4) -
             32;
    case HeadFormat::int8:
      return panel[int8_byte(r, col)] - 128;
    default:
      return static_cast<int>(get(panel, int4_place(r, col), 4)) - 8;
  }
}

template <class T>
T scale_at(const PackedHead& w, uint32_t row, uint32_t offset) {
  T value;
  std::memcpy(&value, scales_of(w, row) + offset + row % ROWS * sizeof(T), sizeof(T));
  return value;
}
int q6k_scale(const PackedHead& w, uint32_t row, uint32_t col) {
  return scale_at<int8_t>(w, row, col / 256 * Q6K_SCALES + col % 256 / 16 * ROWS);
}
float q6k_d(const PackedHead& w, uint32_t row, uint32_t col) {
  return from_half(scale_at<uint16_t>(w, row, col / 256 * Q6K_SCALES + Q6K_D));
}
float int4_scale(const PackedHead& w, uint32_t row, uint32_t col) {
  return from_half(scale_at<uint16_t>(w, row, col / 32 * ROWS * 2));
}

/** Row r times one row of activations. */
float naive_dot(const PackedHead& w, uint32_t r, const int8_t* high, const int8_t* low,
                float x_scale) {
  const auto step = w.format == HeadFormat::q6k ? 256u : w.format == HeadFormat::int4 ? 32u : w.cols;
  float sum = 0;
  int32_t h = 0;
  int32_t l = 0;
  for (uint32_t start = 0; start < w.cols; start += step) {
    h = 0;
    l = 0;
    for (uint32_t c = start; c < std::min(w.cols, start + step); c++) {
      const int code = code_at(w, r, c) * (w.format == HeadFormat::q6k ? q6k_scale(w, r, c) : 1);
      h += code * high[c];
      l += code * low[c];
    }
    if (w.format == HeadFormat::q6k)
      sum = std::fma(std::fma(static_cast<float>(h), 128.0f, static_cast<float>(l)),
                     q6k_d(w, r, start), sum);
    else if (w.format == HeadFormat::int4)
      sum = std::fma(static_cast<float>(128 * h + l), int4_scale(w, r, start), sum);
  }
  if (w.format != HeadFormat::int8) return sum * x_scale;
  return std::fma(static_cast<float>(h), 128.0f, static_cast<float>(l)) *
         (scale_at<float>(w, r, 0) * x_scale);
}

void naive_product(const PackedHead& w, uint32_t panel_begin, uint32_t panel_end,
                   const Int15Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t r = panel_begin * ROWS; r < std::min(w.rows, panel_end * ROWS); r++)
    for (uint32_t t = 0; t < n; t++)
      y[uint64_t{t} * y_stride + r] =
          naive_dot(w, r, x.high + uint64_t{t} * x.stride, x.low + uint64_t{t} * x.stride,
                    x.scale[t]);
}

HeadKernel kernel() {
  switch (cpu_path()) {
#if defined(__x86_64__)
    case CpuPath::avx512:
      return avx512::HEAD_PRODUCT;
    case CpuPath::avx2:
      return avx2::HEAD_PRODUCT;
#elif defined(__aarch64__)
    case CpuPath::neon:
      return cpu_has_dot_products() ? neon::HEAD_DOT_PRODUCT : neon::HEAD_PRODUCT;
#endif
    default:
      return naive_product;
  }
}

/** 32 values in 4 bits: a step is the value of largest magnitude / -8, so that it is met exactly. */
void set_int4_group(PackedHead& head, uint32_t row, uint32_t col, const float* x, uint32_t n) {
  const float* const most =
      std::max_element(x, x + n, [](float a, float b) { return std::fabs(a) < std::fabs(b); });
  const uint16_t half = to_half(*most / -8.0f);
  const float step = from_half(half);
  require(std::isfinite(step), MG_E_NUMERIC,
          "a head with weights above 524032 does not fit into int4; take int8");
  uint8_t* const panel = head.codes + uint64_t{row / ROWS} * head.panel_codes;
  for (uint32_t i = 0; i < n; i++) {
    const float q = step == 0 ? 0 : std::rint(x[i] / step);
    const auto code = static_cast<int>(std::clamp(q, -8.0f, 7.0f)) + 8;
    put(panel, int4_place(row % ROWS, col + i), static_cast<unsigned>(code), 4);
  }
  std::memcpy(head.scales + uint64_t{row / ROWS} * head.panel_scales + col / 32 * ROWS * 2 +
                  row % ROWS * 2,
              &half, 2);
}

}  // namespace

uint64_t packed_head_bytes(HeadFormat format, uint32_t rows, uint32_t cols) {
  const PanelBytes bytes = panel_bytes(format, cols);
  return (uint64_t{(rows + ROWS - 1) / ROWS} * (bytes.codes + bytes.scales) + 63) / 64 * 64;
}

PackedHead empty_head(HeadFormat format, uint32_t rows, uint32_t cols,
                      std::shared_ptr<Mapping> memory, uint64_t offset) {
  // Beyond, sums of int8 products could leave int32.
  if (cols > (1u << 16) || (format == HeadFormat::q6k && cols % 256 != 0))
    fail(MG_E_SHAPE, "a packed head of %u columns: at most 65536, Q6_K whole blocks of 256", cols);
  PackedHead head;
  head.format = format;
  head.rows = rows;
  head.cols = cols;
  const PanelBytes bytes = panel_bytes(format, cols);
  head.panel_codes = bytes.codes;
  head.panel_scales = bytes.scales;
  head.memory = memory ? std::move(memory)
                       : std::make_shared<Mapping>(packed_head_bytes(format, rows, cols), "the head");
  head.codes = head.memory->as<uint8_t>() + offset;
  head.scales = head.codes + uint64_t{head.panels()} * bytes.codes;
  return head;
}

void set_head_row_q6k(PackedHead& head, uint32_t row, const uint8_t* blocks) {
  uint8_t* panel = head.codes + uint64_t{row / ROWS} * head.panel_codes;
  uint8_t* scales = head.scales + uint64_t{row / ROWS} * head.panel_scales;
  const uint32_t r = row % ROWS;
  // Words of 4 columns at a time: the nibbles of 16 columns are 16 bytes in a row of the block.
  const auto word = [](const uint8_t* from) {
    uint32_t value;
    std::memcpy(&value, from, 4);
    return value;
  };
  for (uint32_t b = 0; b < head.cols / 256; b++, blocks += Q6K_BLOCK, scales += Q6K_SCALES) {
    for (uint32_t s = 0; s < 16; s++, panel += 3 * VECTOR) {
      // A half of 128 columns: 64 bytes of low nibbles, 32 bytes of high pairs.
      const uint8_t* const low = blocks + s / 8 * 64 + s % 4 * 16;
      const uint8_t* const high = blocks + 128 + s / 8 * 32 + s % 2 * 16;
      const uint32_t low_shift = s % 8 / 4 * 4;
      const uint32_t high_shift = s % 8 / 2 * 2;
      uint32_t nibbles[4];
      uint32_t pairs = 0;
      for (uint32_t g = 0; g < 4; g++) {
        nibbles[g] = (word(low + 4 * g) >> low_shift) & 0x0f0f0f0fu;
        pairs |= ((word(high + 4 * g) >> high_shift) & 0x03030303u) << (2 * g);
      }
      const uint32_t words[3] = {nibbles[0] | nibbles[1] << 4, nibbles[2] | nibbles[3] << 4, pairs};
      for (uint32_t v = 0; v < 3; v++) std::memcpy(panel + v * VECTOR + 4 * r, words + v, 4);
      scales[s * ROWS + r] = blocks[192 + s];
    }
    std::memcpy(scales + Q6K_D + 2 * r, blocks + 208, 2);
  }
}

void set_head_row(PackedHead& head, uint32_t row, const float* values) {
  if (head.format == HeadFormat::int4) {
    for (uint32_t c = 0; c < head.cols; c += 32)
      set_int4_group(head, row, c, values + c, std::min(32u, head.cols - c));
    return;
  }
  float most = 0;
  for (uint32_t c = 0; c < head.cols; c++) most = std::max(most, std::fabs(values[c]));
  const float step = most / 127.0f;
  uint8_t* const panel = head.codes + uint64_t{row / ROWS} * head.panel_codes;
  for (uint32_t c = 0; c < head.cols; c++) {
    const float q = step == 0 ? 0 : std::clamp(std::rint(values[c] / step), -127.0f, 127.0f);
    panel[int8_byte(row % ROWS, c)] = static_cast<uint8_t>(static_cast<int>(q) + 128);
  }
  std::memcpy(head.scales + uint64_t{row / ROWS} * head.panel_scales + row % ROWS * 4, &step, 4);
}

namespace {
/** A q6k row, 16 columns (three words of codes) at a time. */
void q6k_row(const PackedHead& head, uint32_t row, float* out) {
  const uint8_t* codes = codes_of(head, row) + row % ROWS * 4;
  for (uint32_t c = 0; c < head.cols; c += 16, codes += 3 * VECTOR, out += 16) {
    const float step = q6k_d(head, row, c) * static_cast<float>(q6k_scale(head, row, c));
    uint8_t low[2][4], high[4];
    std::memcpy(low[0], codes, 4);
    std::memcpy(low[1], codes + VECTOR, 4);
    std::memcpy(high, codes + 2 * VECTOR, 4);
    for (uint32_t i = 0; i < 16; i++) {
      const int code = ((low[i / 8][i % 4] >> (i / 4 % 2 * 4)) & 15) |
                       ((high[i % 4] >> (i / 4 * 2)) & 3) << 4;
      out[i] = step * static_cast<float>(code - 32);
    }
  }
}
}  // namespace

void head_row(const PackedHead& head, uint32_t row, float* out) {
  if (head.format == HeadFormat::q6k) return q6k_row(head, row, out);
  for (uint32_t c = 0; c < head.cols; c++) {
    const auto code = static_cast<float>(code_at(head, row, c));
    if (head.format == HeadFormat::int8)
      out[c] = code * scale_at<float>(head, row, 0);
    else
      out[c] = code * int4_scale(head, row, c);
  }
}

void quantize_int15(const float* x, uint32_t n, const Int15Rows& out, uint32_t t) {
  constexpr float MOST = 127 * 128 + 63;
  float most = 1e-30f;
  uint32_t bad = 0;
  for (uint32_t c = 0; c < n; c++) {
    const float magnitude = std::fabs(x[c]);
    most = magnitude > most ? magnitude : most;
    bad |= static_cast<uint32_t>(!(magnitude < HUGE_VALF));
  }
  const float inverse = MOST / most;
  int8_t* const high = out.high + uint64_t{t} * out.stride;
  int8_t* const low = out.low + uint64_t{t} * out.stride;
  int32_t* const sums = out.sums + 2 * t;
  sums[0] = sums[1] = 0;
  for (uint32_t c = 0; c < out.stride; c += 16) {
    int32_t pairs[2][2] = {};
    for (uint32_t i = c; i < c + 16; i++) {
      // NaN becomes MOST instead of an undefined conversion; the row's scale tells of it.
      float v = i < n ? std::rint(x[i] * inverse) : 0.0f;
      v = v < MOST ? v : MOST;
      v = v > -MOST ? v : -MOST;
      const auto whole = static_cast<int32_t>(v);
      const int32_t h = (whole + 64) >> 7;
      const int32_t l = whole - 128 * h;
      high[i] = static_cast<int8_t>(h);
      low[i] = static_cast<int8_t>(l);
      pairs[0][i / 2 % 2] += h;
      pairs[1][i / 2 % 2] += l;
    }
    for (uint32_t p = 0; p < 2; p++) {
      const uint64_t at = uint64_t{t} * (out.stride / 8) + c / 8 + p;
      out.high_shift[at] = static_cast<int16_t>(-32 * pairs[0][p]);
      out.low_shift[at] = static_cast<int16_t>(-32 * pairs[1][p]);
      sums[0] += pairs[0][p];
      sums[1] += pairs[1][p];
    }
  }
  // Integers have no NaN: without this a broken row would give logits that look like any others.
  out.scale[t] = bad != 0 ? NAN : 1.0f / inverse;
}

void head_product(const PackedHead& w, uint32_t panel_begin, uint32_t panel_end, const Int15Rows& x,
                  uint32_t n, float* y, uint32_t y_stride) {
  kernel()(w, panel_begin, panel_end, x, n, y, y_stride);
}

}  // namespace magnet
