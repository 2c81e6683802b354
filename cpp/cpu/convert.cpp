// Weights of other float formats to float32. Loops without branches, which the compiler makes wide;
// whether all values were finite is gathered beside and looked up only if not.
#include <bit>

#include "common.hpp"
#include "quants.hpp"

namespace magnet {
namespace {

constexpr uint32_t EXPONENT = 0x7f800000u;

/** Bits of value i, however they are stored. */
template <class Read>
void convert(Read read, uint64_t count, float* out) {
  uint32_t all_finite = 1;
  for (uint64_t i = 0; i < count; i++) {
    const uint32_t bits = read(i);
    all_finite &= static_cast<uint32_t>((bits & EXPONENT) != EXPONENT);
    out[i] = std::bit_cast<float>(bits);
  }
  if (all_finite != 0) return;
  for (uint64_t i = 0; i < count; i++)
    if ((read(i) & EXPONENT) == EXPONENT)
      fail(MG_E_NUMERIC, "value %llu is no finite number", static_cast<unsigned long long>(i));
}

template <class T>
T load(const void* in, uint64_t i) {
  T value;
  __builtin_memcpy(&value, static_cast<const uint8_t*>(in) + i * sizeof(T), sizeof(T));
  return value;
}

}  // namespace
}  // namespace magnet

using namespace magnet;

int32_t mg_floats_from(uint32_t format, const void* in, uint64_t count, float* out) {
  return guard([&] {
    require(count == 0 || (in != nullptr && out != nullptr), MG_E_INVALID, "null argument");
    if (format == MG_FLOAT32)
      convert([in](uint64_t i) { return load<uint32_t>(in, i); }, count, out);
    else if (format == MG_FLOAT16)
      convert([in](uint64_t i) { return std::bit_cast<uint32_t>(from_half(load<uint16_t>(in, i))); },
              count, out);
    else if (format == MG_BFLOAT16)
      convert([in](uint64_t i) { return uint32_t{load<uint16_t>(in, i)} << 16; }, count, out);
    else
      fail(MG_E_INVALID, "there is no float format %u", format);
    return MG_OK;
  });
}
