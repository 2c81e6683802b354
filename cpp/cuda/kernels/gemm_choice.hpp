// Which kernel multiplies: cuBLASLt where it is installed, wgmma or mma. Which is fastest depends on the
// shape, the device and the library's version, so a trainer lets its first micro-batch measure them.
#pragma once
#include <string>

#include "gemm_paths.hpp"

namespace magnet::gpu {

/** While it lives, this thread's products of a shape that is new to the process and the device run all
 * paths, several times each, and from then on the fastest: a later path only where it is faster by a
 * fiftieth, so that noise seldom decides. Paths differ in the order of float32 sums, so that two runs may
 * differ in bits, as two kinds of device do; audits are by tolerance. Without it, and where nothing was
 * measured: the first path that the machine has. MAGNET_GEMM=cublas, wgmma or mma fixes one; in the
 * emulation, whose times say nothing, MAGNET_EMULATION_MEASURE=1 measures for the test's sake. */
class MeasuredProducts {
 public:
  MeasuredProducts();
  ~MeasuredProducts();
  MeasuredProducts(const MeasuredProducts&) = delete;
  MeasuredProducts& operator=(const MeasuredProducts&) = delete;

 private:
  bool outer_;
};

/** Runs the product by the path of its shape. T: bf16 or int8_t. */
template <class T>
void run_tensor_cores(const Stream& stream, const Operands<T>& operands, const Output& out);

/** [{"m":..,"n":..,"k":..,"operands":"..","path":"..","us":{"wgmma":..}},..] of what was measured on the
 * calling thread's device, the first 48. */
std::string measured_products();

}  // namespace magnet::gpu
