// Draws from reduced rows against the sampler's own from whole rows: the same tokens and log-probabilities,
// bit for bit, whatever the row and the options are; and which rows need the whole.
#include <algorithm>
#include <bit>

#include "../infer/draws.hpp"
#include "check.hpp"

using namespace magnet;
using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

using Row = std::vector<float>;

struct Options {
  std::string name;
  mg_sampler_options of{};
  std::vector<LogitBias> bias{};
  int prompt = 0;
};

Options options_of(const std::string& name, float temperature, uint32_t top_k, float top_p,
                   float min_p) {
  Options out{name};
  out.of.sampling.temperature = temperature;
  out.of.sampling.top_p = top_p;
  out.of.sampling.min_p = min_p;
  out.of.sampling.repetition_penalty = 1;
  out.of.sampling.top_k = top_k;
  return out;
}

std::vector<Options> all_options(int64_t vocab) {
  std::vector<Options> all = {
      options_of("greedy", 0, 0, 1, 0),      options_of("plain", 1, 0, 1, 0),
      options_of("hot", 3, 0, 1, 0),         options_of("cold", 0.01f, 0, 1, 0),
      options_of("top-k 40", 0.8f, 40, 1, 0), options_of("top-k 256", 1.3f, 256, 0.9f, 0.01f),
      options_of("top-k 300", 1, 300, 1, 0), options_of("top-p", 1, 0, 0.9f, 0),
      options_of("top-p 0", 1, 0, 0, 0),     options_of("top-p, most", 1, 0, 0.9999f, 0),
      options_of("min-p", 1.2f, 0, 1, 0.05f), options_of("all", 0.7f, 50, 0.95f, 0.02f),
  };
  Options penalised = options_of("penalties", 0.9f, 0, 0.95f, 0);
  penalised.of.sampling.repetition_penalty = 1.3f;
  penalised.of.presence_penalty = 0.5f;
  penalised.of.frequency_penalty = 0.25f;
  penalised.of.top_logprobs = 5;
  penalised.prompt = 40;
  all.push_back(penalised);
  Options biased = options_of("bias", 1, 0, 1, 0);
  biased.of.top_logprobs = 20;
  biased.bias = {{static_cast<int32_t>(vocab - 1), 8.0f}, {0, -INFINITY}, {3, 2.5f}};
  biased.prompt = 3;
  biased.of.sampling.repetition_penalty = 0.8f;
  all.push_back(biased);
  Options greedy = options_of("greedy, penalties", 0, 0, 1, 0);
  greedy.of.frequency_penalty = 1.5f;
  all.push_back(greedy);
  Options twins = options_of("bias twice", 1, 0, 0.9f, 0);
  twins.bias = {{1, 0.1f}, {1, 0.2f}};
  all.push_back(twins);
  return all;
}

/** What a batch's samplers draw, one each. */
struct Draws {
  std::vector<int32_t> tokens, top_ids;
  std::vector<float> logprobs, top_logprobs;
  explicit Draws(size_t n)
      : tokens(n, -99), top_ids(n * MG_TOP_LOGPROBS, -99), logprobs(n, -99),
        top_logprobs(n * MG_TOP_LOGPROBS, -99) {}
  BatchDraws batch(std::vector<void*>& samplers) {
    return {samplers.data(), tokens.data(), logprobs.data(), top_ids.data(), top_logprobs.data()};
  }
  bool operator==(const Draws& other) const {
    const auto bits = [](const std::vector<float>& x) {
      std::vector<uint32_t> out;
      for (const float v : x) out.push_back(std::bit_cast<uint32_t>(v));
      return out;
    };
    return tokens == other.tokens && top_ids == other.top_ids &&
           bits(logprobs) == bits(other.logprobs) && bits(top_logprobs) == bits(other.top_logprobs);
  }
};

class Samplers {
 public:
  Samplers(int64_t vocab, const Options& options, size_t n) {
    for (size_t i = 0; i < n; i++) {
      mg_sampler_options o = options.of;
      o.sampling.seed = 1000 + i;
      auto sampler = std::make_unique<Sampler>(static_cast<uint64_t>(vocab), o, options.bias, nullptr);
      std::vector<int32_t> prompt;
      for (int p = 0; p < options.prompt; p++)
        prompt.push_back(static_cast<int32_t>((37 * p * p + 5) % vocab));
      sampler->prompt(prompt.data(), prompt.size());
      handles.push_back(sampler.get());
      owned_.push_back(std::move(sampler));
    }
  }
  std::vector<void*> handles;

 private:
  std::vector<std::unique_ptr<Sampler>> owned_;
};

struct Device {
  explicit Device(int64_t size) : vocab(size), tops(size), wishes(size) {}
  int64_t vocab;
  Stream stream;
  TopBuffers tops;
  WishBuffers wishes;

  /** How many rows took the whole. */
  int draw(const std::vector<Row>& rows, const BatchDraws& draws) {
    Row flat;
    for (const Row& row : rows) flat.insert(flat.end(), row.begin(), row.end());
    const DeviceArray<float> logits = upload(stream, flat);
    find_tops(stream, logits.data(), static_cast<int64_t>(rows.size()), vocab, tops.on_device());
    wishes.plan(draws, 0, rows.size());
    wishes.start(stream, logits.data(), tops.on_device());
    tops.fetch(stream, rows.size());
    stream.wait();
    int whole = 0;
    for (size_t i = 0; i < rows.size(); i++) {
      ReducedRow row = tops.row(i);
      const ReducedToken largest = {row.top, row.top, row.top_id};
      if (!wishes.complete(i, row) && draws.wants_largest(i)) {
        row.tokens = &largest;
        row.n_tokens = 1;
      }
      if (draws.draw_reduced(i, row)) continue;
      whole++;
      draws.draw(i, rows[i].data());
    }
    return whole;
  }
};

