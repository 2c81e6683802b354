// Exports of the learning section: checks what comes from outside, makes the lists of examples, and
// hands them to the learner.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "../cpu/thread_pool.hpp"
#include "learner.hpp"

namespace magnet::learn {
namespace {

constexpr uint32_t CLASSES_LIMIT = 1024;
/** A saved model's first bytes. */
constexpr uint64_t MAGIC = 0x31'6C'65'64'6F'6D'67'6Dull;  // "mgmodel1"

void check_rows(const RowList& list, uint64_t rows) {
  require(list.count <= ROWS_LIMIT, MG_E_INVALID, "a list of too many rows");
  if (list.rows == nullptr) return;
  for (uint64_t i = 0; i < list.count; i++)
    if (list.rows[i] >= rows) fail(MG_E_INVALID, "row %u is not in the table", list.rows[i]);
}

RowList list_of(const uint32_t* rows, uint64_t count, uint64_t all) {
  const RowList list{rows, rows == nullptr ? all : count};
  check_rows(list, all);
  return list;
}

const Learner& learner_of(uint32_t number) {
  const Learner* const learner = find_learner(number);
  if (learner == nullptr) fail(MG_E_UNSUPPORTED, "no learner has the number %u", number);
  return *learner;
}

struct Labels {
  const float* target;
  const float* weight;
  uint32_t classes;
};

/** The rows of weight above 0, with targets and weights beside them. */
Examples examples_of(const RowList& rows, const Labels& labels) {
  Examples out;
  out.rows.reserve(rows.count);
  out.target.reserve(rows.count);
  for (uint64_t i = 0; i < rows.count; i++) {
    const uint32_t row = rows[i];
    const float y = labels.target[row];
    const float w = labels.weight == nullptr ? 1.0f : labels.weight[row];
    if (!std::isfinite(y)) fail(MG_E_NUMERIC, "the target of row %u is not a number", row);
    if (!std::isfinite(w) || w < 0)
      fail(MG_E_NUMERIC, "the weight of row %u is not a number from 0 up", row);
    const bool is_class = y >= 0 && y < static_cast<float>(labels.classes) && y == std::floor(y);
    if (labels.classes > 1 && !is_class)
      fail(MG_E_INVALID, "the target of row %u, %g, is not a class below %u", row,
           static_cast<double>(y), labels.classes);
    if (w == 0) continue;
    out.rows.push_back(row);
    out.target.push_back(y);
    if (labels.weight != nullptr) out.weight.push_back(w);
  }
  return out;
}

Settings settings_of(const Learner& learner, const char* names, uint64_t bytes,
                     const double* values, uint32_t count) {
  Settings settings(learner.settings());
  const char* at = names;
  const char* const end = names + bytes;
  for (uint32_t i = 0; i < count; i++) {
    const char* const stop = at == nullptr ? end : std::find(at, end, '\0');
    require(stop != end, MG_E_INVALID, "fewer names than settings");
    settings.set({at, static_cast<size_t>(stop - at)}, values[i]);
    at = stop + 1;
  }
  return settings;
}

std::string settings_json(const Learner& learner) {
  std::string out = "[";
  for (const SettingRule& rule : learner.settings()) {
    char text[512];
    std::snprintf(text, sizeof text,
                  "%s{\"name\":\"%s\",\"initial\":%.17g,\"min\":%.17g,\"max\":%.17g,"
                  "\"integer\":%s,\"summary\":\"%s\"}",
                  out.size() == 1 ? "" : ",", rule.name, rule.initial, rule.min, rule.max,
                  rule.integer ? "true" : "false", rule.summary);
    out += text;
  }
  return out + "]";
}

const Model& model_at(const void* model) {
  require(model != nullptr, MG_E_INVALID, "no model");
  return *static_cast<const Model*>(model);
}

std::vector<uint8_t> saved_bytes(const Model& model) {
  Writer out;
  out.put(MAGIC);
  out.put(model.learner());
  out.put(model.outputs());
  model.rules().save(out);
  model.save(out);
  return out.finish();
}

std::unique_ptr<Model> loaded(const uint8_t* bytes, uint64_t count) {
  Reader in(bytes, count);
  require_format(in.take<uint64_t>() == MAGIC, "these bytes are no saved model");
  SavedHead head;
  head.learner = in.take<uint32_t>();
  head.outputs = in.take<uint32_t>();
  const Learner* const learner = find_learner(head.learner);
  require_format(learner != nullptr, "a saved model of an unknown learner");
  require_format(head.outputs >= 1 && head.outputs <= CLASSES_LIMIT, "a model of too many classes");
  head.rules = BinRules::load(in);
  auto model = learner->load(head, in);
  in.end();
  return model;
}

}  // namespace

const Learner* find_learner(uint32_t number) {
  switch (number) {
    case MG_LEARNER_BOOSTING:
      return &BOOSTING;
    case MG_LEARNER_EXTRA_TREES:
      return &EXTRA_TREES;
    case MG_LEARNER_FOREST:
      return &FOREST;
    case MG_LEARNER_LOGISTIC:
      return &LOGISTIC;
    default:
      return nullptr;
  }
}

std::vector<double> as_shares(std::vector<double> amounts) {
  double total = 0;
  for (const double amount : amounts) total += amount;
  for (double& amount : amounts) amount = total > 0 ? amount / total : 0;
  return amounts;
}

}  // namespace magnet::learn

