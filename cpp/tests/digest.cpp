// Prints digests of what the library computes, one "name digest" a line, for the comparison of
// builds, CPU paths and thread counts (tests/native/aarch64.test.ts). Linked to the library's own
// objects. The first two lines, "path NAME" and "features A,B", tell the CPU path in force and what
// the CPU has. Argument: number of threads.
#include "digest.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace digest {

uint32_t threads = 1;

void stop(const char* what, int32_t code) {
  char text[1024] = "";
  mg_last_error(text, sizeof text);
  std::fprintf(stderr, "%s: %d %s\n", what, code, text);
  std::exit(1);
}

namespace {
uint64_t counter = 0;
}
void seed(uint64_t value) { counter = value << 32; }

/** Counter-based (SplitMix64). */
uint64_t random_bits() {
  uint64_t z = ++counter * 0x9E3779B97F4A7C15ull;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ull;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBull;
  return z ^ (z >> 31);
}
float random_float(float scale) {
  return (static_cast<float>(random_bits() >> 40) * 0x1p-23f - 1.0f) * scale;
}
std::vector<float> floats(size_t n, float scale) {
  std::vector<float> out(n);
  for (float& x : out) x = random_float(scale);
  return out;
}
std::vector<int32_t> tokens_below(size_t n, uint32_t vocab) {
  std::vector<int32_t> out(n);
  for (int32_t& t : out) t = static_cast<int32_t>(random_bits() % vocab);
  return out;
}

Digest::~Digest() {
  std::printf("%s %016llx\n", name_.c_str(), static_cast<unsigned long long>(value_));
}

namespace {
/** "name value" of a field of mg_cpu_info: a string, or a list of strings as a,b. */
void print_field(const char* name, const std::string& info) {
  const size_t from = info.find(std::string("\"") + name + "\":") + std::strlen(name) + 3;
  const char close = info[from] == '[' ? ']' : ',';
  std::string value = info.substr(from, info.find(close, from) - from);
  std::erase_if(value, [](char c) { return c == '"' || c == '['; });
  std::printf("%s %s\n", name, value.c_str());
}

}  // namespace

}  // namespace digest

using namespace digest;

int main(int count, char** arguments) {
  threads = count > 1 ? static_cast<uint32_t>(std::atoi(arguments[1])) : 1;
  char info[1024];
  CHECK(mg_cpu_info(info, sizeof info));
  print_field("path", info);
  print_field("features", info);
  uint64_t answer = 0;
  uint64_t expected = 0;
  CHECK(mg_known_answer(&answer, &expected));
  if (answer != expected) stop("the known answer is wrong", 0);
  Digest("known-answer").add(answer);
  training();
  alignment();
  products();
  largest_sums();
  rows();
  codecs();
  reed_solomon();
  inference();
  packed();
  packed_heads();
  tokenizer();
  return 0;
}
