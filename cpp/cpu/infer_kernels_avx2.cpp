// AVX2 kernels; same bits as the scalar table. Ternary products: codes 0..2 (unsigned) times int8
// through vpmaddubsw into int16 lanes, which hold 16 blocks of 128 columns (64 products of at most
// 2*2*127 each) before they are widened.
#if defined(__x86_64__)
#include <immintrin.h>

#include "infer_elementwise.hpp"
#include "infer_llamacpp.hpp"
#include "quants.hpp"

#define MG_AVX2 __attribute__((target("avx2,fma,f16c")))

namespace magnet {
namespace {

constexpr uint32_t BLOCKS_PER_FOLD = 16;

struct Codes {
  __m256i group[4];
};
MG_AVX2 inline Codes load_codes(const uint8_t* codes) {
  const __m256i mask = _mm256_set1_epi8(3);
  const __m256i all = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(codes));
  return {{_mm256_and_si256(all, mask), _mm256_and_si256(_mm256_srli_epi16(all, 2), mask),
           _mm256_and_si256(_mm256_srli_epi16(all, 4), mask),
           _mm256_and_si256(_mm256_srli_epi16(all, 6), mask)}};
}

MG_AVX2 inline __m256i load(const int8_t* q) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
}

MG_AVX2 inline int32_t sum_lanes(__m256i v) {
  __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
  s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
  return _mm_cvtsi128_si32(s);
}

/** One row of codes against T rows of activations. */
template <int T>
MG_AVX2 inline void code_dots(const uint8_t* codes, const int8_t* q, uint32_t stride,
                              uint32_t blocks, int32_t* sums) {
  const __m256i ones = _mm256_set1_epi16(1);
  __m256i wide[T];
  for (int t = 0; t < T; t++) wide[t] = _mm256_setzero_si256();
  for (uint32_t start = 0; start < blocks; start += BLOCKS_PER_FOLD) {
    const uint32_t end = std::min(blocks, start + BLOCKS_PER_FOLD);
    __m256i narrow[T];
    for (int t = 0; t < T; t++) narrow[t] = _mm256_setzero_si256();
    for (uint32_t b = start; b < end; b++) {
      const Codes c = load_codes(codes + 32 * b);
      for (int t = 0; t < T; t++) {
        const int8_t* x = q + static_cast<uint64_t>(t) * stride + 128 * b;
        for (int g = 0; g < 4; g++)
          narrow[t] =
              _mm256_add_epi16(narrow[t], _mm256_maddubs_epi16(c.group[g], load(x + 32 * g)));
      }
    }
    for (int t = 0; t < T; t++)
      wide[t] = _mm256_add_epi32(wide[t], _mm256_madd_epi16(narrow[t], ones));
  }
  for (int t = 0; t < T; t++) sums[t] = sum_lanes(wide[t]);
}

template <int T>
MG_AVX2 void ternary_tile(const TernaryMatrix& w, uint32_t r0, uint32_t r1, const Int8Rows& x,
                          uint32_t first, float* y, uint32_t y_stride) {
  const uint64_t row_bytes = uint64_t{w.blocks} * 32;
  for (uint32_t r = r0; r < r1; r++) {
    int32_t sums[T];
    code_dots<T>(w.codes.data() + r * row_bytes, x.q + uint64_t{first} * x.stride, x.stride,
                 w.blocks, sums);
    for (uint32_t t = 0; t < T; t++)
      y[uint64_t{first + t} * y_stride + r] =
          static_cast<float>(sums[t] - x.sum[first + t]) * (x.scale[first + t] * w.scale);
  }
}

MG_AVX2 void ternary(const TernaryMatrix& w, uint32_t r0, uint32_t r1, const Int8Rows& x,
                     uint32_t n, float* y, uint32_t y_stride) {
  uint32_t t = 0;
  for (; t + 8 <= n; t += 8) ternary_tile<8>(w, r0, r1, x, t, y, y_stride);
  for (; t + 4 <= n; t += 4) ternary_tile<4>(w, r0, r1, x, t, y, y_stride);
  for (; t < n; t++) ternary_tile<1>(w, r0, r1, x, t, y, y_stride);
}

