// Embedding. The gradient is split among threads by columns: a token that occurs twice adds up in
// order.
#include "embedding.hpp"

#include <algorithm>
#include <cstring>

#include "profile.hpp"
#include "thread_pool.hpp"

namespace magnet {

void embed(uint32_t threads, const float* embedding, const int32_t* ids, int64_t rows,
           int64_t width, float* x) {
  const KernelScope scope(Kernel::embed);
  parallel_for(threads, rows, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = begin; i < end; i++)
      std::memcpy(x + i * width, embedding + std::max(ids[i], 0) * width,
                  static_cast<size_t>(width) * sizeof(float));
  });
}

void embed_backward(uint32_t threads, const float* dx, const int32_t* ids, int64_t rows,
                    int64_t width, float* dembedding) {
  const KernelScope scope(Kernel::embed_backward);
  parallel_for(threads, width, [&](int64_t begin, int64_t end, uint32_t) {
    for (int64_t i = 0; i < rows; i++) {
      float* const to = dembedding + std::max(ids[i], 0) * width;
      const float* const from = dx + i * width;
      for (int64_t j = begin; j < end; j++) to[j] += from[j];
    }
  });
}

}  // namespace magnet
