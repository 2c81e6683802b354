// Known answer of training; see known_answer.hpp. The sizes leave a remainder in every vector loop
// and register tile, and cross the blocks of attention (28 rows) and of the products (k = 256).
#include "known_answer.hpp"

#include <cstring>

#include "thread_pool.hpp"
#include "trainer.hpp"

namespace magnet {
namespace {

constexpr uint32_t VOCAB = 131;
constexpr uint32_t CONTEXT = 50;
constexpr uint32_t STEPS = 3;

/** From the scalar path. Volatile: it stays in memory, where a test can falsify it. */
const volatile uint64_t EXPECTED = 0x930E43C11BDA44B3ull;

/** Bijective mixing of 64 bits (the finaliser of SplitMix64). */
uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}

/** FNV-1a. */
void fold(uint64_t& digest, const void* bytes, uint64_t n) {
  const auto* const p = static_cast<const uint8_t*>(bytes);
  for (uint64_t i = 0; i < n; i++) digest = (digest ^ p[i]) * 0x100000001B3ull;
}

void fill_parameters(const mg_model_config& config, float* params) {
  for (const Tensor& t : model_layout(config).tensors)
    for (uint64_t i = t.offset; i < t.offset + t.size(); i++) {
      // 24 random bits as an exact float in [-0.5, 0.5).
      const float x = static_cast<float>(mixed(i + 1) >> 40) * 0x1p-24f - 0.5f;
      params[i] = t.is_matrix ? x * 0.125f : 1.0f + x;
    }
}

}  // namespace

uint64_t known_answer() {
  const FloatEnvironment environment;
  const mg_model_config config{1, VOCAB, 76, 1, 3, 1, 26, 266, CONTEXT, 10000.0f, 1e-5f, 0};
  Trainer trainer(config, {1, CONTEXT, 1, 0, MG_OPTIMIZER_ADAMW, MG_PRECISION_BACKEND, 0, 0});
  const uint64_t n = model_layout(config).count;
  fill_parameters(config, trainer.arena(0));
  int32_t tokens[CONTEXT + 1];
  for (uint32_t i = 0; i <= CONTEXT; i++) tokens[i] = static_cast<int32_t>(mixed(~i) % VOCAB);
  uint64_t digest = 0xCBF29CE484222325ull;
  for (uint64_t step = 1; step <= STEPS; step++) {
    const mg_optimizer adamw{
        MG_OPTIMIZER_ADAMW, 1e-2f, 0.9f, 0.98f, 1e-8f, 0.1f, 1.0f, 0.0f, step, 0};
    const mg_step_result result = trainer.step(tokens, 1, adamw, nullptr);
    fold(digest, &result.loss, sizeof result.loss);
  }
  for (uint32_t which = 0; which < 3; which++)
    fold(digest, trainer.arena(which), n * sizeof(float));
  return digest;
}

uint64_t expected_known_answer() { return EXPECTED; }

}  // namespace magnet

using namespace magnet;

extern "C" int32_t mg_known_answer(uint64_t* out_digest, uint64_t* out_expected) {
  return guard([&] {
    require(out_digest != nullptr && out_expected != nullptr, MG_E_INVALID,
            "mg_known_answer: out is null");
    *out_digest = known_answer();
    *out_expected = expected_known_answer();
    return int32_t{MG_OK};
  });
}