using namespace magnet;
using namespace magnet::learn;

int32_t mg_bin_data(const float* values, const int32_t* levels, uint64_t rows, uint32_t columns,
                    uint32_t bins_max, const uint32_t* edge_rows, uint64_t edge_count,
                    uint32_t threads, void** out_data, const int32_t* cancel) {
  return guard([&] {
    require(values != nullptr && levels != nullptr && out_data != nullptr, MG_E_INVALID,
            "mg_bin_data: null argument");
    require(rows >= 1 && rows <= ROWS_LIMIT, MG_E_INVALID, "a table has 1 to 2^24 rows");
    const bool fits = columns >= 1 && columns <= COLUMNS_LIMIT;
    require(fits, MG_E_INVALID, "a table has 1 to 2^20 columns");
    require(bins_max >= 2 && bins_max <= BINS_LIMIT, MG_E_INVALID, "bins_max is in 2..255");
    for (uint32_t c = 0; c < columns; c++)
      if (levels[c] < 0 || levels[c] > LEVELS_LIMIT)
        fail(MG_E_INVALID, "column %u has %d levels", c, levels[c]);
    const Matrix matrix{values, rows, columns};
    const uint32_t count = resolve_threads(threads);
    const RowList edges = list_of(edge_rows, edge_count, rows);
    auto rules = find_rules(matrix, levels, edges, bins_max, count, cancel);
    const RowList all{nullptr, rows};
    *out_data = apply_rules(std::move(rules), matrix, all, count, cancel).release();
    return MG_OK;
  });
}

int32_t mg_binned_free(void* data) {
  return guard([&] {
    delete static_cast<BinnedData*>(data);
    return MG_OK;
  });
}

int32_t mg_binned_column(const void* data, uint32_t column, uint8_t* out, uint64_t rows,
                         uint32_t* out_bins) {
  return guard([&] {
    require(data != nullptr && out != nullptr && out_bins != nullptr, MG_E_INVALID,
            "mg_binned_column: null argument");
    const auto& binned = *static_cast<const BinnedData*>(data);
    require(column < binned.columns() && rows == binned.rows, MG_E_SHAPE, "no such column");
    std::memcpy(out, binned.column(column), rows);
    *out_bins = binned.rules->columns[column].bins;
    return MG_OK;
  });
}

int32_t mg_learner_settings(uint32_t learner, char* out, uint64_t capacity) {
  return guard([&] {
    const std::string text = settings_json(learner_of(learner));
    require(out != nullptr && text.size() < capacity, MG_E_INVALID, "no room for the settings");
    std::memcpy(out, text.c_str(), text.size() + 1);
    return MG_OK;
  });
}

