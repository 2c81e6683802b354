// Exports of sessions: creation, prefill, decode of several sessions, truncation (mg_session_*).
#include "infer_session.hpp"

#include <algorithm>
#include <numeric>

#include "infer_checks.hpp"
#include "thread_pool.hpp"

namespace magnet {
namespace {

constexpr uint64_t SESSIONS_MAX = 64;

Session& session_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the session handle is null");
  return *static_cast<Session*>(handle);
}

void allocate_cache(Session& s, uint32_t kv_bits) {
  const uint32_t blocks = (s.context + MG_KV_BLOCK - 1) / MG_KV_BLOCK;
  s.pool = std::make_unique<KvPool>(*s.model, blocks, kv_bits);
  s.table.resize(blocks);
  std::iota(s.table.begin(), s.table.end(), 0u);
}

Row row_of(const Session& s, uint32_t sequence, uint32_t position, int32_t token, bool logits) {
  return {s.pool.get(), s.table.data(), sequence, position, token,
          static_cast<uint32_t>(logits ? MG_OUTPUT_LOGITS : MG_OUTPUT_NONE)};
}

void check_more(const Session& s, const int32_t* tokens, uint64_t n) {
  check_tokens(tokens, n, s.length, s.context, s.model->config.vocab_size);
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
    auto session = std::make_unique<Session>();
    session->model = model_of(model);
    session->context = check_session_options(o, session->model->config);
    session->rounding = o.rounding;
    check_rounding(*session->model, o.rounding);
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
    check_more(s, tokens, n);
    require(first_logits <= n && (out_logits != nullptr || first_logits == n), MG_E_INVALID,
            "mg_session_eval: first_logits beyond the tokens, or no room for logits");
    const uint64_t vocab = s.model->config.vocab_size;
    for (uint64_t start = 0; start < n; start += MG_BATCH_ROWS) {
      std::vector<Row> rows;
      for (uint64_t i = start; i < std::min<uint64_t>(n, start + MG_BATCH_ROWS); i++)
        rows.push_back(row_of(s, 0, s.length + static_cast<uint32_t>(i - start), tokens[i],
                              i >= first_logits));
      const uint64_t before = start > first_logits ? start - first_logits : 0;
      float* const logits = out_logits == nullptr ? nullptr : out_logits + before * vocab;
      forward(*s.model, s.rounding, {rows.data(), rows.size(), logits, nullptr, {}}, cancel);
      s.length += static_cast<uint32_t>(rows.size());
    }
    return int32_t{MG_OK};
  });
}

int32_t mg_session_decode(void* const* sessions, const int32_t* tokens, uint64_t n,
                          float* out_logits, const int32_t* cancel) {
  return guard([&] {
    const FloatEnvironment environment;
    require(sessions != nullptr && tokens != nullptr && out_logits != nullptr && n >= 1 &&
                n <= SESSIONS_MAX,
            MG_E_INVALID, "mg_session_decode: null argument, or not 1 to 64 sessions");
    const Session& first = session_of(sessions[0]);
    std::vector<Row> rows;
    for (uint64_t i = 0; i < n; i++) {
      Session& s = session_of(sessions[i]);
      check_more(s, tokens + i, 1);
      require(s.model == first.model && s.rounding == first.rounding, MG_E_INVALID,
              "mg_session_decode: sessions of different models or roundings");
      for (const Row& row : rows)
        require(row.pool != s.pool.get(), MG_E_INVALID,
                "mg_session_decode: a session appears twice");
      rows.push_back(row_of(s, static_cast<uint32_t>(i), s.length, tokens[i], true));
    }
    forward(*first.model, first.rounding, {rows.data(), n, out_logits, nullptr, {}}, cancel);
    for (uint64_t i = 0; i < n; i++) session_of(sessions[i]).length++;
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
