// SwiGLU: h = silu(gate) * up, element by element.
#pragma once
#include <cstdint>

namespace magnet {

/** n elements; h may be gate or up. */
void swiglu(const float* gate, const float* up, int64_t n, float* h);
/** dGate = dH * u * (s + g s (1 - s)), dUp = dH * g * s, s = sigmoid(g). Outputs may be inputs. */
void swiglu_backward(const float* gate, const float* up, const float* dh, int64_t n, float* dgate,
                     float* dup);

}  // namespace magnet
