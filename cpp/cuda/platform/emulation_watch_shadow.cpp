// What the watch (emulation_watch.hpp) knows of every word of memory: the last write, the reads and
// atomics since then that no later one covers, and which bytes have a value. An access that is not ordered
// after one that it conflicts with is a race. Words that threads touch by parts are known by bytes.
#include <link.h>
#include <sys/mman.h>

#include <cstring>

#include "../../cpu/common.hpp"
#include "emulation.hpp"
#include "emulation_watch_parts.hpp"

namespace magnet::emulation::watch {

namespace {

constexpr size_t WORD = 4;
constexpr uint8_t WHOLE = 15;

/** Reads, or atomics, by lanes of a warp in one epoch, or by an agent that is no thread. */
struct Reader {
  Access access;       // agent: of the warp's first thread
  uint32_t lanes = 0;  // 0: the agent is no thread
  uint32_t next = 0;
  bool many = false;  // other blocks of the grid, too: not all are kept
};

struct Cell {
  Access write;         // task 0: none
  uint32_t readers = 0;  // in `pool`
  uint32_t bytes = 0;    // in `split`: the first of four cells
  uint8_t initialised = 0;
  bool is_blank() const { return write.task == 0 && readers == 0 && bytes == 0 && !initialised; }
};

/** Indices into a growing array; 0 is none. */
template <class T, uint32_t EACH>
class Pool {
 public:
  uint32_t take() {
    if (free_.empty()) {
      all_.resize(all_.size() + EACH);
      return static_cast<uint32_t>(all_.size() - EACH);
    }
    const uint32_t index = free_.back();
    free_.pop_back();
    for (uint32_t i = 0; i < EACH; i++) all_[index + i] = T{};
    return index;
  }
  void give(uint32_t index) { free_.push_back(index); }
  T& operator[](uint32_t index) { return all_[index]; }

