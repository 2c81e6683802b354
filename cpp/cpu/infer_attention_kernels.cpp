// Dispatch of the attention kernels.
#include "infer_attention.hpp"

#include <algorithm>
#include <cmath>

#include "simd_half.hpp"

#define MAGNET_KERNELS "infer_attention.inc"
#include "all_paths.inc"

namespace magnet {

void run_attention(const AttentionTask<uint16_t>& task) { MAGNET_DISPATCH(attend_rows, task); }
void run_attention(const AttentionTask<float>& task) { MAGNET_DISPATCH(attend_rows, task); }
void run_attention(const AttentionTask<uint16_t>& task, AttentionStage stage, int64_t unit) {
  MAGNET_DISPATCH(attend_part, task, stage, unit);
}
void run_attention(const AttentionTask<float>& task, AttentionStage stage, int64_t unit) {
  MAGNET_DISPATCH(attend_part, task, stage, unit);
}

}  // namespace magnet
