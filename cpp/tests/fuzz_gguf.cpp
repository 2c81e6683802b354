// Fuzz driver of the GGUF loader, to be built with the address and undefined-behaviour sanitizers
// (bun build.ts --target sanitized). Each case is a small file, mostly a valid one of which parts lie
// or bytes are damaged; it goes through everything that reads files of strangers: parsing, the
// vocabulary, building the model, and for an accepted one a forward pass. A case must end in success
// or in a refusal with a code that damage can have; anything else ends the driver with the case's
// seed. Prints one line of JSON.
//   fuzz-gguf SEED CASES [FOLDER]
// FOLDER: for the cases that are opened as files (and cut off under the mapping).
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>

#include <fcntl.h>
#include <unistd.h>

#include "../include/magnet.h"
#include "fuzz_gguf_files.hpp"

/** Cases allocate and free a lot; by default the sanitizer keeps 256 MB of what was freed. */
extern "C" const char* __asan_default_options() {
  return "quarantine_size_mb=16:malloc_context_size=10:detect_leaks=1";
}

namespace {

using fuzz::Bytes;

struct Outcomes {
  uint64_t loaded = 0, vocabularies = 0, files = 0;
  std::map<std::string, uint64_t> refusals;
};
uint64_t current_case = 0;

[[noreturn]] void report(const char* what, int32_t code, const std::string& message) {
  std::fprintf(stderr, "case %llu: %s: code %d, %s\n",
               static_cast<unsigned long long>(current_case), what, code, message.c_str());
  std::abort();
}

std::string last_error() {
  char text[1024];
  mg_last_error(text, sizeof text);
  return text;
}

/** The message without what differs from case to case: numbers, names, quotations. */
std::string kind_of(const std::string& message) {
  std::string out;
  std::string word;
  const auto flush = [&] {
    const bool varies = word.find_first_of("0123456789._\"") != std::string::npos ||
                        word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                               ",:;()-'") != std::string::npos;
    if (!word.empty()) out += (out.empty() ? "" : " ") + (varies ? "*" : word);
    word.clear();
  };
  for (const char c : message)
    if (c == ' ')
      flush();
    else
      word += c;
  flush();
  return out.substr(0, 70);
}

/** True where the call went well; a refusal that a file can cause is counted. */
bool accepted(int32_t code, const char* what, Outcomes& outcomes) {
  if (code == MG_OK) return true;
  const std::string message = last_error();
  if (code != MG_E_FORMAT && code != MG_E_UNSUPPORTED && code != MG_E_NUMERIC &&
      code != MG_E_MEMORY)
    report(what, code, message);
  if (message.empty()) report(what, code, "no message");
  outcomes.refusals[kind_of(message)]++;
  return false;
}
/** For calls that must not fail on an accepted file. */
void require_ok(int32_t code, const char* what) {
  if (code != MG_OK) report(what, code, last_error());
}

/** Reads every byte that a caller may be handed. */
uint64_t read_tables(void* file) {
  uint64_t values = 0, tensors = 0, sum = 0;
  require_ok(mg_gguf_counts(file, &values, &tensors), "mg_gguf_counts");
  for (uint64_t i = 0; i < values; i++) {
    mg_gguf_value v;
    require_ok(mg_gguf_value_at(file, i, &v), "mg_gguf_value_at");
    for (uint64_t b = 0; b < v.key_bytes; b++) sum += reinterpret_cast<const uint8_t*>(v.key)[b];
    for (uint64_t b = 0; b < v.data_bytes; b++) sum += reinterpret_cast<const uint8_t*>(v.data)[b];
  }
  for (uint64_t i = 0; i < tensors; i++) {
    mg_gguf_tensor t;
    require_ok(mg_gguf_tensor_at(file, i, &t), "mg_gguf_tensor_at");
    Bytes data(t.data_bytes);
    if (t.data_bytes < (1u << 20) && mg_gguf_tensor_read(file, i, data.data(), data.size()) == 0)
      for (const uint8_t b : data) sum += b;
  }
  return sum;
}

void use_vocabulary(void* file, Outcomes& outcomes) {
  mg_tokenizer* tokenizer = nullptr;
  if (!accepted(mg_tokenizer_from_gguf(file, &tokenizer), "mg_tokenizer_from_gguf", outcomes))
    return;
  outcomes.vocabularies++;
  const std::string text = "abc the <|end_of_text|> \xff\xea\xb3\xa0 er";
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  std::vector<int32_t> ids(text.size());
  uint64_t count = 0, size = 0;
  require_ok(mg_tokenizer_encode(tokenizer, bytes, text.size(), 1, ids.data(), ids.size(), &count,
                                 nullptr),
             "mg_tokenizer_encode");
  Bytes back(text.size());
  require_ok(mg_tokenizer_decode(tokenizer, ids.data(), count, 0, back.data(), back.size(), &size),
             "mg_tokenizer_decode");
  if (size != text.size() || std::string(back.begin(), back.end()) != text)
    report("a text does not come back", 0, "");
  static Bytes json(1 << 20);
  for (const uint32_t part : {0u, 1u})
    require_ok(mg_tokenizer_json(tokenizer, part, json.data(), json.size(), &size), "json");
  require_ok(mg_tokenizer_free(tokenizer), "mg_tokenizer_free");
}

