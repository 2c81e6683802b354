/*
 * magnet.h: the C ABI of libmagnet_cpu, and of libmagnet_cuda, which has a part of it under the same
 * names and layouts: mg_abi_version, mg_last_error, mg_trainer_*, inference (magnet_infer.h, magnet_sample.h),
 * and magnet_gpu.h for itself alone.
 *
 * Rules for every export
 *  - Returns int32_t: MG_OK (0) or a negative MG_E_*; the message of the last failure on this thread
 *    is read with mg_last_error. No C++ exception leaves the library.
 *  - Little-endian; structs are passed by pointer, have the byte layout given beside them (offset:type),
 *    no padding beyond what is written, and are checked with static_assert in the implementation.
 *  - Sizes are in elements unless the name says bytes. Float is IEEE binary32.
 *  - Handles are opaque pointers; the *_free call of a null handle is a no-op.
 *  - Long calls take `const int32_t* cancel` (may be null): polled; non-zero ends the call with
 *    MG_E_CANCELLED and leaves the object usable but its contents as of the last complete unit of work.
 *  - Thread counts: 0 means all online CPUs. Results do not depend on the thread count.
 */
#ifndef MAGNET_H
#define MAGNET_H
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define MG_API __attribute__((visibility("default")))
#define MG_ABI_VERSION 1

enum {
  MG_OK = 0,
  MG_E_INVALID = -1,      /* an argument is outside its documented range */
  MG_E_SHAPE = -2,        /* dimensions do not fit each other */
  MG_E_MEMORY = -3,       /* allocation failed */
  MG_E_CANCELLED = -4,    /* the cancel flag was set */
  MG_E_NUMERIC = -5,      /* NaN or Inf where none may be */
  MG_E_FORMAT = -6,       /* bytes from outside do not follow their format */
  MG_E_UNSUPPORTED = -7,  /* well-formed, but not something this library does */
  MG_E_INTERNAL = -8,     /* a broken invariant or an unexpected exception */
};

/* ---- library (cpp/cpu/library.cpp) ------------------------------------------------------------ */
MG_API int32_t mg_abi_version(void);                        /* returns MG_ABI_VERSION, not a status */
/* UTF-8 message of the last failure on this thread, NUL-terminated, truncated to capacity bytes. */
MG_API int32_t mg_last_error(char* out, uint64_t capacity);
/* CPU path in force, as JSON: {"path":"avx2","paths":["avx2","scalar"],"refused":[],"features":["fma"],"threads_online":2}.
 * At the first use of any kernel the SIMD paths that the CPU has compute a built-in known answer,
 * best first; one that is wrong is named by "refused" and the next lower is tried.
 * MAGNET_CPU=scalar|neon|avx2|avx512 forces a path; one that this CPU lacks, or that is refused,
 * gives MG_E_UNSUPPORTED here. */
MG_API int32_t mg_cpu_info(char* out, uint64_t capacity);
/* Three training steps of a tiny model on the path in force, as a digest, and the digest that every
 * path must give. 5 ms (AVX2) to 50 ms (scalar). */
MG_API int32_t mg_known_answer(uint64_t* out_digest, uint64_t* out_expected);
/* 64-byte aligned, zeroed memory, reachable from JS as a pointer. */
MG_API int32_t mg_alloc(uint64_t bytes, void** out);
MG_API int32_t mg_free(void* p);

typedef struct mg_machine_limits_result { /* 64 bytes */
  double   fma_gflops;        /*  0: float32 fused multiply-adds, two operations each */
  double   integer_gops;      /*  8: int8 times ternary, multiplication and addition */
  double   read_gbps;         /* 16: reading 256 MiB; 1 GB = 1e9 bytes */
  double   shared_read_gbps;  /* 24: reading shared_bytes in all again and again */
  double   cached_read_gbps;  /* 32: reading cached_bytes a thread again and again */
  double   memcpy_gbps;       /* 40: bytes copied within 256 MiB, counted once */
  uint64_t shared_bytes;      /* 48: 16 MiB, what common third-level caches hold */
  uint64_t cached_bytes;      /* 56: half of a core's second-level cache */
} mg_machine_limits_result;
/* The most that `threads` threads reach on the CPU path in force, measured in about a second. */
MG_API int32_t mg_machine_limits(uint32_t threads, mg_machine_limits_result* out);

