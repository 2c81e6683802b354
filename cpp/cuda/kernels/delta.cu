// Pseudo-gradients and the outer step. A warp takes a block of MG_DELTA_BLOCK elements at a time, a
// lane four of them: 16 bytes of every float array, and of the compressed one a word beside its
// neighbours'. Everything is bound by memory, so many warps are in flight and none keeps more than
// its four elements.
#include "delta.hpp"

#include "delta_packing.cuh"

namespace magnet::gpu {

namespace {

constexpr unsigned THREADS = 256;
constexpr unsigned WARPS = THREADS / LANES;
/** Blocks that a multiprocessor of any GPU has room for at once, of at most 42 registers a thread. */
constexpr unsigned RESIDENT = 6;
static_assert(MG_DELTA_BLOCK == 4 * LANES);

Geometry geometry_for(uint64_t n) {
  const uint64_t blocks = (n + MG_DELTA_BLOCK - 1) / MG_DELTA_BLOCK;
  const uint64_t needed = (blocks + WARPS - 1) / WARPS;
  const auto most = static_cast<uint64_t>(capability().multiprocessors) * RESIDENT;
  return {dim3(static_cast<unsigned>(needed < most ? needed : most)), dim3(THREADS)};
}

/** fn(block, at) for every block of the warp, with the first of the lane's four elements; that may
 * be behind the end, but all lanes call. */
template <class F>
__device__ __forceinline__ void for_blocks(uint64_t n, const F& fn) {
  const uint64_t first = (uint64_t{blockIdx.x} * blockDim.x + threadIdx.x) / LANES;
  const uint64_t warps = uint64_t{gridDim.x} * (blockDim.x / LANES);
  for (uint64_t block = first; block * MG_DELTA_BLOCK < n; block += warps)
    fn(block, block * MG_DELTA_BLOCK + threadIdx.x % LANES * 4);
}

/** Zeros behind the end. */
__device__ __forceinline__ float4 read4(const float* p, uint64_t at, uint64_t n) {
  if (at + 4 <= n) return load4(p + at);
  return load4_within(p, static_cast<int64_t>(at), static_cast<int64_t>(n));
}
__device__ __forceinline__ void write4(float* p, uint64_t at, uint64_t n, float4 v) {
  if (at + 4 <= n) {
    store4(p + at, v);
    return;
  }
  if (at < n) p[at] = v.x;
  if (at + 1 < n) p[at + 1] = v.y;
  if (at + 2 < n) p[at + 2] = v.z;
}

__device__ __forceinline__ uint32_t worst4(float4 v) {
  return max(max(magnitude_of(v.x), magnitude_of(v.y)),
             max(magnitude_of(v.z), magnitude_of(v.w)));
}
/** All threads of a block: an integer's maximum does not depend on who comes first. */
__device__ __forceinline__ void raise(uint32_t mine, uint32_t* worst) {
  __shared__ uint32_t scratch[LANES];
  mine = block_max(mine, scratch);
  if (threadIdx.x == 0 && mine != 0) atomicMax(worst, mine);
}

template <bool FEEDBACK>
__device__ __forceinline__ float4 value4(const DeltaSource& s, uint64_t at) {
  const float4 delta = map4(read4(s.base, at, s.n), read4(s.params, at, s.n),
                            [](float a, float b) { return a - b; });
  if constexpr (!FEEDBACK) return delta;
  return map4(delta, read4(s.residual, at, s.n), [](float a, float b) { return a + b; });
}

template <bool FEEDBACK>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    delta_worst_kernel(DeltaSource s, uint32_t* worst) {
  uint32_t mine = 0;
  for_blocks(s.n, [&](uint64_t, uint64_t at) {
    mine = max(mine, worst4(value4<FEEDBACK>(s, at)));
  });
  raise(mine, worst);
}

template <uint32_t KIND, bool FEEDBACK>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    delta_compress_kernel(DeltaSource s, PackedDelta out) {
  using P = Packing<KIND>;
  for_blocks(s.n, [&](uint64_t block, uint64_t at) {
    const float4 x = value4<FEEDBACK>(s, at);
    float scale = 0.0f;
    if constexpr (P::LIMIT != 0.0f) {
      scale = __fdiv_rn(__uint_as_float(warp_max(worst4(x))), P::LIMIT);
      if (threadIdx.x % LANES == 0) out.scales[block] = scale;
    }
    const Stored a = P::encode(x.x, scale), b = P::encode(x.y, scale);
    const Stored c = P::encode(x.z, scale), d = P::encode(x.w, scale);
    if (at >= s.n) return;
    // Elements behind the end were read as 0 and are written so: a nibble left over must be.
    reinterpret_cast<typename P::Word*>(out.values)[at / 4] =
        P::join({a.raw, b.raw, c.raw, d.raw});
    if constexpr (FEEDBACK)
      write4(s.residual, at, s.n, make_float4(a.lost, b.lost, c.lost, d.lost));
  });
}

template <uint32_t KIND>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    delta_check_kernel(PackedDelta packed, uint32_t* bad) {
  using P = Packing<KIND>;
  uint32_t mine = 0;
  for_blocks(packed.n, [&](uint64_t block, uint64_t at) {
    if (at >= packed.n) return;
    uint32_t raw[4];
    P::split(reinterpret_cast<const typename P::Word*>(packed.values)[at / 4], raw);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const uint64_t element = at + static_cast<uint64_t>(i);
      if (element < packed.n) mine |= P::is_bad(raw[i]) ? 1u : 0u;
      // The other half of the last byte.
      const bool left_over = element == packed.n && packed.n % 2 == 1;
      if (KIND == MG_DELTA_INT4 && left_over) mine |= raw[i] != 0 ? 1u : 0u;
    }
    // Negative ones too.
    if constexpr (P::LIMIT != 0.0f)
      mine |= __float_as_uint(packed.scales[block]) > SCALE_MAX ? 1u : 0u;
  });
  raise(mine, bad);
}

template <uint32_t KIND, bool STORE>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    delta_add_kernel(PackedDelta packed, float weight, float* sum, uint32_t* worst) {
  using P = Packing<KIND>;
  const uint64_t n = packed.n;
  uint32_t mine = 0;
  for_blocks(n, [&](uint64_t block, uint64_t at) {
    if (at >= n) return;
    uint32_t raw[4];
    P::split(reinterpret_cast<const typename P::Word*>(packed.values)[at / 4], raw);
    const float scale = P::LIMIT != 0.0f ? packed.scales[block] : 1.0f;
    float4 x = read4(sum, at, n);
    x.x = fmaf(weight, P::decode(raw[0], scale), x.x);
    x.y = fmaf(weight, P::decode(raw[1], scale), x.y);
    x.z = fmaf(weight, P::decode(raw[2], scale), x.z);
    x.w = fmaf(weight, P::decode(raw[3], scale), x.w);
    if constexpr (STORE) {
      write4(sum, at, n, x);
    } else {
      // What lies behind the end of the values is anything.
      const uint64_t left = n - at;
      mine = max(mine, magnitude_of(x.x));
      mine = left > 1 ? max(mine, magnitude_of(x.y)) : mine;
      mine = left > 2 ? max(mine, magnitude_of(x.z)) : mine;
      mine = left > 3 ? max(mine, magnitude_of(x.w)) : mine;
    }
  });
  if constexpr (!STORE) raise(mine, worst);
}

template <bool STORE>
__global__ void __launch_bounds__(THREADS, RESIDENT)
    outer_step_kernel(OuterStep s, uint32_t* worst) {
  uint32_t mine = 0;
  for_blocks(s.n, [&](uint64_t, uint64_t at) {
    const float4 delta = read4(s.delta, at, s.n);
    const auto nesterov = [&](float m, float d) { return fmaf(s.mu, m, d); };
    const float4 m = map4(read4(s.momentum, at, s.n), delta, nesterov);
    const float4 g = map4(m, delta, nesterov);
    const float4 theta = map4(g, read4(s.theta, at, s.n),
                              [&](float gi, float t) { return fmaf(-s.lr, gi, t); });
    if constexpr (STORE) {
      write4(s.momentum, at, s.n, m);
      write4(s.theta, at, s.n, theta);
    } else {
      mine = max(mine, max(worst4(m), worst4(theta)));
    }
  });
  if constexpr (!STORE) raise(mine, worst);
}

/** run(Kind<KIND>) of a kind that was checked. */
template <uint32_t KIND>
using Kind = std::integral_constant<uint32_t, KIND>;
template <class F>
void for_kind(uint32_t kind, const F& run) {
  switch (kind) {
    case MG_DELTA_FP32: return run(Kind<MG_DELTA_FP32>{});
    case MG_DELTA_FP16: return run(Kind<MG_DELTA_FP16>{});
    case MG_DELTA_INT8: return run(Kind<MG_DELTA_INT8>{});
    default: return run(Kind<MG_DELTA_INT4>{});
  }
}

}  // namespace

