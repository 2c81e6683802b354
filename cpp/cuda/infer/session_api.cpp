// mg_session_* of libmagnet_cuda: a session is one sequence in a pool of its own.
#include <algorithm>
#include <numeric>

#include "../../cpu/infer_checks.hpp"
#include "../../cpu/thread_pool.hpp"
#include "forward.hpp"

using namespace magnet;
using namespace magnet::gpu;

namespace {

constexpr uint64_t SESSIONS_MAX = 64;

struct Session : LiveHandle {
  Session(const std::shared_ptr<InferModel>& of, uint32_t tokens, uint32_t kv_bits)
      : model(of),
        context(tokens),
        pool(of, (tokens + MG_KV_BLOCK - 1) / MG_KV_BLOCK, kv_bits),
        table(pool.blocks()) {
    std::iota(table.begin(), table.end(), 0u);
  }
  std::shared_ptr<InferModel> model;
  uint32_t context;
  uint32_t length = 0;
  KvDevicePool pool;
  std::vector<uint32_t> table;  // block i is the pool's block i
};

Session& session_of(void* handle) {
  require(handle != nullptr, MG_E_INVALID, "the session handle is null");
  return *static_cast<Session*>(handle);
}

void check_more(const Session& s, const int32_t* tokens, uint64_t n) {
  check_tokens(tokens, n, s.length, s.context, s.model->config.vocab_size);
}

void run_session(Session& s, const std::vector<mg_batch_row>& rows, float* logits,
                 const int32_t* cancel) {
  const uint32_t starts[2] = {0, static_cast<uint32_t>(s.table.size())};
  fp16* const pool = s.pool.data();
  run_batch(*s.model,
            {rows.data(), static_cast<uint32_t>(rows.size()), s.table.data(), starts, &pool,
             logits, nullptr},
            cancel);
}

}  // namespace

extern "C" {

int32_t mg_session_create(void* model, const mg_session_options* options, void** out_session) {
  return guard([&] {
    require(options != nullptr && out_session != nullptr, MG_E_INVALID,
            "mg_session_create: null argument");
    const std::shared_ptr<InferModel>& m = infer_model_of(model);
    const uint32_t context = check_session_options(*options, m->config);
    check_infer_rounding(options->rounding);
    use_device(m->device);
    *out_session = std::make_unique<Session>(m, context, options->kv_bits).release();
    return int32_t{MG_OK};
  });
}

int32_t mg_session_free(void* session) {
  return guard([&] {
    if (session == nullptr) return int32_t{MG_OK};
    use_device(session_of(session).model->device);
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
      std::vector<mg_batch_row> rows;
      for (uint64_t i = start; i < std::min<uint64_t>(n, start + MG_BATCH_ROWS); i++)
        rows.push_back({tokens[i], s.length + static_cast<uint32_t>(i - start), 0,
                        static_cast<uint32_t>(i >= first_logits ? MG_OUTPUT_LOGITS
                                                                : MG_OUTPUT_NONE)});
      const uint64_t before = start > first_logits ? start - first_logits : 0;
      run_session(s, rows, out_logits == nullptr ? nullptr : out_logits + before * vocab, cancel);
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
    for (uint64_t i = 0; i < n; i++) {
      const Session& s = session_of(sessions[i]);
      check_more(s, tokens + i, 1);
      require(s.model == first.model, MG_E_INVALID,
              "mg_session_decode: sessions of different models or roundings");
      require(std::find(sessions, sessions + i, sessions[i]) == sessions + i, MG_E_INVALID,
              "mg_session_decode: a session appears twice");
    }
    std::vector<mg_batch_row> rows;
    std::vector<uint32_t> tables;
    std::vector<uint32_t> starts{0};
    std::vector<fp16*> pools;
    for (uint64_t i = 0; i < n; i++) {
      const Session& s = session_of(sessions[i]);
      rows.push_back({tokens[i], s.length, static_cast<uint32_t>(i), MG_OUTPUT_LOGITS});
      tables.insert(tables.end(), s.table.begin(), s.table.end());
      starts.push_back(static_cast<uint32_t>(tables.size()));
      pools.push_back(s.pool.data());
    }
    run_batch(*first.model,
              {rows.data(), static_cast<uint32_t>(n), tables.data(), starts.data(), pools.data(),
               out_logits, nullptr},
              cancel);
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
