// Memory of the device and page-locked memory in the watch (emulation_watch.hpp): one long range of
// addresses, of which every piece has pages of its own and nothing after them. Addresses are used once, so
// that what was freed is known as such.
#include <sys/mman.h>

#include <cstring>
#include <map>

#include "../../cpu/common.hpp"
#include "emulation_watch_parts.hpp"

namespace magnet::emulation::watch {

namespace {

using Lock = std::lock_guard<std::recursive_mutex>;
constexpr uint64_t PAGE = 4096;
/** What cudaMalloc promises, and no more. */
constexpr uint64_t ALIGNMENT = 256;

struct Piece {
  uintptr_t begin = 0;
  uint64_t bytes = 0;
  Memory kind = Memory::NONE;
};

struct Pieces {
  uintptr_t base = 0;
  uint64_t used = 0;                 // addresses
  std::vector<Piece> all{Piece{}};   // those that were freed are NONE
  uint32_t* owners = nullptr;        // of pages, in `all`
};
Pieces& pieces() {
  static Pieces made = [] {
    const auto map = [](uint64_t bytes) {
      void* const p = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      require(p != MAP_FAILED, MG_E_MEMORY, "emulation: no room for watched memory");
      return p;
    };
    Pieces p;
    p.base = reinterpret_cast<uintptr_t>(map(ARENA_BYTES));
    arena_begin = p.base;
    p.owners = static_cast<uint32_t*>(map(ARENA_BYTES / PAGE * sizeof(uint32_t)));
    return p;
  }();
  return made;
}
const Piece& owner(uintptr_t address) {
  return pieces().all[pieces().owners[(address - pieces().base) / PAGE]];
}

}  // namespace

uintptr_t arena_begin = UINTPTR_MAX;

Memory piece_at(uintptr_t address, size_t bytes) {
  const Piece& piece = owner(address);
  const bool inside = address >= piece.begin && address + bytes <= piece.begin + piece.bytes;
  return inside ? piece.kind : Memory::NONE;
}

void* take(uint64_t bytes, Memory kind) {
  const Lock lock(watching());
  Pieces& p = pieces();
  const uint64_t room = (ALIGNMENT + bytes + PAGE - 1) / PAGE * PAGE + PAGE;
  if (p.used + room > ARENA_BYTES)
    fail(MG_E_MEMORY, "emulation: 64 GB of watched addresses are used up");
  const uintptr_t begin = p.base + p.used + ALIGNMENT;
  const auto index = static_cast<uint32_t>(p.all.size());
  p.all.push_back({begin, bytes, kind});
  for (uint64_t page = 0; page < room / PAGE; page++) p.owners[p.used / PAGE + page] = index;
  p.used += room;
  return reinterpret_cast<void*>(begin);
}

void give(void* p) {
  if (p == nullptr) return;
  const Lock lock(watching());
  const auto address = reinterpret_cast<uintptr_t>(p);
  Piece& piece = const_cast<Piece&>(owner(address));
  if (piece.begin != address || piece.kind == Memory::NONE) {
    tell("memory is freed that is not allocated", 0, 0);
    return;
  }
  forget(piece.begin, piece.bytes);
  piece.kind = Memory::NONE;
  madvise(reinterpret_cast<void*>(address - ALIGNMENT),
          (ALIGNMENT + piece.bytes + PAGE - 1) / PAGE * PAGE, MADV_DONTNEED);
}

}  // namespace magnet::emulation::watch
