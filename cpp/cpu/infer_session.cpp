// Exports of sessions: creation, prefill, decode of several sessions, truncation (mg_session_*).
#include "infer_session.hpp"

#include <algorithm>

#include "thread_pool.hpp"

namespace magnet {
namespace {

static_assert(sizeof(mg_session_options) == 16);

Session& session_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the session handle is null");
  return *static_cast<Session*>(handle);
}

/** llama.cpp's arithmetic exists for files that llama.cpp loads. */
void check_llamacpp(const Model& m) {
  require(m.from_gguf, MG_E_UNSUPPORTED, "llamacpp rounding needs a model from a GGUF file");
  for (const Layer& l : m.layers)
    for (const Linear* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down})
      require(w->ternary.is_tq || !w->dense.empty(), MG_E_UNSUPPORTED,
              "llamacpp rounding: llama.cpp does not load I2_S; export as TQ2_0, TQ1_0 or F16");
}

void allocate_cache(Session& s, uint32_t kv_bits) {
  const mg_model_config& c = s.model->config;
  const uint64_t n = uint64_t{c.n_layers} * s.context * c.n_kv_heads * c.head_dim;
  // Not zeroed: a position is always written before it is read, and untouched pages cost nothing.
  if (kv_bits == 16) {
    s.cache.k16 = std::make_unique_for_overwrite<uint16_t[]>(n);
    s.cache.v16 = std::make_unique_for_overwrite<uint16_t[]>(n);
  } else {
    s.cache.k32 = std::make_unique_for_overwrite<float[]>(n);
    s.cache.v32 = std::make_unique_for_overwrite<float[]>(n);
  }
}

void check_tokens(const Session& s, const int32_t* tokens, uint64_t n) {
  require(tokens != nullptr || n == 0, MG_E_INVALID, "tokens are null");
  for (uint64_t i = 0; i < n; i++)
    if (tokens[i] < 0 || static_cast<uint32_t>(tokens[i]) >= s.model->config.vocab_size)
      fail(MG_E_INVALID, "token %d at index %llu is outside the vocabulary of %u", tokens[i],
           static_cast<unsigned long long>(i), s.model->config.vocab_size);
  if (n > s.context - s.length)
    fail(MG_E_INVALID, "%llu more tokens after %u do not fit into the context of %u",
         static_cast<unsigned long long>(n), s.length, s.context);
}

}  // namespace
}  // namespace magnet

using namespace magnet;

extern "C" {

int32_t mg_session_create(void* model, const mg_session_options* options, void** out_session) {
  return guard([&] {
    require(options != nullptr && out_session != nullptr, MG_E_INVALID,
            "mg_session_create: null argument");
    const mg_session_options o = *options;
    require(o.rounding <= MG_ROUNDING_LLAMACPP && o.reserved == 0, MG_E_INVALID,
            "mg_session_create: rounding is 0 or 1, reserved is 0");
    require(o.kv_bits == 16 || (o.kv_bits == 32 && o.rounding == MG_ROUNDING_BITNET), MG_E_INVALID,
            "mg_session_create: kv_bits is 16, or 32 with bitnet rounding");
    auto session = std::make_unique<Session>();
    session->model = model_of(model);
    const uint32_t longest = session->model->config.context;
    session->context = o.context == 0 ? longest : o.context;
    if (session->context > longest)
      fail(MG_E_INVALID, "a context of %u tokens; the model was made for at most %u",
           session->context, longest);
    session->rounding = o.rounding;
    if (o.rounding == MG_ROUNDING_LLAMACPP) check_llamacpp(*session->model);
    allocate_cache(*session, o.kv_bits);
    *out_session = session.release();
    return int32_t{MG_OK};
  });
}

int32_t mg_session_free(void* session) {
  return guard([&] {
    delete static_cast<Session*>(session);
    return int32_t{MG_OK};
  });
}

int32_t mg_session_eval(void* session, const int32_t* tokens, uint64_t n, uint64_t first_logits,
                        float* out_logits, const int32_t* cancel) {
  return guard([&] {
    const FloatEnvironment environment;
    Session& s = session_of(session);
    check_tokens(s, tokens, n);
    require(first_logits <= n && (out_logits != nullptr || first_logits == n), MG_E_INVALID,
            "mg_session_eval: first_logits beyond the tokens, or no room for logits");
    const uint64_t vocab = s.model->config.vocab_size;
    for (uint64_t start = 0; start < n; start += ROWS_MAX) {
      std::vector<Row> rows;
      for (uint64_t i = start; i < std::min(n, start + ROWS_MAX); i++)
        rows.push_back({&s, s.length + static_cast<uint32_t>(i - start), tokens[i],
                        i >= first_logits ? out_logits + (i - first_logits) * vocab : nullptr});
      forward(*s.model, s.rounding, rows, cancel);
      s.length += static_cast<uint32_t>(rows.size());
    }
    return int32_t{MG_OK};
  });
}

int32_t mg_session_decode(void* const* sessions, const int32_t* tokens, uint64_t n,
                          float* out_logits, const int32_t* cancel) {
  return guard([&] {
    const FloatEnvironment environment;
    require(sessions != nullptr && out_logits != nullptr && n >= 1 && n <= ROWS_MAX, MG_E_INVALID,
            "mg_session_decode: null argument, or not 1 to 64 sessions");
    std::vector<Row> rows;
    for (uint64_t i = 0; i < n; i++) {
      Session& s = session_of(sessions[i]);
      check_tokens(s, tokens + i, 1);
      const Session& first = session_of(sessions[0]);
      require(s.model == first.model && s.rounding == first.rounding, MG_E_INVALID,
              "mg_session_decode: sessions of different models or roundings");
      for (const Row& row : rows)
        require(row.session != &s, MG_E_INVALID, "mg_session_decode: a session appears twice");
      rows.push_back({&s, s.length, tokens[i], out_logits + i * s.model->config.vocab_size});
    }
    const Session& first = session_of(sessions[0]);
    forward(*first.model, first.rounding, rows, cancel);
    for (const Row& row : rows) row.session->length++;
    return int32_t{MG_OK};
  });
}

int32_t mg_session_length(void* session, uint64_t* out_tokens) {
  return guard([&] {
    require(out_tokens != nullptr, MG_E_INVALID, "mg_session_length: null argument");
    *out_tokens = session_of(session).length;
    return int32_t{MG_OK};
  });
}

int32_t mg_session_truncate(void* session, uint64_t n) {
  return guard([&] {
    Session& s = session_of(session);
    if (n > s.length)
      fail(MG_E_INVALID, "cannot keep %llu tokens of %u", static_cast<unsigned long long>(n),
           s.length);
    s.length = static_cast<uint32_t>(n);
    return int32_t{MG_OK};
  });
}
}
