// The trainer as its callers see it: steps that are put into the stream as a whole give the numbers of
// steps that are waited for piece by piece; a snapshot is the trainer as it was; a step that is
// cancelled or refused changes nothing; what is allocated is what was said.
#include <cmath>
#include <limits>

#include "../../include/magnet.h"
#include "check.hpp"

using namespace magnet::gpu;
using namespace magnet::gpu::test;

namespace {

constexpr uint32_t BATCH = 1;
constexpr uint32_t CONTEXT = 8;
constexpr uint32_t VOCAB = 40;
enum Arena : uint32_t { PARAMS, M, V };

void require_ok(int32_t status, const char* call) {
  if (status == MG_OK) return;
  char text[256];
  mg_last_error(text, sizeof text);
  std::printf("FAILED %s: %s\n", call, text);
  std::exit(1);
}

const mg_model_config MODEL{1, VOCAB, 16, 1, 2, 1, 8, 24, CONTEXT, 10000.0f, 1e-5f, 0};

mg_optimizer optimizer_at(uint64_t step, uint32_t kind) {
  return {kind, 1e-2f, 0.9f, 0.95f, 1e-8f, 0.1f, 1.0f, 0.95f, step, 0};
}

/** `micro_batches` of tokens; every step has its own. */
std::vector<int32_t> tokens_of(unsigned step, uint32_t micro_batches) {
  Random random(step);
  std::vector<int32_t> tokens(micro_batches * BATCH * (CONTEXT + 1));
  for (int32_t& id : tokens) id = static_cast<int32_t>(random.below(VOCAB));
  tokens.back() = -100;
  return tokens;
}

/** One pair a micro-batch, of a batch of two sequences. */
struct Pairs {
  std::vector<int32_t> tokens, labels;
  uint32_t width, count;

  Pairs(unsigned seed, uint32_t width_, uint32_t count_) : width(width_), count(count_) {
    Random random(seed);
    for (uint32_t i = 0; i < 2 * count; i++)
      for (uint32_t t = 0; t < width; t++) {
        tokens.push_back(static_cast<int32_t>(random.below(VOCAB)));
        labels.push_back(t >= width / 2 ? tokens.back() : -100);
      }
  }
};

class Model {
 public:
  explicit Model(uint32_t kind = MG_OPTIMIZER_ADAMW, uint32_t batch = BATCH) : kind_(kind) {
    mg_trainer_options options = options_of(kind);
    options.batch = batch;
    require_ok(mg_trainer_create(&MODEL, &options, &handle_), "create");
    require_ok(mg_model_param_count(&MODEL, &count_), "count");
    require_ok(mg_model_init(&MODEL, 7, arena(PARAMS), count_), "init");
    require_ok(mg_trainer_push(handle_, PARAMS), "push");
  }
  ~Model() { mg_trainer_free(handle_); }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  static mg_trainer_options options_of(uint32_t kind) {
    return {BATCH, CONTEXT, 0, 0, kind, MG_PRECISION_BACKEND, 0, 0};
  }
  int32_t step(unsigned number, uint32_t micro_batches, mg_step_result& out,
               const int32_t* cancel = nullptr) {
    const std::vector<int32_t> tokens = tokens_of(number, micro_batches);
    const mg_optimizer optimizer = optimizer_at(number, kind_);
    return mg_trainer_step(handle_, tokens.data(), micro_batches, &optimizer, cancel, &out);
  }
  int32_t step_of(const std::vector<int32_t>& tokens, uint32_t micro_batches,
                  const mg_optimizer& optimizer, mg_step_result& out) {
    return mg_trainer_step(handle_, tokens.data(), micro_batches, &optimizer, nullptr, &out);
  }
  double trained(unsigned number, uint32_t micro_batches) {
    mg_step_result result;
    require_ok(step(number, micro_batches, result), "step");
    return result.loss;
  }
  mg_orpo_result aligned(const Pairs& pairs, bool updates) {
    const mg_optimizer optimizer = optimizer_at(++aligned_, kind_);
    mg_orpo_result result;
    require_ok(mg_trainer_orpo(handle_, pairs.tokens.data(), pairs.labels.data(), 1, pairs.width,
                               pairs.count, 0.1f, updates ? &optimizer : nullptr, nullptr, &result),
               "orpo");
    return result;
  }
  float* arena(Arena which) {
    float* out = nullptr;
    require_ok(mg_trainer_arena(handle_, which, &out), "arena");
    return out;
  }
  /** The host's copies of params, m and v, one after the other. */
  std::vector<float> copies() {
    std::vector<float> all;
    for (const Arena which : {PARAMS, M, V}) {
      const float* const from = arena(which);
      all.insert(all.end(), from, from + count_);
    }
    return all;
  }
  std::vector<float> state() {
    for (const Arena which : {PARAMS, M, V}) require_ok(mg_trainer_pull(handle_, which), "pull");
    return copies();
  }
  void push_params() { require_ok(mg_trainer_push(handle_, PARAMS), "push"); }
  void start_snapshot() { require_ok(mg_trainer_snapshot(handle_), "snapshot"); }
  void wait_for_snapshot() { require_ok(mg_trainer_snapshot_wait(handle_), "snapshot_wait"); }

