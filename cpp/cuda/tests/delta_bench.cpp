// Speed of a round's arithmetic on a GPU, by the bytes that each kernel must move, to be held
// against the bandwidth of the memory. Argument: millions of parameters (618). In the emulation it
// runs a few thousand, to be compiled and tried like the tests.
#include "../kernels/delta.hpp"

#include "../../codec/delta_format.hpp"
#include "bench.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

constexpr int RUNS = MG_EMULATED ? 1 : 10;

/** Random values: a block of zeros would take a shorter way. */
DeviceArray<float> random_floats(const Stream& stream, uint64_t n, unsigned seed) {
  Random random(seed);
  std::vector<float> some(std::min<uint64_t>(n, 1 << 20));
  for (float& x : some) x = static_cast<float>(random.normal() * 1e-3);
  DeviceArray<float> all(n);
  for (uint64_t at = 0; at < n; at += some.size())
    copy_in(stream, all.data() + at, some.data(),
            std::min<uint64_t>(some.size(), n - at) * sizeof(float));
  stream.wait();
  return all;
}

struct Bench {
  Stream stream;
  uint64_t n;
  DeviceArray<float> base, params, residual, momentum, sum;
  DeviceArray<uint8_t> values;
  DeviceArray<float> scales;
  DeviceArray<uint32_t> worst{1};

  explicit Bench(uint64_t count)
      : n(count),
        base(random_floats(stream, count, 1)),
        params(random_floats(stream, count, 2)),
        residual(random_floats(stream, count, 3)),
        momentum(random_floats(stream, count, 4)),
        sum(random_floats(stream, count, 5)),
        values(count * sizeof(float) + 16),
        scales(magnet::codec::block_count(count)) {
    fill_bytes(stream, worst.data(), 0, sizeof(uint32_t));
  }

  template <class F>
  void row(const char* what, const char* kind, uint64_t bytes, const F& run) const {
    const double seconds = time_of(stream, RUNS, run);
    std::printf("%-24s %-5s %9.1f us  %7.1f GB/s\n", what, kind, seconds * 1e6,
                static_cast<double>(bytes) / seconds / 1e9);
    std::fflush(stdout);
  }

  void run(uint32_t kind, const char* name) const {
    const DeltaSource source{base.data(), params.data(), residual.data(), n};
    const PackedDelta packed{kind, n, scales.data(), values.data()};
    const uint64_t floats = n * sizeof(float);
    const uint64_t small = magnet::codec::delta_bytes(kind, n) - MG_DELTA_HEADER_BYTES;
    row("largest magnitude", name, 3 * floats,
        [&] { delta_worst(stream, source, worst.data()); });
    row("compress, with feedback", name, 4 * floats + small,
        [&] { delta_compress(stream, source, packed); });
    row("check bytes", name, small, [&] { delta_check(stream, packed, worst.data()); });
    row("check sum", name, floats + small,
        [&] { delta_add(stream, packed, 1e-3f, sum.data(), worst.data()); });
    row("add to sum", name, 2 * floats + small,
        [&] { delta_add(stream, packed, 1e-3f, sum.data(), nullptr); });
  }

  void run_step() const {
    const OuterStep step{base.data(), momentum.data(), sum.data(), 0.7f, 0.9f, n};
    const uint64_t floats = n * sizeof(float);
    row("check outer step", "", 3 * floats, [&] { outer_step(stream, step, worst.data()); });
    row("outer step", "", 5 * floats, [&] { outer_step(stream, step, nullptr); });
  }
};

}  // namespace

int main(int count, char** arguments) {
  const uint64_t millions = count > 1 ? std::strtoull(arguments[1], nullptr, 10) : 618;
  const Bench bench(MG_EMULATED ? 5000 : millions * 1'000'000);
  bench.run(MG_DELTA_INT4, "int4");
  bench.run(MG_DELTA_INT8, "int8");
  bench.run(MG_DELTA_FP16, "fp16");
  bench.run(MG_DELTA_FP32, "fp32");
  bench.run_step();
  return 0;
}
