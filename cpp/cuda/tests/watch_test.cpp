// Only in the emulation: that the watch (platform/emulation_watch.hpp) finds what it is there for, and
// nothing where nothing is. Every kernel here is one of a pair: right, and with the defect that
// `broken` makes, as somebody would who forgets a line. Without the watch only what the runtime refuses:
// work that must not be captured, launches that no device takes.
#include <memory>

#include "../platform/wgmma.hpp"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;
namespace watch = magnet::emulation::watch;

namespace {

constexpr unsigned THREADS = 128;

/** Runs right and broken; only the second may be reported, as `wanted` and with a line of this file. */
void expect(const std::string& what, const std::string& wanted,
            const std::function<void(bool broken)>& work) {
  if (!watch::WATCHED) return;
  work(false);
  for (const std::string& report : watch::take_reports())
    check(false, what + ", which is right: " + report);
  work(true);
  bool found = false;
  std::string all;
  for (const std::string& report : watch::take_reports()) {
    found = found || (report.find(wanted) != std::string::npos &&
                      report.find("watch_test.cpp:") != std::string::npos);
    all += "\n  " + report;
  }
  check(found, what + ": not found as \"" + wanted + "\", but:" + all);
}

const Geometry ONE_BLOCK{dim3(1), dim3(THREADS), 8192};

// ---- Threads of a block

enum class Between { BLOCK, WARP, SHUFFLE, NOTHING };

/** Each thread reads what the one `distance` further has written. */
__global__ void exchange_kernel(float* out, Between between, unsigned distance) {
  float* const values = dynamic_shared<float>();
  const unsigned t = threadIdx.x;
  values[t] = static_cast<float>(t);
  if (between == Between::BLOCK) __syncthreads();
  if (between == Between::WARP) __syncwarp();
  if (between == Between::SHUFFLE) __shfl_xor_sync(FULL_WARP, t, 1);
  out[t] = values[t ^ distance];
}

__global__ void static_shared_kernel(float* out, bool broken) {
  __shared__ float values[THREADS];
  values[threadIdx.x] = 1.0f;
  if (!broken) __syncthreads();
  out[threadIdx.x] = values[threadIdx.x ^ 64];
}

/** A buffer is written again while others may still read it. */
__global__ void reuse_kernel(float* out, bool broken) {
  float* const values = dynamic_shared<float>();
  float sum = 0.0f;
  for (int i = 0; i < 2; i++) {
    values[threadIdx.x] = static_cast<float>(i);
    __syncthreads();
    sum += values[threadIdx.x ^ 32];
    if (!broken) __syncthreads();
  }
  out[threadIdx.x] = sum;
}

/** Bytes of one word by several threads are no race; the same byte is. */
__global__ void bytes_kernel(int8_t* out, bool broken) {
  out[broken ? threadIdx.x / 2 : threadIdx.x] = 1;
}

__global__ void count_kernel(unsigned* out, bool broken) {
  if (broken && threadIdx.x == 40)
    *out += 1;
  else
    atomicAdd(out, 1u);
}

__global__ void async_kernel(const float4* in, float4* out, int missing) {
  float4* const stage = dynamic_shared<float4>();
  cp_async_16(stage + threadIdx.x, in + threadIdx.x);
  cp_async_commit();
  if (missing != 1) cp_async_wait<0>();
  if (missing != 2) __syncthreads();
  out[threadIdx.x] = stage[missing == 1 ? threadIdx.x : threadIdx.x ^ 1];
}

void test_threads(const Stream& stream) {
  const DeviceArray<float> out(4 * THREADS);
  const DeviceArray<float> in = upload(stream, std::vector<float>(4 * THREADS, 1.0f));
  const DeviceArray<int8_t> bytes(THREADS);
  const DeviceArray<unsigned> count(1);
  const auto exchange = [&](Between right, Between wrong, unsigned distance) {
    return [&stream, &out, right, wrong, distance](bool broken) {
      MG_LAUNCH(exchange_kernel, stream, ONE_BLOCK, out.data(), broken ? wrong : right, distance);
      stream.wait();
    };
  };
  const char* const race = "race in shared memory";
  expect("no __syncthreads", race, exchange(Between::BLOCK, Between::NOTHING, 64));
  expect("no __syncwarp", race, exchange(Between::WARP, Between::NOTHING, 1));
  expect("a shuffle in place of __syncwarp", race, exchange(Between::WARP, Between::SHUFFLE, 1));
  expect("__syncwarp in place of __syncthreads", race, exchange(Between::BLOCK, Between::WARP, 32));
  const auto simple = [&](auto kernel, auto* target) {
    return [&stream, kernel, target](bool broken) {
      MG_LAUNCH(kernel, stream, ONE_BLOCK, target, broken);
      stream.wait();
    };
  };
  expect("a static array", race, simple(static_shared_kernel, out.data()));
  expect("a buffer that is used again", race, simple(reuse_kernel, out.data()));
  expect("bytes", "race in global memory", simple(bytes_kernel, bytes.data()));
  fill_bytes(stream, count.data(), 0, sizeof(unsigned));
  expect("a sum beside atomics", "race in global memory", simple(count_kernel, count.data()));
  for (const int missing : {1, 2})
    expect(missing == 1 ? "no wait for cp.async" : "no barrier after cp.async", race,
           [&](bool broken) {
             MG_LAUNCH(async_kernel, stream, ONE_BLOCK, reinterpret_cast<const float4*>(in.data()),
                       reinterpret_cast<float4*>(out.data()), broken ? missing : 0);
             stream.wait();
           });
}

// ---- Blocks, streams and the host

__global__ void fill_kernel(float* out, float value, bool all_blocks) {
  if (blockIdx.x == 0 || all_blocks) out[threadIdx.x] = value;
}
__global__ void copy_kernel(float* out, const float* in, bool waits) {
  if (waits) wait_for_previous();
  out[threadIdx.x] = in[threadIdx.x];
}

void test_order() {
  const Stream first;
  Stream second;
  Event there;
  const DeviceArray<float> a(THREADS);
  const DeviceArray<float> b(THREADS);
  const DeviceArray<float> c(THREADS);
  const PinnedArray<float> host(THREADS);
  const auto fill = [&](const Stream& stream, bool all_blocks = false) {
    MG_LAUNCH(fill_kernel, stream, {dim3(2), dim3(THREADS)}, a.data(), 1.0f, all_blocks);
  };
  const auto copy = [&](const Stream& stream, const DeviceArray<float>& to, bool overlaps = false,
                        bool waits = true) {
    const Geometry geometry{dim3(1), dim3(THREADS), 0, overlaps};
    MG_LAUNCH(copy_kernel, stream, geometry, to.data(), a.data(), waits);
  };
  const auto wait = [&] {
    first.wait();
    second.wait();
  };
  const char* const race = "race in global memory";
  expect("two blocks write a word", race, [&](bool broken) {
    fill(first, broken);
    wait();
  });
  expect("no event between two streams", race, [&](bool broken) {
    fill(first);
    there.record(first);
    if (!broken) second.wait_for(there);
    copy(second, b);
    wait();
  });
  expect("an event that was recorded too early", race, [&](bool broken) {
    if (broken) there.record(first);
    fill(first);
    if (!broken) there.record(first);
    second.wait_for(there);
    copy(second, b);
    wait();
  });
  expect("an overlapping kernel without a wait", race, [&](bool broken) {
    fill(first);
    copy(first, b, true, !broken);
    wait();
  });
  expect("page-locked memory is read too early", "race in global memory", [&](bool broken) {
    fill(first);
    copy_out(first, host.data(), a.data(), THREADS * sizeof(float));
    if (!broken) first.wait();
    check(host[0] == host[0] || broken, "a number");
    wait();
  });
  expect("page-locked memory is changed too early", "race in global memory", [&](bool broken) {
    host[1] = 1.0f;
    copy_in(first, c.data(), host.data(), THREADS * sizeof(float));
    if (!broken) first.wait();
    host[1] = 2.0f;
    wait();
  });
}

// ---- Places and values

__global__ void read_at_kernel(float* out, const float* in, int64_t at) {
  if (threadIdx.x == 0) *out = in[at];
}
__global__ void read_vector_kernel(float* out, const float* in, int64_t at) {
  if (threadIdx.x == 0) *out = static_cast<float>(*reinterpret_cast<const double*>(in + at));
}
__global__ void shared_at_kernel(float* out, int64_t at) {
  float* const values = dynamic_shared<float>();
  if (threadIdx.x > 0) return;
  values[at] = 1.0f;
  *out = values[at];
}
__global__ void no_value_kernel(float* out, bool broken) {
  float* const values = dynamic_shared<float>();
  if (threadIdx.x > 0) return;
  if (!broken) values[3] = 1.0f;
  *out = values[3];
}

void test_places(const Stream& stream) {
  constexpr int64_t COUNT = 10;
  const DeviceArray<float> out(1);
  const DeviceArray<float> in = upload(stream, std::vector<float>(COUNT, 1.0f));
  const DeviceArray<float> empty(COUNT);
  const Geometry warp{dim3(1), dim3(LANES), COUNT * sizeof(float)};
  const auto read = [&](const float* p, int64_t at) {
    MG_LAUNCH(read_at_kernel, stream, warp, out.data(), p, at);
    stream.wait();
  };
  const char* const outside = "outside of allocated memory";
  for (const int64_t at : {COUNT, int64_t{-1}})
    expect("a read of element " + std::to_string(at), outside,
           [&](bool broken) { read(in.data(), broken ? at : 0); });
  expect("memory that was freed", outside, [&](bool broken) {
    const float* freed;
    {
      const DeviceArray<float> kept = upload(stream, std::vector<float>(COUNT, 1.0f));
      freed = kept.data();
    }
    read(broken ? freed : in.data(), 0);
  });
  expect("shared memory beyond the launch's", outside, [&](bool broken) {
    MG_LAUNCH(shared_at_kernel, stream, warp, out.data(), broken ? COUNT : COUNT - 1);
    stream.wait();
  });
  expect("8 bytes at a multiple of 4", "not aligned", [&](bool broken) {
    MG_LAUNCH(read_vector_kernel, stream, warp, out.data(), in.data(), int64_t{broken ? 1 : 2});
    stream.wait();
  });
  expect("global memory without a value", "without a value",
         [&](bool broken) { read(broken ? empty.data() : in.data(), 0); });
  expect("shared memory without a value", "without a value", [&](bool broken) {
    MG_LAUNCH(no_value_kernel, stream, warp, out.data(), broken);
    stream.wait();
  });
  expect("the host in the device's memory", "the host touches", [&](bool broken) {
    const PinnedArray<float> host(1);
    host[0] = 1.0f;
    const volatile float* const p = broken ? in.data() : host.data();
    check(*p == 1.0f, "the emulation reads it all the same");
  });
}

// ---- Bulk copies and products of warpgroups

struct Tiles {
  unsigned char a[8192];
  unsigned char b[16384];
  Mbarrier full;
};
static_assert(sizeof(Tiles) <= 25 * 1024);
constexpr int COLUMNS = 128;
enum class Forgotten { NOTHING, FENCE, ARRIVAL, PROXY, REGISTERS, WAIT, STAGE };

/** Two tiles come by bulk copies (or, for the proxies, from the threads) and are multiplied. */
__global__ void product_kernel(float* out, const __grid_constant__ TensorMap map, bool by_threads,
                               Forgotten forgotten) {
  auto* const tiles = dynamic_shared<Tiles>();
  const bool leads = threadIdx.x == 0;
  if (leads) {
    mbarrier_init(&tiles->full, 1);
    if (forgotten != Forgotten::FENCE) mbarrier_init_done();
  }
  if (by_threads) {
    for (unsigned i = threadIdx.x; i < sizeof(tiles->a) / 4; i += WARPGROUP)
      reinterpret_cast<uint32_t*>(tiles->a)[i] = 0;
    for (unsigned i = threadIdx.x; i < sizeof(tiles->b) / 4; i += WARPGROUP)
      reinterpret_cast<uint32_t*>(tiles->b)[i] = 0;
    if (forgotten != Forgotten::PROXY) mbarrier_init_done();  // a fence of the proxies, too
  }
  __syncthreads();
  const auto bring = [&] {
    mbarrier_arrive_expect(&tiles->full, sizeof(tiles->a) + sizeof(tiles->b));
    copy_tile(tiles->a, &map, &tiles->full, 0, 0);
    copy_tile(tiles->b, &map, &tiles->full, 0, 64);
    copy_tile(tiles->b + sizeof(tiles->a), &map, &tiles->full, 0, 128);
  };
  if (!by_threads) {
    if (leads) bring();
    if (forgotten != Forgotten::WAIT) mbarrier_wait(&tiles->full, 0);
    __syncthreads();  // all have seen this phase before the next one
  }
  float sums[COLUMNS / 2];
  for (float& x : sums) x = 0.0f;
  if (forgotten != Forgotten::REGISTERS) wgmma_fence();
  wgmma<COLUMNS, false, false>(sums, matrix_descriptor<false>(tiles->a),
                               matrix_descriptor<false>(tiles->b), bf16{});
  wgmma_commit();
  if (forgotten == Forgotten::ARRIVAL) sums[0] += 1.0f;
  if (forgotten == Forgotten::STAGE && leads) bring();
  wgmma_wait<0>();
  wgmma_results(sums);
  __syncthreads();
  if (!by_threads && forgotten != Forgotten::WAIT) {
    if (forgotten != Forgotten::STAGE && leads) bring();
    mbarrier_wait(&tiles->full, 1);
  }
  if (forgotten == Forgotten::WAIT) mbarrier_wait(&tiles->full, 0);
  for (int i = 0; i < COLUMNS / 2; i++) out[i * WARPGROUP + threadIdx.x] = sums[i];
}

void test_products(const Stream& stream) {
  constexpr int64_t ROWS = 192;
  const DeviceArray<float> out(COLUMNS / 2 * WARPGROUP);
  const DeviceArray<uint16_t> in = upload(stream, std::vector<uint16_t>(ROWS * 64, 0x3f80));
  const TensorMap map = make_tensor_map(in.data(), 2, 64, ROWS, 64, 64);
  const Geometry geometry{dim3(1), dim3(WARPGROUP), 25 * 1024};
  const auto run = [&](bool by_threads, Forgotten forgotten) {
    return [&stream, &out, map, geometry, by_threads, forgotten](bool broken) {
      MG_LAUNCH(product_kernel, stream, geometry, out.data(), map, by_threads,
                broken ? forgotten : Forgotten::NOTHING);
      stream.wait();
    };
  };
  const char* const race = "race in shared memory";
  expect("no fence after mbarrier.init", race, run(false, Forgotten::FENCE));
  expect("wgmma reads what threads wrote without a fence", race, run(true, Forgotten::PROXY));
  expect("wgmma before its operands are there", race, run(false, Forgotten::WAIT));
  expect("a copy into operands of a wgmma in flight", race, run(false, Forgotten::STAGE));
  expect("no wgmma.fence", "registers of wgmma were written", run(true, Forgotten::REGISTERS));
  expect("registers of a wgmma in flight", "registers of a wgmma in flight",
         run(true, Forgotten::ARRIVAL));
}

// ---- What the runtime refuses

void expect_refused(const std::string& what, const char* wanted,
                    const std::function<void()>& work) {
  std::string said = "nothing";
  try {
    work();
  } catch (const magnet::Error& e) {
    said = e.what();
  }
  check(said.find(wanted) != std::string::npos, what + ": refused as " + said);
}

void test_capture() {
  Stream stream;
  Stream other;
  Event event;
  event.record(other);
  const DeviceArray<float> device(THREADS);
  const PinnedArray<float> pinned(THREADS);
  std::vector<float> host(THREADS);
  const uint64_t bytes = THREADS * sizeof(float);
  const auto capture = [&](const char* what, const char* error, const std::function<void()>& work) {
    expect_refused(std::string(what) + " in a capture", error,
                   [&] { const Graph graph(stream, work); });
  };
  capture("an allocation", "900", [] { const DeviceArray<float> more(1); });
  capture("page-locked memory", "900", [] { const PinnedArray<float> more(1); });
  auto freed = std::make_unique<DeviceArray<float>>(1);
  capture("freed memory", "901", [&] { freed.reset(); });
  capture("a wait", "900", [&] { stream.wait(); });
  capture("a copy from memory of the host", "900",
          [&] { copy_in(stream, device.data(), host.data(), bytes); });
  capture("a copy to memory of the host", "900",
          [&] { copy_out(stream, host.data(), device.data(), bytes); });
  capture("another stream", "900", [&] { fill_bytes(other, device.data(), 0, bytes); });
  capture("an event of another stream", "905", [&] { stream.wait_for(event); });
  capture("a capture", "operation not permitted", [&] { const Graph inner(stream, [] {}); });
  // After all that the stream is as before.
  const Graph graph(stream, [&] { copy_in(stream, device.data(), pinned.data(), bytes); });
  for (uint64_t i = 0; i < THREADS; i++) pinned[i] = 7.0f;
  graph.start(stream);
  check(download(stream, device.data(), THREADS) == std::vector<float>(THREADS, 7.0f), "a graph");
}

/** Streams work as late as a device may: what the host does too early gets into results. */
void test_missing_wait(const Stream& stream) {
  setenv("MAGNET_EMULATION_ORDER", "reverse", 1);
  const DeviceArray<float> device(1);
  const PinnedArray<float> host(1);
  host[0] = 1.0f;
  copy_in(stream, device.data(), host.data(), sizeof(float));
  host[0] = 2.0f;  // too early
  check(download(stream, device.data(), 1)[0] == 2.0f, "a wait that is missing shows");
  watch::take_reports();
}

void test_launches(const Stream& stream) {
  const DeviceArray<float> out(THREADS);
  const auto start = [&](const Geometry& geometry) {
    MG_LAUNCH(fill_kernel, stream, geometry, out.data(), 1.0f, false);
    stream.wait();
  };
  expect_refused("too many threads", "threads", [&] { start({dim3(1), dim3(1056)}); });
  expect_refused("part of a warp", "threads", [&] { start({dim3(1), dim3(33)}); });
  expect_refused("no block", "grid", [&] { start({dim3(0), dim3(32)}); });
  expect_refused("too many blocks", "grid", [&] { start({dim3(1, 65536), dim3(32)}); });
  expect_refused("too much shared memory", "shared memory",
                 [&] { start({dim3(1), dim3(32), 227 * 1024 + 1}); });
}

}  // namespace

int main() {
  for (const char* order : {"forward", "reverse", "1"}) {
    setenv("MAGNET_EMULATION_ORDER", order, 1);
    const Stream stream;
    test_threads(stream);
    test_order();
    test_places(stream);
    test_products(stream);
    test_capture();
    test_launches(stream);
    test_missing_wait(stream);
  }
  return finish("watch");
}