 private:
  uint32_t kind_;
  uint64_t aligned_ = 0;
  void* handle_ = nullptr;
  uint64_t count_ = 0;
};

bool same(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

/** The first step may have more micro-batches than the ring has slots. In the emulation a stream works at
 * once in the order "forward", else as late as it may. */
void test_steps(uint32_t kind, uint32_t micro_batches) {
  const auto run = [&](const char* order) {
    setenv("MAGNET_EMULATION_ORDER", order, 1);
    Model model(kind);
    std::vector<double> losses;
    losses.push_back(model.trained(1, micro_batches));
    losses.push_back(model.trained(2, 1));
    return std::pair(losses, model.state());
  };
  const auto late = run("reverse");
  const auto at_once = run("forward");
  const std::string name = kind == MG_OPTIMIZER_MUON ? "muon" : "adamw";
  check(late.first == at_once.first, name + ": losses do not depend on when the stream works");
  check(same(late.second, at_once.second), name + ": nor do parameters and moments");
  check(std::isfinite(late.first[1]) && late.first[1] != late.first[0], name + ": it trains");
}

/** More micro-batches than the ring has slots, and another width in the second step. */
void test_preferences() {
  const auto run = [&](const char* order) {
    setenv("MAGNET_EMULATION_ORDER", order, 1);
    Model model(MG_OPTIMIZER_ADAMW, 2);
    std::vector<double> figures;
    for (const Pairs& pairs : {Pairs(5, 7, 5), Pairs(6, 4, 1)}) {
      const mg_orpo_result result = model.aligned(pairs, true);
      for (const double x : {result.loss, result.odds_loss, result.logp_chosen, result.grad_norm})
        figures.push_back(x);
      check(std::isfinite(result.loss) && result.loss > result.nll, "orpo: a loss of both parts");
    }
    return std::pair(figures, model.state());
  };
  const auto late = run("reverse");
  const auto at_once = run("forward");
  check(late.first == at_once.first, "orpo: figures do not depend on when the stream works");
  check(same(late.second, at_once.second), "orpo: nor do parameters and moments");
  Model model(MG_OPTIMIZER_ADAMW, 2);
  const std::vector<float> before = model.state();
  model.aligned(Pairs(5, 7, 5), false);
  check(same(model.state(), before), "orpo without an optimizer changes nothing");
}

/** Two micro-batches are one of twice the sequences, but for roundings; neither is lost. */
void test_accumulation() {
  Model alone;
  Model both(MG_OPTIMIZER_ADAMW, 2 * BATCH);
  const std::vector<int32_t> tokens = tokens_of(1, 2);
  const mg_optimizer optimizer = optimizer_at(1, MG_OPTIMIZER_ADAMW);
  mg_step_result parts, whole, first;
  require_ok(alone.step(1, 2, parts), "step");
  require_ok(both.step_of(tokens, 1, optimizer, whole), "step");
  Model half;
  require_ok(half.step(1, 1, first), "step");
  const auto close = [](double a, double b) { return std::fabs(a / b - 1.0) < 1e-2; };
  check(close(parts.loss, whole.loss) && parts.tokens == whole.tokens, "micro-batches: the loss");
  check(close(parts.grad_norm, whole.grad_norm), "micro-batches: the gradient's norm");
  check(!close(parts.grad_norm, first.grad_norm), "micro-batches: not that of the first alone");
}

void test_snapshot() {
  Model straight;
  straight.trained(1, 1);
  const std::vector<float> boundary = straight.state();
  straight.trained(2, 1);
  const std::vector<float> end = straight.state();
  Model model;
  model.trained(1, 1);
  model.start_snapshot();
  model.trained(2, 1);
  model.wait_for_snapshot();
  check(same(model.copies(), boundary), "a snapshot is the trainer at its boundary");
  check(same(model.state(), end), "and the step beside it that of a run without one");
  model.start_snapshot();
  model.wait_for_snapshot();
  check(same(model.copies(), end), "the next snapshot is of its own boundary");
  model.wait_for_snapshot();
  // Written by the host while the last snapshot is on its way.
  model.start_snapshot();
  model.wait_for_snapshot();
  float* const params = model.arena(PARAMS);
  params[0] += 1.0f;
  model.push_params();
  check(model.state()[0] == params[0], "what the host writes arrives");
}

void test_cancel() {
  Model model;
  Model undisturbed;
  const double expected = undisturbed.trained(1, 2);
  const std::vector<float> before = model.state();
  const int32_t cancel = 1;
  mg_step_result result;
  check(model.step(1, 2, result, &cancel) == MG_E_CANCELLED, "a cancelled step says so");
  check(same(model.state(), before), "and changes nothing");
  check(model.trained(1, 2) == expected, "and the same step can be done after it");
  check(same(model.state(), undisturbed.state()), "with the same result");
}

void test_refusal() {
  Model model;
  model.trained(1, 1);
  model.arena(PARAMS)[0] = std::numeric_limits<float>::quiet_NaN();
  model.push_params();
  const std::vector<float> before = model.state();
  mg_step_result result;
  check(model.step(2, 1, result) == MG_E_NUMERIC, "a loss that is not finite is refused");
  check(same(model.state(), before), "and nothing is changed");
}

void test_memory(uint32_t kind) {
  const uint64_t before = device_bytes_allocated();
  const uint64_t host_before = pinned_bytes_allocated();
  const mg_trainer_options options = Model::options_of(kind);
  mg_trainer_memory parts{};
  require_ok(mg_trainer_memory_parts(&MODEL, &options, &parts), "memory_parts");
  uint64_t said = 0;
  require_ok(mg_trainer_bytes(&MODEL, &options, &said), "bytes");
  Model model(kind);
  for (unsigned number = 1; number <= 2; number++) model.trained(number, 1);
  model.start_snapshot();
  model.wait_for_snapshot();
  const uint64_t taken = device_bytes_allocated() - before;
  check(taken == said, "training takes " + std::to_string(taken) + " bytes of the device, said were " +
                           std::to_string(said));
  check(parts.arenas + parts.weights + parts.activations + parts.workspace == said,
        "the parts add up");
  const uint64_t host = pinned_bytes_allocated() - host_before;
  const uint64_t host_said = parts.host_steps + parts.host_copies;
  check(host == host_said, "and " + std::to_string(host) + " of the host, said were " +
                               std::to_string(host_said));
}

}  // namespace

int main() {
  test_steps(MG_OPTIMIZER_ADAMW, 5);
  test_steps(MG_OPTIMIZER_MUON, 1);
  test_preferences();
  test_accumulation();
  setenv("MAGNET_EMULATION_ORDER", "reverse", 1);
  test_snapshot();
  test_cancel();
  test_refusal();
  test_memory(MG_OPTIMIZER_MUON);
  return finish("trainer");
}
