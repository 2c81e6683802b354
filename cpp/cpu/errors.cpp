// The error channel of common.hpp and the version of the ABI: what every library of magnet has.
#include "common.hpp"

namespace magnet {
namespace {
thread_local char last_error[1024] = "";
}

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
}  // namespace magnet

extern "C" {

int32_t mg_abi_version(void) { return MG_ABI_VERSION; }

int32_t mg_last_error(char* out, uint64_t capacity) {
  if (out == nullptr || capacity == 0) return MG_E_INVALID;
  std::snprintf(out, capacity, "%s", magnet::last_error);
  return MG_OK;
}
}
