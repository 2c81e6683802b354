// Token embedding: lookup and scatter-add of its gradient.
#pragma once
#include <cstdint>

namespace magnet {

/** x (rows, width) = embedding[ids]; an id below 0 (an ignored position) reads as 0. */
void embed(uint32_t threads, const float* embedding, const int32_t* ids, int64_t rows,
           int64_t width, float* x);
/** dembedding[ids[i]] += dx[i], rows in order. */
void embed_backward(uint32_t threads, const float* dx, const int32_t* ids, int64_t rows,
                    int64_t width, float* dembedding);

}  // namespace magnet
