// The watch: finds in the emulation what compute-sanitizer finds on a device (memcheck, racecheck,
// initcheck). Built with MG_WATCHED and g++'s -fsanitize=thread, which calls a function at every access to
// memory; those functions are not ThreadSanitizer's but ours (emulation_watch_hooks.cpp), since what
// orders accesses on a GPU is not what orders them between threads of a CPU, and since its fibers end at
// 8128 (a grid has more threads) and cost 2 ms each. In other builds all of this is empty.
//
// What orders accesses, and no more than that:
//   __syncthreads, named barriers, __syncwarp: all that the threads that meet there did before. Not
//     shuffles, votes, ldmatrix and mma: they wait for the lanes but order no memory.
//   cp.async: writes at any time until its own thread has waited for its group.
//   bulk copies: write until their mbarrier's phase is complete, for those that have waited for it.
//   wgmma: reads its operands and changes its registers until its own warp has waited for its group;
//     registers that were written need wgmma.fence before it.
//   async proxy (bulk copies, wgmma): sees what threads wrote only across a fence.proxy.async.
//   kernels and copies: by their streams, events and what the host has waited for; the blocks of a grid
//     are not ordered; one that overlaps the kernel before it (griddepcontrol), from its wait on.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace magnet::emulation::watch {

enum class Memory : uint8_t { NONE, DEVICE, PINNED };

/** How many of the operations of each stream (0: of the host) are over, as somebody knows. */
using Clock = std::vector<uint64_t>;
using Moment = std::shared_ptr<const Clock>;

#if defined(MG_WATCHED)
constexpr bool WATCHED = true;
#define MG_WATCH(declaration) declaration;
#define MG_WATCH_VALUE(declaration, value) declaration;
/** For functions of the emulation in headers, whose accesses are its own. */
#define MG_UNWATCHED __attribute__((no_sanitize("thread")))
#else
constexpr bool WATCHED = false;
#define MG_WATCH(declaration) \
  inline declaration {}
#define MG_WATCH_VALUE(declaration, value) \
  inline declaration { return value; }
#define MG_UNWATCHED
#endif
#define MG_UNUSED [[maybe_unused]]

// ---- Memory of the device: pieces with guards between them, whose addresses come back late

/** nullptr in builds that do not watch. */
MG_WATCH_VALUE(void* take(MG_UNUSED uint64_t bytes, MG_UNUSED Memory kind), nullptr)
MG_WATCH(void give(MG_UNUSED void* p))

// ---- Operations of streams

MG_WATCH_VALUE(unsigned add_stream(), 0)
MG_WATCH_VALUE(uint32_t add_operation(MG_UNUSED unsigned stream, MG_UNUSED const char* name,
                                      MG_UNUSED bool is_kernel, MG_UNUSED bool overlaps),
               0)
MG_WATCH_VALUE(Moment moment(MG_UNUSED unsigned stream), nullptr)
MG_WATCH(void stream_waits(MG_UNUSED unsigned stream, MG_UNUSED const Moment& moment))
MG_WATCH(void host_waits(MG_UNUSED const Moment& moment))
/** What follows belongs to that operation. */
MG_WATCH(void begin(MG_UNUSED uint32_t operation))
/** Of the operation; memory that is not the device's or page-locked does not count. */
MG_WATCH(void copied(MG_UNUSED void* to, MG_UNUSED const void* from, MG_UNUSED uint64_t bytes))

// ---- Threads of a block

/** [stacks, stacks + stack_bytes): of all threads. */
MG_WATCH(void begin_block(MG_UNUSED unsigned threads, MG_UNUSED unsigned block,
                          MG_UNUSED const unsigned char* window, MG_UNUSED size_t window_bytes,
                          MG_UNUSED const unsigned char* shared, MG_UNUSED size_t shared_bytes))
MG_WATCH(void place_stacks(MG_UNUSED const unsigned char* stacks, MG_UNUSED size_t bytes))
MG_WATCH(void end_block())
MG_WATCH(void run_thread(MG_UNUSED unsigned thread))
MG_WATCH(void stop_thread())
/** These threads have met at a barrier. */
MG_WATCH(void meet(MG_UNUSED const std::vector<unsigned>& threads))
MG_WATCH(void previous_done())

// `place`: the instruction that is named where there is something to say.
MG_WATCH(void read(MG_UNUSED const void* p, MG_UNUSED size_t bytes, MG_UNUSED const void* place))
MG_WATCH(void atomic(MG_UNUSED const void* p, MG_UNUSED size_t bytes, MG_UNUSED const void* place))

MG_WATCH(void async_copy(MG_UNUSED void* to, MG_UNUSED const void* from, MG_UNUSED size_t bytes,
                         MG_UNUSED bool zero, MG_UNUSED const void* place))
MG_WATCH(void async_commit())
MG_WATCH(void async_wait(MG_UNUSED unsigned groups_left))

MG_WATCH(void proxy_fence())
MG_WATCH(void mbarrier_init(MG_UNUSED const void* barrier, MG_UNUSED const void* place))
MG_WATCH(void mbarrier_arrive(MG_UNUSED const void* barrier, MG_UNUSED const void* place))
MG_WATCH(void mbarrier_phase(MG_UNUSED const void* barrier))
MG_WATCH(void mbarrier_waited(MG_UNUSED const void* barrier, MG_UNUSED const void* place))
// From here on the place is the caller's.
MG_WATCH(void bulk_write(MG_UNUSED void* to, MG_UNUSED size_t bytes, MG_UNUSED const void* barrier))
MG_WATCH(void bulk_read(MG_UNUSED const void* from, MG_UNUSED size_t bytes,
                        MG_UNUSED const void* barrier))

/** An operand of a warpgroup's product, and the registers of its sums. */
MG_WATCH(void product_reads(MG_UNUSED const void* p, MG_UNUSED size_t bytes))
MG_WATCH(void product_registers(MG_UNUSED const void* p, MG_UNUSED size_t bytes))
MG_WATCH(void product_fence())
MG_WATCH(void product_commit())
MG_WATCH(void product_wait(MG_UNUSED unsigned groups_left))

/** The emulation works for the device: accesses are no thread's. */
MG_WATCH(void pause())
MG_WATCH(void resume())
struct Paused {
  Paused() { pause(); }
  ~Paused() { resume(); }
  Paused(const Paused&) = delete;
  Paused& operator=(const Paused&) = delete;
};

/** A defect that is not one of a single access. */
MG_WATCH(void report(MG_UNUSED const std::string& what, MG_UNUSED const void* place))
/** What was found since the last call, with lines of the source; what nobody takes is printed at the end
 * of the process, which then ends with status 66; with MAGNET_WATCH_AT_ONCE, also when it is found. */
MG_WATCH_VALUE(std::vector<std::string> take_reports(), {})

#undef MG_WATCH
#undef MG_WATCH_VALUE
#undef MG_UNUSED

}  // namespace magnet::emulation::watch
