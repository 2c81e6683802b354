// The host's side of a round: what is refused, and compressed pseudo-gradients on their way between
// the host's memory, where they lie as magnet_codec.h says, and the device's, where the kernels want
// scales and values aligned.
#include "rounds.hpp"

#include <cmath>

#include "../../codec/delta_format.hpp"

namespace magnet::gpu {

namespace {

/** The word that checking kernels raise. */
class Found {
 public:
  explicit Found(const Stream& stream) : stream_(stream), word_(1) {
    fill_bytes(stream, word_.data(), 0, sizeof(uint32_t));
  }
  uint32_t* device() const { return word_.data(); }
  uint32_t read() const {
    uint32_t value = 0;
    copy_out(stream_, &value, word_.data(), sizeof value);
    stream_.wait();
    return value;
  }

 private:
  const Stream& stream_;
  DeviceArray<uint32_t> word_;
};

/** A compressed pseudo-gradient in device memory. */
class Staged {
 public:
  Staged(Relay& relay, uint32_t kind, uint64_t n)
      : relay_(relay),
        value_bytes_(codec::value_bytes(kind, n)),
        scale_bytes_(codec::is_blocked(kind) ? codec::block_count(n) * sizeof(float) : 0),
        memory_(room() + scale_bytes_),
        view_{kind, n, reinterpret_cast<float*>(memory_.data() + room()), memory_.data()} {}
  /** From the host, with every value checked. */
  Staged(Relay& relay, const codec::DeltaPayload& from) : Staged(relay, from.kind, from.n) {
    // Kernels read whole words of the values: behind the last one there must be something.
    fill_bytes(relay.stream(), memory_.data(), 0, room());
    relay.to_device(view_.scales, from.scales, scale_bytes_);
    relay.to_device(view_.values, from.values, value_bytes_);
    const Found bad(relay.stream());
    delta_check(relay.stream(), view_, bad.device());
    require(bad.read() == 0, MG_E_FORMAT, codec::BAD_DELTA);
  }
  const PackedDelta& view() const { return view_; }
  /** Behind the header. */
  void read(uint8_t* out) const {
    relay_.from_device(out, view_.scales, scale_bytes_);
    relay_.from_device(out + scale_bytes_, view_.values, value_bytes_);
  }

 private:
  uint64_t room() const { return (value_bytes_ + 15) / 16 * 16; }

  Relay& relay_;
  uint64_t value_bytes_;
  uint64_t scale_bytes_;
  DeviceArray<uint8_t> memory_;
  PackedDelta view_;
};

void check_cancel(const int32_t* cancel) {
  if (is_cancelled(cancel)) fail(MG_E_CANCELLED, "cancelled");
}
void check_finite(const Found& worst, const char* what) {
  if (worst.read() >= codec::INFINITY_BITS)
    fail(MG_E_NUMERIC, "%s: a result is NaN or infinite", what);
}

}  // namespace

float* Rounds::arena(uint32_t which) {
  require(which >= BASE && which <= SUM, MG_E_INVALID, "trainer: an arena is 0..7");
  DeviceArray<float>& mine = arenas_[which - BASE];
  if (mine.data() == nullptr) {
    mine = DeviceArray<float>(n_);
    fill_bytes(stream_, mine.data(), 0, n_ * sizeof(float));
  }
  return mine.data();
}

void Rounds::release(uint32_t which) {
  require(which >= BASE && which <= SUM, MG_E_INVALID, "trainer: only arenas 4..7 are released");
  stream_.wait();
  arenas_[which - BASE] = DeviceArray<float>();
}

void Rounds::compress(uint32_t kind, bool feedback, uint8_t* out, uint64_t out_bytes,
                      const int32_t* cancel) {
  require(out != nullptr, MG_E_INVALID, "mg_trainer_delta_compress: out is null");
  require(out_bytes == codec::delta_bytes(kind, n_), MG_E_SHAPE,
          "mg_trainer_delta_compress: out_bytes is not what mg_delta_bytes says");
  check_cancel(cancel);
  const DeltaSource source{arena(BASE), params_, feedback ? arena(RESIDUAL) : nullptr, n_};
  const Staged staged(relay_, kind, n_);
  const Found worst(stream_);
  delta_worst(stream_, source, worst.device());
  codec::check_magnitude(kind, worst.read());
  check_cancel(cancel);
  delta_compress(stream_, source, staged.view());
  const uint32_t block = codec::is_blocked(kind) ? MG_DELTA_BLOCK : 0;
  codec::store_as(out, codec::DeltaHeader{codec::DELTA_MAGIC, kind, n_, block, 0});
  staged.read(out + MG_DELTA_HEADER_BYTES);
}

void Rounds::check(const uint8_t* bytes, uint64_t length, const int32_t* cancel) {
  require(bytes != nullptr || length == 0, MG_E_INVALID, "mg_trainer_delta_check: bytes is null");
  const codec::DeltaPayload payload = codec::parse_delta(bytes, length, n_);
  check_cancel(cancel);
  const Staged staged(relay_, payload);
}

void Rounds::add(const uint8_t* bytes, uint64_t length, float weight, const int32_t* cancel) {
  require(bytes != nullptr || length == 0, MG_E_INVALID, "mg_trainer_outer_add: bytes is null");
  const codec::DeltaPayload payload = codec::parse_delta(bytes, length, n_);
  check_cancel(cancel);
  const Staged staged(relay_, payload);
  require(std::isfinite(weight), MG_E_NUMERIC, "mg_trainer_outer_add: the weight is not finite");
  check_cancel(cancel);
  const Found worst(stream_);
  delta_add(stream_, staged.view(), weight, arena(SUM), worst.device());
  check_finite(worst, "weighted sum");
  delta_add(stream_, staged.view(), weight, arena(SUM), nullptr);
  stream_.wait();
}

void Rounds::outer_step(float lr, float mu, const int32_t* cancel) {
  require(arenas_[SUM - BASE].data() != nullptr, MG_E_INVALID,
          "mg_trainer_outer_step: nothing was added");
  require(std::isfinite(lr) && lr >= 0 && mu >= 0 && mu < 1, MG_E_INVALID,
          "mg_outer_step: lr must be finite and not negative, mu in [0, 1)");
  check_cancel(cancel);
  const OuterStep step{arena(BASE), arena(MOMENTUM), arena(SUM), lr, mu, n_};
  const Found worst(stream_);
  gpu::outer_step(stream_, step, worst.device());
  check_finite(worst, "outer step");
  gpu::outer_step(stream_, step, nullptr);
  stream_.wait();
}

}  // namespace magnet::gpu
