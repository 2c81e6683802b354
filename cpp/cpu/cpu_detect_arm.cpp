// Features of AArch64 CPUs, as Linux tells them. NEON with fused multiply-adds is in every one.
#if defined(__aarch64__)
#include <sys/auxv.h>

#include "cpu_detect.hpp"

namespace magnet {

bool cpu_has_dot_products() {
  constexpr unsigned long HWCAP_SDOT = 1ul << 20;  // HWCAP_ASIMDDP of <asm/hwcap.h>
  return (getauxval(AT_HWCAP) & HWCAP_SDOT) != 0;
}

bool cpu_has(CpuPath path) { return path == CpuPath::scalar || path == CpuPath::neon; }

std::vector<std::string> cpu_features() {
  std::vector<std::string> found{"neon"};
  if (cpu_has_dot_products()) found.emplace_back("dotprod");
  return found;
}

}  // namespace magnet
#endif
