// SwiGLU.
#include "swiglu.hpp"

#include "simd.hpp"

#define MAGNET_KERNELS "swiglu.inc"
#include "all_paths.inc"

namespace magnet {

void swiglu(const float* gate, const float* up, int64_t n, float* h) {
  MAGNET_DISPATCH(swiglu, gate, up, n, h);
}
void swiglu_backward(const float* gate, const float* up, const float* dh, int64_t n, float* dgate,
                     float* dup) {
  MAGNET_DISPATCH(swiglu_backward, gate, up, dh, n, dgate, dup);
}

}  // namespace magnet
