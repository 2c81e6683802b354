// Inside of infer_product.hpp: ternary products of many rows, whose activations pass through shared
// memory (infer_tile.cu, which has the head's products too).
#pragma once
#include "infer_product.hpp"

namespace magnet::gpu {

void ternary_tiles(const Stream& stream, const CodeRows& x, const TernaryWeight& w, bool add,
                   Matrix<float> y);
void gated_tiles(const Stream& stream, const CodeRows& x, const TernaryWeight& w,
                 GateFunction activation, Matrix<float> h);

}  // namespace magnet::gpu
