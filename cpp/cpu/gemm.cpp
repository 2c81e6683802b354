// float32 products: operands packed into panels (in the manner of GotoBLAS), a register tile of the
// SIMD path in force over them; a naive loop is the scalar path and the oracle of the others.
#include "gemm.hpp"

#include <algorithm>
#include <cmath>

#include "aligned_buffer.hpp"
#include "common.hpp"
#include "gemm_kernels.hpp"
#include "profile.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

/** Depth of a pass: a panel of B of this depth stays in the first-level cache. */
constexpr int64_t K_BLOCK = 256;
/** Rows of A that are packed together, into the second-level cache. */
constexpr int64_t ROW_BLOCK = 112;
/** B is packed in pieces of at most this depth and size. They stay in the second-level cache for
 * all rows of A: read again from the third they made products with a long k a quarter slower. */
constexpr int64_t K_GROUP = 512;
constexpr int64_t RIGHT_FLOATS = 1 << 19;

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
constexpr int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

/** The path's kernels; none for the scalar path. */
const GemmKernels* kernels() {
  switch (cpu_path()) {
#if defined(__x86_64__)
    case CpuPath::avx512:
      return &avx512::GEMM_KERNELS;
    case CpuPath::avx2:
      return &avx2::GEMM_KERNELS;
#elif defined(__aarch64__)
    case CpuPath::neon:
      return &neon::GEMM_KERNELS;
#endif
    default:
      return nullptr;
  }
}

inline float right_at(const GemmRight& b, int64_t k, int64_t n) {
  const int64_t at = k * b.row + n * b.col;
  if (b.codes == nullptr) return b.data[at];
  const float scale = b.row_scale == nullptr ? b.scale : b.scale * b.row_scale[k];
  return static_cast<float>(b.codes[at]) * scale;
}

void naive(GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c, int64_t ldc,
           bool accumulate) {
  for (int64_t m = 0; m < shape.m; m++)
    for (int64_t n = 0; n < shape.n; n++) {
      float sum = accumulate ? c[m * ldc + n] : 0.0f;
      for (int64_t k = 0; k < shape.k; k++)
        sum = std::fma(a.data[m * a.row + k * a.col], right_at(b, k, n), sum);
      c[m * ldc + n] = sum;
    }
}

/** A piece of B that lies packed: k rows from k0 on, n columns from n0 on. */
struct Piece {
  int64_t k0, k, n0, n;
  const float* packed;
};

/** C rows [m0, m0 + m), panels [j0, j1) of the piece. */
void multiply(const GemmKernels& kernel, const GemmLeft& a, const Piece& b, int64_t m0, int64_t m,
              int64_t j0, int64_t j1, float* c, int64_t ldc, bool fresh) {
  thread_local AlignedBuffer<float> scratch;
  const int64_t blocks = ceil_div(b.k, K_BLOCK);
  const int64_t n0 = j0 * kernel.columns;
  const int64_t n = std::min(b.n, j1 * kernel.columns) - n0;
  const int64_t stride = b.k * kernel.columns;
  float* const left = scratch.reserve(m * ceil_div(b.k, blocks) + PACK_SLACK);
  float* const to = c + m0 * ldc + b.n0 + n0;
  const Ranges ranges(b.k, blocks);
  for (int64_t i = 0; i < blocks; i++) {
    const int64_t from = ranges.at(i);
    const int64_t k = ranges.size(i);
    {
      const PackingScope packing;
      kernel.pack_left(a, m0, m, b.k0 + from, k, left);
    }
    kernel.block(m, n, k, left, b.packed + j0 * stride + from * kernel.columns, stride, to, ldc,
                 fresh && i == 0);
  }
}

void pack_piece(uint32_t threads, const GemmKernels& kernel, const GemmRight& b, const Piece& piece,
                float* out) {
  const PackingScope packing;
  const int64_t stride = piece.k * kernel.columns;
  if (b.col == 1) {
    // By rows of B, which are read along.
    constexpr int64_t UNIT = 16;
    parallel_for(threads, ceil_div(piece.k, UNIT), [&](int64_t begin, int64_t end, uint32_t) {
      const int64_t from = begin * UNIT;
      const int64_t k = std::min(piece.k, end * UNIT) - from;
      kernel.pack_right(b, piece.n0, piece.n, piece.k0 + from, k, out + from * kernel.columns,
                        stride);
    });
    return;
  }
  const int64_t panels = ceil_div(piece.n, kernel.columns);
  parallel_for(threads, panels, [&](int64_t begin, int64_t end, uint32_t) {
    const int64_t from = begin * kernel.columns;
    const int64_t n = std::min(piece.n, end * kernel.columns) - from;
    kernel.pack_right(b, piece.n0 + from, n, piece.k0, piece.k, out + begin * stride, stride);
  });
}

