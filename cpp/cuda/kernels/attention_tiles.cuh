// Tiles of rows in shared memory and their products by tensor cores, for the attention kernels: fp16
// forward (see Activation), bf16 backward.
// A row is HD elements; its 16-byte chunks are permuted by the row's number, so that eight rows at the
// same chunk (ldmatrix) and a quad of lanes at eight rows (stores of fragments) meet all banks once.
#pragma once
#include "../platform/tensor_core.hpp"
#include "attention_stats.cuh"

namespace magnet::gpu {

constexpr float LOG2_E = 1.44269504088896341f;
constexpr float LN_2 = 0.69314718055994531f;

__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % LANES; }
__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / LANES; }

template <class E>
__device__ __forceinline__ uint32_t pack_two(float low, float high) {
  if constexpr (std::is_same_v<E, bf16>)
    return pack_bf16(low, high);
  else
    return pack_fp16(low, high);
}
template <class E>
__device__ __forceinline__ void mma_two(float (&d)[4], const uint32_t (&a)[4],
                                        const uint32_t (&b)[2]) {
  if constexpr (std::is_same_v<E, bf16>)
    mma_bf16(d, a, b);
  else
    mma_fp16(d, a, b);
}

/** HD: head_dim rounded up; a multiple of 16. */
template <int HD, class E = bf16>
struct Tile {
  static constexpr int CHUNKS = HD / 8;
  static constexpr int SPREAD = CHUNKS % 8 == 0 ? 8 : CHUNKS % 4 == 0 ? 4 : 2;
  E* data;

  __device__ __forceinline__ static int swizzle(int row) { return row / (8 / SPREAD) % SPREAD; }
  __device__ __forceinline__ E* at(int row, int chunk) const {
    return data + (row * CHUNKS + (chunk ^ swizzle(row))) * 8;
  }
  __host__ __device__ static constexpr int elements(int rows) { return rows * HD; }
};

/** Where a lane's row and chunk of a tile's matrices are: at a lane's row and chunk (0 or 1) plus whole
 * eights of rows and twos of chunks. Of those only the lowest bits go through the swizzle, so that a
 * few registers and constants make all addresses of an unrolled loop. */
template <int HD, class E>
struct Cursor {
  using Of = Tile<HD, E>;
  const E* row;
  int chunk;

  __device__ __forceinline__ Cursor(Of tile, int lane_row, int lane_chunk)
      : row(tile.data + lane_row * Of::CHUNKS * 8), chunk(lane_chunk ^ Of::swizzle(lane_row)) {}
  __device__ __forceinline__ const E* at(int rows, int chunks) const {
    const int whole = chunks / Of::SPREAD * Of::SPREAD;
    return row + (rows * Of::CHUNKS + whole + ((chunks - whole) ^ chunk)) * 8;
  }
};

/** Eight columns from where head_dim is no multiple of 8: pairs, zeros behind the last. */
template <class E>
__device__ __forceinline__ uint4 chunk_of_pairs(const E* from, int columns) {
  const auto* const pairs = reinterpret_cast<const uint32_t*>(from);
  uint4 out = {0, 0, 0, 0};
  if (columns > 0) out.x = pairs[0];
  if (columns > 2) out.y = pairs[1];
  if (columns > 4) out.z = pairs[2];
  if (columns > 6) out.w = pairs[3];
  return out;
}

/** Starts to copy `rows` rows of one head, which begins at `column`, to a tile, from its row `row` on;
 * zeros from row `valid` and from column head_dim on. All threads of the block; ends with their
 * cp.async groups and a barrier. */
template <int THREADS, int HD, class E>
__device__ __forceinline__ void load_rows(Tile<HD, E> to, int row, int rows,
                                          Matrix<const E> matrix, int64_t matrix_row,
                                          int64_t column, int valid, int head_dim) {
  constexpr int CHUNKS = Tile<HD, E>::CHUNKS;
  constexpr int SPREAD = Tile<HD, E>::SPREAD;
  const bool aligned = head_dim % 8 == 0;
  // SPREAD threads a row, so that rows of a thread are whole eights apart and swizzled alike.
  const int first = static_cast<int>(threadIdx.x) % SPREAD;
  const E* const from = matrix.row(matrix_row) + column;
  for (int r = static_cast<int>(threadIdx.x) / SPREAD; r < rows; r += THREADS / SPREAD) {
    const E* const source = from + r * matrix.stride + first * 8;
    E* const target = to.at(row + r, first);
#pragma unroll
    for (int chunk = 0; chunk < CHUNKS; chunk += SPREAD) {
      const int columns = r < valid ? head_dim - (first + chunk) * 8 : 0;
      if (aligned)
        cp_async_16(target + chunk * 8, columns > 0 ? source + chunk * 8 : from, columns > 0);
      else
        *reinterpret_cast<uint4*>(target + chunk * 8) = chunk_of_pairs(source + chunk * 8, columns);
    }
  }
}

