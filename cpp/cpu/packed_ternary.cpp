// Packing of ternary matrices, the choice of the path, and the scalar products: naive loops, the
// oracle of the other paths.
#include "packed_ternary.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu_detect.hpp"

namespace magnet {
namespace {

constexpr uint8_t FOUR_ZEROS = 0x55;  // code 1 four times

uint32_t blocks_of(uint32_t cols) { return (cols + 31) / 32 * 2; }

int code_at(const PackedTernary& w, uint32_t row, uint32_t col) {
  const uint64_t block = uint64_t{row / PANEL_ROWS} * w.blocks + col / PANEL_COLUMNS;
  const uint32_t within = col % PANEL_COLUMNS;
  const uint8_t byte =
      w.codes[block * PANEL_BLOCK_BYTES + row % PANEL_ROWS * 4 + within % 4];
  return (byte >> (within / 4 * 2)) & 3;
}

void naive_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                   const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  const uint32_t end = std::min(w.rows, panel_end * PANEL_ROWS);
  for (uint32_t r = panel_begin * PANEL_ROWS; r < end; r++)
    for (uint32_t t = 0; t < n; t++) {
      const int8_t* const q = x.q + uint64_t{t} * x.stride;
      int32_t sum = 0;
      for (uint32_t c = 0; c < w.cols; c++) sum += (code_at(w, r, c) - 1) * q[c];
      y[uint64_t{t} * y_stride + r] = static_cast<float>(sum) * (x.scale[t] * w.scale);
    }
}

float block_dot(const PackedTernary& w, uint32_t r, const Int8Rows& x, uint32_t t) {
  const int8_t* const q = x.q + uint64_t{t} * x.stride;
  const uint32_t blocks = w.cols / 256;
  float lanes[8] = {};
  for (uint32_t b = 0; b < blocks; b++) {
    const int16_t* const sums = x.sums16 + uint64_t{t} * (x.stride / 16) + 16 * b;
    int32_t part[8];
    for (uint32_t l = 0; l < 8; l++) part[l] = -sums[2 * l] - sums[2 * l + 1];
    for (uint32_t c = 256 * b; c < 256 * (b + 1); c++) part[c % 32 / 4] += code_at(w, r, c) * q[c];
    const float wd = w.block_scales.empty() ? w.scale : w.block_scales[uint64_t{r} * blocks + b];
    const float scale = x.block_scale[uint64_t{t} * (x.stride / 128) + b] * wd;
    for (uint32_t l = 0; l < 8; l++)
      lanes[l] = std::fma(static_cast<float>(part[l]), scale, lanes[l]);
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void naive_block_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                         const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  const uint32_t end = std::min(w.rows, panel_end * PANEL_ROWS);
  for (uint32_t r = panel_begin * PANEL_ROWS; r < end; r++)
    for (uint32_t t = 0; t < n; t++) y[uint64_t{t} * y_stride + r] = block_dot(w, r, x, t);
}

constexpr PackedTernaryKernels NAIVE{naive_product, naive_block_product};

const PackedTernaryKernels& kernels() {
  switch (cpu_path()) {
#if defined(__x86_64__)
    case CpuPath::avx512:
      return avx512::PACKED_TERNARY_KERNELS;
    case CpuPath::avx2:
      return avx2::PACKED_TERNARY_KERNELS;
#elif defined(__aarch64__)
    case CpuPath::neon:
      return cpu_has_dot_products() ? neon::PACKED_TERNARY_DOT_KERNELS
                                    : neon::PACKED_TERNARY_KERNELS;
#endif
    default:
      return NAIVE;
  }
}

}  // namespace

uint64_t packed_ternary_bytes(uint32_t rows, uint32_t cols) {
  return uint64_t{(rows + PANEL_ROWS - 1) / PANEL_ROWS} * blocks_of(cols) * PANEL_BLOCK_BYTES;
}

PackedTernary empty_packed(uint32_t rows, uint32_t cols, std::shared_ptr<Mapping> memory,
                           uint64_t offset) {
  if (cols > PACKED_COLUMNS_MAX)
    fail(MG_E_UNSUPPORTED, "a ternary matrix of %u columns; at most %u are supported", cols,
         PACKED_COLUMNS_MAX);
  PackedTernary m;
  m.rows = rows;
  m.cols = cols;
  m.blocks = blocks_of(cols);
  m.memory = memory ? std::move(memory)
                    : std::make_shared<Mapping>(packed_ternary_bytes(rows, cols), "weights");
  m.codes = m.memory->as<uint8_t>() + offset;
  if (rows % PANEL_ROWS != 0)
    std::memset(m.codes + (m.panels() - 1) * m.panel_bytes(), FOUR_ZEROS, m.panel_bytes());
  return m;
}

void set_packed_row(PackedTernary& matrix, uint32_t row, const int8_t* trits) {
  uint8_t* out = matrix.codes + row / PANEL_ROWS * matrix.panel_bytes() + row % PANEL_ROWS * 4;
  const auto set_block = [](const int8_t* t, uint8_t* bytes) {
    for (uint32_t j = 0; j < 4; j++)
      bytes[j] = static_cast<uint8_t>((t[j] + 1) | (t[4 + j] + 1) << 2 | (t[8 + j] + 1) << 4 |
                                      (t[12 + j] + 1) << 6);
  };
  for (uint32_t b = 0; b < matrix.blocks; b++, out += PANEL_BLOCK_BYTES) {
    const uint32_t column = b * PANEL_COLUMNS;
    if (column + PANEL_COLUMNS <= matrix.cols) {
      set_block(trits + column, out);
    } else {
      int8_t padded[PANEL_COLUMNS] = {};
      if (column < matrix.cols) std::copy(trits + column, trits + matrix.cols, padded);
      set_block(padded, out);
    }
  }
}

void ternary_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                     const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  kernels().product(w, panel_begin, panel_end, x, n, y, y_stride);
}

void ternary_block_product(const PackedTernary& w, uint32_t panel_begin, uint32_t panel_end,
                           const Int8Rows& x, uint32_t n, float* y, uint32_t y_stride) {
  kernels().block_product(w, panel_begin, panel_end, x, n, y, y_stride);
}

}  // namespace magnet
