// Tensors of a GGUF file as matrices of an inference model (infer_gguf_tensors.cpp).
#pragma once
#include "gguf.hpp"
#include "infer_model.hpp"

namespace magnet {

/** F32, F16 or Q6_K. heads > 0: interleaved rotary rows are put back to half-split ones. Throws
 *  MG_E_NUMERIC for values that are not finite. */
DenseMatrix gguf_dense(const GgufTensor& t, uint32_t heads, uint32_t threads);
/** TQ1_0, TQ2_0 or I2_S. Throws MG_E_FORMAT for codes that no weight has. */
TernaryMatrix gguf_ternary(const GgufTensor& t, uint32_t heads, uint32_t threads);
/** True, and fills `out`, where every value is 0 or plus or minus one number. */
bool make_ternary(const DenseMatrix& m, TernaryMatrix& out);

}  // namespace magnet
