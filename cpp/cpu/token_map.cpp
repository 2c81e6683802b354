// Token files mapped into memory. A file that is cut off under a mapping raises SIGBUS in whoever
// reads the missing pages; here that is only the copy in read_guarded(), which takes the signal as a
// failed read. A SIGBUS from anywhere else goes where it went before.
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "common.hpp"

namespace magnet {
namespace {

/** The read that this thread is in: where to go back to, and which addresses are its own. */
struct GuardedRead {
  sigjmp_buf back;
  const uint8_t* begin;
  const uint8_t* end;
};
thread_local GuardedRead* volatile current_read = nullptr;

struct sigaction previous_action;

void on_bus_error(int signal, siginfo_t* info, void* context) {
  GuardedRead* read = current_read;
  const auto* address = static_cast<const uint8_t*>(info->si_addr);
  if (read != nullptr && address >= read->begin && address < read->end) siglongjmp(read->back, 1);
  if ((previous_action.sa_flags & SA_SIGINFO) != 0 && previous_action.sa_sigaction != nullptr) {
    previous_action.sa_sigaction(signal, info, context);
  } else if (previous_action.sa_handler != SIG_DFL && previous_action.sa_handler != SIG_IGN) {
    previous_action.sa_handler(signal);
  } else {
    sigaction(SIGBUS, &previous_action, nullptr);  // the access is tried again and ends the process
  }
}

/** Again at each open: the runtime may have set its own handler since. */
void install_handler() {
  static std::mutex mutex;
  const std::lock_guard<std::mutex> lock(mutex);
  struct sigaction found;
  sigaction(SIGBUS, nullptr, &found);
  if ((found.sa_flags & SA_SIGINFO) != 0 && found.sa_sigaction == on_bus_error) return;
  previous_action = found;
  struct sigaction action = {};
  action.sa_sigaction = on_bus_error;
  // NODEFER: the handler is left by a jump, which does not unblock the signal.
  action.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, nullptr);
}

struct TokenMap {
  uint8_t* data;
  uint64_t bytes;
  uint64_t offset;
  uint64_t count;
  uint32_t token_bytes;
};

void copy_tokens(const TokenMap& map, uint64_t start, uint64_t count, int32_t* out) {
  const uint8_t* from = map.data + map.offset + start * map.token_bytes;
  if (map.token_bytes == 4) {
    memcpy(out, from, count * 4);
    return;
  }
  for (uint64_t i = 0; i < count; i++) {
    uint16_t token;
    memcpy(&token, from + 2 * i, 2);
    out[i] = token;
  }
}

/** False where pages of the file are gone. No object with a destructor may live in this frame. */
__attribute__((noinline)) bool read_guarded(const TokenMap& map, uint64_t start, uint64_t count,
                                            int32_t* out) {
  GuardedRead read;
  read.begin = map.data;
  read.end = map.data + map.bytes;
  if (sigsetjmp(read.back, 0) != 0) {
    current_read = nullptr;
    return false;
  }
  current_read = &read;
  // The compiler must not move the copy's reads out of the guarded stretch.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  copy_tokens(map, start, count, out);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  current_read = nullptr;
  return true;
}

}  // namespace
}  // namespace magnet

using namespace magnet;

int32_t mg_token_map_open(int32_t fd, uint64_t offset, uint64_t count, uint32_t token_bytes,
                          void** out_map) {
  return guard([&] {
    require(out_map != nullptr, MG_E_INVALID, "no place for the map");
    require(token_bytes == 2 || token_bytes == 4, MG_E_INVALID, "tokens have 2 or 4 bytes");
    require(offset % token_bytes == 0, MG_E_INVALID, "the tokens are not aligned");
    constexpr uint64_t LIMIT = uint64_t{1} << 46;
    require(count >= 1 && count <= LIMIT && offset <= LIMIT, MG_E_INVALID, "too many tokens");
    const uint64_t bytes = offset + count * token_bytes;
    struct stat status;
    if (fstat(fd, &status) != 0) fail(MG_E_INVALID, "not an open file: %s", strerror(errno));
    if (!S_ISREG(status.st_mode)) fail(MG_E_UNSUPPORTED, "only regular files are mapped");
    if (static_cast<uint64_t>(status.st_size) < bytes)
      fail(MG_E_FORMAT, "the file has %lld bytes, its tokens end at %llu",
           static_cast<long long>(status.st_size), static_cast<unsigned long long>(bytes));
    void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) fail(MG_E_UNSUPPORTED, "the file is not mapped: %s", strerror(errno));
    madvise(data, bytes, MADV_RANDOM);  // windows are drawn from all over: read no neighbours
    install_handler();
    *out_map = new TokenMap{static_cast<uint8_t*>(data), bytes, offset, count, token_bytes};
    return MG_OK;
  });
}

int32_t mg_token_map_free(void* map) {
  return guard([&] {
    auto* tokens = static_cast<TokenMap*>(map);
    if (tokens != nullptr) munmap(tokens->data, tokens->bytes);
    delete tokens;
    return MG_OK;
  });
}

int32_t mg_token_map_read(const void* map, uint64_t start, uint64_t count, int32_t* out) {
  return guard([&] {
    require(map != nullptr && (out != nullptr || count == 0), MG_E_INVALID, "null argument");
    const auto& tokens = *static_cast<const TokenMap*>(map);
    require(start <= tokens.count && count <= tokens.count - start, MG_E_INVALID,
            "tokens outside the file");
    if (count > 0 && !read_guarded(tokens, start, count, out))
      fail(MG_E_FORMAT, "the file was cut off while it was mapped");
    return MG_OK;
  });
}
