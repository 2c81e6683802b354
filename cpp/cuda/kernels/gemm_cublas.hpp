// cuBLASLt, where it is installed: found at run time, with own declarations of the few functions
// used (its C interface has kept them since version 11). Tests put functions of their own in their
// place.
#pragma once
#include "gemm_paths.hpp"

namespace magnet::gpu {

namespace cublas {

constexpr int32_t REAL_32F = 0;
constexpr int32_t REAL_16BF = 14;
constexpr int32_t COMPUTE_32F = 68;
constexpr int32_t NORMAL = 0;
constexpr int32_t TRANSPOSE = 1;
constexpr int32_t ON_DEVICE = 1;  // alpha and beta
enum Description : int32_t { POINTER_MODE = 2, TRANSPOSE_A = 3, TRANSPOSE_B = 4 };
enum Preference : int32_t {
  WORKSPACE_BYTES = 1,
  REDUCTION_SCHEMES = 3,
  ALIGNMENT_A = 5,
  ALIGNMENT_B = 6,
  ALIGNMENT_C = 7,
  ALIGNMENT_D = 8
};
constexpr uint32_t REDUCE_IN_FLOAT =
    2;  // parts of a sum are added as COMPUTE_32F, in a fixed order

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int32_t status;
  float waves;
  int32_t reserved[4];
};

/** Members are called cublasLt* in the library. Status 0 is success. Matrices are column by
 * column. */
struct Functions {
  int32_t (*Create)(void** handle);
  int32_t (*MatmulDescCreate)(void** description, int32_t compute, int32_t scale_type);
  int32_t (*MatmulDescSetAttribute)(void* description, int32_t which, const void* value,
                                    size_t bytes);
  int32_t (*MatrixLayoutCreate)(void** layout, int32_t type, uint64_t rows, uint64_t columns,
                                int64_t stride);
  int32_t (*MatmulPreferenceCreate)(void** preference);
  int32_t (*MatmulPreferenceSetAttribute)(void* preference, int32_t which, const void* value,
                                          size_t bytes);
  int32_t (*MatmulPreferenceDestroy)(void* preference);
  int32_t (*MatmulAlgoGetHeuristic)(void* handle, void* description, void* a, void* b, void* c,
                                    void* d, void* preference, int32_t wanted, Heuristic* found,
                                    int32_t* count);
  int32_t (*Matmul)(void* handle, void* description, const void* alpha, const void* a,
                    void* a_layout, const void* b, void* b_layout, const void* beta, const void* c,
                    void* c_layout, void* d, void* d_layout, const Algorithm* algorithm,
                    void* workspace, size_t workspace_bytes, void* stream);
};

/** null: not installed, or too old to have them all. */
const Functions* functions();
/** For tests, before the first product: these are used instead. */
void use_functions(const Functions* functions);

}  // namespace cublas

/** Of the stream; 0 without the library. */
uint64_t cublas_workspace();
/** Products of bf16. false: no library, or no algorithm of it takes this; nothing is started then.
 * */
bool gemm_cublas(const Stream& stream, const Operands<bf16>& operands, const Output& out);

}  // namespace magnet::gpu
