// Attention of inference over a paged cache against plain loops in double precision; and that a
// row's bits are the same in a batch of everything, in other cuts, and by itself.
#include <algorithm>
#include <numeric>

#include "../kernels/infer_attention.hpp"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

struct Shape {
  uint32_t heads, kv_heads, head_dim;
};
constexpr uint32_t LAYERS = 2;
constexpr uint32_t LAYER = 1;

/** Sequences whose keys and values lie in blocks in random order; row i is a position of one. */
class Case {
 public:
  Case(Random& random, Shape shape, const std::vector<uint32_t>& lengths)
      : shape_(shape), lengths_(lengths) {
    uint32_t blocks = 0;
    for (uint32_t s = 0; s < lengths.size(); s++) {
      starts_.push_back(blocks);
      blocks += (lengths[s] + MG_KV_BLOCK - 1) / MG_KV_BLOCK;
      for (uint32_t p = 0; p < lengths[s]; p++) rows_.push_back({0, p, s, MG_OUTPUT_NONE});
    }
    starts_.push_back(blocks);
    tables_.resize(blocks);
    std::iota(tables_.begin(), tables_.end(), 0u);
    for (uint32_t i = blocks; i > 1; i--)
      std::swap(tables_[i - 1], tables_[static_cast<size_t>(random.below(i))]);
    const auto n = static_cast<int64_t>(rows_.size());
    q_ = random.values<float>(n * shape.heads * shape.head_dim, 1.5);
    k_ = random.values<float>(n * shape.kv_heads * shape.head_dim, 1.5);
    v_ = random.values<float>(n * shape.kv_heads * shape.head_dim);
    make_angles();
    upload_all();
  }

  /** Attention of some rows, in one batch. `split`: whether single rows are split over positions. */
  Reals attend(const std::vector<uint32_t>& chosen, bool split) {
    std::vector<mg_batch_row> rows;
    Reals q, k, v;
    for (const uint32_t i : chosen) {
      rows.push_back(rows_[i]);
      append_row(q, q_, i, shape_.heads);
      append_row(k, k_, i, shape_.kv_heads);
      append_row(v, v_, i, shape_.kv_heads);
    }
    const auto n = static_cast<int64_t>(rows.size());
    const DeviceArray<mg_batch_row> dev_rows = upload(stream_, rows);
    const DeviceMatrix<float> dev_q = upload_matrix<float>(stream_, n, width(shape_.heads), q);
    const DeviceMatrix<float> dev_k = upload_matrix<float>(stream_, n, width(shape_.kv_heads), k);
    const DeviceMatrix<float> dev_v = upload_matrix<float>(stream_, n, width(shape_.kv_heads), v);
    const DeviceMatrix<fp16> queries(stream_, n, int64_t{shape_.heads} * cache_.width());
    const DeviceMatrix<float> out(stream_, n, width(shape_.heads));
    const KvBatch batch = {dev_rows.data(), dev_pools_.data(), dev_tables_.data(),
                           dev_starts_.data()};
    const FreshRows fresh = {dev_q.view(), dev_k.view(), dev_v.view(), dev_cosines_.data(),
                             dev_sines_.data()};
    const AttentionTiles tiles =
        attention_tiles(rows.data(), static_cast<uint32_t>(n), shape_.heads, shape_.kv_heads);
    const DeviceArray<AttentionTile> dev_tiles = upload(stream_, tiles.tiles);
    const auto single = static_cast<uint32_t>(tiles.tiles.size()) - tiles.prefill;
    // A bound beyond the longest row splits, none does not.
    const uint32_t last = split ? std::max(tiles.last_position, 300u) : 0;
    const DeviceArray<float> scratch(
        attention_work_scratch(cache_, shape_.heads, single, last));
    const AttentionWork work = {dev_tiles.data(), tiles.prefill, single, last, scratch.data()};
    infer_attention(stream_, cache_, LAYER, batch, work, shape_.heads, fresh, queries.view(),
                    out.view());
    return download_matrix(stream_, out.view());
  }

  Reals reference(const std::vector<uint32_t>& chosen) const {
    const int64_t hd = shape_.head_dim;
    Reals out;
    for (const uint32_t i : chosen)
      for (uint32_t h = 0; h < shape_.heads; h++) {
        const uint32_t kv = h / (shape_.heads / shape_.kv_heads);
        const Reals q = turned(q_, i, h, shape_.heads);
        Reals p;
        for (uint32_t j = i - rows_[i].position; j <= i; j++) {
          const Reals k = turned(k_, j, kv, shape_.kv_heads);
          p.push_back(std::inner_product(q.begin(), q.end(), k.begin(), 0.0) /
                      std::sqrt(static_cast<double>(hd)));
        }
        const double top = *std::max_element(p.begin(), p.end());
        double sum = 0;
        for (double& x : p) sum += x = std::exp(x - top);
        Reals row(static_cast<size_t>(hd), 0.0);
        for (size_t j = 0; j < p.size(); j++)
          for (int64_t c = 0; c < hd; c++)
            row[static_cast<size_t>(c)] +=
                p[j] / sum * v_[head_at(i - rows_[i].position + static_cast<uint32_t>(j), kv,
                                        shape_.kv_heads) + static_cast<size_t>(c)];
        out.insert(out.end(), row.begin(), row.end());
      }
    return out;
  }

  const std::vector<mg_batch_row>& rows() const { return rows_; }
  int64_t width(uint32_t heads) const { return int64_t{heads} * shape_.head_dim; }

