// The built-in known answer: three training steps of a tiny model, as one number. A SIMD path whose
// number differs from the built-in one is not used: the results of an honest node must not depend
// on its CPU, its hypervisor or the compiler that built the library.
#pragma once
#include <cstdint>

namespace magnet {

/** Digest of parameters, moments and losses after the steps, on the path in force; 1 thread. */
uint64_t known_answer();

/** What every path must give. */
uint64_t expected_known_answer();

}  // namespace magnet
