// Mapping of files and the guard around reads of them; see mapped_file.hpp.
#include "mapped_file.hpp"

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

/** Again at each mapping: the runtime may have set its own handler since. */
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

struct Copy {
  uint64_t offset;
  uint64_t n;
  void* out;
};

}  // namespace

MappedFile::MappedFile(int fd, uint64_t bytes, Order order) : bytes_(bytes) {
  struct stat status;
  if (fstat(fd, &status) != 0) fail(MG_E_INVALID, "not an open file: %s", strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(MG_E_UNSUPPORTED, "only regular files are mapped");
  if (static_cast<uint64_t>(status.st_size) < bytes)
    fail(MG_E_FORMAT, "the file has %lld bytes, its content ends at %llu",
         static_cast<long long>(status.st_size), static_cast<unsigned long long>(bytes));
  void* data = mmap(nullptr, bytes, PROT_READ, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) fail(MG_E_UNSUPPORTED, "the file is not mapped: %s", strerror(errno));
  data_ = static_cast<uint8_t*>(data);
  madvise(data, bytes, order == Order::anywhere ? MADV_RANDOM : MADV_SEQUENTIAL);
  install_handler();
}

MappedFile::~MappedFile() { munmap(data_, bytes_); }

/** No object with a destructor may live in this frame. */
__attribute__((noinline)) bool MappedFile::read_guarded(
    void (*copy)(const uint8_t* data, const void* context), const void* context) const {
  GuardedRead read;
  read.begin = data_;
  read.end = data_ + bytes_;
  if (sigsetjmp(read.back, 0) != 0) {
    current_read = nullptr;
    return false;
  }
  current_read = &read;
  // The compiler must not move the copy's reads out of the guarded stretch.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  copy(data_, context);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  current_read = nullptr;
  return true;
}

bool MappedFile::read(uint64_t offset, uint64_t n, void* out) const {
  const Copy wanted{offset, n, out};
  return read_guarded(
      [](const uint8_t* data, const void* context) {
        const auto& c = *static_cast<const Copy*>(context);
        memcpy(c.out, data + c.offset, c.n);
      },
      &wanted);
}

void MappedFile::give_back(uint64_t offset, uint64_t n) const {
  constexpr uint64_t PAGE = 4096;
  const uint64_t begin = (offset + PAGE - 1) / PAGE * PAGE;
  const uint64_t end = (offset + n) / PAGE * PAGE;
  if (begin < end) madvise(data_ + begin, end - begin, MADV_DONTNEED);
}

}  // namespace magnet
