// Asynchronous machinery of Hopper on the host: barriers in shared memory that count arrivals and
// bytes (mbarrier), bulk copies that complete on them, and products of a warpgroup that run until
// they are waited for. What may happen early or late happens at one extreme or the other: copies
// at once or only when they are waited for (as MAGNET_EMULATION_ORDER has it: reverse, forward, or
// by the seed), products always as late as possible, so that a stage that is released too early is
// read with its next contents.
#pragma once
#include "emulation.hpp"

namespace magnet::emulation {

void mbarrier_init(uint64_t* barrier, unsigned arrivals);
/** One arrival; before it, `bytes` more are expected. */
void mbarrier_arrive(uint64_t* barrier, unsigned bytes);
/** Until the phase of that parity is complete. */
void mbarrier_wait(uint64_t* barrier, unsigned parity);

/** Does `copy`, then counts `bytes` on the barrier. */
void bulk_copy(uint64_t* barrier, unsigned bytes, std::function<void()> copy);

/** This thread's share of a warpgroup's product. */
void warpgroup_multiply(std::function<void()> product);
void warpgroup_commit();
/** Until at most `groups` of them run. */
void warpgroup_wait(unsigned groups);

/** At the end of a block: false where copies or products were left. */
bool end_async();

}  // namespace magnet::emulation
