// Codecs of pseudo-gradients, the outer step, Reed-Solomon, and the tokenizer.
#include "digest.hpp"

namespace digest {

void codecs() {
  constexpr uint64_t N = 3001;
  seed(4);
  for (uint32_t kind = MG_DELTA_FP32; kind <= MG_DELTA_INT4; kind++) {
    std::vector<float> delta = floats(N);
    for (size_t i = 0; i < N; i += 3) delta[i] *= 0x1p-20f;
    std::vector<float> residual = floats(N, 0x1p-7f);
    uint64_t length = 0;
    CHECK(mg_delta_bytes(kind, N, &length));
    std::vector<uint8_t> bytes(length);
    CHECK(mg_delta_compress(kind, delta.data(), residual.data(), N, bytes.data(), length, threads,
                            nullptr));
    std::vector<float> read(N);
    CHECK(mg_delta_decompress(bytes.data(), length, read.data(), N, nullptr, threads, nullptr));
    Digest digest("delta-" + std::to_string(kind));
    digest.add(bytes);
    digest.add(residual);
    digest.add(read);
  }
  Digest digest("outer-step");
  std::vector<float> theta = floats(N);
  std::vector<float> momentum = floats(N);
  std::vector<float> sum = floats(N);
  const std::vector<float> delta = floats(N, 0x1p-4f);
  CHECK(mg_delta_accumulate(sum.data(), delta.data(), 0.3f, N, threads, nullptr));
  CHECK(mg_outer_step(theta.data(), momentum.data(), sum.data(), 0.7f, 0.9f, N, threads, nullptr));
  CHECK(mg_delta_make(theta.data(), sum.data(), sum.data(), N, threads, nullptr));
  for (const auto* v : {&theta, &momentum, &sum}) digest.add(*v);
  std::vector<double> squares(3);
  CHECK(mg_delta_compare(theta.data(), sum.data(), N, threads, nullptr, squares.data()));
  digest.add(squares);
}

void reed_solomon() {
  struct Code {
    uint32_t data, parity;
  };
  constexpr uint64_t LENGTH = 16 * 1024 + 77;
  seed(5);
  for (const Code code : {Code{4, 1}, {5, 2}, {3, 5}, {10, 4}}) {
    std::vector<std::vector<uint8_t>> shards(code.data + code.parity);
    std::vector<uint64_t> addresses;
    for (auto& shard : shards) {
      shard.resize(LENGTH);
      addresses.push_back(reinterpret_cast<uintptr_t>(shard.data()));
    }
    for (uint32_t i = 0; i < code.data; i++)
      for (auto& byte : shards[i]) byte = static_cast<uint8_t>(random_bits());
    CHECK(mg_rs_encode(code.data, code.parity, addresses.data(), addresses.data() + code.data,
                       LENGTH, threads, nullptr));
    const std::vector<uint8_t> lost = shards[0];
    shards[0].assign(LENGTH, 0);
    std::vector<uint8_t> states(shards.size(), MG_RS_PRESENT);
    states[0] = MG_RS_WANTED;
    CHECK(mg_rs_reconstruct(code.data, code.parity, addresses.data(), states.data(), LENGTH,
                            threads, nullptr));
    if (shards[0] != lost) stop("a reconstructed shard is wrong", 0);
    Digest digest("reed-solomon-" + std::to_string(code.data) + "+" + std::to_string(code.parity));
    for (const auto& shard : shards) digest.add(shard);
  }
}

/** Bytes above 127 among them: plain char is unsigned on AArch64. */
void tokenizer() {
  std::string text;
  seed(7);
  for (int i = 0; i < 4000; i++) {
    const char* const words[] = {"magnet ", "s\xC3\xA9same ", "\xE6\x97\xA5\xE6\x9C\xAC",
                                 "\xED\x95\x9C\xEA\xB8\x80 ", "1234 ", "\n", "\xFF", "'re "};
    text += words[random_bits() % 8];
  }
  const auto* const bytes = reinterpret_cast<const uint8_t*>(text.data());
  Digest digest("tokenizer");
  std::vector<uint32_t> ends(text.size());
  uint64_t count = 0;
  CHECK(mg_pretokenize(bytes, text.size(), ends.data(), ends.size(), &count));
  ends.resize(count);
  digest.add(ends);
  mg_bpe_trainer* trainer = nullptr;
  CHECK(mg_bpe_trainer_create(&trainer));
  CHECK(mg_bpe_trainer_feed(trainer, bytes, text.size(), 1, nullptr));
  uint32_t made = 0;
  uint32_t merges = 0;
  CHECK(mg_bpe_trainer_run(trainer, 300, 2, &made, &merges, nullptr));
  std::vector<uint32_t> of_tokens(2 * made);
  std::vector<uint32_t> of_merges(2 * merges);
  CHECK(mg_bpe_trainer_result(trainer, of_tokens.data(), of_merges.data()));
  digest.add(of_tokens);
  digest.add(of_merges);
  CHECK(mg_bpe_trainer_free(trainer));
}

}  // namespace digest
