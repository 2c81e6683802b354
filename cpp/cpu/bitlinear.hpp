// BitLinear: per-tensor ternary weights, per-row int8 activations, y = sum(q t) / (s_x s_w).
// Quantisers and straight-through backward as in tests/golden/bitnet/README.md.
#pragma once
#include <cstdint>

namespace magnet {

/** Rows are padded to this many codes with zeros, so that kernels read whole vectors. */
inline constexpr int64_t CODE_PAD = 32;
constexpr int64_t padded_codes(int64_t n) { return (n + CODE_PAD - 1) / CODE_PAD * CODE_PAD; }

/** int8 activations: q (rows, padded_codes(k)), x is q * inverse[row]; sum[row] = sum of the row's
 * q. */
struct QuantizedRows {
  int8_t* q;
  float* inverse;
  int32_t* sum;
};

/** Ternary weights t (n, k) in {-1, 0, 1}, row stride k; w is t * inverse. */
struct TernaryWeights {
  const int8_t* t;
  float inverse;
};

/** Quantises one row of k: s = 127 / max(absmax, 1e-5), q = clamp(round(x s)); NaN gives inverse
 * NaN. */
void quantize_row(const float* x, int64_t k, int8_t* q, float* inverse, int32_t* sum);

/** 1 / s with s = 1 / max(mean |w|, 1e-5); writes t. `count` elements. NaN or Inf in w: returns
 * NaN. */
float ternarize(uint32_t threads, const float* w, int64_t count, int8_t* t);

/** y (rows, n) = x w^T [+ residual (rows, n), which may be y]; x has k columns. */
void bitlinear_forward(uint32_t threads, const QuantizedRows& x, const TernaryWeights& w,
                       int64_t rows, int64_t n, int64_t k, const float* residual, float* y);

/** dx (rows, k) = (or +=) dy w; dw (n, k) += dy^T x. */
void bitlinear_backward(uint32_t threads, const QuantizedRows& x, const TernaryWeights& w,
                        const float* dy, int64_t rows, int64_t n, int64_t k, bool accumulate_dx,
                        float* dx, float* dw);

}  // namespace magnet