struct Case {
  std::string name;
  Row row;
};
std::vector<Case> all_rows(Random& random, int64_t vocab) {
  const auto size = static_cast<size_t>(vocab);
  const auto normal = [&](double spread) {
    Row row(size);
    for (float& x : row) x = static_cast<float>(spread * random.normal());
    return row;
  };
  std::vector<Case> cases = {{"normal", normal(2)}, {"wide", normal(12)}, {"flat", normal(1e-3)},
                             {"equal", Row(size, 1.5f)}, {"zeros", Row(size, 0.0f)}};
  Row banned(size, -INFINITY);
  banned[size / 2] = -3;
  banned[size - 1] = -3;
  cases.push_back({"two are possible", banned});
  Row none(size, -INFINITY);
  cases.push_back({"none is possible", none});
  Row ties = normal(1);
  for (float& x : ties) x = std::round(4 * x) / 4;
  cases.push_back({"ties", ties});
  // The 256th and many after it are equal.
  Row kth(size, 0.25f);
  for (size_t i = 0; i < size; i += 1 + size / 200) kth[i] = 3;
  cases.push_back({"the last candidate ties", kth});
  Row signs(size, 0.0f);
  for (size_t i = 0; i < size; i += 3) signs[i] = -0.0f;
  cases.push_back({"signed zeros", signs});
  Row far = normal(1);
  far[size / 3] = 300;
  cases.push_back({"one far above", far});
  for (const float broken : {NAN, -NAN, INFINITY}) {
    Row row = normal(1);
    row[size - 1] = broken;
    cases.push_back({"broken", row});
  }
  cases.push_back({"all are NaN", Row(size, -NAN)});
  Row huge = normal(1);
  huge[1] = 3e38f;
  cases.push_back({"huge", huge});
  return cases;
}

/** Steps of all rows at once: what the GPU's path draws, and what the samplers do by themselves. */
void test_vocab(Random& random, int64_t vocab, int steps) {
  const std::vector<Case> cases = all_rows(random, vocab);
  std::vector<Row> rows;
  for (const Case& c : cases) rows.push_back(c.row);
  Device device(vocab);
  for (const Options& options : all_options(vocab)) {
    Samplers mine(vocab, options, rows.size());
    Samplers theirs(vocab, options, rows.size());
    int whole = 0;
    for (int step = 0; step < steps; step++) {
      Draws got(rows.size()), want(rows.size());
      whole += device.draw(rows, got.batch(mine.handles));
      const BatchDraws expected = want.batch(theirs.handles);
      for (size_t i = 0; i < rows.size(); i++) expected.draw(i, rows[i].data());
      check(got == want, options.name + " of " + std::to_string(vocab) + ", step " +
                             std::to_string(step));
      for (size_t i = 0; i < rows.size(); i++)
        if (got.tokens[i] != want.tokens[i])
          std::printf("  %s: %d, not %d\n", cases[i].name.c_str(), got.tokens[i], want.tokens[i]);
    }
    std::printf("%s of %lld: %d of %zu rows as a whole\n", options.name.c_str(),
                static_cast<long long>(vocab), whole, rows.size() * static_cast<size_t>(steps));
    std::fflush(stdout);
  }
}

/** Rows as models write them are decided without their whole. */
void test_reduced_suffices(Random& random, int64_t vocab) {
  std::vector<Row> rows(4, Row(static_cast<size_t>(vocab)));
  // As steep as a model's: the likeliest hundred have nearly all of the weight.
  for (Row& row : rows) {
    for (float& x : row) x = static_cast<float>(random.normal());
    for (int i = 0; i < 100; i++)
      row[static_cast<size_t>(random.below(vocab))] = 12 + static_cast<float>(3 * random.normal());
  }
  Device device(vocab);
  for (const char* const name : {"greedy", "plain", "top-k 40", "top-p", "min-p", "all", "penalties"})
    for (const Options& options : all_options(vocab)) {
      if (options.name != name) continue;
      Samplers samplers(vocab, options, rows.size());
      Draws draws(rows.size());
      check(device.draw(rows, draws.batch(samplers.handles)) == 0,
            options.name + " of " + std::to_string(vocab) + " takes whole rows");
    }
}

void test_sums_agree(Random& random, int64_t vocab) {
  const std::vector<Case> cases = all_rows(random, vocab);
  Device device(vocab);
  for (const Case& c : cases) {
    const DeviceArray<float> logits = upload(device.stream, c.row);
    check_same_in_all_orders(
        [&] {
          find_tops(device.stream, logits.data(), 1, vocab, device.tops.on_device());
          device.tops.fetch(device.stream, 1);
          device.stream.wait();
          const ReducedRow row = device.tops.row(0);
          return Reals{static_cast<double>(row.top_id),
                       std::isfinite(row.sum_exp) ? row.sum_exp : -1.0};
        },
        "tops, " + c.name);
  }
}

}  // namespace

int main() {
  Random random(5);
  test_vocab(random, 97, 4);
  test_vocab(random, 1000, 4);
  test_vocab(random, 9000, 2);
  test_reduced_suffices(random, 2000);
  test_reduced_suffices(random, 128256);
  test_sums_agree(random, 9000);
  return finish("infer_draw");
}
