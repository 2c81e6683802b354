// Library-wide exports: CPU path, aligned memory.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "common.hpp"
#include "cpu_detect.hpp"
#include "known_answer.hpp"

namespace magnet {
namespace {
constexpr CpuPath BEST_FIRST[] = {CpuPath::avx512, CpuPath::avx2, CpuPath::neon, CpuPath::scalar};
constexpr const char* PATH_NAMES[] = {"scalar", "neon", "avx2", "avx512"};
const char* name_of(CpuPath path) { return PATH_NAMES[static_cast<size_t>(path)]; }

/** The path that this thread tries out, whatever is in force elsewhere; scalar means none. */
thread_local CpuPath tried = CpuPath::scalar;
/** Bit i: path i gave a wrong known answer on this machine. */
std::atomic<uint32_t> refused_paths{0};

/**
 * On a thread of its own: the first use of a kernel may come from inside another one, whose
 * thread-local scratch the test must not touch.
 */
bool is_right(CpuPath path) {
  if (path == CpuPath::scalar) return true;  // the one that the answer is from
  std::exception_ptr failure;
  uint64_t answer = 0;
  std::thread tester([&] {
    tried = path;
    try {
      answer = known_answer();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  tester.join();
  if (failure) std::rethrow_exception(failure);
  if (answer == expected_known_answer()) return true;
  refused_paths |= 1u << static_cast<uint32_t>(path);
  return false;
}

CpuPath choose_path() {
  const char* forced = std::getenv("MAGNET_CPU");
  if (forced == nullptr || *forced == '\0') {
    for (const CpuPath path : BEST_FIRST)
      if (cpu_has(path) && is_right(path)) return path;
  }
  for (const CpuPath path : BEST_FIRST) {
    if (std::strcmp(forced, name_of(path)) != 0) continue;
    if (!cpu_has(path))
      fail(MG_E_UNSUPPORTED, "MAGNET_CPU=%s, but this CPU lacks that path", forced);
    if (!is_right(path))
      fail(MG_E_UNSUPPORTED, "MAGNET_CPU=%s, but that path computes wrong results here", forced);
    return path;
  }
  fail(MG_E_UNSUPPORTED, "MAGNET_CPU=%s is not one of scalar, neon, avx2, avx512", forced);
}
}  // namespace

CpuPath cpu_path() {
  if (tried != CpuPath::scalar) return tried;
  static const CpuPath path = choose_path();  // a throwing initialiser runs again on the next call
  return path;
}
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_cpu_info(char* out, uint64_t capacity) {
  return guard([&] {
    require(out != nullptr && capacity > 0, MG_E_INVALID, "mg_cpu_info: no room for the answer");
    const char* path = name_of(cpu_path());
    auto append = [](std::string& list, const char* name) {
      if (!list.empty()) list += ',';
      list += '"';
      list += name;
      list += '"';
    };
    std::string paths;
    std::string refused;
    for (const CpuPath p : BEST_FIRST) {
      if (cpu_has(p)) append(paths, name_of(p));
      if ((refused_paths >> static_cast<uint32_t>(p) & 1) != 0) append(refused, name_of(p));
    }
    std::string features;
    for (const std::string& name : cpu_features()) append(features, name.c_str());
    const int needed =
        std::snprintf(out, capacity,
                      "{\"path\":\"%s\",\"paths\":[%s],\"refused\":[%s],\"features\":[%s],\"threads_online\":%u}",
                      path, paths.c_str(), refused.c_str(), features.c_str(),
                      std::thread::hardware_concurrency());
    require(needed > 0 && static_cast<uint64_t>(needed) < capacity, MG_E_INVALID,
            "mg_cpu_info: no room for the answer");
    return int32_t{MG_OK};
  });
}

int32_t mg_alloc(uint64_t bytes, void** out) {
  return guard([&] {
    require(out != nullptr, MG_E_INVALID, "mg_alloc: out is null");
    const uint64_t rounded = (bytes + 63) / 64 * 64;
    require(rounded >= bytes, MG_E_MEMORY, "mg_alloc: size overflows");
    void* p = std::aligned_alloc(64, rounded == 0 ? 64 : rounded);
    if (p == nullptr)
      fail(MG_E_MEMORY, "cannot allocate %llu bytes", static_cast<unsigned long long>(bytes));
    std::memset(p, 0, rounded);
    *out = p;
    return int32_t{MG_OK};
  });
}

int32_t mg_free(void* p) {
  std::free(p);
  return MG_OK;
}
}
