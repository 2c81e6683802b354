// A trainer's rounds on the device against the CPU's codecs, whose very sources are compiled in: every
// bit of pseudo-gradients, residuals, sums and outer steps; the same refusals of the same bytes and
// numbers, and nothing changed by them.
#include "../../codec/delta_compress.cpp"
#include "../../codec/delta_decompress.cpp"
#include "../../codec/outer_step.cpp"
#include "../trainer/rounds.hpp"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;
constexpr uint32_t KINDS[] = {MG_DELTA_FP32, MG_DELTA_FP16, MG_DELTA_INT8, MG_DELTA_INT4};

std::string named(const std::string& what, uint32_t kind, uint64_t n) {
  const char* const names[] = {"fp32", "fp16", "int8", "int4"};
  return what + " " + names[kind] + " " + std::to_string(n);
}

/** A block of each sort in turn: usual values, ties of int8 and int4, zeros of both signs, many
 * magnitudes, subnormal ones. All are within what fp16 holds. */
Floats assorted(Random& random, uint64_t n) {
  Floats out(n);
  for (uint64_t i = 0; i < n; i++) {
    const auto x = static_cast<float>(random.normal());
    const auto whole = static_cast<float>(random.below(15) - 7);
    switch (i / MG_DELTA_BLOCK % 6) {
      case 0: out[i] = x * 1e-3f; break;
      case 1: out[i] = i % 16 == 0 ? 7.0f : whole / 2.0f; break;
      case 2: out[i] = i % 2 == 0 ? 0.0f : -0.0f; break;
      case 3: out[i] = std::ldexp(x, static_cast<int>(random.below(40)) - 30); break;
      case 4: out[i] = std::ldexp(x, -static_cast<int>(random.below(12)) - 138); break;
      default: out[i] = i % 16 == 0 ? 127.0f : whole + 0.5f; break;
    }
  }
  return out;
}

