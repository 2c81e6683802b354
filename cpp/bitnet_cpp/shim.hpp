// The flat C interface over llama.h that src/model/engine/bitnet-cpp-library.ts binds: bun:ffi
// passes no structs by value. Status codes and mg_last_error are magnet.h's. One call at a time on an engine.
#pragma once

#include "magnet.h"

extern "C" {

/**
 * Loads the libraries of compute kernels in `folder` (UTF-8), where this llama.cpp keeps them apart;
 * the best for this CPU is chosen. Empty: the folder of libllama. Once per process; later calls do
 * nothing.
 */
MG_API int32_t mgb_init(const uint8_t* folder, uint64_t folder_bytes);

typedef struct mgb_options {  /* 24 bytes */
  uint32_t cells;            /*  0: positions of all sequences together */
  uint32_t sequences;        /*  4: numbers of sequences go from 0 to here */
  uint32_t threads;          /*  8: at least 1 */
  uint32_t batch_rows;       /* 12: most rows of a step */
  uint32_t flash_attention;  /* 16: 0 = off, 1 = as the library thinks best */
  uint32_t reserved;         /* 20: 0 */
} mgb_options;
static_assert(sizeof(mgb_options) == 24 && sizeof(mg_batch_row) == 16);
/** Opens a GGUF file. MG_E_FORMAT with what llama.cpp said where it does not load. */
MG_API int32_t mgb_open(const uint8_t* path, uint64_t path_bytes, const mgb_options* options,
                        void** out_engine);
MG_API int32_t mgb_free(void* engine);
/** out: longest context, vocabulary, width. */
MG_API int32_t mgb_info(void* engine, uint32_t out[3]);

/**
 * Forgets positions (forgets: n_forgets pairs of sequence and first position), then computes the
 * rows, as mg_batch_eval; slots: number of the sequence that row.sequence stands for. out_logits:
 * for each row with LOGITS, in order, the address of vocab floats, valid until the next call.
 * out_hidden: (rows with HIDDEN, width). Cancelled: positions of this call may stay, to be forgotten.
 */
MG_API int32_t mgb_step(void* engine, const mg_batch_row* rows, uint64_t n_rows,
                        const int32_t* slots, const int32_t* forgets, uint64_t n_forgets,
                        uint64_t* out_logits, float* out_hidden, const int32_t* cancel);
}
