// Tensors of a GGUF file as matrices of an inference model (infer_gguf_tensors.cpp).
#pragma once
#include <algorithm>
#include <vector>

#include "gguf.hpp"
#include "infer_model.hpp"
#include "thread_pool.hpp"

namespace magnet {

/** F32, F16 or Q6_K. heads > 0: interleaved rotary rows are put back to half-split ones. Throws
 *  MG_E_NUMERIC for values that are not finite. */
DenseMatrix gguf_dense(const GgufFile& file, const GgufTensor& t, uint32_t heads, uint32_t threads);
/** TQ1_0, TQ2_0 or I2_S. Throws MG_E_FORMAT for codes that no weight has. */
PackedTernary gguf_ternary(const GgufFile& file, const GgufTensor& t, uint32_t heads,
                           uint32_t threads);
/** True, and fills `out`, where every value is 0 or plus or minus one number. */
bool make_ternary(const DenseMatrix& m, PackedTernary& out);

/** Row of an interleaved file tensor that holds row `r` of the half-split one; heads = 0: the same.
 */
inline uint32_t file_row(uint32_t r, uint32_t rows, uint32_t heads) {
  if (heads == 0) return r;
  const uint32_t head_dim = rows / heads;
  const uint32_t within = r % head_dim;
  return r - within + 2 * (within % (head_dim / 2)) + within / (head_dim / 2);
}

/** Copies rows [first, first + count) of a tensor, in the half-split order, out of the file. */
inline void read_rows(const GgufFile& file, const GgufTensor& t, uint64_t row_bytes, uint32_t heads,
                      uint32_t first, uint32_t count, uint8_t* out) {
  const auto rows = static_cast<uint32_t>(t.rows);
  if (heads == 0) {
    file.bytes.read(t.offset + first * row_bytes, count * row_bytes, out);
    return;
  }
  for (uint32_t i = 0; i < count; i++)
    file.bytes.read(t.offset + file_row(first + i, rows, heads) * row_bytes, row_bytes,
                    out + i * row_bytes);
}

/**
 * Calls fn(first, count, bytes) for all groups of `group` rows of a tensor (the last may be smaller),
 * on several threads. The bytes are a copy, valid for the call; what has been read is given back, so
 * that a model that is being loaded takes the memory of one.
 */
template <class F>
void for_row_groups(const GgufFile& file, const GgufTensor& t, uint64_t row_bytes, uint32_t heads,
                    uint32_t group, uint32_t threads, const F& fn) {
  constexpr uint64_t GIVE_BACK_BYTES = 1u << 22;
  const auto rows = static_cast<uint32_t>(t.rows);
  parallel_for(threads, (rows + group - 1) / group, [&](int64_t begin, int64_t end, uint32_t) {
    std::vector<uint8_t> buffer(group * row_bytes);
    uint32_t kept = static_cast<uint32_t>(begin) * group;  // rows before it were given back
    for (auto g = static_cast<uint32_t>(begin); g < static_cast<uint32_t>(end); g++) {
      const uint32_t first = g * group;
      const uint32_t count = std::min(group, rows - first);
      read_rows(file, t, row_bytes, heads, first, count, buffer.data());
      fn(first, count, static_cast<const uint8_t*>(buffer.data()));
      const uint64_t bytes = (first + count - kept) * row_bytes;
      if (bytes < GIVE_BACK_BYTES && g + 1 < static_cast<uint32_t>(end)) continue;
      file.bytes.give_back(t.offset + kept * row_bytes, bytes);
      kept = first + count;
    }
  });
}

}  // namespace magnet
