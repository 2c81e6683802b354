// See shim.hpp. Compiled against the llama.h that BITNET_CPP_DIR holds, of whatever generation
// (generations.hpp), and linked with its libllama.
#include "shim.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <utility>

#if __has_include("ggml-cpu.h")
#include "ggml-backend.h"
#include "ggml-cpu.h"
#define MAGNET_BITNET_CPU_APART 1  // kernels are libraries of their own, found at run time
#endif
#include "generations.hpp"

// Absent from generations whose kernels are linked in.
extern "C" __attribute__((weak)) void ggml_backend_load_all_from_path(const char* folder);

namespace magnet_bitnet {
namespace {

thread_local std::string last_error;
/** What the library itself has written about a failure; loading says why only there. */
std::mutex log_lock;
std::string last_log;

__attribute__((format(printf, 2, 3))) int32_t failed(int32_t status, const char* format, ...) {
  char text[768];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  last_error = text;
  return status;
}

void keep_log(ggml_log_level level, const char* text, void*) {
  if (level != GGML_LOG_LEVEL_ERROR || text == nullptr) return;
  const std::lock_guard lock(log_lock);
  last_log = text;
  while (!last_log.empty() && (last_log.back() == '\n' || last_log.back() == ' '))
    last_log.pop_back();
}

std::string take_log() {
  const std::lock_guard lock(log_lock);
  return last_log.empty() ? std::string("no reason given") : std::exchange(last_log, {});
}

struct Engine {
  mgb_options options{};
  llama_model* model = nullptr;
  llama_context* context = nullptr;
  ggml_threadpool* pool = nullptr;
  decltype(&ggml_threadpool_free) free_pool = nullptr;
  llama_batch batch{};
  /** Of the step that is running. */
  std::atomic<const int32_t*> cancel{nullptr};

  Engine() = default;
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine() {
    if (batch.token != nullptr) llama_batch_free(batch);
    if (context != nullptr) {
      llama_detach_threadpool(context);
      llama_free(context);
    }
    if (pool != nullptr) free_pool(pool);
    if (model != nullptr) free_model(model);
  }

  bool cancelled() const {
    const int32_t* flag = cancel.load();
    return flag != nullptr && std::atomic_ref(*const_cast<int32_t*>(flag)).load() != 0;
  }
};

bool should_abort(void* engine) { return static_cast<const Engine*>(engine)->cancelled(); }

/** Without a pool of its own, llama.cpp starts threads in every step. */
void attach_pool(Engine& engine) {
#ifdef MAGNET_BITNET_CPU_APART
  ggml_backend_dev_t device = ggml_backend_dev_by_type(GGML_BACKEND_DEVICE_TYPE_CPU);
  if (device == nullptr) return;
  ggml_backend_reg_t cpu = ggml_backend_dev_backend_reg(device);
  const auto create = reinterpret_cast<decltype(&ggml_threadpool_new)>(
      ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_new"));
  engine.free_pool = reinterpret_cast<decltype(&ggml_threadpool_free)>(
      ggml_backend_reg_get_proc_address(cpu, "ggml_threadpool_free"));
#else
  decltype(&ggml_threadpool_new) create = &ggml_threadpool_new;
  engine.free_pool = &ggml_threadpool_free;
#endif
  if (create == nullptr || engine.free_pool == nullptr) return;
  ggml_threadpool_params params =
      ggml_threadpool_params_default(static_cast<int>(engine.options.threads));
  engine.pool = create(&params);
  if (engine.pool != nullptr) llama_attach_threadpool(engine.context, engine.pool, nullptr);
}

int32_t open_context(Engine& engine) {
  const mgb_options& options = engine.options;
  llama_context_params params = llama_context_default_params();
  params.n_ctx = options.cells;
  params.n_batch = options.batch_rows;
  params.n_ubatch = options.batch_rows;
  params.n_seq_max = options.sequences;
  params.n_threads = static_cast<decltype(params.n_threads)>(options.threads);
  params.n_threads_batch = params.n_threads;
  params.pooling_type = LLAMA_POOLING_TYPE_NONE;  // hidden states of single tokens
  set_flash_attention(params, options.flash_attention != 0);
  share_cells(params);
  engine.context = make_context(engine.model, params);
  if (engine.context == nullptr)
    return failed(MG_E_MEMORY, "llama.cpp made no context of %u positions: %s", options.cells,
                  take_log().c_str());
  llama_set_abort_callback(engine.context, should_abort, &engine);
  attach_pool(engine);
  engine.batch = llama_batch_init(static_cast<int32_t>(options.batch_rows), 0, 1);
  return MG_OK;
}

/** Computes the rows with one kind of output, or with none at all, in one call. */
int32_t decode(Engine& engine, const mg_batch_row* rows, uint64_t n_rows, const int32_t* slots,
               bool hidden) {
  llama_batch& batch = engine.batch;
  batch.n_tokens = 0;
  for (uint64_t r = 0; r < n_rows; r++) {
    const bool of_hidden = rows[r].output == MG_OUTPUT_HIDDEN;
    if (of_hidden != hidden) continue;
    const int32_t i = batch.n_tokens++;
    batch.token[i] = rows[r].token;
    batch.pos[i] = static_cast<llama_pos>(rows[r].position);
    batch.n_seq_id[i] = 1;
    batch.seq_id[i][0] = slots[rows[r].sequence];
    batch.logits[i] = rows[r].output != MG_OUTPUT_NONE;
  }
  if (batch.n_tokens == 0) return MG_OK;
  llama_set_embeddings(engine.context, hidden);
  const int32_t status = llama_decode(engine.context, batch);
  if (engine.cancelled()) return failed(MG_E_CANCELLED, "cancelled");
  if (status == 0) return MG_OK;
  return failed(MG_E_INTERNAL, "llama_decode gave %d: %s", status, take_log().c_str());
}

/** Hidden rows first: the addresses of logits hold until the next decode. */
int32_t step(Engine& engine, const mg_batch_row* rows, uint64_t n_rows, const int32_t* slots,
             uint64_t* out_logits, float* out_hidden) {
  if (const int32_t status = decode(engine, rows, n_rows, slots, true)) return status;
  const auto width = static_cast<size_t>(width_of(engine.model));
  for (int32_t i = 0; i < engine.batch.n_tokens; i++) {
    const float* state = llama_get_embeddings_ith(engine.context, i);
    if (state == nullptr) return failed(MG_E_INTERNAL, "llama.cpp gave no hidden state");
    std::memcpy(out_hidden + static_cast<size_t>(i) * width, state, width * sizeof(float));
  }
  if (const int32_t status = decode(engine, rows, n_rows, slots, false)) return status;
  uint64_t drawn = 0;
  for (int32_t i = 0; i < engine.batch.n_tokens; i++) {
    if (engine.batch.logits[i] == 0) continue;
    const float* logits = llama_get_logits_ith(engine.context, i);
    if (logits == nullptr) return failed(MG_E_INTERNAL, "llama.cpp gave no logits");
    out_logits[drawn++] = reinterpret_cast<uint64_t>(logits);
  }
  return MG_OK;
}

/** Where libllama itself was found. */
std::string folder_of_libllama() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<void*>(&llama_backend_init), &info) == 0) return ".";
  const std::string file(info.dli_fname);
  return file.substr(0, file.rfind('/'));
}

