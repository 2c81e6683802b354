// What the CPU at hand can do; the answers come from a file for each architecture.
#pragma once
#include <string>
#include <vector>

#include "common.hpp"

namespace magnet {

bool cpu_has(CpuPath path);

/** Instruction sets that the library's kernels care about, of those that the CPU has. */
std::vector<std::string> cpu_features();

#if defined(__aarch64__)
/** Integer dot products (SDOT), an extension of ARMv8.2 that most servers and phones have. */
bool cpu_has_dot_products();
#endif

}  // namespace magnet
