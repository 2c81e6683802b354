// Packing and unpacking of whole tensors (mg_pack_*): ternarise with the training formula, regroup
// rows for interleaved rotary pairs where the format wants them, and pack row by row with a buffer
// of one row.
#include <cmath>
#include <cstring>
#include <vector>

#include "dense_matrix.hpp"
#include "quants.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

/** Row of the input that stands in row `r` of the output. */
uint64_t source_row(uint64_t r, uint64_t rows, uint32_t heads) {
  if (heads == 0) return r;
  const uint64_t head_dim = rows / heads;
  const uint64_t base = r / head_dim * head_dim;
  const uint64_t within = r % head_dim;
  return base + within / 2 + (within % 2) * (head_dim / 2);
}

void pack_ternary_row(uint32_t type, const int8_t* trits, uint64_t cols, float scale,
                      uint8_t* out) {
  const uint16_t half = to_half(scale);
  switch (type) {
    case MG_TYPE_TQ2_0:
      for (uint64_t b = 0; b < cols / 256; b++) pack_tq2_block(trits + 256 * b, half, out + 66 * b);
      break;
    case MG_TYPE_TQ1_0:
      for (uint64_t b = 0; b < cols / 256; b++) pack_tq1_block(trits + 256 * b, half, out + 54 * b);
      break;
    case MG_TYPE_I2_S:
      for (uint64_t b = 0; b < cols / 128; b++) pack_i2s_block(trits + 128 * b, out + 32 * b);
      break;
    case MG_TYPE_F16:
      for (uint64_t i = 0; i < cols; i++) {
        const uint16_t value = trits[i] == 0
                                   ? uint16_t{0}
                                   : static_cast<uint16_t>(half ^ (trits[i] < 0 ? 0x8000u : 0u));
        std::memcpy(out + 2 * i, &value, 2);
      }
      break;
    case MG_TYPE_F32:
      for (uint64_t i = 0; i < cols; i++) {
        const float value = static_cast<float>(trits[i]) * scale;
        std::memcpy(out + 4 * i, &value, 4);
      }
      break;
    default:
      fail(MG_E_UNSUPPORTED, "%s is not a type that ternary weights are written in",
           type_name(type));
  }
}

void pack_float_row(uint32_t type, const float* w, uint64_t cols, uint8_t* out) {
  if (type == MG_TYPE_Q6_K) {
    for (uint64_t i = 0; i < cols; i++)
      if (!(std::fabs(w[i]) < 1e8f))
        fail(MG_E_NUMERIC, "a weight of %g does not fit into Q6_K", static_cast<double>(w[i]));
    for (uint64_t b = 0; b < cols / 256; b++) pack_q6k_block(w + 256 * b, out + 210 * b);
    return;
  }
  if (type == MG_TYPE_F32) {
    std::memcpy(out, w, 4 * cols);
    return;
  }
  for (uint64_t i = 0; i < cols; i++) {
    const uint16_t half = to_half(w[i]);
    if ((half & 0x7c00u) == 0x7c00u)
      fail(MG_E_NUMERIC, "a weight of %g does not fit into F16 (limit 65504)",
           static_cast<double>(w[i]));
    std::memcpy(out + 2 * i, &half, 2);
  }
}

void unpack_dense_tensor(uint32_t type, const uint8_t* packed, uint64_t rows, uint64_t cols,
                         float* out) {
  DenseMatrix view;
  view.rows = static_cast<uint32_t>(rows);
  view.cols = static_cast<uint32_t>(cols);
  view.type = type;
  view.row_bytes = packed_bytes(type, 1, cols);
  view.data = const_cast<uint8_t*>(packed);  // only read
  for (uint64_t r = 0; r < rows; r++) dense_row(view, r, out + r * cols);
}

void unpack_ternary_row(uint32_t type, const uint8_t* in, uint64_t cols, float scale, float* out) {
  int8_t trits[256];
  uint16_t half = 0;
  const BlockLayout layout = block_layout(type);
  for (uint64_t b = 0; b < cols / layout.elements;
       b++, in += layout.bytes, out += layout.elements) {
    bool valid = true;
    switch (type) {
      case MG_TYPE_TQ2_0: valid = unpack_tq2_block(in, trits, &half); break;
      case MG_TYPE_TQ1_0: valid = unpack_tq1_block(in, trits, &half); break;
      default: valid = unpack_i2s_block(in, trits); break;
    }
    require(valid, MG_E_FORMAT, "a ternary code of 3, which no weight has");
    const float d = type == MG_TYPE_I2_S ? scale : from_half(half);
    for (uint32_t i = 0; i < layout.elements; i++) out[i] = static_cast<float>(trits[i]) * d;
  }
}

}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_pack_size(uint32_t type, uint64_t rows, uint64_t cols, uint64_t* out_bytes) {
  return guard([&] {
    require(out_bytes != nullptr, MG_E_INVALID, "mg_pack_size: out is null");
    *out_bytes = packed_bytes(type, rows, cols);
    return int32_t{MG_OK};
  });
}