/** No exception leaves the library. */
template <class F>
int32_t guarded(F&& work) noexcept {
  try {
    return work();
  } catch (const std::bad_alloc&) {
    return failed(MG_E_MEMORY, "out of memory");
  } catch (const std::exception& error) {
    return failed(MG_E_INTERNAL, "%s", error.what());
  } catch (...) {
    return failed(MG_E_INTERNAL, "unknown exception");
  }
}

}  // namespace
}  // namespace magnet_bitnet

using namespace magnet_bitnet;

int32_t mg_last_error(char* out, uint64_t capacity) {
  if (out == nullptr || capacity == 0) return MG_E_INVALID;
  const size_t n = std::min<size_t>(last_error.size(), capacity - 1);
  std::memcpy(out, last_error.data(), n);
  out[n] = 0;
  return MG_OK;
}

int32_t mgb_init(const uint8_t* folder, uint64_t folder_bytes) {
  return guarded([&]() -> int32_t {
    static std::once_flag once;
    std::call_once(once, [&] {
      std::string path(reinterpret_cast<const char*>(folder), folder_bytes);
      if (path.empty()) path = folder_of_libllama();
      llama_log_set(keep_log, nullptr);
      if (ggml_backend_load_all_from_path != nullptr)
        ggml_backend_load_all_from_path(path.c_str());
      llama_backend_init();
    });
    return MG_OK;
  });
}

int32_t mgb_open(const uint8_t* path, uint64_t path_bytes, const mgb_options* options,
                 void** out_engine) {
  return guarded([&]() -> int32_t {
    if (options == nullptr || out_engine == nullptr || options->threads == 0 ||
        options->sequences == 0 || options->batch_rows == 0 || options->cells == 0)
      return failed(MG_E_INVALID, "mgb_open: an option is missing");
    const std::string file(reinterpret_cast<const char*>(path), path_bytes);
    auto engine = std::make_unique<Engine>();
    engine->options = *options;
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = 0;
    take_log();
    engine->model = load_model(file.c_str(), params);
    if (engine->model == nullptr)
      return failed(MG_E_FORMAT, "llama.cpp does not load it: %s", take_log().c_str());
    if (const int32_t status = open_context(*engine)) return status;
    *out_engine = engine.release();
    return MG_OK;
  });
}

int32_t mgb_free(void* engine) {
  return guarded([&]() -> int32_t {
    delete static_cast<Engine*>(engine);
    return MG_OK;
  });
}

int32_t mgb_info(void* engine, uint32_t out[3]) {
  return guarded([&]() -> int32_t {
    const llama_model* model = static_cast<Engine*>(engine)->model;
    out[0] = static_cast<uint32_t>(context_of(model));
    out[1] = static_cast<uint32_t>(vocab_size(model));
    out[2] = static_cast<uint32_t>(width_of(model));
    return MG_OK;
  });
}

int32_t mgb_step(void* engine, const mg_batch_row* rows, uint64_t n_rows, const int32_t* slots,
                 const int32_t* forgets, uint64_t n_forgets, uint64_t* out_logits,
                 float* out_hidden, const int32_t* cancel) {
  return guarded([&]() -> int32_t {
    auto& self = *static_cast<Engine*>(engine);
    if (n_rows == 0 || n_rows > self.options.batch_rows)
      return failed(MG_E_INVALID, "a step of %llu rows", static_cast<unsigned long long>(n_rows));
    for (uint64_t i = 0; i < n_forgets; i++)
      if (!forget(self.context, forgets[2 * i], forgets[2 * i + 1]))
        return failed(MG_E_INTERNAL, "llama.cpp cannot forget part of a sequence");
    self.cancel = cancel;
    const int32_t status = step(self, rows, n_rows, slots, out_logits, out_hidden);
    self.cancel = nullptr;
    return status;
  });
}
