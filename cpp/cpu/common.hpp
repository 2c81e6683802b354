// Shared by every translation unit: the error channel, and guard(), which keeps C++ exceptions
// inside the library. An export is `return guard([&] { ...; return MG_OK; });` and throws Error for
// a failure.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "../include/magnet.h"

namespace magnet {

struct Error : std::exception {
  int32_t code;
  std::string message;
  Error(int32_t c, std::string m) : code(c), message(std::move(m)) {}
  const char* what() const noexcept override { return message.c_str(); }
};

/** Throws Error with a printf-formatted message. */
[[noreturn]] void fail(int32_t code, const char* format, ...) __attribute__((format(printf, 2, 3)));

/** Stores the message that mg_last_error of this thread returns. */
void set_last_error(const char* message) noexcept;

template <class F>
int32_t guard(F&& body) noexcept {
  try {
    return body();
  } catch (const Error& e) {
    set_last_error(e.message.c_str());
    return e.code;
  } catch (const std::bad_alloc&) {
    set_last_error("out of memory");
    return MG_E_MEMORY;
  } catch (const std::exception& e) {
    set_last_error(e.what());
    return MG_E_INTERNAL;
  } catch (...) {
    set_last_error("unknown C++ exception");
    return MG_E_INTERNAL;
  }
}

inline void require(bool condition, int32_t code, const char* message) {
  if (!condition) fail(code, "%s", message);
}

inline bool is_cancelled(const int32_t* cancel) {
  return cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0;
}

/** The SIMD path that every kernel dispatches on; fixed at first use. Worst to best per target. */
enum class CpuPath { scalar, neon, avx2, avx512 };
/** Throws MG_E_UNSUPPORTED when MAGNET_CPU names a path that is unknown or that this CPU lacks. */
CpuPath cpu_path();
/** For kernels whose best twin is an AVX2 one: the avx512 path runs it too. */
inline bool runs_avx2() { return cpu_path() >= CpuPath::avx2; }

}  // namespace magnet
