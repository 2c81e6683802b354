// Pseudo-gradients and the outer step (magnet_codec.h) on arrays in device memory, with the bits of
// cpp/codec. Checking is a pass of its own, so that what is refused has changed nothing; the refusals
// are made by the host, from one word that the kernels raise and that must be 0 before.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

/** base - params, and the residual on top unless it is null: what is compressed. */
struct DeltaSource {
  const float* base;
  const float* params;
  float* residual;
  uint64_t n;
};

/** A compressed pseudo-gradient without its header. Both arrays are 16-byte aligned; `values` has room
 * for a multiple of 16 bytes. */
struct PackedDelta {
  uint32_t kind;  // MG_DELTA_*
  uint64_t n;
  float* scales;  // int8, int4: one for each MG_DELTA_BLOCK elements
  uint8_t* values;
};

/** Raises *worst to the bits of the largest magnitude. */
void delta_worst(const Stream& stream, const DeltaSource& source, uint32_t* worst);
/** Values that delta_worst and check_magnitude have passed. What they lose is left in the residual. */
void delta_compress(const Stream& stream, const DeltaSource& source, const PackedDelta& out);

/** Raises *bad to 1 where a scale or value is not what a compressor writes. */
void delta_check(const Stream& stream, const PackedDelta& packed, uint32_t* bad);
/** sum = fma(weight, decompressed, sum); with `worst` nothing is stored, but *worst raised to the bits
 * of the largest result. */
void delta_add(const Stream& stream, const PackedDelta& packed, float weight, float* sum,
               uint32_t* worst);

struct OuterStep {
  float* theta;
  float* momentum;
  const float* delta;
  float lr;
  float mu;
  uint64_t n;
};
/** mg_outer_step; `worst` as for delta_add. */
void outer_step(const Stream& stream, const OuterStep& step, uint32_t* worst);

}  // namespace magnet::gpu
