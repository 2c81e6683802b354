// AVX2 kernels; same bits as the scalar table.
#if defined(__x86_64__)
#include <immintrin.h>

#include "infer_elementwise.hpp"
#include "infer_llamacpp.hpp"
#include "quants.hpp"

#define MG_AVX2 __attribute__((target("avx2,fma,f16c")))

namespace magnet {
namespace {

MG_AVX2 inline float fold8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

MG_AVX2 inline __m256 load_floats(const float* p) { return _mm256_loadu_ps(p); }
MG_AVX2 inline __m256 load_floats(const uint16_t* p) {
  return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}

/** Lane l += sum of a[i] * b[i] with i % 32 = l, i < whole (a multiple of 32). */
template <class A>
MG_AVX2 inline void add_products(const A* a, const float* b, uint32_t whole, __m256 (&lanes)[4]) {
  for (uint32_t i = 0; i < whole; i += 32)
    for (int l = 0; l < 4; l++)
      lanes[l] =
          _mm256_fmadd_ps(load_floats(a + i + 8 * l), _mm256_loadu_ps(b + i + 8 * l), lanes[l]);
}

/** The last, partial group of 32 is padded with zeros, which leave their lanes as they are. */
template <class A>
MG_AVX2 float dot_of(const A* a, const float* b, uint32_t n) {
  __m256 lanes[4] = {};
  const uint32_t i = n / 32 * 32;
  add_products(a, b, i, lanes);
  if (i < n) {
    A a_rest[32] = {};
    float b_rest[32] = {};
    std::copy(a + i, a + n, a_rest);
    std::copy(b + i, b + n, b_rest);
    add_products(a_rest, b_rest, 32, lanes);
  }
  return fold8(_mm256_add_ps(_mm256_add_ps(lanes[0], lanes[2]), _mm256_add_ps(lanes[1], lanes[3])));
}

MG_AVX2 float dot(const float* a, const float* b, uint32_t n) { return dot_of(a, b, n); }
MG_AVX2 float dot_half(const uint16_t* a, const float* b, uint32_t n) { return dot_of(a, b, n); }

MG_AVX2 inline float one_float(float v) { return v; }
MG_AVX2 inline float one_float(uint16_t v) { return from_half(v); }

MG_AVX2 void quantize(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  elementwise::quantize(x, n, out, t);
}
MG_AVX2 void quantize_blocks(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  elementwise::quantize_blocks(x, n, out, t);
}
MG_AVX2 void norm_apply(const float* x, const float* w, float r, uint32_t n, float* y) {
  elementwise::norm_apply(x, w, r, n, y);
}

MG_AVX2 inline __m128i half_of(const float* x) {
  return _mm256_cvtps_ph(_mm256_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}
MG_AVX2 void to_half_row(const float* x, uint32_t n, uint16_t* out) {
  uint32_t i = 0;
  for (; i + 8 <= n; i += 8) _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i), half_of(x + i));
  for (; i < n; i++) out[i] = to_half(x[i]);
}
MG_AVX2 void from_half_row(const uint16_t* x, uint32_t n, float* out) {
  uint32_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(out + i, load_floats(x + i));
  for (; i < n; i++) out[i] = from_half(x[i]);
}
MG_AVX2 void round_half(float* x, uint32_t n) {
  uint32_t i = 0;
  for (; i + 8 <= n; i += 8) _mm256_storeu_ps(x + i, _mm256_cvtph_ps(half_of(x + i)));
  for (; i < n; i++) x[i] = from_half(to_half(x[i]));
}

template <class A>
MG_AVX2 float llamacpp_dot_of(const A* a, const float* b, uint32_t n) {
  __m256 lanes[4] = {};
  const uint32_t whole = n / 32 * 32;
  add_products(a, b, whole, lanes);
  float all[32];
  for (int l = 0; l < 4; l++) _mm256_storeu_ps(all + 8 * l, lanes[l]);
  return llamacpp::add_rest(llamacpp::fold32(all), a + whole, b + whole, n - whole);
}
MG_AVX2 void llamacpp_swiglu(float* gate, const float* up, uint32_t n) {
  llamacpp::swiglu(gate, up, n);
}
MG_AVX2 void llamacpp_softmax(float* x, float scale, uint32_t n) { llamacpp::softmax(x, scale, n); }
}  // namespace

const Kernels avx2_kernels = {dot, dot_half, quantize, quantize_blocks, norm_apply, round_half,
                              to_half_row, from_half_row,
                              {llamacpp_dot_of<float>, llamacpp_dot_of<uint16_t>, llamacpp_swiglu,
                               llamacpp_softmax}};

}  // namespace magnet
#endif
