// A trainer's arrays in rounds of training together (magnet_train.h): base, outer momentum, residual and
// sum in device memory, made when they are first used, and the pseudo-gradients that come and go.
#pragma once
#include "../kernels/delta.hpp"
#include "relay.hpp"

namespace magnet::gpu {

class Rounds {
 public:
  enum : uint32_t { BASE = 4, MOMENTUM = 5, RESIDUAL = 6, SUM = 7 };

  /** Of a trainer with these parameters, which outlive it as the relay does. */
  Rounds(Relay& relay, const float* params, uint64_t n)
      : relay_(relay), stream_(relay.stream()), params_(params), n_(n) {}

  /** Of these numbers; zeros when it is made. */
  float* arena(uint32_t which);
  void release(uint32_t which);

  /** See the calls of magnet_train.h. All wait until the device is done. */
  void compress(uint32_t kind, bool feedback, uint8_t* out, uint64_t out_bytes,
                const int32_t* cancel);
  void check(const uint8_t* bytes, uint64_t length, const int32_t* cancel);
  void add(const uint8_t* bytes, uint64_t length, float weight, const int32_t* cancel);
  void outer_step(float lr, float mu, const int32_t* cancel);

 private:
  Relay& relay_;
  const Stream& stream_;
  const float* params_;
  uint64_t n_;
  DeviceArray<float> arenas_[4];
};

}  // namespace magnet::gpu