int32_t mg_learner_fit(uint32_t learner, const void* data, const float* values, uint32_t classes,
                       const float* target, const float* weight, const uint32_t* rows,
                       uint64_t row_count, const uint32_t* stop_rows, uint64_t stop_count,
                       const char* names, uint64_t names_bytes, const double* settings,
                       uint32_t setting_count, uint64_t seed, uint32_t threads, void** out_model,
                       const int32_t* cancel) {
  return guard([&] {
    const bool given = data != nullptr && values != nullptr && target != nullptr &&
                       out_model != nullptr && (setting_count == 0 || settings != nullptr);
    require(given, MG_E_INVALID, "mg_learner_fit: null argument");
    require(classes >= 1 && classes <= CLASSES_LIMIT, MG_E_INVALID, "1 to 1024 classes");
    const auto& binned = *static_cast<const BinnedData*>(data);
    const Learner& chosen = learner_of(learner);
    const Labels labels{target, weight, classes};
    const RowList fit_rows = list_of(rows, row_count, binned.rows);
    const RowList stop_list{stop_rows, stop_rows == nullptr ? 0 : stop_count};
    check_rows(stop_list, binned.rows);
    const FloatEnvironment environment;
    const FitInput input{
        .data = binned,
        .matrix = {values, binned.rows, binned.columns()},
        .classes = classes,
        .examples = examples_of(fit_rows, labels),
        .stop = examples_of(stop_list, labels),
        .settings = settings_of(chosen, names, names_bytes, settings, setting_count),
        .seed = seed,
        .threads = resolve_threads(threads),
        .cancel = cancel,
    };
    require(input.examples.count() > 0, MG_E_INVALID, "no row to fit on has a weight above 0");
    *out_model = chosen.fit(input).release();
    return MG_OK;
  });
}

int32_t mg_learner_predict(const void* model, const void* data, const float* values,
                           uint64_t matrix_rows, uint32_t columns, const uint32_t* rows,
                           uint64_t row_count, float* out, uint64_t out_count, uint32_t threads,
                           const int32_t* cancel) {
  return guard([&] {
    const Model& fitted = model_at(model);
    require(values != nullptr && out != nullptr, MG_E_INVALID, "mg_learner_predict: null argument");
    require(columns == fitted.columns(), MG_E_SHAPE, "the table's columns are not the model's");
    const auto* const binned = static_cast<const BinnedData*>(data);
    if (binned != nullptr) {
      const bool same = binned->rules->fingerprint == fitted.rules().fingerprint;
      require(same && binned->rows == matrix_rows, MG_E_SHAPE,
              "the table was binned otherwise than the model's");
    }
    const Matrix matrix{values, matrix_rows, columns};
    const RowList list = list_of(rows, row_count, matrix_rows);
    require(list.count * fitted.outputs() == out_count, MG_E_SHAPE, "no room for the predictions");
    const FloatEnvironment environment;
    PredictInput input{binned, matrix, list, resolve_threads(threads), cancel};
    if (binned != nullptr || fitted.reads_values()) {
      fitted.predict(input, out);
      return MG_OK;
    }
    const auto fresh = apply_rules(fitted.shared_rules(), matrix, list, input.threads, cancel);
    input.data = fresh.get();
    input.rows = {nullptr, list.count};
    fitted.predict(input, out);
    return MG_OK;
  });
}

int32_t mg_learner_info(const void* model, uint32_t* out) {
  return guard([&] {
    const Model& fitted = model_at(model);
    require(out != nullptr, MG_E_INVALID, "mg_learner_info: null argument");
    out[0] = fitted.learner();
    out[1] = fitted.outputs();
    out[2] = fitted.columns();
    out[3] = fitted.trees();
    return MG_OK;
  });
}

int32_t mg_learner_importance(const void* model, double* out, uint32_t columns) {
  return guard([&] {
    const Model& fitted = model_at(model);
    const bool fits = out != nullptr && columns == fitted.columns();
    require(fits, MG_E_SHAPE, "no room for the importance");
    const std::vector<double> shares = fitted.importance();
    std::copy(shares.begin(), shares.end(), out);
    return MG_OK;
  });
}

int32_t mg_learner_save(const void* model, uint8_t* out, uint64_t capacity, uint64_t* out_bytes) {
  return guard([&] {
    require(out_bytes != nullptr, MG_E_INVALID, "mg_learner_save: null argument");
    const std::vector<uint8_t> bytes = saved_bytes(model_at(model));
    *out_bytes = bytes.size();
    if (out == nullptr) return MG_OK;
    require(capacity == bytes.size(), MG_E_SHAPE, "no room for the model");
    std::memcpy(out, bytes.data(), bytes.size());
    return MG_OK;
  });
}

int32_t mg_learner_load(const uint8_t* bytes, uint64_t count, void** out_model) {
  return guard([&] {
    require(out_model != nullptr, MG_E_INVALID, "mg_learner_load: null argument");
    require_format(bytes != nullptr, "a saved model is not empty");
    *out_model = loaded(bytes, count).release();
    return MG_OK;
  });
}

int32_t mg_learner_free(void* model) {
  return guard([&] {
    delete static_cast<Model*>(model);
    return MG_OK;
  });
}
