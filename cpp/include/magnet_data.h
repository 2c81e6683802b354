/*
 * Data section of the C ABI: token files mapped into memory, and float formats of weights on disk.
 * Included by magnet.h.
 */
#ifndef MAGNET_DATA_H
#define MAGNET_DATA_H
#include "magnet.h"

/* ---- mapped tokens (cpp/cpu/token_map.cpp) -------------------------------------------------------
 * Tokens of an open file: `count` little-endian integers of token_bytes (2 or 4) from byte `offset`,
 * which is a multiple of token_bytes. The file may be closed afterwards. MG_E_FORMAT where it is
 * shorter; MG_E_UNSUPPORTED where it cannot be mapped (a pipe, some network file systems). */
MG_API int32_t mg_token_map_open(int32_t fd, uint64_t offset, uint64_t count, uint32_t token_bytes,
                                 void** out_map);
MG_API int32_t mg_token_map_free(void* map);
/* Tokens [start, start + count) as int32. Where the file was cut off meanwhile: MG_E_FORMAT, and the
 * process lives (the SIGBUS of that read is caught). Safe from several threads. */
MG_API int32_t mg_token_map_read(const void* map, uint64_t start, uint64_t count, int32_t* out);

/* ---- float formats (cpp/cpu/convert.cpp) --------------------------------------------------------
 * `count` values of a format, little-endian, to float32: every value of the smaller formats is one.
 * `in` may be `out` for MG_FLOAT32. MG_E_NUMERIC with the index where one is NaN or infinite. */
enum { MG_FLOAT32 = 0, MG_FLOAT16 = 1, MG_BFLOAT16 = 2 };
MG_API int32_t mg_floats_from(uint32_t format, const void* in, uint64_t count, float* out);

#endif
