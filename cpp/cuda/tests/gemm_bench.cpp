// Speed of the matrix products of a training step on a GPU: every path of gemm.hpp on the shapes
// of the 618M model. Argument: rows (default 16384). In the emulation it runs one small shape, to
// be compiled and tried like the tests.
#include "../kernels/gemm.hpp"
#include "../kernels/gemm_cublas.hpp"
#include "bench.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

struct Work {
  const char* name;
  int64_t m, n, k;
  Layout a, b;
};

void print(const char* path, const char* what, const Work& w, double seconds) {
  const double operations = 2.0 * static_cast<double>(w.m) * static_cast<double>(w.n * w.k);
  std::printf("%-7s %-22s %7lld x %7lld x %7lld  %9.1f us  %7.1f TFLOP/s\n", path, what,
              static_cast<long long>(w.m), static_cast<long long>(w.n),
              static_cast<long long>(w.k), seconds * 1e6, operations / seconds / 1e12);
  std::fflush(stdout);
}

/** Random values: zeros would let the clocks rise. */
template <class T>
DeviceMatrix<T> random_matrix(const Stream& stream, int64_t rows, int64_t columns) {
  Random random(1);
  const int64_t some = std::min<int64_t>(rows, 256);
  Reals values(static_cast<size_t>(some * columns));
  for (double& x : values)
    x = std::is_same_v<T, int8_t> ? static_cast<double>(random.below(255) - 127) : random.normal();
  const auto few = upload_matrix<T>(stream, some, columns, values);
  DeviceMatrix<T> all(stream, rows, columns);
  for (int64_t r = 0; r < rows; r += some)
    copy_on_device(
        stream, all.view().row(r), few.view().data,
        static_cast<uint64_t>(std::min(some, rows - r) * all.view().stride) * sizeof(T));
  stream.wait();
  return all;
}

template <class C>
void bench(const Work& w, int runs) {
  const Stream stream;
  const bool a_mn = w.a == Layout::transposed;
  const bool b_mn = w.b == Layout::plain;
  const auto a = random_matrix<bf16>(stream, a_mn ? w.k : w.m, a_mn ? w.m : w.k);
  const auto b = random_matrix<bf16>(stream, b_mn ? w.k : w.n, b_mn ? w.n : w.k);
  const DeviceMatrix<C> c(stream, w.m, w.n);
  const Epilogue epilogue{nullptr, std::is_same_v<C, float>};
  for (const char* path : {"cublas", "wgmma", "mma"}) {
    // Another path would take its products.
    if (std::strcmp(path, "cublas") == 0 && cublas::functions() == nullptr) continue;
    setenv("MAGNET_GEMM", path, 1);
    print(path, w.name, w, time_of(stream, runs, [&] {
            gemm<bf16, C>(stream, a.view(), w.a, b.view(), w.b, epilogue, c.view());
          }));
  }
}

void bench_codes(const Work& w, int runs) {
  const Stream stream;
  const auto x = random_matrix<int8_t>(stream, w.m, w.k);
  const auto codes = random_matrix<int8_t>(stream, w.n, w.k);
  const auto inverse = upload_reals<float>(stream, Reals(static_cast<size_t>(w.m), 0.01));
  const DeviceMatrix<bf16> y(stream, w.m, w.n);
  for (const char* path : {"wgmma", "mma"}) {
    setenv("MAGNET_GEMM", path, 1);
    print(path, "codes", w, time_of(stream, runs, [&] {
            gemm_codes<bf16>(stream, x.view(), inverse.data(), codes.view(), inverse.data(),
                             nullptr, y.view());
          }));
  }
}

}  // namespace

int main(int count, char** arguments) {
  const int64_t rows = MG_EMULATED ? 32 : count > 1 ? std::atoll(arguments[1]) : 16384;
  const int runs = MG_EMULATED ? 1 : 20;
  constexpr int64_t D = MG_EMULATED ? 64 : 1536;
  const std::vector<int64_t> widths =
      MG_EMULATED ? std::vector<int64_t>{24} : std::vector<int64_t>{1536, 384, 4096};
  for (const int64_t n : widths) {
    bench_codes({"", rows, n, D, Layout::plain, Layout::transposed}, runs);
    bench<bf16>({"dx = dy w", rows, D, n, Layout::plain, Layout::plain}, runs);
    bench<float>({"dw += dy^T x", n, D, rows, Layout::transposed, Layout::plain}, runs);
  }
  if (MG_EMULATED) return 0;
  bench_codes({"", rows, 1536, 4096, Layout::plain, Layout::transposed}, runs);
  bench<bf16>({"dx = dy w, down", rows, 4096, 1536, Layout::plain, Layout::plain}, runs);
  bench<float>({"dw += dy^T x, down", 1536, 4096, rows, Layout::transposed, Layout::plain}, runs);
  constexpr int64_t VOCAB = 128256;
  bench<bf16>({"logits", 4096, VOCAB, 1536, Layout::plain, Layout::transposed}, 5);
  bench<bf16>({"dx of the head", 4096, 1536, VOCAB, Layout::plain, Layout::plain}, 5);
  bench<float>({"dw of the head", VOCAB, 1536, 4096, Layout::transposed, Layout::plain}, 5);
  return 0;
}
