// Inference from latent weights.
#include "digest.hpp"

namespace digest {

/** Logits of a session (as in training: per-token int8 and own functions), and sampled tokens. */
void inference() {
  const mg_model_config config = odd_model(1, 0);
  seed(6);
  uint64_t n = 0;
  CHECK(mg_model_param_count(&config, &n));
  std::vector<float> params(n);
  CHECK(mg_model_init(&config, 9, params.data(), n));
  for (float& p : params) p *= 4.0f;
  void* model = nullptr;
  CHECK(mg_infer_from_params(&config, params.data(), n, threads, &model));
  Digest digest("inference");
  for (const uint32_t kv_bits : {16u, 32u}) {
    const mg_session_options options{0, MG_ROUNDING_BITNET, kv_bits, 0};
    void* session = nullptr;
    CHECK(mg_session_create(model, &options, &session));
    const std::vector<int32_t> tokens = tokens_below(29, config.vocab_size);
    std::vector<float> logits(tokens.size() * config.vocab_size);
    CHECK(mg_session_eval(session, tokens.data(), tokens.size(), 0, logits.data(), nullptr));
    digest.add(logits);
    mg_sampler_options sampling = {};
    sampling.sampling = {0.8f, 0.9f, 0.01f, 1.1f, 40, 0, 5, 0, 0};
    void* sampler = nullptr;
    CHECK(mg_sampler_create(config.vocab_size, &sampling, nullptr, nullptr, 0, nullptr, &sampler));
    CHECK(mg_sampler_prompt(sampler, tokens.data(), tokens.size()));
    for (uint64_t step = 0; step < 6; step++) {
      int32_t token = 0;
      float logprob = 0.0f;
      CHECK(mg_sampler_draw(sampler, logits.data(), &token, &logprob, nullptr, nullptr));
      digest.add(token);
      digest.add(logprob);
      CHECK(mg_session_decode(&session, &token, 1, logits.data(), nullptr));
    }
    digest.add(logits);
    CHECK(mg_sampler_free(sampler));
    CHECK(mg_session_free(session));
  }
  CHECK(mg_infer_free(model));
}

}  // namespace digest