void delta_worst(const Stream& stream, const DeltaSource& source, uint32_t* worst) {
  const auto kernel =
      source.residual == nullptr ? delta_worst_kernel<false> : delta_worst_kernel<true>;
  launch("delta_worst", kernel, stream, geometry_for(source.n), source, worst);
}

void delta_compress(const Stream& stream, const DeltaSource& source, const PackedDelta& out) {
  for_kind(out.kind, [&]<uint32_t KIND>(Kind<KIND>) {
    const auto kernel = source.residual == nullptr ? delta_compress_kernel<KIND, false>
                                                   : delta_compress_kernel<KIND, true>;
    launch("delta_compress", kernel, stream, geometry_for(source.n), source, out);
  });
}

void delta_check(const Stream& stream, const PackedDelta& packed, uint32_t* bad) {
  for_kind(packed.kind, [&]<uint32_t KIND>(Kind<KIND>) {
    launch("delta_check", delta_check_kernel<KIND>, stream, geometry_for(packed.n), packed, bad);
  });
}

void delta_add(const Stream& stream, const PackedDelta& packed, float weight, float* sum,
               uint32_t* worst) {
  for_kind(packed.kind, [&]<uint32_t KIND>(Kind<KIND>) {
    const auto kernel =
        worst == nullptr ? delta_add_kernel<KIND, true> : delta_add_kernel<KIND, false>;
    launch("delta_add", kernel, stream, geometry_for(packed.n), packed, weight, sum, worst);
  });
}

void outer_step(const Stream& stream, const OuterStep& step, uint32_t* worst) {
  const auto kernel = worst == nullptr ? outer_step_kernel<true> : outer_step_kernel<false>;
  launch("outer_step", kernel, stream, geometry_for(step.n), step, worst);
}

}  // namespace magnet::gpu
