// Which kernels were launched with how many threads and how much shared memory, for the table of what
// they take of a multiprocessor (tests/native/kernel-table.ts): a line each time one is launched with
// more than before, into the file that MAGNET_EMULATION_LAUNCHES names. A kernel is given by the file it
// was loaded from and its offset there, which that file's symbols name.
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>

#include "runtime.hpp"

namespace magnet::gpu {

void note_launch(const void* kernel, const Geometry& geometry) {
  const char* const file = std::getenv("MAGNET_EMULATION_LAUNCHES");
  if (file == nullptr) return;
  static std::mutex mutex;
  static std::map<std::pair<const void*, unsigned>, uint64_t> most;
  const unsigned threads = geometry.block.x * geometry.block.y * geometry.block.z;
  const std::lock_guard lock(mutex);
  const auto [known, is_new] = most.try_emplace({kernel, threads}, geometry.shared_bytes);
  if (!is_new && known->second >= geometry.shared_bytes) return;
  known->second = geometry.shared_bytes;
  Dl_info found{};
  if (dladdr(kernel, &found) == 0) return;
  std::FILE* const out = std::fopen(file, "a");
  if (out == nullptr) fail(MG_E_INTERNAL, "MAGNET_EMULATION_LAUNCHES: %s cannot be written", file);
  const auto offset = static_cast<const char*>(kernel) - static_cast<const char*>(found.dli_fbase);
  std::fprintf(out, "%s %llx %u %llu %d\n", found.dli_fname, static_cast<unsigned long long>(offset),
               threads, static_cast<unsigned long long>(geometry.shared_bytes),
               capability().major * 10 + capability().minor);
  std::fclose(out);
}

}  // namespace magnet::gpu
