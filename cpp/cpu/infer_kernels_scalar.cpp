// Scalar kernels: the oracle of the AVX2 table, and what runs where AVX2 is missing.
#include "infer_elementwise.hpp"
#include "infer_llamacpp.hpp"
#include "quants.hpp"

namespace magnet {
namespace {

float dot(const float* a, const float* b, uint32_t n) {
  float lanes[32] = {};
  for (uint32_t i = 0; i < n; i++) lanes[i % 32] = std::fma(a[i], b[i], lanes[i % 32]);
  return elementwise::fold32(lanes);
}

float dot_half(const uint16_t* a, const float* b, uint32_t n) {
  float lanes[32] = {};
  for (uint32_t i = 0; i < n; i++) lanes[i % 32] = std::fma(from_half(a[i]), b[i], lanes[i % 32]);
  return elementwise::fold32(lanes);
}

void quantize(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  elementwise::quantize(x, n, out, t);
}
void quantize_blocks(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  elementwise::quantize_blocks(x, n, out, t);
}
void norm_apply(const float* x, const float* w, float r, uint32_t n, float* y) {
  elementwise::norm_apply(x, w, r, n, y);
}
void round_half(float* x, uint32_t n) {
  for (uint32_t i = 0; i < n; i++) x[i] = from_half(to_half(x[i]));
}
void to_half_row(const float* x, uint32_t n, uint16_t* out) {
  for (uint32_t i = 0; i < n; i++) out[i] = to_half(x[i]);
}
void from_half_row(const uint16_t* x, uint32_t n, float* out) {
  for (uint32_t i = 0; i < n; i++) out[i] = from_half(x[i]);
}

float one_float(float v) { return v; }
float one_float(uint16_t v) { return from_half(v); }

template <class A>
float llamacpp_dot_of(const A* a, const float* b, uint32_t n) {
  float lanes[32] = {};
  const uint32_t whole = n / 32 * 32;
  for (uint32_t i = 0; i < whole; i++)
    lanes[i % 32] = std::fma(one_float(a[i]), b[i], lanes[i % 32]);
  return llamacpp::add_rest(llamacpp::fold32(lanes), a + whole, b + whole, n - whole);
}
void llamacpp_swiglu(float* gate, const float* up, uint32_t n) { llamacpp::swiglu(gate, up, n); }
void llamacpp_softmax(float* x, float scale, uint32_t n) { llamacpp::softmax(x, scale, n); }
}  // namespace

const Kernels scalar_kernels = {dot, dot_half, quantize, quantize_blocks, norm_apply, round_half,
                                to_half_row, from_half_row,
                                {llamacpp_dot_of<float>, llamacpp_dot_of<uint16_t>, llamacpp_swiglu,
                                 llamacpp_softmax}};

const Kernels& kernels() {
#if defined(__x86_64__)
  if (runs_avx2()) return avx2_kernels;
#endif
  return scalar_kernels;  // on AArch64 too, where the compiler makes NEON of most of it
}

}  // namespace magnet