/** Columns [8 * begin, 8 * end) of `rows` rows of a tile to one head's rows of a matrix, by one warp.
 * The last head's also writes the zeros behind the columns. */
template <int HD, class E>
__device__ __forceinline__ void store_rows(Tile<HD, E> from, int row, int rows, int begin, int end,
                                           Matrix<E> to, int64_t to_row, int64_t column,
                                           int head_dim) {
  const int chunks = min(end, (head_dim + 7) / 8) - begin;
  for (int i = lane_index(); i < rows * chunks; i += LANES) {
    const int r = i / chunks;
    const int chunk = begin + i % chunks;
    const uint4 x = *reinterpret_cast<const uint4*>(from.at(row + r, chunk));
    E* const out = to.row(to_row + r) + column + chunk * 8;
    if (head_dim % 8 == 0) {
      *reinterpret_cast<uint4*>(out) = x;
      continue;
    }
    auto* const pairs = reinterpret_cast<uint32_t*>(out);
    const int columns = head_dim - chunk * 8;
    pairs[0] = x.x;
    if (columns > 2) pairs[1] = x.y;
    if (columns > 4) pairs[2] = x.z;
    if (columns > 6) pairs[3] = x.w;
  }
  if (column + head_dim != to.columns || begin != 0) return;
  const int zeros = static_cast<int>(padded(to.columns) - to.columns);
  for (int i = lane_index(); i < rows * zeros; i += LANES)
    to.row(to_row + i / zeros)[to.columns + i % zeros] = E{0};
}

/** Sums of a warp: M x 16 rows, N x 8 columns, as mma_bf16 lays them out. */
template <int M, int N>
struct Sums {
  float of[M][N][4];

  __device__ __forceinline__ void clear() {
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) of[m][n][i] = 0;
  }
};
/** Row and column of element i of fragment (m, n) within the sums. */
__device__ __forceinline__ int row_in(int m, int i) {
  return 16 * m + lane_index() / 4 + 8 * (i / 2);
}
__device__ __forceinline__ int column_in(int n, int i) {
  return 8 * n + 2 * (lane_index() % 4) + i % 2;
}

/** Two fragments of columns, of one ldmatrix. */
template <class E, int M, int N>
__device__ __forceinline__ void multiply(Sums<M, N>& sums, int n, const uint32_t (&a)[M][4],
                                         const uint32_t (&b)[4]) {
  const uint32_t left[2] = {b[0], b[1]};
  const uint32_t right[2] = {b[2], b[3]};
#pragma unroll
  for (int m = 0; m < M; m++) {
    mma_two<E>(sums.of[m][n], a[m], left);
    mma_two<E>(sums.of[m][n + 1], a[m], right);
  }
}

/** sums += rows of `a` times rows of `b`, each from its first row on. */
template <int M, int N, int HD, class E>
__device__ __forceinline__ void add_products(Sums<M, N>& sums, Tile<HD, E> a, int a_row,
                                             Tile<HD, E> b) {
  const int lane = lane_index();
  const Cursor<HD, E> left(a, a_row + lane % 16, lane / 16);
  const Cursor<HD, E> right(b, lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
  for (int k = 0; k < HD / 16; k++) {
    uint32_t x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) ldmatrix_x4(x[m], left.at(16 * m, 2 * k));
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t y[4];
      ldmatrix_x4(y, right.at(8 * n, 2 * k));
      multiply<E>(sums, n, x, y);
    }
  }
}

