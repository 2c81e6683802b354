// What the shim of bitnet.cpp uses of ggml, under the names of 2024: kernels linked in, the thread
// pool declared here. Only compiled against (bitnet-cpp.test.ts).
#pragma once
#include <stdbool.h>
#include <stdint.h>

extern "C" {
enum ggml_log_level { GGML_LOG_LEVEL_INFO = 2, GGML_LOG_LEVEL_ERROR = 4 };
typedef void (*ggml_log_callback)(enum ggml_log_level level, const char* text, void* data);
typedef bool (*ggml_abort_callback)(void* data);

struct ggml_threadpool;
struct ggml_threadpool_params {
  int n_threads;
};
ggml_threadpool_params ggml_threadpool_params_default(int n_threads);
ggml_threadpool* ggml_threadpool_new(ggml_threadpool_params* params);
void ggml_threadpool_free(ggml_threadpool* pool);
}
