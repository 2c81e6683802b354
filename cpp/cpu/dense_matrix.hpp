// Matrices whose weights are no trits: embedding, head, and projections of float models. They stay in
// memory as their file has them, row by row, and are unpacked a row at a time where they are used, so
// that a product reads no more bytes than the file has.
#pragma once
#include <cstdint>
#include <memory>

#include "mapping.hpp"

namespace magnet {

struct DenseMatrix {
  uint32_t rows = 0;
  uint32_t cols = 0;
  uint32_t type = MG_TYPE_F32;
  uint64_t row_bytes = 0;
  std::shared_ptr<Mapping> memory;  // tensors may share one
  uint8_t* data = nullptr;          // rows x row_bytes; floats and halves are aligned to their size
  bool empty() const { return rows == 0; }
  const uint8_t* row(uint64_t r) const { return data + r * row_bytes; }
  uint64_t bytes() const { return rows * row_bytes; }
};

/** Whether a DenseMatrix may have this type. */
bool is_dense_type(uint32_t type);
/** The description of a matrix without any data. */
DenseMatrix dense_view(uint32_t type, uint32_t rows, uint32_t cols);
/** A matrix whose rows are still to be set: at `offset` of `memory`, or in memory of its own. */
DenseMatrix empty_dense(uint32_t type, uint32_t rows, uint32_t cols,
                        std::shared_ptr<Mapping> memory = nullptr, uint64_t offset = 0);
/** False where rows [first, first + count) hold NaN, infinity, or a scale that is not finite. */
bool dense_rows_finite(const DenseMatrix& w, uint32_t first, uint32_t count);
/** Row r as float32, exactly. */
void dense_row(const DenseMatrix& w, uint64_t r, float* out);

/**
 * y[t * y_stride + r] = row r times x[t * cols...], for rows [row_begin, row_end) and t < n. The sum
 * runs in 32 lanes (k % 32, folded) on every path; `llamacpp`: in the order of llama.cpp's library for
 * AVX2, over activations that dense_round_input has rounded.
 */
void dense_product(const DenseMatrix& w, uint64_t row_begin, uint64_t row_end, const float* x,
                   uint32_t n, bool llamacpp, float* y, uint64_t y_stride);
/** Whether llama.cpp rounds the activations that it multiplies with such a matrix. */
bool dense_rounds_input(const DenseMatrix& w);
/** Rounds one row of activations (cols floats) in place as llama.cpp does for the matrix's type: f16,
 * bf16, Q8_0 (a scale per 32) or Q8_K (a scale per 256). */
void dense_round_input(const DenseMatrix& w, float* x);

}  // namespace magnet