/** sums += weights (whose column is b's row) times the columns of `b` from chunk `begin` on. */
template <int M, int N, int C, int HD, class E>
__device__ __forceinline__ void add_mixed(Sums<M, C>& sums, const Sums<M, N>& weights,
                                          Tile<HD, E> b, int begin) {
  const Cursor<HD, E> right(b, lane_index() % 16, lane_index() / 16);
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        x[m][i] = pack_two<E>(weights.of[m][n + i / 2][i % 2 * 2],
                              weights.of[m][n + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int c = 0; c < C; c += 2) {
      uint32_t y[4];
      ldmatrix_x4_transposed(y, right.at(8 * n, begin + c));
      multiply<E>(sums, c, x, y);
    }
  }
}

/** What fp16 loses of two values whose fp16 are `high`. */
__device__ __forceinline__ uint32_t pack_lost(float a, float b, uint32_t high) {
  const float2 kept = unpack_fp16(high);
  return pack_fp16(a - kept.x, b - kept.y);
}

/** As add_products, of rows in two tiles each, whose sum they are; what both lost together is left out.
 * Three times the products, but fragments are loaded once. */
template <int M, int N, int HD>
__device__ __forceinline__ void add_split_products(Sums<M, N>& sums, Tile<HD, fp16> a,
                                                   Tile<HD, fp16> low_a, int a_row,
                                                   Tile<HD, fp16> b, Tile<HD, fp16> low_b) {
  using At = Cursor<HD, fp16>;
  const int lane = lane_index();
  const At left(a, a_row + lane % 16, lane / 16);
  const At low_left(low_a, a_row + lane % 16, lane / 16);
  const At right(b, lane % 8 + lane / 16 * 8, lane / 8 % 2);
  const At low_right(low_b, lane % 8 + lane / 16 * 8, lane / 8 % 2);
#pragma unroll
  for (int k = 0; k < HD / 16; k++) {
    uint32_t x[M][4], low_x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
      ldmatrix_x4(x[m], left.at(16 * m, 2 * k));
      ldmatrix_x4(low_x[m], low_left.at(16 * m, 2 * k));
    }
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t y[4], low_y[4];
      ldmatrix_x4(y, right.at(8 * n, 2 * k));
      ldmatrix_x4(low_y, low_right.at(8 * n, 2 * k));
      multiply<fp16>(sums, n, low_x, y);
      multiply<fp16>(sums, n, x, low_y);
      multiply<fp16>(sums, n, x, y);
    }
  }
}

/** As add_mixed, of weights as two fp16; LOW: and of rows in two tiles. */
template <bool LOW, int M, int N, int C, int HD>
__device__ __forceinline__ void add_split_mixed(Sums<M, C>& sums, const Sums<M, N>& weights,
                                                Tile<HD, fp16> b, Tile<HD, fp16> low_b,
                                                int begin) {
  const Cursor<HD, fp16> right(b, lane_index() % 16, lane_index() / 16);
  const Cursor<HD, fp16> low_right(low_b, lane_index() % 16, lane_index() / 16);
#pragma unroll
  for (int n = 0; n < N; n += 2) {
    uint32_t x[M][4], low_x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const float* const two = weights.of[m][n + i / 2] + i % 2 * 2;
        x[m][i] = pack_fp16(two[0], two[1]);
        low_x[m][i] = pack_lost(two[0], two[1], x[m][i]);
      }
#pragma unroll
    for (int c = 0; c < C; c += 2) {
      uint32_t y[4];
      ldmatrix_x4_transposed(y, right.at(8 * n, begin + c));
      multiply<fp16>(sums, c, low_x, y);
      if constexpr (LOW) {
        uint32_t low_y[4];
        ldmatrix_x4_transposed(low_y, low_right.at(8 * n, begin + c));
        multiply<fp16>(sums, c, x, low_y);
      }
      multiply<fp16>(sums, c, x, y);
    }
  }
}

/** sums * factor, a factor for each of the thread's rows, to rows of a tile that only this warp uses, at
 * the chunks from `begin` on. */
template <int M, int C, int HD, class E>
__device__ __forceinline__ void put_sums(Tile<HD, E> to, int row, int begin, const Sums<M, C>& sums,
                                         const float (&factor)[M][2]) {
  __syncwarp();
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int c = 0; c < C; c++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        const float* const x = sums.of[m][c] + 2 * half;
        E* const out = to.at(row + row_in(m, 2 * half), begin + c) + 2 * (lane_index() % 4);
        *reinterpret_cast<uint32_t*>(out) =
            pack_two<E>(x[0] * factor[m][half], x[1] * factor[m][half]);
      }
  __syncwarp();
}