MG_AVX2 inline float fold8(__m256 v) {
  __m128 s = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  s = _mm_add_ps(s, _mm_movehl_ps(s, s));
  return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

MG_AVX2 float block_dot(const TernaryMatrix& w, uint32_t r, const Int8Rows& x, uint32_t t) {
  const uint8_t* codes = w.codes.data() + uint64_t{r} * w.blocks * 32;
  const int8_t* q = x.q + uint64_t{t} * x.stride;
  const int16_t* sums = x.sums16 + uint64_t{t} * (x.stride / 16);
  const float* d = x.block_scale + uint64_t{t} * (x.stride / 128);
  const float* wd =
      w.block_scales.empty() ? nullptr : w.block_scales.data() + uint64_t{r} * (w.blocks / 2);
  __m256 lanes = _mm256_setzero_ps();
  for (uint32_t b = 0; b < w.blocks / 2; b++, sums += 16) {
    __m256i narrow = _mm256_setzero_si256();
    for (int half = 0; half < 2; half++, codes += 32, q += 128) {
      const Codes c = load_codes(codes);
      for (int g = 0; g < 4; g++)
        narrow = _mm256_add_epi16(narrow, _mm256_maddubs_epi16(c.group[g], load(q + 32 * g)));
    }
    narrow = _mm256_sub_epi16(narrow, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(sums)));
    const __m256i part = _mm256_madd_epi16(narrow, _mm256_set1_epi16(1));
    const __m256 scale = _mm256_set1_ps(d[b] * (wd != nullptr ? wd[b] : w.scale));
    lanes = _mm256_fmadd_ps(_mm256_cvtepi32_ps(part), scale, lanes);
  }
  return fold8(lanes);
}

MG_AVX2 void ternary_blocks(const TernaryMatrix& w, uint32_t r0, uint32_t r1, const Int8Rows& x,
                            uint32_t n, float* y, uint32_t y_stride) {
  for (uint32_t r = r0; r < r1; r++)
    for (uint32_t t = 0; t < n; t++) y[uint64_t{t} * y_stride + r] = block_dot(w, r, x, t);
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

template <class V, int L>
MG_AVX2 inline void weighted_columns(const V* v, uint64_t stride, const float* p, uint32_t n,
                                     float* out) {
  __m256 sums[L];
  for (int l = 0; l < L; l++) sums[l] = _mm256_setzero_ps();
  for (uint32_t t = 0; t < n; t++) {
    const __m256 weight = _mm256_broadcast_ss(p + t);
    for (int l = 0; l < L; l++)
      sums[l] = _mm256_fmadd_ps(weight, load_floats(v + t * stride + 8 * l), sums[l]);
  }
  for (int l = 0; l < L; l++) _mm256_storeu_ps(out + 8 * l, sums[l]);
}

MG_AVX2 inline float one_float(float v) { return v; }
MG_AVX2 inline float one_float(uint16_t v) { return from_half(v); }

template <class V>
MG_AVX2 void weighted_of(const V* v, uint64_t stride, const float* p, uint32_t n, uint32_t width,
                         float* out) {
  uint32_t j = 0;
  for (; j + 64 <= width; j += 64) weighted_columns<V, 8>(v + j, stride, p, n, out + j);
  for (; j + 8 <= width; j += 8) weighted_columns<V, 1>(v + j, stride, p, n, out + j);
  for (; j < width; j++) {
    float sum = 0;
    for (uint32_t t = 0; t < n; t++) sum = std::fma(p[t], one_float(v[t * stride + j]), sum);
    out[j] = sum;
  }
}

MG_AVX2 void weighted(const float* v, uint64_t stride, const float* p, uint32_t n, uint32_t width,
                      float* out) {
  weighted_of(v, stride, p, n, width, out);
}
MG_AVX2 void weighted_half(const uint16_t* v, uint64_t stride, const float* p, uint32_t n,
                           uint32_t width, float* out) {
  weighted_of(v, stride, p, n, width, out);
}

MG_AVX2 void quantize(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  elementwise::quantize(x, n, out, t);
}
MG_AVX2 void quantize_blocks(const float* x, uint32_t n, const Int8Rows& out, uint32_t t) {
  elementwise::quantize_blocks(x, n, out, t);
}
MG_AVX2 void norm_apply(const float* x, const float* w, float r, uint32_t n, float* y) {
  elementwise::norm_apply(x, w, r, n, y);
}
MG_AVX2 void swiglu(float* gate, const float* up, uint32_t n) { elementwise::swiglu(gate, up, n); }
MG_AVX2 void softmax(float* x, float scale, uint32_t n) { elementwise::softmax(x, scale, n); }
MG_AVX2 double sum_exp(const float* x, float max, uint32_t n) {
  return elementwise::sum_exp(x, max, n);
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

const Kernels avx2_kernels = {ternary,    ternary_blocks, dot,          dot_half,
                              weighted,   weighted_half,  quantize,     quantize_blocks,
                              norm_apply, swiglu,         softmax,      sum_exp,
                              round_half, to_half_row,    from_half_row,
                              {llamacpp_dot_of<float>, llamacpp_dot_of<uint16_t>, llamacpp_swiglu,
                               llamacpp_softmax}};

}  // namespace magnet
#endif
