// Reed-Solomon: dst = rows * src over byte arrays. A SIMD path has one kernel for RAID-6's P (all 1)
// and Q (2^j) and one for every other matrix; the scalar twin is one 256-byte table per coefficient,
// and does the tails.
#include <algorithm>
#include <cstring>

#include "../cpu/common.hpp"
#include "../cpu/thread_pool.hpp"
#include "gf256_kernels.hpp"

namespace magnet::gf {
namespace {

/**
 * Bytes of every shard that one pass covers: small enough that the sources stay in the L2 cache.
 */
constexpr uint64_t BLOCK_BYTES = 16 * 1024;

/** The path's kernels; none for the scalar path. */
const Kernels* kernels() {
#if defined(__x86_64__)
  if (runs_avx2()) return &avx2::KERNELS;
#elif defined(__aarch64__)
  if (cpu_path() == CpuPath::neon) return &neon::KERNELS;
#endif
  return nullptr;
}

void scalar_row(const Job& job, uint32_t r, uint64_t begin, uint64_t end) {
  uint8_t* dst = job.dst[r];
  std::memset(dst + begin, 0, end - begin);
  for (uint32_t j = 0; j < job.rows.cols; j++) {
    const uint8_t c = job.rows.at(r, j);
    if (c == 0) continue;
    uint8_t table[256];
    for (uint32_t x = 0; x < 256; x++) table[x] = multiply(c, static_cast<uint8_t>(x));
    const uint8_t* src = job.src[j];
    for (uint64_t i = begin; i < end; i++) dst[i] ^= table[src[i]];
  }
}

/** 32 bytes a coefficient: products with 0..15, then with 0, 16, ..., 240. */
std::vector<uint8_t> nibble_tables(const Matrix& rows) {
  std::vector<uint8_t> out(rows.values.size() * 32);
  for (size_t i = 0; i < rows.values.size(); i++)
    for (uint32_t x = 0; x < 16; x++) {
      out[i * 32 + x] = multiply(rows.values[i], static_cast<uint8_t>(x));
      out[i * 32 + 16 + x] = multiply(rows.values[i], static_cast<uint8_t>(x << 4));
    }
  return out;
}

/** The rows are RAID-6's P, or P and Q. */
bool is_parity(const Matrix& rows) {
  if (rows.rows > 2) return false;
  uint8_t power = 1;
  for (uint32_t j = 0; j < rows.cols; j++) {
    if (rows.at(0, j) != 1 || (rows.rows == 2 && rows.at(1, j) != power)) return false;
    power = multiply(power, 2);
  }
  return true;
}

}  // namespace

void apply(const Job& job, uint32_t threads, const int32_t* cancel) {
  const Kernels* const kernel = kernels();
  const bool parity = is_parity(job.rows);
  const std::vector<uint8_t> tables =
      kernel == nullptr || parity ? std::vector<uint8_t>{} : nibble_tables(job.rows);
  const auto blocks = static_cast<int64_t>((job.length + BLOCK_BYTES - 1) / BLOCK_BYTES);
  parallel_for(resolve_threads(threads), blocks, [&](int64_t first, int64_t last, uint32_t) {
    for (int64_t b = first; b < last; b++) {
      if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "Reed-Solomon: cancelled");
      const uint64_t begin = static_cast<uint64_t>(b) * BLOCK_BYTES;
      const uint64_t end = std::min(begin + BLOCK_BYTES, job.length);
      uint64_t done = begin;
      if (kernel != nullptr) {
        done += (end - begin) / kernel->vector_bytes * kernel->vector_bytes;
        if (parity)
          kernel->parity(job, job.rows.rows == 2, begin, done);
        else
          kernel->shuffle(job, tables.data(), begin, done);
      }
      if (done < end)
        for (uint32_t r = 0; r < job.rows.rows; r++) scalar_row(job, r, done, end);
    }
  });
}

}  // namespace magnet::gf
