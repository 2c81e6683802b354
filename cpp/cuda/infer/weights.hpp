// Weights of the host's inference model (cpp/cpu/infer_model.hpp) in the layouts of the GPU's kernels.
#pragma once
#include <functional>
#include <vector>

#include "../../cpu/packed_ternary.hpp"
#include "../kernels/infer_product.hpp"

namespace magnet::gpu {

/** Ternary matrices in one, in device memory. */
struct DeviceTernary {
  DeviceArray<uint4> codes;
  TernaryWeight weight{};
  uint64_t bytes() const { return codes.size() * sizeof(uint4); }
};
/** Up to three matrices of the same columns one below the other. */
DeviceTernary upload_stacked(const Stream& stream, const std::vector<const PackedTernary*>& parts);
/** Panels of the two in turns, as gated_product takes them. */
DeviceTernary upload_gated(const Stream& stream, const PackedTernary& gate,
                           const PackedTernary& up);

struct DeviceHead {
  DeviceArray<uint4> values;
  DeviceArray<float> scales;
  DeviceArray<uint2> group_scales;
  HeadWeight weight{};
  uint64_t bytes() const {
    return values.size() * sizeof(uint4) + scales.size() * sizeof(float) +
           group_scales.size() * sizeof(uint2);
  }
};
/** read(r, out): row r in float32; called from several threads. Throws MG_E_NUMERIC where fp16 does not
 * hold a value. */
DeviceHead upload_head(const Stream& stream, HeadKind kind, uint32_t rows, uint32_t columns,
                       const std::function<void(uint32_t row, float* out)>& read);

/** What fp16 loses of a matrix, (rows, columns) in fp16; empty where it loses nothing. */
DeviceArray<fp16> upload_lost(const Stream& stream, uint32_t rows, uint32_t columns,
                              const std::function<void(uint32_t row, float* out)>& read);

DeviceArray<float> upload_floats(const Stream& stream, const std::vector<float>& values);

}  // namespace magnet::gpu
