// Speed of llama.cpp through its C interface, as llama-bench measures it: random tokens, warmed up,
// one thread pool kept over all calls, best of several repeats. Prints one line of JSON.
//   llama-bench BACKENDS MODEL THREADS FLASH REPACK REPEATS DECODE PARALLEL
// BACKENDS: folder with the libggml-cpu-*.so to choose from; FLASH, REPACK: 0 | 1; DECODE: tokens
// after the prompt of 128; PARALLEL: sequences that are also decoded in one batch.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <random>
#include <vector>

#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "llama.h"

namespace {

[[noreturn]] void die(const char* what) {
  std::fprintf(stderr, "llama-bench: %s\n", what);
  std::exit(1);
}

double now() {
  using Clock = std::chrono::steady_clock;
  return std::chrono::duration<double>(Clock::now().time_since_epoch()).count();
}

/** A context with a thread pool of its own; a context without one starts threads on every call. */
class Context {
 public:
  Context(llama_model* model, int threads, bool flash, int sequences, int decoded)
      : vocab_(llama_vocab_n_tokens(llama_model_get_vocab(model))) {
    llama_context_params params = llama_context_default_params();
    // Room for the longest work; a multiple of 256, as llama.cpp pads it.
    const int of_one = (std::max(512, 128 + decoded) + 255) / 256 * 256;
    params.n_ctx = static_cast<uint32_t>(of_one * sequences);
    params.n_batch = 512;
    params.n_ubatch = 512;
    params.n_seq_max = static_cast<uint32_t>(sequences);
    params.n_threads = threads;
    params.n_threads_batch = threads;
    params.flash_attn_type = flash ? LLAMA_FLASH_ATTN_TYPE_ENABLED : LLAMA_FLASH_ATTN_TYPE_DISABLED;
    params.no_perf = true;
    context_ = llama_init_from_model(model, params);
    if (context_ == nullptr) die("no context");
    attach(threads);
    batch_ = llama_batch_init(512, 0, 1);
  }
  ~Context() {
    llama_batch_free(batch_);
    llama_detach_threadpool(context_);
    llama_free(context_);
    free_pool_(pool_);
  }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;

  void forget() { llama_memory_clear(llama_get_memory(context_), false); }

  /** n random tokens of one sequence; the logits of the last. */
  void prompt(int sequence, int n) {
    batch_.n_tokens = 0;
    for (int i = 0; i < n; i++) add(sequence, i, i == n - 1);
    run();
  }
  /** One token of every sequence. */
  void step(int sequences, int position) {
    batch_.n_tokens = 0;
    for (int s = 0; s < sequences; s++) add(s, position, true);
    run();
  }

 private:
  /** The pool's functions are in the CPU library that was chosen at run time. */
  void attach(int threads) {
    ggml_backend_reg_t cpu = ggml_backend_dev_backend_reg(
        ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU));
    const auto create = reinterpret_cast<decltype(&ggml_threadpool_new)>(
        ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_new"));
    free_pool_ = reinterpret_cast<decltype(&ggml_threadpool_free)>(
        ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_free"));
    ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    pool_ = create(&params);
    if (pool_ == nullptr) die("no thread pool");
    llama_attach_threadpool(context_, pool_, nullptr);
  }
  void add(int sequence, int position, bool logits) {
    const int i = batch_.n_tokens++;
    batch_.token[i] = static_cast<llama_token>(random_() % static_cast<unsigned>(vocab_));
    batch_.pos[i] = position;
    batch_.n_seq_id[i] = 1;
    batch_.seq_id[i][0] = sequence;
    batch_.logits[i] = logits;
  }
  void run() {
    if (llama_decode(context_, batch_) != 0) die("llama_decode failed");
    llama_synchronize(context_);
  }

  int vocab_;
  llama_context* context_ = nullptr;
  ggml_threadpool* pool_ = nullptr;
  decltype(&ggml_threadpool_free) free_pool_ = nullptr;
  llama_batch batch_{};
  std::mt19937 random_{1};
};

/** Tokens per second of the best repeat. */
double best(int repeats, int tokens, const std::function<void()>& prepare,
            const std::function<void()>& work) {
  double seconds = 1e30;
  for (int r = 0; r < repeats; r++) {
    prepare();
    const double start = now();
    work();
    seconds = std::min(seconds, now() - start);
  }
  return tokens / seconds;
}

struct Settings {
  int threads, repeats, decode, parallel;
  bool flash;
};

void measure(llama_model* model, const Settings& s) {
  double prefill[2], decode, together = 0;
  {
    Context context(model, s.threads, s.flash, 1, s.decode);
    const auto forget = [&] { context.forget(); };
    context.prompt(0, 128);  // warms up: pages of the weights, buffers of the graph
    for (int i = 0; i < 2; i++) {
      const int n = i == 0 ? 128 : 512;
      prefill[i] = best(s.repeats, n, forget, [&] { context.prompt(0, n); });
    }
    const auto prompt = [&] {
      context.forget();
      context.prompt(0, 128);
      context.step(1, 128);  // the graph of one token
    };
    decode = best(s.repeats, s.decode, prompt, [&] {
      for (int i = 1; i <= s.decode; i++) context.step(1, 128 + i);
    });
  }
  if (s.parallel > 0) {
    Context context(model, s.threads, s.flash, s.parallel, s.decode);
    const auto prompts = [&] {
      context.forget();
      for (int q = 0; q < s.parallel; q++) context.prompt(q, 128);
      context.step(s.parallel, 128);
    };
    together = best(s.repeats, s.decode * s.parallel, prompts, [&] {
      for (int i = 1; i <= s.decode; i++) context.step(s.parallel, 128 + i);
    });
  }
  std::printf("{\"prefill_128\": %.3f, \"prefill_512\": %.3f, \"decode\": %.3f, \"parallel\": %.3f}\n",
              prefill[0], prefill[1], decode, together);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 9) die("usage: llama-bench BACKENDS MODEL THREADS FLASH REPACK REPEATS DECODE PARALLEL");
  llama_log_set(
      [](ggml_log_level level, const char* text, void*) {
        if (level >= GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_CONT) std::fputs(text, stderr);
      },
      nullptr);
  ggml_backend_load_all_from_path(argv[1]);
  llama_backend_init();
  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  params.use_extra_bufts = std::atoi(argv[5]) != 0;
  llama_model* model = llama_model_load_from_file(argv[2], params);
  if (model == nullptr) die("the model does not load");
  const Settings settings{std::atoi(argv[3]), std::atoi(argv[6]), std::atoi(argv[7]),
                          std::atoi(argv[8]), std::atoi(argv[4]) != 0};
  measure(model, settings);
  llama_model_free(model);
  llama_backend_free();
}
