// Prints digests of what the library computes, one "name digest" a line, for the comparison of
// builds, CPU paths and thread counts (tests/native/aarch64.test.ts). Linked to the library's own
// objects. The first two lines, "path NAME" and "features A,B", tell the CPU path in force and what
// the CPU has. Argument: number of threads.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "../include/magnet.h"

namespace {

uint32_t threads = 1;

[[noreturn]] void stop(const char* what, int32_t code) {
  char text[1024] = "";
  mg_last_error(text, sizeof text);
  std::fprintf(stderr, "%s: %d %s\n", what, code, text);
  std::exit(1);
}
#define CHECK(call)                          \
  do {                                       \
    const int32_t code_ = (call);            \
    if (code_ != MG_OK) stop(#call, code_);  \
  } while (false)

/** Counter-based random bits (the finaliser of SplitMix64). */
uint64_t mixed(uint64_t z) {
  z *= 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
uint64_t counter = 0;
/** 24 random bits as an exact float in [-scale, scale), scale a power of two. */
float random_float(float scale) {
  return (static_cast<float>(mixed(++counter) >> 40) * 0x1p-23f - 1.0f) * scale;
}
std::vector<float> floats(size_t n, float scale = 1.0f) {
  std::vector<float> out(n);
  for (float& x : out) x = random_float(scale);
  return out;
}
std::vector<int32_t> tokens_below(size_t n, uint32_t vocab) {
  std::vector<int32_t> out(n);
  for (int32_t& t : out) t = static_cast<int32_t>(mixed(++counter) % vocab);
  return out;
}

/** FNV-1a over everything that was added; prints itself at the end of its scope. */
class Digest {
 public:
  explicit Digest(std::string name) : name_(std::move(name)) {}
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  ~Digest() {
    std::printf("%s %016llx\n", name_.c_str(), static_cast<unsigned long long>(value_));
  }
  void add_bytes(const void* bytes, size_t n) {
    const auto* const p = static_cast<const uint8_t*>(bytes);
    for (size_t i = 0; i < n; i++) value_ = (value_ ^ p[i]) * 0x100000001B3ull;
  }
  template <class T>
  void add(const std::vector<T>& v) {
    add_bytes(v.data(), v.size() * sizeof(T));
  }
  template <class T>
  void add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    add_bytes(&value, sizeof value);
  }

 private:
  std::string name_;
  uint64_t value_ = 0xCBF29CE484222325ull;
};

/** Sizes that leave a remainder in every vector loop and register tile. */
mg_model_config odd_model(uint32_t variant, uint32_t quantization) {
  return {variant, 101, 60, 2, 3, 1, 18, 100, 37, 10000.0f, 1e-5f, quantization};
}

struct Training {
  const char* name;
  uint32_t variant;
  uint32_t quantization;
  uint32_t optimizer;
  uint32_t recompute;
};

void add_arenas(Digest& digest, void* trainer, uint64_t n) {
  for (uint32_t which = 0; which < 4; which++) {
    float* arena = nullptr;
    CHECK(mg_trainer_arena(trainer, which, &arena));
    digest.add_bytes(arena, n * sizeof(float));
  }
}

mg_optimizer optimizer_at(uint32_t kind, uint64_t step) {
  float lr = 0.0f;
  float decay = 0.0f;
  CHECK(mg_schedule(1 + static_cast<uint32_t>(step % 3), step, 40, 1e-2f, &lr));
  CHECK(mg_decay_schedule(1, step, 5, 0.1f, &decay));
  return {kind, lr, 0.9f, 0.98f, 1e-8f, decay, 1.0f, 0.95f, step, 0};
}

void train(const Training& how) {
  constexpr uint32_t BATCH = 2;
  constexpr uint64_t STEPS = 4;
  const mg_model_config config = odd_model(how.variant, how.quantization);
  counter = 1000;
  uint64_t n = 0;
  CHECK(mg_model_param_count(&config, &n));
  const mg_trainer_options options{
      BATCH, config.context, threads, how.recompute, how.optimizer, {}};
  void* trainer = nullptr;
  CHECK(mg_trainer_create(&config, &options, &trainer));
  float* params = nullptr;
  CHECK(mg_trainer_arena(trainer, 0, &params));
  CHECK(mg_model_init(&config, 7, params, n));
  Digest digest(how.name);
  for (uint64_t step = 1; step <= STEPS; step++) {
    const auto accumulate = static_cast<uint32_t>(1 + step % 2);
    std::vector<int32_t> tokens =
        tokens_below(size_t{accumulate} * BATCH * (config.context + 1), config.vocab_size);
    tokens.back() = -100;
    const mg_optimizer optimizer = optimizer_at(how.optimizer, step);
    mg_step_result result{};
    CHECK(mg_trainer_step(trainer, tokens.data(), accumulate, &optimizer, nullptr, &result));
    digest.add(result.loss);
    digest.add(result.grad_norm);
  }
  add_arenas(digest, trainer, n);
  CHECK(mg_trainer_free(trainer));
}

/** One step of ORPO, and log-probs. */
void align() {
  const mg_model_config config = odd_model(1, 0);
  constexpr uint32_t PAIRS = 2;
  constexpr uint32_t WIDTH = 23;
  counter = 2000;
  uint64_t n = 0;
  CHECK(mg_model_param_count(&config, &n));
  const mg_trainer_options options{2 * PAIRS, config.context, threads, 0, 0, {}};
  void* trainer = nullptr;
  CHECK(mg_trainer_create(&config, &options, &trainer));
  float* params = nullptr;
  CHECK(mg_trainer_arena(trainer, 0, &params));
  CHECK(mg_model_init(&config, 8, params, n));
  const std::vector<int32_t> tokens = tokens_below(2 * PAIRS * WIDTH, config.vocab_size);
  std::vector<int32_t> labels = tokens;
  for (size_t i = 0; i < labels.size(); i++)
    if (i % WIDTH < 9) labels[i] = -100;
  const mg_optimizer optimizer = optimizer_at(MG_OPTIMIZER_ADAMW, 1);
  mg_orpo_result result{};
  CHECK(mg_trainer_orpo(trainer, tokens.data(), labels.data(), PAIRS, WIDTH, 1, 0.1f, &optimizer,
                        nullptr, &result));
  Digest digest("orpo");
  digest.add(result);
  add_arenas(digest, trainer, n);
  std::vector<double> sums(2 * PAIRS);
  std::vector<uint64_t> counts(2 * PAIRS);
  CHECK(mg_trainer_logps(trainer, tokens.data(), labels.data(), 2 * PAIRS, WIDTH, nullptr,
                         sums.data(), counts.data()));
  digest.add(sums);
  digest.add(counts);
  CHECK(mg_trainer_free(trainer));
}

void products() {
  struct Shape {
    uint32_t m, n, k;
  };
  counter = 3000;
  for (const Shape s : {Shape{1, 1, 1}, {7, 17, 5}, {29, 35, 300}, {6, 100, 258}, {61, 40, 37}}) {
    const std::string size =
        std::to_string(s.m) + "x" + std::to_string(s.n) + "x" + std::to_string(s.k);
    const std::vector<float> a = floats(size_t{s.m} * s.k);
    const std::vector<float> b = floats(size_t{s.n} * s.k);
    const std::vector<float> dy = floats(size_t{s.m} * s.n);
    {
      Digest digest("gemm-" + size);
      std::vector<float> c(size_t{s.m} * s.n);
      for (uint32_t how = 0; how < 8; how++) {
        CHECK(mg_op_gemm(threads, s.m, s.n, s.k, a.data(), how & 1, b.data(), how >> 1 & 1,
                         how >> 2, c.data()));
        digest.add(c);
      }
    }
    Digest digest("ternary-" + size);
    std::vector<float> y(size_t{s.m} * s.n);
    std::vector<int8_t> w_codes(size_t{s.n} * s.k);
    std::vector<int8_t> x_codes(size_t{s.m} * s.k);
    std::vector<float> scales(s.m);
    float scale = 0.0f;
    CHECK(mg_op_bitlinear(threads, a.data(), b.data(), s.m, s.n, s.k, y.data(), w_codes.data(),
                          &scale, x_codes.data(), scales.data()));
    std::vector<float> dx(size_t{s.m} * s.k);
    std::vector<float> dw(size_t{s.n} * s.k);
    CHECK(mg_op_bitlinear_backward(threads, a.data(), b.data(), dy.data(), s.m, s.n, s.k,
                                   dx.data(), dw.data()));
    for (const auto* v : {&y, &scales, &dx, &dw}) digest.add(*v);
    digest.add(w_codes);
    digest.add(x_codes);
    digest.add(scale);
  }
}

/** The largest sums of the integer product: every code 127 or -127, every weight of one sign. */
void largest_sums() {
  constexpr uint32_t K = 2 * 255 * 4 + 131;  // beyond what 16 bits add up, with a remainder
  constexpr uint32_t N = 19;
  std::vector<float> x(K, 1.0f);
  std::vector<float> w(size_t{N} * K, 1.0f);
  for (size_t i = 0; i < w.size(); i++)
    if (i / K % 2 == 1) w[i] = -1.0f;
  std::vector<float> y(N);
  std::vector<int8_t> w_codes(w.size());
  std::vector<int8_t> x_codes(K);
  float scales[2];
  CHECK(mg_op_bitlinear(threads, x.data(), w.data(), 1, N, K, y.data(), w_codes.data(), scales,
                        x_codes.data(), scales + 1));
  Digest digest("largest-sums");
  digest.add(y);
  if (y[0] != static_cast<float>(127 * K) * (1.0f / 127.0f)) stop("largest sums are wrong", 0);
}

void codecs() {
  constexpr uint64_t N = 3001;
  counter = 4000;
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
}

void reed_solomon() {
  struct Code {
    uint32_t data, parity;
  };
  constexpr uint64_t LENGTH = 16 * 1024 + 77;
  counter = 5000;
  for (const Code code : {Code{4, 1}, {5, 2}, {3, 5}, {10, 4}}) {
    std::vector<std::vector<uint8_t>> shards(code.data + code.parity);
    std::vector<uint64_t> addresses;
    for (auto& shard : shards) {
      shard.resize(LENGTH);
      addresses.push_back(reinterpret_cast<uintptr_t>(shard.data()));
    }
    for (uint32_t i = 0; i < code.data; i++)
      for (auto& byte : shards[i]) byte = static_cast<uint8_t>(mixed(++counter));
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

/** Logits of a session (as in training: per-token int8 and own functions), and sampled tokens. */
void infer() {
  const mg_model_config config = odd_model(1, 0);
  counter = 6000;
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
    for (uint64_t step = 0; step < 6; step++) {
      const mg_sampling sampling{0.8f, 0.9f, 0.01f, 1.1f, 40, 0, 5, step, 0};
      int32_t token = 0;
      float logprob = 0.0f;
      CHECK(mg_sample(logits.data(), config.vocab_size, &sampling, tokens.data(), tokens.size(),
                      nullptr, nullptr, 0, &token, &logprob));
      digest.add(token);
      digest.add(logprob);
      CHECK(mg_session_decode(&session, &token, 1, logits.data(), nullptr));
    }
    digest.add(logits);
    CHECK(mg_session_free(session));
  }
  CHECK(mg_infer_free(model));
}

/** Bytes above 127 among them: plain char is unsigned on AArch64. */
void tokenize() {
  std::string text;
  counter = 7000;
  for (int i = 0; i < 4000; i++) {
    const char* const words[] = {"magnet ", "s\xC3\xA9same ", "\xE6\x97\xA5\xE6\x9C\xAC",
                                 "\xED\x95\x9C\xEA\xB8\x80 ", "1234 ", "\n", "\xFF", "'re "};
    text += words[mixed(++counter) % 8];
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

/** "name value" of a field of mg_cpu_info: a string, or a list of strings as a,b. */
void print_field(const char* name, const std::string& info) {
  const size_t from = info.find(std::string("\"") + name + "\":") + std::strlen(name) + 3;
  const char close = info[from] == '[' ? ']' : ',';
  std::string value = info.substr(from, info.find(close, from) - from);
  std::erase_if(value, [](char c) { return c == '"' || c == '['; });
  std::printf("%s %s\n", name, value.c_str());
}

}  // namespace

int main(int count, char** arguments) {
  threads = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 1;
  char info[1024];
  CHECK(mg_cpu_info(info, sizeof info));
  print_field("path", info);
  print_field("features", info);
  uint64_t answer = 0;
  uint64_t expected = 0;
  CHECK(mg_known_answer(&answer, &expected));
  if (answer != expected) stop("the known answer is wrong", 0);
  Digest("known-answer").add(answer);
  for (const Training& how : {Training{"train-bitnet", 1, 0, MG_OPTIMIZER_ADAMW, 0},
                              {"train-llama", 0, 0, MG_OPTIMIZER_ADAMW, 1},
                              {"train-muon", 1, 0, MG_OPTIMIZER_MUON, 0},
                              {"train-float", 0, 1, MG_OPTIMIZER_ADAMW, 0}})
    train(how);
  align();
  products();
  largest_sums();
  codecs();
  reed_solomon();
  infer();
  tokenize();
  return 0;
}
