// Streams, events and graphs: copies between two streams in the order that events give them, graphs
// that see what their pointers hold when they start, work that grows a workspace while it is captured.
#include "../trainer/relay.hpp"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

constexpr uint64_t COUNT = 1000;
constexpr uint64_t BYTES = COUNT * sizeof(float);

__global__ void add_kernel(float* x, const float* y, int64_t n) {
  const int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (i < n) x[i] += y[i];
}
void add(const Stream& stream, const DeviceArray<float>& x, const float* y) {
  const auto blocks = static_cast<unsigned>((COUNT + 127) / 128);
  MG_LAUNCH(add_kernel, stream, {dim3(blocks), dim3(128)}, x.data(), y,
            static_cast<int64_t>(COUNT));
}

void fill(const PinnedArray<float>& x, float value) {
  for (uint64_t i = 0; i < COUNT; i++) x[i] = value;
}
bool holds(const Stream& stream, const DeviceArray<float>& x, double value) {
  return download_reals(stream, x.data(), COUNT) == Reals(COUNT, value);
}

/** A stream brings data in two buffers, another adds them up: each waits for the other's events. */
void test_two_streams() {
  Stream feed;
  Stream work;
  Event there[2];
  Event taken[2];
  const PinnedArray<float> host[2] = {PinnedArray<float>(COUNT), PinnedArray<float>(COUNT)};
  const DeviceArray<float> device[2] = {DeviceArray<float>(COUNT), DeviceArray<float>(COUNT)};
  const DeviceArray<float> sum(COUNT);
  fill_bytes(work, sum.data(), 0, BYTES);
  double wanted = 0.0;
  for (int i = 0; i < 20; i++) {
    const int b = i % 2;
    if (i >= 2) there[b].wait();  // the host's buffer has been read
    fill(host[b], static_cast<float>(i));
    wanted += i;
    if (i >= 2) feed.wait_for(taken[b]);
    copy_in(feed, device[b].data(), host[b].data(), BYTES);
    there[b].record(feed);
    work.wait_for(there[b]);
    add(work, sum, device[b].data());
    taken[b].record(work);
  }
  check(holds(work, sum, wanted), "two streams and their events");
  check(taken[1].seconds_since(taken[0]) >= 0.0, "time between events");
}

/** A graph reads pinned memory when it runs, and keeps memory that was allocated during capture. */
void test_graph() {
  const Stream stream;
  const PinnedArray<float> host(COUNT);
  const DeviceArray<float> sum(COUNT);
  fill_bytes(stream, sum.data(), 0, BYTES);
  const Graph graph(stream, [&] {
    auto* const piece = static_cast<float*>(stream.workspace(BYTES));
    copy_in(stream, piece, host.data(), BYTES);
    add(stream, sum, piece);
    auto* const larger = static_cast<float*>(stream.workspace(100 * BYTES));
    copy_on_device(stream, larger, piece, BYTES);
    add(stream, sum, larger);
  });
  check(holds(stream, sum, 0.0), "captured work does not run");
  for (int i = 1; i <= 3; i++) {
    fill(host, static_cast<float>(i));
    graph.start(stream);
    stream.wait();
  }
  check(holds(stream, sum, 2.0 * (1 + 2 + 3)), "a graph started three times");
}

/** What is not pinned may go once the call returns. */
void test_host_memory() {
  const Stream stream;
  const DeviceArray<float> device(COUNT);
  copy_in(stream, device.data(), std::vector<float>(COUNT, 3.0f).data(), BYTES);
  check(holds(stream, device, 3.0), "memory that is not pinned");
}

/** There and back through the pieces, whole ones and parts of one, one copy behind the other. */
void test_relay() {
  const Stream stream;
  const PinnedArray<unsigned char> pieces(Relay::BYTES);
  Relay relay(stream, pieces.data());
  Random random(3);
  for (const uint64_t size : {uint64_t{1}, Relay::PIECE, 3 * Relay::PIECE + 5}) {
    std::vector<unsigned char> sent[2];
    const DeviceArray<unsigned char> there[2] = {DeviceArray<unsigned char>(size),
                                                 DeviceArray<unsigned char>(size)};
    for (int i = 0; i < 2; i++) {
      for (uint64_t at = 0; at < size; at++)
        sent[i].push_back(static_cast<unsigned char>(random.below(256)));
      std::vector<unsigned char> given = sent[i];
      relay.to_device(there[i].data(), given.data(), size);
      given.assign(size, 0);  // read by then
    }
    for (int i = 0; i < 2; i++) {
      std::vector<unsigned char> back(size);
      relay.from_device(back.data(), there[i].data(), size);
      check(back == sent[i], "relay: " + std::to_string(size) + " bytes there and back");
    }
  }
  relay.to_device(nullptr, nullptr, 0);
  relay.from_device(nullptr, nullptr, 0);
}

}  // namespace

int main() {
  for (const char* order : {"forward", "reverse", "1"}) {
    setenv("MAGNET_EMULATION_ORDER", order, 1);
    test_two_streams();
    test_graph();
    test_relay();
  }
  test_host_memory();
  return finish("streams");
}
