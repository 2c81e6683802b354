/*
 * Learning section of the C ABI: binned tables, and the learners of autoresearch (paper 6, 7).
 * Included by magnet.h inside extern "C"; do not include alone.
 *
 * A fitted model is a function of the data, the rows, the settings and the seed: threads, the CPU path
 * and the machine never change a bit of it.
 */
#ifndef MAGNET_LEARN_H
#define MAGNET_LEARN_H
#include "magnet.h"

enum {
  MG_LEARNER_BOOSTING = 0,
  MG_LEARNER_EXTRA_TREES = 1,
  MG_LEARNER_FOREST = 2,
  MG_LEARNER_LOGISTIC = 3,
};

/* ---- binned tables (cpp/learners/binning.cpp) ----------------------------------------------------
 * values: column-major (columns, rows), NaN = missing. levels: by column, 0 = a number, else values are
 * codes in [0, levels) and everything else is missing. Quantile bins of each column, at most bins_max
 * (2..255), found on `edge_rows` (null: all rows). */
MG_API int32_t mg_bin_data(const float* values, const int32_t* levels, uint64_t rows,
                           uint32_t columns, uint32_t bins_max, const uint32_t* edge_rows,
                           uint64_t edge_count, uint32_t threads, void** out_data,
                           const int32_t* cancel);
MG_API int32_t mg_binned_free(void* data);
/* The bins of one column, by row; *out_bins: how many bins values have (missing ones are in the bin of
 * that number). */
MG_API int32_t mg_binned_column(const void* data, uint32_t column, uint8_t* out, uint64_t rows,
                                uint32_t* out_bins);

/* ---- learners (cpp/learners/learners_api.cpp) ----------------------------------------------------
 * Settings go by name: `names` is NUL-separated UTF-8, one value each. Unknown names and values outside
 * their range are MG_E_INVALID. mg_learner_settings writes a learner's settings as JSON:
 * [{"name","initial","min","max","integer","summary"}]. */
MG_API int32_t mg_learner_settings(uint32_t learner, char* out, uint64_t capacity);
/* values: the matrix that `data` was made of (logistic reads it). classes: 1 = regression. target: class
 * index or value by row of the matrix. weight: >= 0 by row, or null. rows: those to fit on, or null for
 * all; stop_rows: for early stopping, or null. MG_E_NUMERIC for a NaN target or weight. */
MG_API int32_t mg_learner_fit(uint32_t learner, const void* data, const float* values,
                              uint32_t classes, const float* target, const float* weight,
                              const uint32_t* rows, uint64_t row_count, const uint32_t* stop_rows,
                              uint64_t stop_count, const char* names, uint64_t names_bytes,
                              const double* settings, uint32_t setting_count, uint64_t seed,
                              uint32_t threads, void** out_model, const int32_t* cancel);
/* out: row-major (rows, outputs): class probabilities, or the value. Either `data`, binned as the
 * model's own, with its matrix in `values`; or data = null and a matrix of `matrix_rows` rows. */
MG_API int32_t mg_learner_predict(const void* model, const void* data, const float* values,
                                  uint64_t matrix_rows, uint32_t columns, const uint32_t* rows,
                                  uint64_t row_count, float* out, uint64_t out_count,
                                  uint32_t threads, const int32_t* cancel);
/* out: learner, outputs, columns, trees. */
MG_API int32_t mg_learner_info(const void* model, uint32_t* out);
MG_API int32_t mg_learner_importance(const void* model, double* out, uint32_t columns);
/* Two calls: with out = null *out_bytes is how many there are. */
MG_API int32_t mg_learner_save(const void* model, uint8_t* out, uint64_t capacity,
                               uint64_t* out_bytes);
/* MG_E_FORMAT for anything that mg_learner_save did not write. */
MG_API int32_t mg_learner_load(const uint8_t* bytes, uint64_t count, void** out_model);
MG_API int32_t mg_learner_free(void* model);

#endif
