// A trainer's arrays in rounds of training together (magnet_train.h): what the codecs and the outer step
// of cpp/codec do, on arenas that are made when they are first used.
#include <cstring>

#include "thread_pool.hpp"
#include "trainer.hpp"

namespace magnet {

namespace {
enum : uint32_t { PARAMS = 0, BASE = 4, MOMENTUM = 5, RESIDUAL = 6, SUM = 7 };
}  // namespace

float* Trainer::arena(uint32_t which) {
  require(which <= SUM, MG_E_INVALID, "trainer: an arena is 0..7");
  float* const arenas[] = {params_, m_, v_, grad_};
  if (which < BASE) return arenas[which];
  std::unique_ptr<Mapping>& mine = round_arenas_[which - BASE];
  if (!mine) mine = std::make_unique<Mapping>(layout_.count * sizeof(float), "a round's parameters");
  return mine->as<float>();
}

void Trainer::release(uint32_t which) {
  require(which >= BASE && which <= SUM, MG_E_INVALID, "trainer: only arenas 4..7 are released");
  round_arenas_[which - BASE].reset();
}

void Trainer::copy(uint32_t from, uint32_t to) {
  const float* const source = arena(from);
  float* const target = arena(to);
  if (source == target) return;
  parallel_for(threads_, static_cast<int64_t>(layout_.count),
               [&](int64_t begin, int64_t end, uint32_t) {
                 std::memcpy(target + begin, source + begin,
                             static_cast<size_t>(end - begin) * sizeof(float));
               });
}

int32_t Trainer::compress_delta(uint32_t kind, bool feedback, uint8_t* out, uint64_t out_bytes,
                                const int32_t* cancel) {
  const Mapping delta(layout_.count * sizeof(float), "a pseudo-gradient");
  auto* const values = delta.as<float>();
  const int32_t made = mg_delta_make(arena(BASE), params_, values, layout_.count, threads_, cancel);
  if (made != MG_OK) return made;
  float* const residual = feedback ? arena(RESIDUAL) : nullptr;
  return mg_delta_compress(kind, values, residual, layout_.count, out, out_bytes, threads_, cancel);
}

int32_t Trainer::check_delta(const uint8_t* bytes, uint64_t length, const int32_t* cancel) const {
  const Mapping delta(layout_.count * sizeof(float), "a pseudo-gradient");
  return mg_delta_decompress(bytes, length, delta.as<float>(), layout_.count, nullptr, threads_,
                             cancel);
}

int32_t Trainer::add_to_sum(const uint8_t* bytes, uint64_t length, float weight,
                            const int32_t* cancel) {
  const Mapping delta(layout_.count * sizeof(float), "a pseudo-gradient");
  auto* const values = delta.as<float>();
  const int32_t read =
      mg_delta_decompress(bytes, length, values, layout_.count, nullptr, threads_, cancel);
  if (read != MG_OK) return read;
  return mg_delta_accumulate(arena(SUM), values, weight, layout_.count, threads_, cancel);
}

int32_t Trainer::outer_step(float lr, float mu, const int32_t* cancel) {
  require(round_arenas_[SUM - BASE] != nullptr, MG_E_INVALID,
          "mg_trainer_outer_step: nothing was added");
  const int32_t status = mg_outer_step(arena(BASE), arena(MOMENTUM), arena(SUM), lr, mu,
                                       layout_.count, threads_, cancel);
  if (status == MG_OK) release(SUM);
  return status;
}

}  // namespace magnet
