// Features of x86-64 CPUs, the operating system's consent included.
#if defined(__x86_64__)
#include "cpu_detect.hpp"

namespace magnet {

bool cpu_has(CpuPath path) {
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("f16c");
  switch (path) {
    case CpuPath::scalar:
      return true;
    case CpuPath::neon:
      return false;
    case CpuPath::avx2:
      return avx2;
    case CpuPath::avx512:
      return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
             __builtin_cpu_supports("avx512vnni");
  }
  return false;
}

std::vector<std::string> cpu_features() {
  __builtin_cpu_init();
  std::vector<std::string> found;
  auto add = [&](bool there, const char* name) {
    if (there) found.emplace_back(name);
  };
  add(__builtin_cpu_supports("sse4.2"), "sse4.2");
  add(__builtin_cpu_supports("avx"), "avx");
  add(__builtin_cpu_supports("fma"), "fma");
  add(__builtin_cpu_supports("f16c"), "f16c");
  add(__builtin_cpu_supports("avx2"), "avx2");
  add(__builtin_cpu_supports("avx512f"), "avx512f");
  add(__builtin_cpu_supports("avx512bw"), "avx512bw");
  add(__builtin_cpu_supports("avx512vnni"), "avx512vnni");
  return found;
}

}  // namespace magnet
#endif
