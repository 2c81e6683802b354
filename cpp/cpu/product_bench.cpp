// Times of single products of inference, on weights that no cache holds (mg_bench_product).
#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <vector>

#include "common.hpp"
#include "packed_head.hpp"
#include "packed_ternary.hpp"
#include "thread_pool.hpp"
#include "thread_team.hpp"

namespace magnet {
namespace {

/** As machine_limits.cpp reads for the bandwidth that these products are held against. */
constexpr uint64_t MEMORY_BYTES = uint64_t{256} << 20;

uint64_t next_bits(uint64_t& state) {
  uint64_t z = state += 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  return z ^ (z >> 31);
}

/** Random bytes; `ternary`: no 2-bit code is 3. */
void fill(uint8_t* out, uint64_t bytes, bool ternary, uint32_t threads) {
  constexpr uint64_t PART = 1 << 16;
  parallel_for(threads, static_cast<int64_t>((bytes + PART - 1) / PART),
               [&](int64_t begin, int64_t end, uint32_t) {
                 uint64_t state = static_cast<uint64_t>(begin) << 32;
                 const uint64_t last = std::min(bytes, static_cast<uint64_t>(end) * PART);
                 for (uint64_t i = static_cast<uint64_t>(begin) * PART; i < last; i += 8) {
                   uint64_t word = next_bits(state);
                   if (ternary) word &= ~(word << 1 & 0xAAAA'AAAA'AAAA'AAAAull);
                   std::memcpy(out + i, &word, std::min<uint64_t>(8, last - i));
                 }
               });
}

/** Rows of both kinds of activations, of random values. */
struct Inputs {
  uint32_t stride;
  std::vector<int8_t> q, low;
  std::vector<int16_t> sums16, shifts;
  std::vector<float> block_scale, scale;
  std::vector<int32_t> sum;

  Inputs(uint32_t n, uint32_t cols)
      : stride((cols + 127) / 128 * 128),
        q(size_t{n} * stride),
        low(q.size()),
        sums16(q.size() / 16),
        shifts(q.size() / 4),
        block_scale(q.size() / 128, 1.0f),
        scale(n, 1.0f),
        sum(size_t{n} * 2) {
    uint64_t state = 5;
    for (int8_t& v : q) v = static_cast<int8_t>(next_bits(state) >> 57);
    for (int8_t& v : low) v = static_cast<int8_t>(next_bits(state) >> 58);
  }
  Int8Rows bytes() {
    return {stride, q.data(), sums16.data(), block_scale.data(), scale.data(), sum.data()};
  }
  Int15Rows words() {
    return {stride,        q.data(),   low.data(),  shifts.data(), shifts.data() + shifts.size() / 2,
            sum.data(),    scale.data()};
  }
};

/** Calls product(i, begin, end) for the panels of `count` matrices, one after the other. */
template <class F>
double seconds_of(uint32_t threads, uint32_t count, uint32_t panels, const F& product) {
  double seconds = 0;
  Team::run(threads, [&](Team& team) {
    const auto start = std::chrono::steady_clock::now();
    for (uint32_t i = 0; i < count; i++)
      team.each(panels, 1, [&](uint64_t begin, uint64_t end) {
        product(i, static_cast<uint32_t>(begin), static_cast<uint32_t>(end));
      });
    seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  });
  return seconds / count;
}

struct Bench {
  uint32_t kind, rows, cols, n, threads;
};

/** Runs of all matrices: as many as fill MEMORY_BYTES, or fewer where many tokens take long. */
template <class W, class Product>
void run(const Bench& b, const std::vector<W>& all, uint32_t panels, uint32_t repeat, double* out,
         const Product& product) {
  const auto copies = static_cast<uint32_t>(all.size());
  const uint32_t count = std::max(std::min(copies, 2u), copies / b.n);
  const auto one = [&](uint32_t i, uint32_t begin, uint32_t end) { product(all[i], begin, end); };
  for (uint32_t r = 0; r < repeat; r++) out[r] = seconds_of(b.threads, count, panels, one);
}

void bench_product(const Bench& b, uint32_t repeat, double* out_seconds, uint64_t* out_bytes) {
  const auto format = static_cast<HeadFormat>(b.kind == 0 ? 0 : b.kind - 1);
  const uint64_t bytes = b.kind == 0 ? packed_ternary_bytes(b.rows, b.cols)
                                     : packed_head_bytes(format, b.rows, b.cols);
  const auto copies = static_cast<uint32_t>(std::max<uint64_t>(1, MEMORY_BYTES / bytes));
  const auto memory = std::make_shared<Mapping>(bytes * copies, "measuring products");
  fill(memory->as<uint8_t>(), bytes * copies, b.kind == 0, b.threads);
  Inputs x(b.n, b.cols);
  std::vector<float> y(size_t{b.n} * b.rows);
  *out_bytes = bytes;
  if (b.kind == 0) {
    std::vector<PackedTernary> all;
    for (uint32_t i = 0; i < copies; i++)
      all.push_back(empty_packed(b.rows, b.cols, memory, i * bytes));
    const Int8Rows rows = x.bytes();
    run(b, all, all[0].panels(), repeat, out_seconds,
        [&](const PackedTernary& w, uint32_t begin, uint32_t end) {
          ternary_product(w, begin, end, rows, b.n, y.data(), b.rows);
        });
    return;
  }
  std::vector<PackedHead> all;
  for (uint32_t i = 0; i < copies; i++)
    all.push_back(empty_head(format, b.rows, b.cols, memory, i * bytes));
  const Int15Rows rows = x.words();
  run(b, all, all[0].panels(), repeat, out_seconds,
      [&](const PackedHead& w, uint32_t begin, uint32_t end) {
        head_product(w, begin, end, rows, b.n, y.data(), b.rows);
      });
}

}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_bench_product(uint32_t kind, uint32_t rows, uint32_t cols, uint32_t n, uint32_t threads,
                         uint32_t repeat, double* out_seconds, uint64_t* out_bytes) {
  return guard([&] {
    const FloatEnvironment environment;
    require(out_seconds != nullptr && out_bytes != nullptr && kind <= 3, MG_E_INVALID,
            "mg_bench_product: null argument, or an unknown kind");
    require(rows >= 1 && rows <= 1u << 20 && cols >= 1 && cols <= 1u << 16 && n >= 1 &&
                n <= 1024 && repeat >= 1,
            MG_E_INVALID, "mg_bench_product: rows, cols, n or repeat out of range");
    bench_product({kind, rows, cols, n, resolve_threads(threads)}, repeat, out_seconds, out_bytes);
    return int32_t{MG_OK};
  });
}
}
