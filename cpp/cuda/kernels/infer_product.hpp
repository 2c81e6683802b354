// Products of inference: rows of int8 activations with packed ternary weights, and normed rows with
// the head. Integer sums are exact and the float steps of an output have one order, so a row's bits do
// not depend on the rows beside it nor on which kernel computes them.
//
// Weights lie as the tensor cores take them: panels of 16 rows, and along k steps of 32 bytes of the
// activations. A lane's 16 bytes of shared or global activations, at byte 64 h + 16 t of a chunk of 128,
// are the operands of steps 2h and 2h + 1; weights are permuted along k to meet them.
#pragma once
#include "matrix.hpp"

namespace magnet::gpu {

constexpr int PANEL_ROWS = 16;
/** Bytes of a row of activations that are multiplied together; rows are padded to them with zeros. */
constexpr int CHUNK_BYTES = 128;
/** Rows that the products of ternary weights take in one block each, and the head at once. */
constexpr int SKINNY_ROWS = 64;

constexpr int64_t panels_of(int64_t rows) { return (rows + PANEL_ROWS - 1) / PANEL_ROWS; }
constexpr int64_t chunks_of(int64_t bytes) { return (bytes + CHUNK_BYTES - 1) / CHUNK_BYTES; }

/** Where byte `at` of a chunk of row r of a panel lies among the lanes: lane, step (of four), register
 * of the fragment, byte of the register. */
struct FragmentPlace {
  int lane;
  int step;
  int word;
  int byte;
};
__host__ __device__ __forceinline__ FragmentPlace fragment_place(int r, int at) {
  return {r % 8 * 4 + at % 64 / 16, at / 64 * 2 + at % 16 / 8, at % 8 / 4 * 2 + r / 8, at % 4};
}

/** Codes trit + 1 of 2 bits: for every panel and chunk (128 columns) 512 bytes, 16 of each lane: a word
 * a step, in which the code of (word, byte) of fragment_place has bits 8 byte + 2 word and the next. Up
 * to three matrices one below the other, each with a scale of its own; `ends`: rows of the first, of the
 * first two. */
struct TernaryWeight {
  const uint4* codes;
  int64_t rows;
  int64_t columns;
  int64_t ends[2];
  float scales[3];
  int64_t panels() const { return panels_of(rows); }
  int64_t chunks() const { return chunks_of(columns); }
};

/** Quantised activations. */
struct CodeRows {
  Matrix<const int8_t> codes;  // stride: whole chunks, 16-byte aligned
  const float* inverse;        // of each row's scale
  const int32_t* sums;         // of each row's codes
};

enum class GateFunction { silu, relu_squared };

/** y (rows, w.rows) = x w^T, or += . */
void ternary_product(const Stream& stream, const CodeRows& x, const TernaryWeight& w, bool add,
                     Matrix<float> y);
/** h (rows, columns of h) = act(gate) * up. w: panels of gate and up in turns, w.rows both together,
 * scales[0] of gate, scales[1] of up. */
void gated_product(const Stream& stream, const CodeRows& x, const TernaryWeight& w,
                   GateFunction activation, Matrix<float> h);

/** Formats of the head: fp16, two planes of activations in fp16 whose sum they are (22 bits); int8 with a
 * scale for each row, activations of 15 bits in two planes, 128 high + low; int4 with a scale for every
 * 32 columns of a row, which are a step, and the same activations. */
enum class HeadKind { fp16, int8, int4 };
/** Columns of a scale of int4. */
constexpr int HEAD_GROUP = 32;
/** For every panel and chunk of activations: four steps of 32 lanes of 16 bytes, or, of int4, of 8. */
struct HeadWeight {
  HeadKind kind;
  const uint4* values;
  const float* scales;  // int8: (rows)
  int64_t rows;
  int64_t columns;
  const uint2* group_scales = nullptr;  // int4: (panels, chunks, 16 rows), fp16 of its four steps
  int64_t row_bytes() const { return kind == HeadKind::fp16 ? columns * 2 : columns; }
  int64_t chunks() const { return chunks_of(row_bytes()); }
  /** Of values. */
  uint64_t panel_bytes() const {
    const int64_t bytes = PANEL_ROWS * chunks() * CHUNK_BYTES;
    return static_cast<uint64_t>(kind == HeadKind::int4 ? bytes / 2 : bytes);
  }
  uint64_t bytes() const { return static_cast<uint64_t>(panels_of(rows)) * panel_bytes(); }
};
/** Where column c of a chunk lies in it, so that 32 columns in a row are one step. */
__host__ __device__ __forceinline__ int grouped_byte(int c) {
  return c / 64 * 64 + c % 32 / 8 * 16 + c / 32 % 2 * 8 + c % 8;
}
/** Activations of the head, both planes of `stride` bytes (whole chunks): high, then low. */
struct HeadRows {
  const unsigned char* planes;  // (rows, 2, stride)
  int64_t stride;
  const float* scales;  // int8, int4: (rows); NaN where a row is not finite
  int64_t rows;
};
/** logits (rows, w.rows), rows one after the other. At most SKINNY_ROWS rows. */
void head_product(const Stream& stream, const HeadRows& x, const HeadWeight& w, float* logits);

}  // namespace magnet::gpu
