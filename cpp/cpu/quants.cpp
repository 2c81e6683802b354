// Block packers and unpackers of the ternary formats; see quants.hpp. Every routine is plain
// integer code: files must come out equal on every machine, and packing is bound by the disk
// anyway.
#include "quants.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace magnet {

const char* type_name(uint32_t type) {
  // By id, as ggml numbers them; those marked are no longer read by anybody. 36 to 39 are what
  // bitnet.cpp calls I2_S, I8_S, TL1 and TL2: ggml had other types there, or has (39).
  static constexpr const char* NAMES[] = {
      "F32",      "F16",      "Q4_0",
      "Q4_1",     "Q4_2, removed", "Q4_3, removed",
      "Q5_0",     "Q5_1",     "Q8_0",
      "Q8_1",     "Q2_K",     "Q3_K",
      "Q4_K",     "Q5_K",     "Q6_K",
      "Q8_K",     "IQ2_XXS",  "IQ2_XS",
      "IQ3_XXS",  "IQ1_S",    "IQ4_NL",
      "IQ3_S",    "IQ2_S",    "IQ4_XS",
      "I8",       "I16",      "I32",
      "I64",      "F64",      "IQ1_M",
      "BF16",     "Q4_0_4_4, removed", "Q4_0_4_8, removed",
      "Q4_0_8_8, removed", "TQ1_0", "TQ2_0",
      "I2_S",     "I8_S or IQ4_NL_4_8, removed", "TL1 or IQ4_NL_8_8, removed",
      "MXFP4 or TL2", "NVFP4",  "Q1_0",
      "Q2_0"};
  return type < std::size(NAMES) ? NAMES[type] : "a type that magnet has no name for";
}

BlockLayout block_layout(uint32_t type) {
  switch (type) {
    case MG_TYPE_F32: return {1, 4};
    case MG_TYPE_F16:
    case MG_TYPE_BF16: return {1, 2};
    case MG_TYPE_Q8_0: return {32, 34};
    case MG_TYPE_Q4_0: return {32, 18};
    case MG_TYPE_Q4_K: return {256, 144};
    case MG_TYPE_Q6_K: return {256, 210};
    case MG_TYPE_TQ1_0: return {256, 54};
    case MG_TYPE_TQ2_0: return {256, 66};
    case MG_TYPE_I2_S: return {128, 32};
    default:
      fail(MG_E_UNSUPPORTED,
           "type %u (%s) is not one of F32, F16, BF16, Q8_0, Q4_0, Q4_K, Q6_K, TQ1_0, TQ2_0, I2_S",
           type, type_name(type));
  }
}

uint64_t packed_bytes(uint32_t type, uint64_t rows, uint64_t cols) {
  const BlockLayout layout = block_layout(type);
  require(rows > 0 && cols > 0 && rows < (1ull << 32) && cols < (1ull << 32), MG_E_SHAPE,
          "a tensor needs between 1 and 2^32 - 1 rows and columns");
  if (cols % layout.elements != 0)
    fail(MG_E_SHAPE, "%s needs a multiple of %u columns, not %llu", type_name(type),
         layout.elements, static_cast<unsigned long long>(cols));
  const uint64_t blocks_per_row = cols / layout.elements;
  require(rows <= (1ull << 46) / blocks_per_row / layout.bytes, MG_E_SHAPE,
          "tensor beyond 2^46 bytes");
  return rows * blocks_per_row * layout.bytes + (type == MG_TYPE_I2_S ? 32 : 0);
}

float ternary_scale(const float* w, uint64_t n) {
  double lanes[8] = {};
  for (uint64_t i = 0; i < n; i++) lanes[i % 8] += static_cast<double>(std::fabs(w[i]));
  const double sum = ((lanes[0] + lanes[4]) + (lanes[1] + lanes[5])) +
                     ((lanes[2] + lanes[6]) + (lanes[3] + lanes[7]));
  return std::max(static_cast<float>(sum / static_cast<double>(n)), 1e-5f);
}

