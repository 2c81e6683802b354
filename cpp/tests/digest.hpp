// Shared by the parts of the digest driver (digest.cpp): errors, reproducible inputs, digests.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include "../include/magnet.h"

namespace digest {

/** Of every call that takes a number of threads. */
extern uint32_t threads;

/** Ends the process with the library's last message. */
[[noreturn]] void stop(const char* what, int32_t code);
#define CHECK(call)                                 \
  do {                                              \
    const int32_t code_ = (call);                   \
    if (code_ != MG_OK) digest::stop(#call, code_); \
  } while (false)

/** The inputs that follow depend on `seed` alone. */
void seed(uint64_t seed);
uint64_t random_bits();
/** 24 random bits as an exact float in [-scale, scale), scale a power of two. */
float random_float(float scale);
std::vector<float> floats(size_t n, float scale = 1.0f);
std::vector<int32_t> tokens_below(size_t n, uint32_t vocab);

/** FNV-1a over everything that was added; prints itself at the end of its scope. */
class Digest {
 public:
  explicit Digest(std::string name) : name_(std::move(name)) {}
  Digest(const Digest&) = delete;
  Digest& operator=(const Digest&) = delete;
  ~Digest();
  void add_bytes(const void* bytes, size_t n) {
    const auto* const p = static_cast<const uint8_t*>(bytes);
    for (size_t i = 0; i < n; i++) value_ = (value_ ^ p[i]) * 0x100000001B3ull;
  }
  template <class T>
  void add(const std::vector<T>& v) {
    add_bytes(v.data(), v.size() * sizeof(T));
  }
  template <class T>
  void add(const T& value) {
    static_assert(std::is_trivially_copyable_v<T>);
    add_bytes(&value, sizeof value);
  }

 private:
  std::string name_;
  uint64_t value_ = 0xCBF29CE484222325ull;
};

/** Sizes that leave a remainder in every vector loop and register tile. */
inline mg_model_config odd_model(uint32_t variant, uint32_t quantization) {
  return {variant, 101, 60, 2, 3, 1, 18, 100, 37, 10000.0f, 1e-5f, quantization};
}

void training();
void alignment();
void products();
void largest_sums();
void rows();
void codecs();
void reed_solomon();
void inference();
void packed();
void packed_heads();
void tokenizer();

}  // namespace digest