/* ---- model (cpp/cpu/model.*) ------------------------------------------------------------------
 * Parameters live in ONE flat float32 array ("arena") in canonical tensor order:
 *   model.embed_tokens.weight [vocab,d]; per layer i: input_layernorm [d], self_attn.q_proj [h*hd,d],
 *   k_proj [kv*hd,d], v_proj [kv*hd,d], (bitnet only) attn_sub_norm [h*hd], o_proj [d,h*hd],
 *   post_attention_layernorm [d], mlp.gate_proj [ff,d], up_proj [ff,d], (bitnet only) ffn_sub_norm [ff],
 *   down_proj [d,ff]; then model.norm.weight [d]. Names as in tests/golden/bitnet/README.md.
 * Optimizer moments, gradients, pseudo-gradients and merged models are arrays of the same layout, so
 * that everything outside the model can treat a model as a vector of n floats. */
typedef struct mg_model_config {  /* 48 bytes */
  uint32_t variant;      /*  0: 0 = llama, 1 = bitnet (both sub-norms) */
  uint32_t vocab_size;   /*  4 */
  uint32_t d_model;      /*  8 */
  uint32_t n_layers;     /* 12 */
  uint32_t n_heads;      /* 16 */
  uint32_t n_kv_heads;   /* 20 */
  uint32_t head_dim;     /* 24: even */
  uint32_t d_ff;         /* 28 */
  uint32_t context;      /* 32: longest sequence */
  float    rope_theta;   /* 36 */
  float    norm_eps;     /* 40 */
  uint32_t quantization; /* 44: 0 = ternary (BitLinear), 1 = none (plain float32 linears) */
} mg_model_config;

typedef struct mg_tensor_info {  /* 128 bytes */
  char     name[96];     /*   0: NUL-terminated HF name */
  uint64_t offset;       /*  96: first element in the arena */
  uint32_t rows;         /* 104: 1 for norm vectors */
  uint32_t cols;         /* 108 */
  uint32_t is_matrix;    /* 112: 1 = 2-D (weight decay applies) */
  uint32_t is_ternary;   /* 116: 1 = BitLinear weight */
  uint64_t reserved;     /* 120 */
} mg_tensor_info;

MG_API int32_t mg_model_param_count(const mg_model_config* config, uint64_t* out_count);
MG_API int32_t mg_model_tensor_count(const mg_model_config* config, uint32_t* out_count);
MG_API int32_t mg_model_tensor_info(const mg_model_config* config, uint32_t index, mg_tensor_info* out);
/* Gaussian init (std 0.02, norms 1) from a counter-based generator in the library: same bits everywhere. */
MG_API int32_t mg_model_init(const mg_model_config* config, uint64_t seed, float* params, uint64_t n);

/* ---- training (cpp/cpu/train*.cpp): see section file -------------------------------------------- */
#include "magnet_train.h"
/* ---- inference and model files (cpp/cpu/infer*.cpp, gguf*.cpp) ---------------------------------- */
#include "magnet_infer.h"
/* ---- sampling and constraints (cpp/cpu/infer_sampling.cpp, sampler.cpp, grammar*.cpp) ------------- */
#include "magnet_sample.h"
/* ---- tokenizer (cpp/cpu/tokenizer*.cpp) --------------------------------------------------------- */
#include "magnet_tokenizer.h"
/* ---- data: mapped token files, float formats of weights (cpp/cpu/token_map.cpp, convert.cpp) ----- */
#include "magnet_data.h"
/* ---- codecs: Reed-Solomon, pseudo-gradient compression, outer step (cpp/codec) ------------------ */
#include "magnet_codec.h"
/* ---- learners of autoresearch (cpp/learners) ---------------------------------------------------- */
#include "magnet_learn.h"
/* ---- GPUs (cpp/cuda): libmagnet_cuda only --------------------------------------------------------- */
#include "magnet_gpu.h"

#ifdef __cplusplus
}
#endif
#endif