void use_model(void* file, uint32_t threads, uint32_t head, Outcomes& outcomes) {
  void* model = nullptr;
  const int32_t built = mg_infer_from_gguf(file, threads, head, &model);
  if (!accepted(built, "mg_infer_from_gguf", outcomes)) return;
  outcomes.loaded++;
  mg_model_config config;
  require_ok(mg_infer_config(model, &config), "mg_infer_config");
  for (const uint32_t rounding : {MG_ROUNDING_BITNET, MG_ROUNDING_LLAMACPP}) {
    const uint32_t context = std::min(config.context, 8u);
    const mg_session_options options{context, rounding, 16, 0};
    void* session = nullptr;
    const int32_t made = mg_session_create(model, &options, &session);
    if (made == MG_E_UNSUPPORTED && rounding == MG_ROUNDING_LLAMACPP) continue;  // I2_S
    require_ok(made, "mg_session_create");
    const int32_t tokens[2] = {1, static_cast<int32_t>(config.vocab_size) - 1};
    const uint64_t n = std::min(context, 2u);
    std::vector<float> logits(n * config.vocab_size);
    require_ok(mg_session_eval(session, tokens, n, 0, logits.data(), nullptr), "mg_session_eval");
    require_ok(mg_session_free(session), "mg_session_free");
  }
  require_ok(mg_infer_free(model), "mg_infer_free");
}

/** A file in `folder` of these bytes, opened; sometimes cut off afterwards. */
int32_t open_file(const Bytes& bytes, const std::string& folder, fuzz::Random& random,
                  void** out_file) {
  const std::string path = folder + "/case.gguf";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0 || write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    report("the case is not written", fd, path);
  const int32_t code = mg_gguf_open(reinterpret_cast<const uint8_t*>(path.data()), path.size(),
                                    out_file);
  if (random.one_in(2) && ftruncate(fd, static_cast<off_t>(random.below(bytes.size() + 1))) != 0)
    report("the case is not cut off", fd, path);
  close(fd);
  return code;
}

/** The valid file that several cases start from: making one takes longer than refusing it. */
fuzz::File base_of(uint64_t seed) {
  constexpr uint64_t CASES = 16;
  static uint64_t made = ~0ull;
  static fuzz::File file;
  if (made != seed / CASES) {
    made = seed / CASES;
    fuzz::Random random(made);
    file = fuzz::valid_file(random);
  }
  return file;
}

void run_case(uint64_t seed, const std::string& folder, Outcomes& outcomes) {
  fuzz::Random random(~seed);
  fuzz::File parts = base_of(seed);
  const uint64_t kind = random.below(12);  // 0: valid; 1..8: parts lie; 9..11: damaged bytes
  if (kind >= 1 && kind <= 8)
    for (uint64_t n = 1 + random.below(2); n > 0; n--) fuzz::corrupt(parts, random);
  Bytes bytes = parts.bytes();
  if (kind >= 9) {
    uint64_t data_bytes = 0;
    for (const fuzz::TensorPart& t : parts.tensors) data_bytes += t.data.size();
    fuzz::damage(bytes, bytes.size() - std::min<uint64_t>(bytes.size(), data_bytes), random);
  }
  void* file = nullptr;
  const bool as_file = !folder.empty() && random.one_in(8);
  outcomes.files += as_file;
  const int32_t code = as_file ? open_file(bytes, folder, random, &file)
                               : mg_gguf_parse(bytes.data(), bytes.size(), &file);
  if (!accepted(code, "parsing", outcomes)) {
    if (kind == 0) report("a valid file is refused", code, last_error());
    return;
  }
  read_tables(file);
  use_vocabulary(file, outcomes);
  const uint64_t loaded = outcomes.loaded;
  const auto threads = 1 + static_cast<uint32_t>(random.below(2));
  use_model(file, threads, static_cast<uint32_t>(random.below(3)), outcomes);
  if (kind == 0 && !as_file && outcomes.loaded == loaded)
    report("a valid model is refused", 0, last_error());
  require_ok(mg_gguf_free(file), "mg_gguf_free");
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text)
    if (c == '"' || c == '\\' || static_cast<unsigned char>(c) < 32)
      out += '?';
    else
      out += c;
  return out + "\"";
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "fuzz-gguf SEED CASES [FOLDER]\n");
    return 2;
  }
  const uint64_t seed = std::strtoull(argv[1], nullptr, 10);
  const uint64_t cases = std::strtoull(argv[2], nullptr, 10);
  const std::string folder = argc > 3 ? argv[3] : "";
  Outcomes outcomes;
  const auto start = std::chrono::steady_clock::now();
  for (uint64_t i = 0; i < cases; i++) {
    current_case = seed + i;
    run_case(current_case, folder, outcomes);
  }
  const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
  const auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  std::printf("{\"seed\":%llu,\"cases\":%llu,\"seconds\":%.1f,\"cases_per_second\":%.0f,"
              "\"loaded\":%llu,\"vocabularies\":%llu,\"opened_as_files\":%llu,\"refusals\":{",
              number(seed), number(cases), took.count(),
              static_cast<double>(cases) / took.count(), number(outcomes.loaded),
              number(outcomes.vocabularies), number(outcomes.files));
  const char* separator = "";
  for (const auto& [reason, count] : outcomes.refusals) {
    std::printf("%s%s:%llu", separator, quoted(reason).c_str(), number(count));
    separator = ",";
  }
  std::printf("}}\n");
  return 0;
}
