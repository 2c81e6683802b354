// The SIMD path of the host's kernels in libmagnet_cuda (samplers, packing): the best that the CPU has,
// or the one that MAGNET_CPU names. Whether a path computes rightly is tried by libmagnet_cpu
// (cpp/cpu/library.cpp), which is loaded beside this one.
#include <cstdlib>
#include <cstring>

#include "../../cpu/cpu_detect.hpp"

namespace magnet {

CpuPath cpu_path() {
  static const CpuPath path = [] {
    constexpr CpuPath BEST_FIRST[] = {CpuPath::avx512, CpuPath::avx2, CpuPath::neon,
                                      CpuPath::scalar};
    constexpr const char* NAMES[] = {"scalar", "neon", "avx2", "avx512"};
    const char* const wanted = std::getenv("MAGNET_CPU");
    const bool any = wanted == nullptr || *wanted == '\0';
    for (const CpuPath p : BEST_FIRST)
      if (cpu_has(p) && (any || std::strcmp(wanted, NAMES[static_cast<size_t>(p)]) == 0)) return p;
    fail(MG_E_UNSUPPORTED, "MAGNET_CPU=%s: this CPU has no such path", wanted);
  }();
  return path;
}

}  // namespace magnet
