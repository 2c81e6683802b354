// Rows between the products of inference: embedding, norm and quantiser, and the inputs of the head.
// One block of 256 threads a row and one fixed tree for its sums: a row's bits depend on nothing else.
#pragma once
#include "../../include/magnet.h"
#include "infer_product.hpp"

namespace magnet::gpu {

/** x (rows, d) = the embedding's rows at the tokens of a batch. embedding: fp16; lost (vocabulary, d):
 * what fp16 lost of it, or null for nothing. */
void embed_rows(const Stream& stream, const HeadWeight& embedding, const fp16* lost,
                const mg_batch_row* rows, Matrix<float> x);

/** Codes of the rows of x, normed where w is not null, with zeros up to the stride. */
struct CodeTarget {
  Matrix<int8_t> codes;
  float* inverse;
  int32_t* sums;
};
void quantise_rows(const Stream& stream, Matrix<const float> x, const float* w, float eps,
                   const CodeTarget& out);

/** Row i of `out` (n, x.columns), without padding: row chosen[i] of x, normed. */
void normed_rows(const Stream& stream, Matrix<const float> x, const uint32_t* chosen, int64_t n,
                 const float* w, float eps, float* out);
/** The same as the head takes it: (n, 2, stride) bytes. */
void head_rows(const Stream& stream, Matrix<const float> x, const uint32_t* chosen, int64_t n,
               const float* w, float eps, HeadKind kind, unsigned char* planes, int64_t stride,
               float* scales);

}  // namespace magnet::gpu