/** Query heads of a group whose rows one block takes, each warp rows of one head: they share tiles of
 * keys and values, and the fewer positions of a block have less of a tile masked. */
inline int heads_together(const AttentionShape& shape, int warps) {
  int together = 1;
  while (together < warps && shape.heads / shape.kv_heads % (2 * together) == 0) together *= 2;
  return together;
}

/** Rows of queries of a block that passes over keys, and those of the calling warp. */
struct QueryRows {
  Place at;
  int64_t first_head;  // of the block's
  int64_t kv;          // column of the group's keys and values
  int positions;       // of each of the block's heads
  int own;             // first row of the warp
  int64_t head;        // of the warp
  int first;           // position of the warp's first row
};
__device__ __forceinline__ QueryRows query_rows(const AttentionShape& shape, int together, int rows,
                                                int warp_rows) {
  QueryRows q;
  q.positions = rows / together;
  q.at = place_of(shape, shape.heads / together, q.positions, Longest::last_rows);
  q.first_head = q.at.head * together;
  q.kv = q.first_head / (shape.heads / shape.kv_heads) * shape.head_dim;
  q.own = warp_index() * warp_rows;
  q.head = q.first_head + q.own / q.positions;
  q.first = q.at.first + q.own % q.positions;
  return q;
}

/** Starts to copy the block's rows of a matrix of all heads. */
template <int THREADS, int HD, class E>
__device__ __forceinline__ void load_heads(Tile<HD, E> to, const QueryRows& own, int together,
                                           Matrix<const E> from, int context, int head_dim) {
  for (int h = 0; h < together; h++)
    load_rows<THREADS>(to, h * own.positions, own.positions, from, own.at.base + own.at.first,
                       (own.first_head + h) * head_dim, context - own.at.first, head_dim);
}

/** Keys and values in two stages of tiles, for blocks that pass over them: the next ones are copied
 * while these are used. */
template <int THREADS, int KEYS, int HD, class E, bool SPLIT = false>
struct KeyStages {
  static constexpr int TILES = SPLIT ? 4 : 2;
  E* shared;
  Matrix<const E> k, v;
  int64_t base, column;
  int context, head_dim;
  Matrix<const E> low_k = {}, low_v = {};

  /** 0: keys, 1: values, 2 and 3: what is lost of them. */
  __device__ __forceinline__ Tile<HD, E> tile(int key, int i) const {
    return {shared + Tile<HD, E>::elements((key / KEYS % 2 * TILES + i) * KEYS)};
  }
  __device__ __forceinline__ Tile<HD, E> keys(int key) const { return tile(key, 0); }
  __device__ __forceinline__ Tile<HD, E> values(int key) const { return tile(key, 1); }
  /** Starts the copies of the KEYS positions from `key` on, where there are some before `end`. */
  __device__ __forceinline__ void load(int key, int end) const {
    if (key < end) {
      load_rows<THREADS>(keys(key), 0, KEYS, k, base + key, column, context - key, head_dim);
      load_rows<THREADS>(values(key), 0, KEYS, v, base + key, column, context - key, head_dim);
      if constexpr (SPLIT) {
        load_rows<THREADS>(tile(key, 2), 0, KEYS, low_k, base + key, column, context - key,
                           head_dim);
        load_rows<THREADS>(tile(key, 3), 0, KEYS, low_v, base + key, column, context - key,
                           head_dim);
      }
    }
    cp_async_commit();
  }
  /** Those from `key` on are there, and the tiles before them are done with; the next ones start. */
  __device__ __forceinline__ void step(int key, int end) const {
    cp_async_wait<0>();
    __syncthreads();
    load(key + KEYS, end);
  }
};

/** run(std::integral_constant<int, HD>) with the least that holds the head. */
template <class Run>
void with_head_dim(int64_t head_dim, const Run& run) {
  if (head_dim <= 16) return run(std::integral_constant<int, 16>{});
  if (head_dim <= 32) return run(std::integral_constant<int, 32>{});
  if (head_dim <= 64) return run(std::integral_constant<int, 64>{});
  if (head_dim <= 96) return run(std::integral_constant<int, 96>{});
  if (head_dim <= 128) return run(std::integral_constant<int, 128>{});
  run(std::integral_constant<int, 256>{});
}

}  // namespace magnet::gpu
