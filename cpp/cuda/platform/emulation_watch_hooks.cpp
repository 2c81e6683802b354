// What g++ -fsanitize=thread calls at accesses to memory, in the watch's sense (emulation_watch.hpp): code
// of kernels is a thread of the device, other code the host, which has no business in the device's memory.
#include "emulation_watch_parts.hpp"

namespace magnet::emulation::watch {

namespace {

void host_access(uintptr_t address, size_t bytes, bool write, const void* instruction) {
  const std::lock_guard<std::recursive_mutex> lock(watching());
  if (running.operation != 0 || running.paused > 0) return;  // a copy, which says so itself
  const uint32_t place = place_of(instruction);
  if (piece_at(address, bytes) != Memory::PINNED)
    return tell("the host touches memory of the device: at %1", place, 0);
  running.task = host_task();
  running.operation = operation_index(running.task);
  touch(address, bytes, {running.task, 0, place, 0, write ? Kind::WRITE : Kind::READ}, false);
  running.task = running.operation = 0;
}

inline void access(const void* p, size_t bytes, bool write, const void* instruction) {
  const auto address = reinterpret_cast<uintptr_t>(p);
  if (!running.in_thread) {
    if (address - arena() < ARENA_BYTES) host_access(address, bytes, write, instruction);
    return;
  }
  // Templates of the standard library that the watch itself uses may be the kernels' copies.
  if (running.paused > 0) return;
  running.paused++;
  if (on_stack(address))
    touch_stack(address, bytes, write, place_of(instruction));
  else
    touch(address, bytes, by_thread(write ? Kind::WRITE : Kind::READ, place_of(instruction)), false);
  running.paused--;
}

inline void aligned(const void* p, size_t bytes, const void* instruction) {
  if ((reinterpret_cast<uintptr_t>(p) & (bytes - 1)) != 0 && running.in_thread)
    tell("an access that is not aligned: " + std::to_string(bytes) + " bytes at %1",
         place_of(instruction), 0);
}

}  // namespace

void read(const void* p, size_t bytes, const void* instruction) {
  touch(reinterpret_cast<uintptr_t>(p), bytes, by_thread(Kind::READ, place_of(instruction)),
        false);
}
void atomic(const void* p, size_t bytes, const void* instruction) {
  aligned(p, bytes, instruction);
  touch(reinterpret_cast<uintptr_t>(p), bytes, by_thread(Kind::ATOMIC, place_of(instruction)),
        false);
}

}  // namespace magnet::emulation::watch

namespace watch = magnet::emulation::watch;

#define MG_CALLER __builtin_return_address(0)
#define MG_HOOKS(bytes)                                                                   \
  void __tsan_read##bytes(void* p) {                                                      \
    watch::aligned(p, bytes, MG_CALLER);                                                  \
    watch::access(p, bytes, false, MG_CALLER);                                            \
  }                                                                                       \
  void __tsan_write##bytes(void* p) {                                                     \
    watch::aligned(p, bytes, MG_CALLER);                                                  \
    watch::access(p, bytes, true, MG_CALLER);                                             \
  }                                                                                       \
  void __tsan_unaligned_read##bytes(void* p) { watch::access(p, bytes, false, MG_CALLER); } \
  void __tsan_unaligned_write##bytes(void* p) { watch::access(p, bytes, true, MG_CALLER); }

/** Of the host: kernels have CUDA's own. */
#define MG_ATOMICS(bits, type)                                                           \
  type __tsan_atomic##bits##_load(const volatile type* p, int) {                         \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                         \
  }                                                                                      \
  void __tsan_atomic##bits##_store(volatile type* p, type value, int) {                  \
    __atomic_store_n(p, value, __ATOMIC_SEQ_CST);                                        \
  }                                                                                      \
  type __tsan_atomic##bits##_exchange(volatile type* p, type value, int) {               \
    return __atomic_exchange_n(p, value, __ATOMIC_SEQ_CST);                              \
  }                                                                                      \
  type __tsan_atomic##bits##_fetch_add(volatile type* p, type value, int) {              \
    return __atomic_fetch_add(p, value, __ATOMIC_SEQ_CST);                               \
  }                                                                                      \
  type __tsan_atomic##bits##_fetch_sub(volatile type* p, type value, int) {              \
    return __atomic_fetch_sub(p, value, __ATOMIC_SEQ_CST);                               \
  }                                                                                      \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile type* p, type* expected,      \
                                                  type value, int, int) {                \
    return __atomic_compare_exchange_n(p, expected, value, true, __ATOMIC_SEQ_CST,       \
                                       __ATOMIC_SEQ_CST);                                \
  }                                                                                      \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile type* p, type* expected,    \
                                                    type value, int, int) {              \
    return __atomic_compare_exchange_n(p, expected, value, false, __ATOMIC_SEQ_CST,      \
                                       __ATOMIC_SEQ_CST);                                \
  }

extern "C" {
void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_update(void**, void*) {}
void __tsan_vptr_read(void**) {}
MG_HOOKS(1)
MG_HOOKS(2)
MG_HOOKS(4)
MG_HOOKS(8)
MG_HOOKS(16)
void __tsan_read_range(void* p, size_t bytes) { watch::access(p, bytes, false, MG_CALLER); }
void __tsan_write_range(void* p, size_t bytes) { watch::access(p, bytes, true, MG_CALLER); }
MG_ATOMICS(8, uint8_t)
MG_ATOMICS(32, uint32_t)
MG_ATOMICS(64, uint64_t)
}