void ternarize(const float* w, uint64_t n, float scale, int8_t* trits) {
  const float s = 1.0f / scale;
  for (uint64_t i = 0; i < n; i++)
    trits[i] = static_cast<int8_t>(std::clamp(std::rint(w[i] * s), -1.0f, 1.0f));
}

namespace {
bool all_zero(const int8_t* trits) {
  return std::all_of(trits, trits + 256, [](int8_t t) { return t == 0; });
}
}  // namespace

void pack_tq2_block(const int8_t* trits, uint16_t scale, uint8_t* out) {
  for (int h = 0; h < 2; h++)
    for (int m = 0; m < 32; m++) {
      uint8_t byte = 0;
      for (int n = 0; n < 4; n++)
        byte = static_cast<uint8_t>(byte | (trits[128 * h + 32 * n + m] + 1) << (2 * n));
      out[32 * h + m] = byte;
    }
  const uint16_t d = all_zero(trits) ? uint16_t{0} : scale;
  std::memcpy(out + 64, &d, 2);
}

bool unpack_tq2_block(const uint8_t* in, int8_t* trits, uint16_t* scale) {
  bool valid = true;
  for (int h = 0; h < 2; h++)
    for (int m = 0; m < 32; m++)
      for (int n = 0; n < 4; n++) {
        const int code = (in[32 * h + m] >> (2 * n)) & 3;
        valid = valid && code != 3;
        trits[128 * h + 32 * n + m] = static_cast<int8_t>(code - 1);
      }
  std::memcpy(scale, in + 64, 2);
  return valid;
}

namespace {
/** Visits the bytes of a TQ1_0 block: f(byte index, first element, stride between digits, digits).
 */
template <class F>
void for_tq1_bytes(F&& f) {
  for (int m = 0; m < 32; m++) f(m, m, 32, 5);
  for (int m = 0; m < 16; m++) f(32 + m, 160 + m, 16, 5);
  for (int j = 0; j < 4; j++) f(48 + j, 240 + j, 4, 4);
}
}  // namespace

void pack_tq1_block(const int8_t* trits, uint16_t scale, uint8_t* out) {
  for_tq1_bytes([&](int byte, int first, int stride, int digits) {
    int value = 0;
    for (int n = 0; n < 5; n++)
      value = value * 3 + (n < digits ? trits[first + stride * n] + 1 : 0);
    out[byte] = static_cast<uint8_t>((value * 256 + 242) / 243);
  });
  const uint16_t d = all_zero(trits) ? uint16_t{0} : scale;
  std::memcpy(out + 52, &d, 2);
}

bool unpack_tq1_block(const uint8_t* in, int8_t* trits, uint16_t* scale) {
  for_tq1_bytes([&](int byte, int first, int stride, int digits) {
    unsigned power = 1;
    for (int n = 0; n < digits; n++, power *= 3) {
      const unsigned q = (in[byte] * power) & 255u;
      trits[first + stride * n] = static_cast<int8_t>(static_cast<int>((q * 3) >> 8) - 1);
    }
  });
  std::memcpy(scale, in + 52, 2);
  return true;  // every byte decodes to digits 0..2
}

void pack_i2s_block(const int8_t* trits, uint8_t* out) {
  for (int p = 0; p < 32; p++) {
    uint8_t byte = 0;
    for (int g = 0; g < 4; g++)
      byte = static_cast<uint8_t>(byte | (trits[32 * g + p] + 1) << (6 - 2 * g));
    out[p] = byte;
  }
}

bool unpack_i2s_block(const uint8_t* in, int8_t* trits) {
  bool valid = true;
  for (int p = 0; p < 32; p++)
    for (int g = 0; g < 4; g++) {
      const int code = (in[p] >> (6 - 2 * g)) & 3;
      valid = valid && code != 3;
      trits[32 * g + p] = static_cast<int8_t>(code - 1);
    }
  return valid;
}

}  // namespace magnet
