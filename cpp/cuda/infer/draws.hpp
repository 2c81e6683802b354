// Draws of a batch from logits that stay on the GPU: what samplers change goes to it, their largest tokens
// or the block of a draw come back, in pinned memory, all rows in one wait. Rows where that does not decide
// are fetched as they are.
#pragma once
#include "../../cpu/sampler.hpp"
#include "../kernels/infer_draw.hpp"
#include "../kernels/infer_product.hpp"

namespace magnet::gpu {

/** What find_tops leaves of up to SKINNY_ROWS rows, on the device and on the host. */
class TopBuffers {
 public:
  explicit TopBuffers(int64_t vocab);
  PartTop* on_device() const { return tops_.data(); }
  void fetch(const Stream& stream, uint64_t rows) const;
  /** Of a row that was fetched: all but what wishes bring. `logits` is not read. */
  ReducedRow row(uint64_t i) const;

 private:
  int64_t vocab_;
  uint64_t parts_;
  DeviceArray<PartTop> tops_;
  PinnedArray<PartTop> pinned_;
};

/** Memory for what samplers wish, taken when the first does. */
class WishBuffers {
 public:
  explicit WishBuffers(int64_t vocab) : vocab_(vocab) {}
  /** Wishes of outputs first .. first + n for their next draws: none of greedy ones, or where a row is
   * longer than kernels take. */
  void plan(const BatchDraws& draws, uint64_t first, uint64_t n);
  /** After find_tops. */
  void start(const Stream& stream, const float* logits, const PartTop* tops);
  /** When the stream has done it. True where the row was to have been reduced; it then has all that was
   * asked for. */
  bool complete(uint64_t i, ReducedRow& row) const;

 private:
  struct Planned {
    int32_t wish = -1;
    int32_t raw_wish = -1;  // of the row as it came
  };
  void add(uint64_t i, const DrawPlan& plan);
  void send(const Stream& stream);
  void reserve();

  int64_t vocab_;
  std::vector<Planned> planned_;
  std::vector<RowWish> wishes_;  // changed ones first when they are sent
  std::vector<LogitEdit> edits_;
  std::vector<std::shared_ptr<const TokenMask>> masks_;
  uint32_t changed_ = 0;
  bool tokens_ = false;

  PinnedArray<unsigned char> pinned_in_;
  DeviceArray<unsigned char> in_;
  DeviceArray<float> changed_logits_, block_sums_;
  DeviceArray<PartTop> changed_tops_;
  DeviceArray<LogitRank> ranks_;
  DeviceArray<double> totals_;
  DeviceArray<int32_t> counts_;
  DeviceArray<ReducedToken> out_tokens_;
  DeviceArray<RowDraw> out_draws_;
  PinnedArray<ReducedToken> pinned_tokens_;
  PinnedArray<RowDraw> pinned_draws_;
};

}  // namespace magnet::gpu
