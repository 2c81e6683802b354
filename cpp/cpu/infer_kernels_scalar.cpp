// Scalar kernels: the oracle of the AVX2 table, and what runs where AVX2 is missing.
#include "infer_elementwise.hpp"
#include "infer_llamacpp.hpp"
#include "quants.hpp"

namespace magnet {
namespace {

int32_t code_dot(const uint8_t* codes, const int8_t* q, uint32_t blocks) {
  int32_t sum = 0;
  for (uint32_t b = 0; b < blocks; b++, codes += 32, q += 128)
    for (int p = 0; p < 32; p++)
      for (int g = 0; g < 4; g++) sum += ((codes[p] >> (2 * g)) & 3) * q[32 * g + p];
  return sum;
}

void ternary(const TernaryMatrix& w, uint32_t r0, uint32_t r1, const Int8Rows& x, uint32_t n,
             float* y, uint32_t y_stride) {
  const uint64_t row_bytes = uint64_t{w.blocks} * 32;
  for (uint32_t t = 0; t < n; t++) {
    const float scale = x.scale[t] * w.scale;
    for (uint32_t r = r0; r < r1; r++) {
      const int32_t sum =
          code_dot(w.codes.data() + r * row_bytes, x.q + uint64_t{t} * x.stride, w.blocks) -
          x.sum[t];
      y[uint64_t{t} * y_stride + r] = static_cast<float>(sum) * scale;
    }
  }
}

float block_dot(const TernaryMatrix& w, uint32_t r, const Int8Rows& x, uint32_t t) {
  const uint8_t* codes = w.codes.data() + uint64_t{r} * w.blocks * 32;
  const int8_t* q = x.q + uint64_t{t} * x.stride;
  const int16_t* sums = x.sums16 + uint64_t{t} * (x.stride / 16);
  const float* d = x.block_scale + uint64_t{t} * (x.stride / 128);
  const float* wd =
      w.block_scales.empty() ? nullptr : w.block_scales.data() + uint64_t{r} * (w.blocks / 2);
  float lanes[8] = {};
  for (uint32_t b = 0; b < w.blocks / 2; b++, sums += 16) {
    int32_t part[8];
    for (int l = 0; l < 8; l++) part[l] = -sums[2 * l] - sums[2 * l + 1];
    for (int half = 0; half < 2; half++, codes += 32, q += 128)
      for (int p = 0; p < 32; p++)
        for (int g = 0; g < 4; g++) part[p / 4] += ((codes[p] >> (2 * g)) & 3) * q[32 * g + p];
    const float scale = d[b] * (wd != nullptr ? wd[b] : w.scale);
    for (int l = 0; l < 8; l++) lanes[l] = std::fma(static_cast<float>(part[l]), scale, lanes[l]);
  }
  return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
         ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

void ternary_blocks(const TernaryMatrix& w, uint32_t r0, uint32_t r1, const Int8Rows& x, uint32_t n,
                    float* y, uint32_t y_stride) {
  for (uint32_t t = 0; t < n; t++)
    for (uint32_t r = r0; r < r1; r++) y[uint64_t{t} * y_stride + r] = block_dot(w, r, x, t);
}

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

void weighted(const float* v, uint64_t stride, const float* p, uint32_t n, uint32_t width,
              float* out) {
  for (uint32_t j = 0; j < width; j++) {
    float sum = 0;
    for (uint32_t t = 0; t < n; t++) sum = std::fma(p[t], v[t * stride + j], sum);
    out[j] = sum;
  }
}

void weighted_half(const uint16_t* v, uint64_t stride, const float* p, uint32_t n, uint32_t width,
                   float* out) {
  for (uint32_t j = 0; j < width; j++) {
    float sum = 0;
    for (uint32_t t = 0; t < n; t++) sum = std::fma(p[t], from_half(v[t * stride + j]), sum);
    out[j] = sum;
  }
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
void swiglu(float* gate, const float* up, uint32_t n) { elementwise::swiglu(gate, up, n); }
void softmax(float* x, float scale, uint32_t n) { elementwise::softmax(x, scale, n); }
double sum_exp(const float* x, float max, uint32_t n) { return elementwise::sum_exp(x, max, n); }
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

const Kernels scalar_kernels = {ternary,    ternary_blocks, dot,          dot_half,
                                weighted,   weighted_half,  quantize,     quantize_blocks,
                                norm_apply, swiglu,         softmax,      sum_exp,
                                round_half, to_half_row,    from_half_row,
                                {llamacpp_dot_of<float>, llamacpp_dot_of<uint16_t>, llamacpp_swiglu,
                                 llamacpp_softmax}};

const Kernels& kernels() {
#if defined(__x86_64__)
  if (runs_avx2()) return avx2_kernels;
#endif
  return scalar_kernels;  // on AArch64 too, where the compiler makes NEON of most of it
}

}  // namespace magnet