bool same(const Floats& a, const Floats& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/** The arrays of one node, on the device and as the CPU has them. */
struct Node {
  uint64_t n;
  Stream stream;
  Floats base, params, momentum, residual, sum, delta;
  DeviceArray<float> device_params;
  PinnedArray<unsigned char> pieces;
  Relay relay;
  Rounds rounds;

  explicit Node(uint64_t count)
      : n(count),
        base(count), params(count), momentum(count), residual(count), sum(count), delta(count),
        device_params(count),
        pieces(Relay::BYTES),
        relay(stream, pieces.data()),
        rounds(relay, device_params.data(), count) {}

  void write(float* device, const Floats& values) {
    copy_in(stream, device, values.data(), n * sizeof(float));
    stream.wait();
  }
  void write(uint32_t which, const Floats& values) { write(rounds.arena(which), values); }
  bool holds(uint32_t which, const Floats& values) {
    return same(download(stream, rounds.arena(which), n), values);
  }
  bool holds_all() {
    return holds(Rounds::BASE, base) && holds(Rounds::MOMENTUM, momentum) &&
           holds(Rounds::RESIDUAL, residual) && holds(Rounds::SUM, sum);
  }
  /** What the CPU holds, to the device. */
  void send() {
    write(device_params.data(), params);
    write(Rounds::BASE, base);
    write(Rounds::MOMENTUM, momentum);
    write(Rounds::RESIDUAL, residual);
    write(Rounds::SUM, sum);
  }

  int32_t cpu_compress(uint32_t kind, bool feedback, Bytes& out) {
    const int32_t made = mg_delta_make(base.data(), params.data(), delta.data(), n, 1, nullptr);
    if (made != MG_OK) return made;
    return mg_delta_compress(kind, delta.data(), feedback ? residual.data() : nullptr, n, out.data(),
                             out.size(), 1, nullptr);
  }
  int32_t cpu_add(const Bytes& bytes, float weight) {
    const int32_t read =
        mg_delta_decompress(bytes.data(), bytes.size(), delta.data(), n, nullptr, 1, nullptr);
    if (read != MG_OK) return read;
    return mg_delta_accumulate(sum.data(), delta.data(), weight, n, 1, nullptr);
  }
  int32_t cpu_step(float lr, float mu) {
    return mg_outer_step(base.data(), momentum.data(), sum.data(), lr, mu, n, 1, nullptr);
  }
};

template <class F>
int32_t status_of(const F& call) {
  return magnet::guard([&] {
    call();
    return int32_t{MG_OK};
  });
}

Bytes room(uint32_t kind, uint64_t n) {
  uint64_t bytes = 0;
  mg_delta_bytes(kind, n, &bytes);
  return Bytes(bytes);
}

/** Rounds with error feedback: each node trains, sums what it made twice, and steps. */
void test_rounds(uint32_t kind, uint64_t n, bool feedback) {
  Random random(static_cast<unsigned>(n + kind));
  Node node(n);
  node.base = assorted(random, n);
  for (int round = 0; round < 3; round++) {
    const std::string what = named(feedback ? "feedback" : "plain", kind, n) + " round " +
                             std::to_string(round) + ": ";
    node.params = assorted(random, n);
    node.write(node.device_params.data(), node.params);
    if (round == 0) node.write(Rounds::BASE, node.base);
    Bytes expected = room(kind, n);
    Bytes made(expected.size(), 0xEE);
    const int32_t status = node.cpu_compress(kind, feedback, expected);
    check(status == MG_OK, what + "the CPU compresses");
    check(status_of([&] {
            node.rounds.compress(kind, feedback, made.data(), made.size(), nullptr);
          }) == MG_OK, what + "the device compresses");
    check(made == expected, what + "bytes");
    check(node.holds(Rounds::RESIDUAL, node.residual), what + "residual");
    node.sum.assign(n, 0.0f);
    for (const float weight : {0.3f, -1.7f}) {
      check(node.cpu_add(expected, weight) == MG_OK, what + "the CPU adds");
      node.rounds.add(made.data(), made.size(), weight, nullptr);
    }
    check(node.holds(Rounds::SUM, node.sum), what + "sum");
    const float lr = round == 1 ? 0.0f : 0.7f;
    const float mu = round == 2 ? 0.0f : 0.9f;
    check(node.cpu_step(lr, mu) == MG_OK, what + "the CPU steps");
    node.rounds.outer_step(lr, mu, nullptr);
    check(node.holds(Rounds::BASE, node.base), what + "base");
    check(node.holds(Rounds::MOMENTUM, node.momentum), what + "momentum");
    node.rounds.release(Rounds::SUM);
  }
}

/** Both sides say the same of these bytes, and what they refuse changes nothing. */
void offer(Node& node, const Bytes& bytes, const std::string& what) {
  const int32_t expected = node.cpu_add(bytes, 0.5f);
  const int32_t checked =
      status_of([&] { node.rounds.check(bytes.data(), bytes.size(), nullptr); });
  const int32_t added =
      status_of([&] { node.rounds.add(bytes.data(), bytes.size(), 0.5f, nullptr); });
  check(added == expected, what + ": added, " + std::to_string(added) + " and " +
                               std::to_string(expected));
  check(expected == MG_E_NUMERIC ? checked == MG_OK : checked == expected, what + ": checked");
  check(node.holds(Rounds::SUM, node.sum), what + ": sum");
}

void store_scale(Bytes& bytes, uint64_t at, float value) {
  std::memcpy(bytes.data() + MG_DELTA_HEADER_BYTES + at, &value, sizeof value);
}

void test_hostile(uint32_t kind, uint64_t n) {
  Random random(static_cast<unsigned>(100 + n + kind));
  Node node(n);
  node.base = assorted(random, n);
  node.sum = assorted(random, n);
  node.send();
  Bytes good = room(kind, n);
  node.cpu_compress(kind, false, good);
  const auto variant = [&](const std::string& what, const auto& change) {
    Bytes bytes = good;
    change(bytes);
    offer(node, bytes, named("hostile", kind, n) + ", " + what);
  };
  for (size_t i = 0; i < MG_DELTA_HEADER_BYTES; i++)
    variant("header " + std::to_string(i), [&](Bytes& b) { b[i] ^= 1; });
  variant("nothing", [](Bytes& b) { b.clear(); });
  variant("half a header", [](Bytes& b) { b.resize(12); });
  variant("a byte less", [](Bytes& b) { b.pop_back(); });
  variant("a byte more", [](Bytes& b) { b.push_back(0); });
  for (const float scale : {NAN, -NAN, INFINITY, -1.0f, -0.0f, 0.0f, 0x1p120f, 0x1.000002p120f})
    variant("first float " + std::to_string(scale), [&](Bytes& b) {
      if (b.size() >= MG_DELTA_HEADER_BYTES + sizeof scale) store_scale(b, 0, scale);
    });
  for (const int last : {0x80, 0x08, 0x88, 0x7F, 0x10, 0xF7, 0x7C, 0xFC, 0xFF})
    variant("last byte " + std::to_string(last),
            [&](Bytes& b) { b.back() = static_cast<uint8_t>(last); });
  for (int i = 0; i < 60; i++) {
    const auto at = static_cast<size_t>(random.below(static_cast<int64_t>(good.size())));
    const auto value = static_cast<uint8_t>(random.below(256));
    variant("byte " + std::to_string(at) + " is " + std::to_string(value),
            [&](Bytes& b) { b[at] = value; });
  }
}

/** A value that the CPU refuses, or just takes, as base at `at`. */
void test_magnitude(uint32_t kind, uint64_t n, uint64_t at, float value) {
  Random random(5);
  Node node(n);
  node.base = assorted(random, n);
  node.residual = assorted(random, n);
  for (float& x : node.residual) x *= 0.001f;
  node.base[at] = value;
  node.params[at] = 0.0f;
  node.residual[at] = 0.0f;
  node.send();
  const std::string what = named("magnitude", kind, n) + ", " + std::to_string(value);
  Bytes expected = room(kind, n);
  Bytes made(expected.size(), 0xEE);
  const int32_t status = node.cpu_compress(kind, true, expected);
  check(status_of([&] {
          node.rounds.compress(kind, true, made.data(), made.size(), nullptr);
        }) == status, what + ": status");
  check(made == (status == MG_OK ? expected : Bytes(expected.size(), 0xEE)), what + ": bytes");
  check(node.holds_all(), what + ": residual");
}

/** Sums and steps that overflow in one element leave everything; so do calls that are cancelled. */
void test_refusals(uint64_t n) {
  Random random(9);
  Node node(n);
  for (Floats* values : {&node.base, &node.momentum, &node.residual, &node.sum})
    *values = assorted(random, n);
  node.sum[n - 1] = 3e38f;
  node.params[n - 1] = -1e9f;
  node.send();
  Bytes bytes = room(MG_DELTA_FP32, n);
  node.cpu_compress(MG_DELTA_FP32, false, bytes);
  const std::string what = "refusals " + std::to_string(n) + ": ";
  const auto add = [&](float weight, const int32_t* cancel) {
    return status_of([&] { node.rounds.add(bytes.data(), bytes.size(), weight, cancel); });
  };
  const auto step = [&](float lr, float mu, const int32_t* cancel) {
    return status_of([&] { node.rounds.outer_step(lr, mu, cancel); });
  };
  const int32_t cancelled = 1;
  check(node.cpu_add(bytes, 1e30f) == MG_E_NUMERIC, what + "the CPU's sum overflows");
  check(add(1e30f, nullptr) == MG_E_NUMERIC, what + "the sum overflows");
  check(add(NAN, nullptr) == MG_E_NUMERIC, what + "a weight that is no number");
  check(add(1.0f, &cancelled) == MG_E_CANCELLED, what + "a cancelled sum");
  check(node.cpu_step(100.0f, 0.9f) == MG_E_NUMERIC, what + "the CPU's step overflows");
  check(step(100.0f, 0.9f, nullptr) == MG_E_NUMERIC, what + "the step overflows");
  check(step(-1.0f, 0.9f, nullptr) == MG_E_INVALID, what + "a negative rate");
  check(step(0.7f, 1.0f, nullptr) == MG_E_INVALID, what + "momentum 1");
  check(step(NAN, 0.0f, nullptr) == MG_E_INVALID, what + "a rate that is no number");
  check(step(0.7f, 0.9f, &cancelled) == MG_E_CANCELLED, what + "a cancelled step");
  check(status_of([&] {
          node.rounds.compress(MG_DELTA_INT4, true, bytes.data(), bytes.size(), nullptr);
        }) == MG_E_SHAPE, what + "room of another kind");
  check(status_of([&] { node.rounds.compress(7, true, bytes.data(), 1, nullptr); }) ==
            MG_E_INVALID, what + "an unknown kind");
  check(node.holds_all(), what + "nothing has changed");
  node.rounds.release(Rounds::SUM);
  check(step(0.7f, 0.9f, nullptr) == MG_E_INVALID, what + "a step of nothing");
  check(node.holds(Rounds::SUM, Floats(n, 0.0f)), what + "a released sum begins with zeros");
}

}  // namespace

int main() {
  for (const char* order : {"forward", "reverse", "7"}) {
    setenv("MAGNET_EMULATION_ORDER", order, 1);
    for (const uint32_t kind : KINDS) {
      for (const uint64_t n : {1, 2, 3, 4, 5, 127, 128, 129, 131, 1000, 5001, 20481})
        for (const bool feedback : {false, true}) test_rounds(kind, n, feedback);
      for (const uint64_t n : {1, 3, 130, 262}) test_hostile(kind, n);
      for (const float value : {65504.0f, 65504.004f, 65520.0f, 0x1p120f, -0x1.000002p120f, 3e38f,
                                INFINITY, -INFINITY, NAN})
        for (const uint64_t at : {0, 259}) test_magnitude(kind, 261, at, value);
    }
    test_refusals(261);
    test_refusals(4096);
  }
  return finish("delta_test");
}