int32_t mg_pack_tensor(uint32_t type, uint32_t ternary, uint32_t heads, const float* weights,
                       uint64_t rows, uint64_t cols, uint8_t* out, uint64_t out_bytes,
                       float* out_scale) {
  return guard([&] {
    require(weights != nullptr && out != nullptr, MG_E_INVALID, "mg_pack_tensor: null argument");
    require(out_bytes == packed_bytes(type, rows, cols), MG_E_SHAPE,
            "mg_pack_tensor: wrong output size");
    require(heads == 0 || (rows % heads == 0 && rows / heads % 2 == 0), MG_E_SHAPE,
            "mg_pack_tensor: rows are not heads x an even head dimension");
    require(ternary != 0 || type == MG_TYPE_F16 || type == MG_TYPE_F32 || type == MG_TYPE_Q6_K,
            MG_E_UNSUPPORTED, "weights that are not ternary are packed as F16, F32 or Q6_K");
    const float scale = ternary != 0 ? ternary_scale(weights, rows * cols) : 1.0f;
    require(std::isfinite(scale), MG_E_NUMERIC, "the weights hold NaN or infinity");
    const bool has_half_scale =
        type == MG_TYPE_F16 || type == MG_TYPE_TQ1_0 || type == MG_TYPE_TQ2_0;
    require(ternary == 0 || !has_half_scale || scale <= 65504.0f, MG_E_NUMERIC,
            "the weights' mean magnitude does not fit into F16 (limit 65504)");
    const BlockLayout layout = block_layout(type);
    const uint64_t row_bytes = cols / layout.elements * layout.bytes;
    const auto pack_row = [&](uint64_t r, std::vector<int8_t>& trits) {
      const float* row = weights + source_row(r, rows, heads) * cols;
      if (ternary == 0) return pack_float_row(type, row, cols, out + r * row_bytes);
      ternarize(row, cols, scale, trits.data());
      pack_ternary_row(type, trits.data(), cols, scale, out + r * row_bytes);
    };
    // Only the search for Q6_K takes longer than the disk does.
    const uint32_t threads = type == MG_TYPE_Q6_K ? resolve_threads(0) : 1;
    parallel_for(threads, static_cast<int64_t>(rows), [&](int64_t begin, int64_t end, uint32_t) {
      const FloatEnvironment environment;
      std::vector<int8_t> trits(ternary != 0 ? cols : 0);
      for (int64_t r = begin; r < end; r++) pack_row(static_cast<uint64_t>(r), trits);
    });
    if (type == MG_TYPE_I2_S) {
      std::memset(out + rows * row_bytes, 0, 32);
      std::memcpy(out + rows * row_bytes, &scale, 4);
    }
    if (out_scale != nullptr) *out_scale = scale;
    return int32_t{MG_OK};
  });
}

int32_t mg_unpack_tensor(uint32_t type, const uint8_t* packed, uint64_t packed_size, uint64_t rows,
                         uint64_t cols, float* out) {
  return guard([&] {
    require(packed != nullptr && out != nullptr, MG_E_INVALID, "mg_unpack_tensor: null argument");
    require(packed_size == packed_bytes(type, rows, cols), MG_E_SHAPE,
            "mg_unpack_tensor: wrong size");
    if (is_dense_type(type)) {
      unpack_dense_tensor(type, packed, rows, cols, out);
      return int32_t{MG_OK};
    }
    const BlockLayout layout = block_layout(type);
    const uint64_t row_bytes = cols / layout.elements * layout.bytes;
    float scale = 1.0f;
    if (type == MG_TYPE_I2_S) std::memcpy(&scale, packed + rows * row_bytes, 4);
    for (uint64_t r = 0; r < rows; r++)
      unpack_ternary_row(type, packed + r * row_bytes, cols, scale, out + r * cols);
    return int32_t{MG_OK};
  });
}
}