 private:
  std::vector<T> all_ = std::vector<T>(EACH);
  std::vector<uint32_t> free_;
};

enum class Space : uint8_t { NONE, GLOBAL, SHARED };

struct Shadow {
  Pool<Reader, 1> pool;
  Pool<Cell, WORD> split;
  Cell* global = nullptr;
  // Dynamic shared memory, and the static arrays, which are thread-local variables of the host.
  std::vector<Cell> window, statics;
  uintptr_t window_begin = 0, shared_begin = 0, static_begin = 0;
  size_t window_bytes = 0, shared_bytes = 0, static_bytes = 0;
  std::vector<Cell*> touched;  // of the block that runs
};
Shadow& shadow() {
  static Shadow made = [] {
    Shadow s;
    void* const p = mmap(nullptr, ARENA_BYTES / WORD * sizeof(Cell), PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    require(p != MAP_FAILED, MG_E_MEMORY, "emulation: no room for the watch");
    s.global = static_cast<Cell*>(p);
    return s;
  }();
  return made;
}

Space space_of(uintptr_t address) {
  const Shadow& s = shadow();
  if (address - arena() < ARENA_BYTES) return Space::GLOBAL;
  if (!running.in_thread) return Space::NONE;
  if (address - s.window_begin < s.window_bytes) return Space::SHARED;
  const auto indices = reinterpret_cast<uintptr_t>(&now);
  const bool is_index = address - indices < sizeof(now);
  return address - s.static_begin < s.static_bytes && !is_index ? Space::SHARED : Space::NONE;
}
Cell& cell_of(uintptr_t address) {
  Shadow& s = shadow();
  if (address - arena() < ARENA_BYTES) return s.global[(address - arena()) / WORD];
  Cell& cell = address - s.window_begin < s.window_bytes
                   ? s.window[(address - s.window_begin) / WORD]
                   : s.statics[(address - s.static_begin) / WORD];
  if (cell.is_blank()) s.touched.push_back(&cell);
  return cell;
}

/** Who is looked at: an access, and for a warp's the lane. */
bool is_over(const Access& before, unsigned agent, bool across_proxies) {
  if (before.task == running.task) {
    if (!running.in_thread) return true;
    return knows(agent, before.epoch) && (!across_proxies || knows_fenced(agent, before.epoch));
  }
  // Blocks of a grid are not ordered.
  if (operation_index(before.task) == running.operation) return false;
  return is_over(operation_of(before.task), operation(running.operation),
                 !running.in_thread || knows_previous());
}
/** The first lane whose access is not over, or 32. */
unsigned open_lane(const Reader& reader) {
  if (reader.lanes == 0) return is_over(reader.access, reader.access.agent, false) ? WARP : 0;
  if (reader.access.task != running.task)
    return is_over(reader.access, reader.access.agent, false) ? WARP : 0;
  for (unsigned lane = 0; lane < WARP; lane++)
    if ((reader.lanes >> lane & 1) != 0 &&
        !is_over(reader.access, reader.access.agent + lane, false))
      return lane;
  return WARP;
}

const char* name_of(Kind kind) {
  return kind == Kind::READ ? "read" : kind == Kind::WRITE ? "write" : "atomic";
}
std::string where(uint32_t place, const char* mark) {
  return place == 0 ? "" : std::string(" at ") + mark;
}
void tell_race(const Access& now_access, Access before, unsigned lane, uintptr_t address) {
  before.agent = static_cast<uint16_t>(before.agent + lane);
  const char* const space = space_of(address) == Space::GLOBAL ? "global" : "shared";
  tell(std::string("race in ") + space + " memory: " + name_of(now_access.kind) + " by " +
           who(now_access) + where(now_access.place, "%1") + " and " + name_of(before.kind) +
           " by " + who(before) + where(before.place, "%2"),
       now_access.place, before.place);
}

void check_readers(const Cell& cell, const Access& access, uintptr_t address) {
  Shadow& s = shadow();
  for (uint32_t i = cell.readers; i != 0; i = s.pool[i].next) {
    const Reader& reader = s.pool[i];
    if (reader.access.kind == access.kind) continue;  // reads, or atomics
    const unsigned lane = open_lane(reader);
    if (lane < WARP) return tell_race(access, reader.access, lane, address);
  }
}

void forget_readers(Cell& cell) {
  Shadow& s = shadow();
  for (uint32_t i = cell.readers; i != 0;) {
    const uint32_t next = s.pool[i].next;
    s.pool.give(i);
    i = next;
  }
  cell.readers = 0;
}

bool is_thread(const Access& access) {
  return running.in_thread && access.agent < agents().threads;
}
/** As a Reader has it. */
Access of_warp(Access access) {
  if (is_thread(access)) access.agent = static_cast<uint16_t>(access.agent / WARP * WARP);
  return access;
}
bool is_same(const Access& a, const Access& b) {
  return a.task == b.task && a.epoch == b.epoch && a.agent == b.agent && a.kind == b.kind;
}

/** Adds a read or an atomic, and drops those that it covers. */
void add_reader(Cell& cell, const Access& access) {
  Shadow& s = shadow();
  const Access warp = of_warp(access);
  const uint32_t lane = is_thread(access) ? 1u << access.agent % WARP : 0;
  bool many = false;
  for (uint32_t* link = &cell.readers; *link != 0;) {
    const uint32_t index = *link;
    Reader& reader = s.pool[index];
    if (is_same(reader.access, warp)) {
      reader.lanes |= lane;
      return;
    }
    const bool other_block = reader.access.task != access.task &&
                             operation_index(reader.access.task) == running.operation;
    if (other_block && reader.many) return;
    if (other_block) many = reader.many = true;
    if (reader.access.kind == access.kind && open_lane(reader) == WARP) {
      *link = reader.next;
      s.pool.give(index);
      continue;
    }
    link = &s.pool[index].next;
  }
  const uint32_t made = s.pool.take();
  s.pool[made] = {warp, lane, cell.readers, many};
  cell.readers = made;
}

void touch_cell(Cell& cell, const Access& access, bool proxy, uintptr_t address) {
  Shadow& s = shadow();
  if (access.kind == Kind::WRITE) {
    if (cell.readers == 0 && is_same(cell.write, access) && is_thread(access) && !proxy) return;
  } else if (cell.readers != 0 && !proxy) {
    const Reader& first = s.pool[cell.readers];
    if (is_same(first.access, of_warp(access)) && is_thread(access) &&
        (first.lanes >> access.agent % WARP & 1) != 0)
      return;
  }
  const Access& write = cell.write;
  const bool across = proxy && write.task == access.task && is_thread(write);
  if (write.task != 0 && !is_over(write, write.agent, across)) tell_race(access, write, 0, address);
  check_readers(cell, access, address);
  if (access.kind != Kind::WRITE) return add_reader(cell, access);
  forget_readers(cell);
  cell.write = access;
}

/** Each byte of the word gets what the word had. */
void split(Cell& cell) {
  Shadow& s = shadow();
  cell.bytes = s.split.take();
  for (uint32_t i = 0; i < WORD; i++) {
    s.split[cell.bytes + i].write = cell.write;
    for (uint32_t r = cell.readers; r != 0; r = s.pool[r].next) {
      const uint32_t made = s.pool.take();
      s.pool[made] = s.pool[r];
      s.pool[made].next = s.split[cell.bytes + i].readers;
      s.split[cell.bytes + i].readers = made;
    }
  }
  forget_readers(cell);
  cell.write = {};
}
void forget(Cell& cell) {
  Shadow& s = shadow();
  forget_readers(cell);
  if (cell.bytes != 0) {
    for (uint32_t i = 0; i < WORD; i++) forget_readers(s.split[cell.bytes + i]);
    s.split.give(cell.bytes);
  }
  cell = {};
}

/** `mask`: which bytes of the word. */
void touch_word(uintptr_t word, uint8_t mask, const Access& access, bool proxy, bool initialised) {
  Shadow& s = shadow();
  Cell& cell = cell_of(word);
  if (access.kind == Kind::WRITE)
    cell.initialised |= mask;
  else if (!initialised && (cell.initialised & mask) != mask)
    tell(std::string("read of memory without a value: by ") + who(access) +
             where(access.place, "%1"),
         access.place, 0);
  if (cell.bytes == 0 && mask != WHOLE) split(cell);
  if (cell.bytes == 0) return touch_cell(cell, access, proxy, word);
  for (uint32_t i = 0; i < WORD; i++)
    if ((mask >> i & 1) != 0) touch_cell(s.split[cell.bytes + i], access, proxy, word);
  if (access.kind != Kind::WRITE || mask != WHOLE) return;
  s.split.give(cell.bytes);
  cell.bytes = 0;
  cell.write = access;
}

bool has_value(uintptr_t byte) {
  const uintptr_t word = byte / WORD * WORD;
  return (cell_of(word).initialised >> (byte - word) & 1) != 0;
}

/** The thread-local variables of this program, as the calling thread has them. */
void place_statics() {
  Shadow& s = shadow();
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* out) {
        auto& state = *static_cast<Shadow*>(out);
        for (int i = 0; i < info->dlpi_phnum; i++) {
          if (info->dlpi_phdr[i].p_type != PT_TLS || info->dlpi_tls_data == nullptr) continue;
          state.static_begin = reinterpret_cast<uintptr_t>(info->dlpi_tls_data) / WORD * WORD;
          state.static_bytes = info->dlpi_phdr[i].p_memsz + WORD;
        }
        return 1;  // the program is the first
      },
      &s);
  s.statics.resize(s.static_bytes / WORD + 1);
}

}  // namespace

