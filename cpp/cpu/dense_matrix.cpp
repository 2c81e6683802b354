// Dense matrices: making, checking, unpacking and products; see dense_matrix.hpp.
#include "dense_matrix.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "infer_elementwise.hpp"
#include "infer_kernels.hpp"
#include "quants.hpp"
#include "simd.hpp"

#define MAGNET_KERNELS "dense_unpack.inc"
#include "all_paths.inc"

namespace magnet {
namespace {

/** Where the f16 scales of a block stand; -1: none. */
struct ScalePlaces {
  int first = -1;
  int second = -1;
};
ScalePlaces scale_places(uint32_t type) {
  switch (type) {
    case MG_TYPE_Q8_0:
    case MG_TYPE_Q4_0: return {0, -1};
    case MG_TYPE_Q4_K: return {0, 2};
    case MG_TYPE_Q6_K: return {208, -1};
    default: return {};
  }
}

/** All 16-bit numbers at `at`, at + stride, ... have an exponent that is not all ones. */
bool all_finite(const uint8_t* at, uint64_t n, uint64_t stride, uint16_t exponent) {
  uint32_t bad = 0;
  for (uint64_t i = 0; i < n; i++, at += stride) {
    uint16_t bits;
    __builtin_memcpy(&bits, at, 2);
    bad |= static_cast<uint32_t>((bits & exponent) == exponent);
  }
  return bad == 0;
}

/** To bfloat16 (nearest, even) and back. */
float through_bf16(float x) {
  uint32_t bits = std::bit_cast<uint32_t>(x);
  if (std::isnan(x)) return x;
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return std::bit_cast<float>(bits & 0xffff0000u);
}

/** To Q8_0 and back: 32 values, a scale of max|x| / 127 that is kept as f16. */
void through_q8_0(float* x) {
  const float d = elementwise::max_abs(x, 32) / 127.0f;
  const float inverse = d != 0.0f ? 127.0f / elementwise::max_abs(x, 32) : 0.0f;
  const float kept = from_half(to_half(d));
  for (int i = 0; i < 32; i++) x[i] = std::rint(x[i] * inverse) * kept;
}

/** To Q8_K and back: 256 values, the sign of the scale is that of the largest. */
void through_q8_k(float* x) {
  const float m = elementwise::max_abs(x, 256);
  if (m == 0.0f) return;
  const float* const largest = std::find_if(x, x + 256, [m](float v) { return std::fabs(v) == m; });
  if (largest == x + 256) return;  // NaN
  const float s = -127.0f / *largest;
  const float d = 1.0f / s;
  for (int i = 0; i < 256; i++) x[i] = static_cast<float>(elementwise::to_int8(s * x[i])) * d;
}

}  // namespace

bool is_dense_type(uint32_t type) {
  switch (type) {
    case MG_TYPE_F32:
    case MG_TYPE_F16:
    case MG_TYPE_BF16:
    case MG_TYPE_Q8_0:
    case MG_TYPE_Q4_0:
    case MG_TYPE_Q4_K:
    case MG_TYPE_Q6_K: return true;
    default: return false;
  }
}

DenseMatrix dense_view(uint32_t type, uint32_t rows, uint32_t cols) {
  require(is_dense_type(type), MG_E_INTERNAL, "not a type of dense matrices");
  DenseMatrix m;
  m.rows = rows;
  m.cols = cols;
  m.type = type;
  m.row_bytes = packed_bytes(type, 1, cols);
  return m;
}

DenseMatrix empty_dense(uint32_t type, uint32_t rows, uint32_t cols,
                        std::shared_ptr<Mapping> memory, uint64_t offset) {
  DenseMatrix m = dense_view(type, rows, cols);
  m.memory = memory ? std::move(memory) : std::make_shared<Mapping>(m.bytes(), "weights");
  m.data = m.memory->as<uint8_t>() + offset;
  return m;
}

bool dense_rows_finite(const DenseMatrix& w, uint32_t first, uint32_t count) {
  const uint8_t* const in = w.row(first);
  const uint64_t n = uint64_t{count} * w.cols;
  if (w.type == MG_TYPE_F32) return all_finite(in + 2, n, 4, 0x7f80);
  if (w.type == MG_TYPE_F16) return all_finite(in, n, 2, 0x7c00);
  if (w.type == MG_TYPE_BF16) return all_finite(in, n, 2, 0x7f80);
  const BlockLayout layout = block_layout(w.type);
  const auto [scale, other] = scale_places(w.type);
  const uint64_t blocks = n / layout.elements;
  return all_finite(in + scale, blocks, layout.bytes, 0x7c00) &&
         (other < 0 || all_finite(in + other, blocks, layout.bytes, 0x7c00));
}

void dense_row(const DenseMatrix& w, uint64_t r, float* out) {
  if (w.type == MG_TYPE_F16)
    return kernels().from_half_row(reinterpret_cast<const uint16_t*>(w.row(r)), w.cols, out);
  MAGNET_DISPATCH(unpack_dense, w.type, w.row(r), w.cols, out);
}

void dense_product(const DenseMatrix& w, uint64_t row_begin, uint64_t row_end, const float* x,
                   uint32_t n, bool llamacpp, float* y, uint64_t y_stride) {
  const Kernels& k = kernels();
  const auto dot = llamacpp ? k.llamacpp.dot : k.dot;
  const auto dot_half = llamacpp ? k.llamacpp.dot_half : k.dot_half;
  // llama.cpp's dot of f16 has an end of its own; for one row of activations neither is unpacked.
  const bool as_half = w.type == MG_TYPE_F16 && (llamacpp || n == 1);
  std::vector<float> unpacked(w.type == MG_TYPE_F32 || as_half ? 0 : w.cols);
  for (uint64_t r = row_begin; r < row_end; r++) {
    const float* row = reinterpret_cast<const float*>(w.row(r));
    if (!unpacked.empty()) {
      dense_row(w, r, unpacked.data());
      row = unpacked.data();
    }
    for (uint32_t t = 0; t < n; t++) {
      const float* const in = x + uint64_t{t} * w.cols;
      y[t * y_stride + r] = as_half
                                ? dot_half(reinterpret_cast<const uint16_t*>(w.row(r)), in, w.cols)
                                : dot(row, in, w.cols);
    }
  }
}

bool dense_rounds_input(const DenseMatrix& w) { return w.type != MG_TYPE_F32; }

void dense_round_input(const DenseMatrix& w, float* x) {
  switch (w.type) {
    case MG_TYPE_F32: break;
    case MG_TYPE_F16: kernels().round_half(x, w.cols); break;
    case MG_TYPE_BF16: std::transform(x, x + w.cols, x, through_bf16); break;
    case MG_TYPE_Q8_0:
    case MG_TYPE_Q4_0:
      for (uint32_t i = 0; i < w.cols; i += 32) through_q8_0(x + i);
      break;
    default:
      for (uint32_t i = 0; i < w.cols; i += 256) through_q8_k(x + i);
  }
}

}  // namespace magnet