 private:
  size_t head_at(uint32_t row, uint32_t head, uint32_t heads) const {
    return (static_cast<size_t>(row) * heads + head) * shape_.head_dim;
  }
  void append_row(Reals& to, const Reals& from, uint32_t row, uint32_t heads) const {
    const auto at = from.begin() + static_cast<int64_t>(head_at(row, 0, heads));
    to.insert(to.end(), at, at + width(heads));
  }
  Reals turned(const Reals& x, uint32_t row, uint32_t head, uint32_t heads) const {
    const size_t half = shape_.head_dim / 2;
    Reals out(2 * half);
    for (size_t j = 0; j < half; j++) {
      const double a = x[head_at(row, head, heads) + j];
      const double b = x[head_at(row, head, heads) + half + j];
      const double c = cosines_[rows_[row].position * half + j];
      const double s = sines_[rows_[row].position * half + j];
      out[j] = a * c - b * s;
      out[j + half] = b * c + a * s;
    }
    return out;
  }
  void make_angles() {
    const uint32_t longest = *std::max_element(lengths_.begin(), lengths_.end());
    for (uint32_t p = 0; p < longest; p++)
      for (uint32_t j = 0; j < shape_.head_dim / 2; j++) {
        const double angle = p * std::pow(1e4, -2.0 * j / shape_.head_dim);
        cosines_.push_back(real_of(static_cast<float>(std::cos(angle))));
        sines_.push_back(real_of(static_cast<float>(std::sin(angle))));
      }
  }
  /** The cache is full of NaN but for what rows write. */
  void upload_all() {
    cache_ = {LAYERS, shape_.kv_heads, shape_.head_dim};
    for (DeviceArray<fp16>& memory : memory_) {
      memory = DeviceArray<fp16>(cache_.block() * tables_.size());
      fill_bytes(stream_, memory.data(), 0xff, memory.size() * sizeof(fp16));
    }
    std::vector<fp16*> pools;
    for (size_t s = 0; s < lengths_.size(); s++) pools.push_back(memory_[s % 2].data());
    dev_pools_ = upload(stream_, pools);
    dev_tables_ = upload(stream_, tables_);
    dev_starts_ = upload(stream_, starts_);
    dev_cosines_ = upload_reals<float>(stream_, cosines_);
    dev_sines_ = upload_reals<float>(stream_, sines_);
  }

  Stream stream_;
  Shape shape_;
  std::vector<uint32_t> lengths_, tables_, starts_;
  std::vector<mg_batch_row> rows_;
  Reals q_, k_, v_, cosines_, sines_;
  KvCache cache_{};
  DeviceArray<fp16> memory_[2];  // of even sequences, and of odd ones
  DeviceArray<fp16*> dev_pools_;
  DeviceArray<uint32_t> dev_tables_, dev_starts_;
  DeviceArray<float> dev_cosines_, dev_sines_;
};

/** Results of the rows `some` out of those of all rows. */
Reals rows_of(const Reals& all, const std::vector<uint32_t>& some, int64_t width) {
  Reals out;
  for (const uint32_t i : some)
    out.insert(out.end(), all.begin() + i * width, all.begin() + (i + 1) * width);
  return out;
}

void test_shape(Random& random, Shape shape, const std::vector<uint32_t>& lengths) {
  const std::string name = "heads " + std::to_string(shape.heads) + "/" +
                           std::to_string(shape.kv_heads) + " of " +
                           std::to_string(shape.head_dim) + ": ";
  Case c(random, shape, lengths);
  const int64_t width = c.width(shape.heads);
  std::vector<uint32_t> all(c.rows().size());
  std::iota(all.begin(), all.end(), 0u);
  const Reals whole = c.attend(all, false);
  const double error = relative_l2(whole, c.reference(all));
  std::printf("%s%.1e\n", name.c_str(), error);
  std::fflush(stdout);
  check(error <= 2e-3, name + "prefill, relative error " + std::to_string(error));
  // The last row of every sequence, and some between, each a batch's only row of its sequence.
  std::vector<uint32_t> lasts;
  for (uint32_t i = 0; i < all.size(); i++)
    if (i + 1 == all.size() || c.rows()[i + 1].position == 0) lasts.push_back(i);
  const Reals want = rows_of(whole, lasts, width);
  check(c.attend(lasts, false) == want, name + "single rows differ from prefill");
  check(c.attend(lasts, true) == want, name + "split rows differ from prefill");
  // Some rows are missing: other cuts, and single rows between tiles.
  std::vector<uint32_t> cut;
  for (uint32_t i = 0; i < all.size(); i += i % 29 == 28 ? 2 : 1) cut.push_back(i);
  check(c.attend(cut, true) == rows_of(whole, cut, width), name + "other cuts differ");
  check_same_in_all_orders([&] { return c.attend(lasts, false); }, name + "single rows");
  check_same_in_all_orders([&] { return c.attend(lasts, true); }, name + "split rows");
  const auto count = std::min<int64_t>(40, static_cast<int64_t>(all.size()));
  const std::vector<uint32_t> few(all.begin(), all.begin() + count);
  check_same_in_all_orders([&] { return c.attend(few, false); }, name + "prefill");
}

}  // namespace

int main() {
  Random random(11);
  test_shape(random, {4, 1, 96}, {300, 70, 1, 65});
  test_shape(random, {4, 2, 16}, {33, 64, 17, 130});
  test_shape(random, {6, 2, 10}, {90, 5});
  test_shape(random, {2, 2, 32}, {66, 260});
  test_shape(random, {20, 1, 64}, {70});
  test_shape(random, {2, 1, 128}, {129});
  test_shape(random, {2, 1, 256}, {129});
  return finish("infer_attention");
}