/** Blocks of rows times ranges of panels, so many that every thread has several tasks. */
void multiply_piece(uint32_t threads, const GemmKernels& kernel, const GemmLeft& a, int64_t m,
                    const Piece& piece, float* c, int64_t ldc, bool fresh) {
  const int64_t panels = ceil_div(piece.n, kernel.columns);
  const int64_t count = threads;
  const int64_t row_tasks = std::min(round_up(ceil_div(m, ROW_BLOCK), count), ceil_div(m, 8));
  const int64_t wanted = threads == 1 ? 1 : ceil_div(4 * count, row_tasks);
  const int64_t panel_tasks = std::min(wanted, panels);
  const Ranges by_rows(m, row_tasks);
  const Ranges by_panels(panels, panel_tasks);
  parallel_tasks(threads, row_tasks * panel_tasks, [&](int64_t task) {
    const int64_t i = task / panel_tasks;
    const int64_t j = task % panel_tasks;
    multiply(kernel, a, piece, by_rows.at(i), by_rows.size(i), by_panels.at(j),
             by_panels.at(j + 1), c, ldc, fresh);
  });
}

}  // namespace

void gemm(uint32_t threads, GemmShape shape, const GemmLeft& a, const GemmRight& b, float* c,
          int64_t ldc, bool accumulate) {
  const GemmKernels* const kernel = kernels();
  if (kernel == nullptr) {
    parallel_for(threads, shape.m, [&](int64_t begin, int64_t end, uint32_t) {
      const GemmLeft part{a.data + begin * a.row, a.row, a.col};
      naive({end - begin, shape.n, shape.k}, part, b, c + begin * ldc, ldc, accumulate);
    });
    return;
  }
  thread_local AlignedBuffer<float> scratch;
  const int64_t groups = ceil_div(shape.k, K_GROUP);
  const int64_t depth = ceil_div(shape.k, groups);
  const int64_t pieces = ceil_div(shape.n, std::max(kernel->columns, RIGHT_FLOATS / depth));
  const int64_t width = round_up(ceil_div(shape.n, pieces), kernel->columns);
  float* const packed = scratch.reserve(width * depth);
  for (int64_t n0 = 0; n0 < shape.n; n0 += width)
    for (int64_t k0 = 0; k0 < shape.k; k0 += depth) {
      const Piece piece{k0, std::min(depth, shape.k - k0), n0, std::min(width, shape.n - n0),
                        packed};
      pack_piece(threads, *kernel, b, piece, packed);
      multiply_piece(threads, *kernel, a, shape.m, piece, c, ldc, k0 == 0 && !accumulate);
    }
}

int64_t packed_floats(int64_t n, int64_t k) {
  const GemmKernels* const kernel = kernels();
  return round_up((kernel == nullptr ? n : round_up(n, kernel->columns)) * k, 16);
}

PackedRight gemm_pack(const GemmRight& b, int64_t n, int64_t k, float* out) {
  if (const GemmKernels* const kernel = kernels()) {
    kernel->pack_right(b, 0, n, 0, k, out, k * kernel->columns);
    return {out, n, k};
  }
  for (int64_t p = 0; p < k; p++)
    for (int64_t j = 0; j < n; j++) out[p * n + j] = right_at(b, p, j);
  return {out, n, k};
}

void gemm_packed(GemmShape shape, const GemmLeft& a, const PackedRight& b, int64_t k0, float* c,
                 int64_t ldc, bool accumulate) {
  const GemmKernels* const kernel = kernels();
  if (kernel == nullptr) {
    naive(shape, a, {b.data + k0 * b.n, b.n, 1}, c, ldc, accumulate);
    return;
  }
  kernel->block_unpacked(shape.m, shape.n, shape.k, a, b.data + k0 * kernel->columns,
                         b.k * kernel->columns, c, ldc, !accumulate);
}

}  // namespace magnet
