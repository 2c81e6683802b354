// Tensors of a GGUF file as matrices of an inference model (infer_gguf_tensors.cpp): read out of the
// mapped file on several threads, checked as they are read, and brought into the layout of the
// kernels.
#pragma once
#include "gguf.hpp"
#include "infer_model.hpp"

namespace magnet {

/** Memory that all tensors of a model share: huge pages hold parts of several, and none is rounded up
 * to them. */
class WeightMemory {
 public:
  static constexpr uint64_t ALIGNMENT = 64;
  static uint64_t padded(uint64_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

  /** For tensors of so many bytes in all, each padded. */
  explicit WeightMemory(uint64_t bytes)
      : memory_(std::make_shared<Mapping>(bytes, "weights")), size_(bytes) {}
  const std::shared_ptr<Mapping>& memory() const { return memory_; }
  /** Offset of the next tensor. */
  uint64_t take(uint64_t bytes) {
    const uint64_t at = used_;
    used_ += padded(bytes);
    require(used_ <= size_, MG_E_INTERNAL, "more weights than memory was taken for");
    return at;
  }

 private:
  std::shared_ptr<Mapping> memory_;
  uint64_t size_;
  uint64_t used_ = 0;
};

/** Bytes that gguf_dense or gguf_ternary take of the memory for a tensor, padded. */
uint64_t gguf_weight_bytes(const GgufTensor& t);
bool is_ternary_type(uint32_t type);

/** A type of DenseMatrix. heads > 0: interleaved rotary rows are put back to half-split ones. Throws
 *  MG_E_NUMERIC for values that are not finite. */
DenseMatrix gguf_dense(const GgufFile& file, const GgufTensor& t, uint32_t heads, uint32_t threads,
                       WeightMemory& memory);
/** A Q6_K tensor in panels, with the bits of the file. */
PackedHead gguf_head(const GgufFile& file, const GgufTensor& t, uint32_t threads,
                     WeightMemory& memory);
/** A head rounded to int8 or int4. */
PackedHead round_head(const DenseMatrix& w, HeadFormat format, uint32_t threads);
/** TQ1_0, TQ2_0 or I2_S. Throws MG_E_FORMAT for codes that no weight has and scales that are not
 * finite. */
PackedTernary gguf_ternary(const GgufFile& file, const GgufTensor& t, uint32_t heads,
                           uint32_t threads, WeightMemory& memory);
/** True, and fills `out`, where every value is 0 or plus or minus one number. */
bool make_ternary(const DenseMatrix& m, PackedTernary& out);

}  // namespace magnet