void place_window(const unsigned char* window, size_t window_bytes, const unsigned char* shared,
                  size_t shared_bytes) {
  Shadow& s = shadow();
  s.window_begin = reinterpret_cast<uintptr_t>(window);
  s.window_bytes = window_bytes;
  s.shared_begin = reinterpret_cast<uintptr_t>(shared);
  s.shared_bytes = shared_bytes;
  s.window.resize(window_bytes / WORD);
  place_statics();
}

void forget_shared() {
  for (Cell* const cell : shadow().touched) forget(*cell);
  shadow().touched.clear();
}
void forget(uintptr_t address, size_t bytes) {
  for (uintptr_t word = address; word < address + bytes; word += WORD) {
    Cell& cell = cell_of(word);
    if (!cell.is_blank()) forget(cell);
  }
}

void touch(uintptr_t address, size_t bytes, const Access& access, bool proxy) {
  const Space space = space_of(address);
  if (space == Space::NONE || bytes == 0) return;
  const Shadow& s = shadow();
  bool initialised = false;
  bool inside = true;
  if (space == Space::GLOBAL) {
    const Memory memory = piece_at(address, bytes);
    inside = memory != Memory::NONE;
    initialised = memory == Memory::PINNED;
  } else if (address - s.window_begin < s.window_bytes) {
    inside = address >= s.shared_begin && address + bytes <= s.shared_begin + s.shared_bytes;
  }
  if (!inside)
    return tell(std::string("outside of allocated memory: ") + name_of(access.kind) + " of " +
                    std::to_string(bytes) + " bytes by " + who(access) +
                    where(access.place, "%1"),
                access.place, 0);
  const uintptr_t end = address + bytes;
  for (uintptr_t word = address / WORD * WORD; word < end; word += WORD) {
    const uintptr_t from = word < address ? address - word : 0;
    const uintptr_t to = word + WORD > end ? end - word : WORD;
    touch_word(word, static_cast<uint8_t>((1u << to) - (1u << from)), access, proxy, initialised);
  }
}

void copied(void* to, const void* from, uint64_t bytes) {
  const std::lock_guard<std::recursive_mutex> lock(watching());
  if (running.task == 0) running.task = new_task();
  const auto target = reinterpret_cast<uintptr_t>(to);
  const auto source = reinterpret_cast<uintptr_t>(from);
  const Access write{running.task, 0, 0, 0, Kind::WRITE};
  const bool from_device = from != nullptr && space_of(source) == Space::GLOBAL;
  if (from_device) {
    // A copy of what has no value is no defect: its use is.
    const bool inside = piece_at(source, bytes) != Memory::NONE;
    if (!inside) tell("outside of allocated memory: read by a copy", 0, 0);
    const Access read{running.task, 0, 0, 0, Kind::READ};
    for (uintptr_t word = source / WORD * WORD; inside && word < source + bytes; word += WORD)
      touch_word(word, WHOLE, read, false, true);
  }
  touch(target, bytes, write, false);
  if (!from_device || piece_at(source, bytes) != Memory::DEVICE ||
      space_of(target) != Space::GLOBAL)
    return;
  for (uint64_t i = 0; i < bytes; i++) {
    const uintptr_t word = (target + i) / WORD * WORD;
    const auto bit = static_cast<uint8_t>(1u << (target + i - word));
    if (!has_value(source + i)) cell_of(word).initialised &= static_cast<uint8_t>(~bit);
  }
}

}  // namespace magnet::emulation::watch
