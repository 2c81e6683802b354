// Library-wide exports: version, last error, CPU path, aligned memory.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "common.hpp"
#include "known_answer.hpp"

namespace magnet {
namespace {
thread_local char last_error[1024] = "";

/** True on the thread that finds out whether the AVX2 path may be used: it uses it. */
thread_local bool tests_avx2 = false;
/** The AVX2 path gave a wrong known answer on this machine. */
std::atomic<bool> avx2_refused{false};

bool has_avx2() {
  __builtin_cpu_init();
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
         __builtin_cpu_supports("f16c");
}

/**
 * On a thread of its own: the first use of a kernel may come from inside another one, whose
 * thread-local scratch the test must not touch.
 */
bool avx2_is_right() {
  std::exception_ptr failure;
  uint64_t answer = 0;
  std::thread tester([&] {
    tests_avx2 = true;
    try {
      answer = known_answer();
    } catch (...) {
      failure = std::current_exception();
    }
  });
  tester.join();
  if (failure) std::rethrow_exception(failure);
  avx2_refused = answer != expected_known_answer();
  return !avx2_refused;
}

CpuPath choose_path() {
  const char* forced = std::getenv("MAGNET_CPU");
  if (forced == nullptr || *forced == '\0')
    return has_avx2() && avx2_is_right() ? CpuPath::avx2 : CpuPath::scalar;
  if (std::strcmp(forced, "scalar") == 0) return CpuPath::scalar;
  if (std::strcmp(forced, "avx2") == 0) {
    if (!has_avx2())
      fail(MG_E_UNSUPPORTED, "MAGNET_CPU=avx2, but this CPU lacks AVX2, FMA or F16C");
    if (!avx2_is_right())
      fail(MG_E_UNSUPPORTED, "MAGNET_CPU=avx2, but that path computes wrong results here");
    return CpuPath::avx2;
  }
  fail(MG_E_UNSUPPORTED, "MAGNET_CPU=%s is not one of scalar, avx2", forced);
}
}  // namespace

void set_last_error(const char* message) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", message);
}

void fail(int32_t code, const char* format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  std::vsnprintf(text, sizeof text, format, args);
  va_end(args);
  throw Error(code, text);
}

CpuPath cpu_path() {
  if (tests_avx2) return CpuPath::avx2;
  static const CpuPath path = choose_path();  // a throwing initialiser runs again on the next call
  return path;
}
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_abi_version(void) { return MG_ABI_VERSION; }

int32_t mg_last_error(char* out, uint64_t capacity) {
  if (out == nullptr || capacity == 0) return MG_E_INVALID;
  std::snprintf(out, capacity, "%s", last_error);
  return MG_OK;
}

int32_t mg_cpu_info(char* out, uint64_t capacity) {
  return guard([&] {
    require(out != nullptr && capacity > 0, MG_E_INVALID, "mg_cpu_info: no room for the answer");
    const char* path = cpu_path() == CpuPath::avx2 ? "avx2" : "scalar";
    std::string features;
    auto add = [&](bool has, const char* name) {
      if (!has) return;
      if (!features.empty()) features += ',';
      features += '"';
      features += name;
      features += '"';
    };
    __builtin_cpu_init();
    add(__builtin_cpu_supports("sse4.2"), "sse4.2");
    add(__builtin_cpu_supports("avx"), "avx");
    add(__builtin_cpu_supports("fma"), "fma");
    add(__builtin_cpu_supports("f16c"), "f16c");
    add(__builtin_cpu_supports("avx2"), "avx2");
    add(__builtin_cpu_supports("avx512f"), "avx512f");
    add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
    const int needed =
        std::snprintf(out, capacity,
                      "{\"path\":\"%s\",\"refused\":[%s],\"features\":[%s],\"threads_online\":%u}",
                      path, avx2_refused ? "\"avx2\"" : "", features.c_str(),
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
