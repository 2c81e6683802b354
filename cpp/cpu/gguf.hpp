// A parsed GGUF v3 file: metadata and tensor table over a copy of its header, and tensors that are
// read out of the mapped file. The parser reads bytes from strangers: every length, offset, count,
// type, alignment and overlap is checked against the file's size and the limits below before it is
// used, and a refusal (MG_E_FORMAT) names what and its limit. Whoever uses a tensor reads it into own
// memory first and checks it there: another process may change or cut off the file meanwhile.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common.hpp"
#include "live_handle.hpp"
#include "mapped_file.hpp"
#include "mapping.hpp"

namespace magnet {

/** Limits of the parser: far above real files (the largest have some 1,500 tensors, 60 keys and
 * 256,000 tokens), and low enough that a hostile header costs little memory. */
struct GgufLimits {
  static constexpr uint64_t tensors = 1u << 16;
  static constexpr uint64_t values = 1u << 14;
  static constexpr uint64_t key_bytes = 1u << 10;
  static constexpr uint64_t name_bytes = 128;
  static constexpr uint64_t string_bytes = 1u << 22;  // a chat template
  static constexpr uint64_t array_items = 1u << 22;   // merges of a large tokenizer
  static constexpr uint64_t alignment = 1u << 16;
  static constexpr uint64_t header_bytes = 1u << 30;
  static constexpr uint64_t file_bytes = 1ull << 40;
};

enum class GgufType : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  string,
  array,
  u64,
  i64,
  f64,
};

struct GgufValue {
  std::string_view key;
  GgufType type;
  GgufType element_type;  // of an array; else `type`
  uint64_t count;         // of an array; else 1
  const uint8_t* data;    // scalar, bytes of a string, items of an array
  uint64_t data_bytes;
};

struct GgufTensor {
  std::string_view name;
  uint32_t type;
  uint32_t n_dims;
  uint64_t cols, rows;
  uint64_t offset;  // in the file
  uint64_t data_bytes;
};

/** The bytes of a file: mapped, or a copy in memory. */
class GgufBytes {
 public:
  /** Throws MG_E_INVALID with the system's reason. */
  explicit GgufBytes(const std::string& path);
  GgufBytes(const uint8_t* bytes, uint64_t n);

  uint64_t size() const { return size_; }
  /** Start of a copy of the first bytes, of which at least `end` are there afterwards; it never moves.
   * Throws MG_E_FORMAT beyond the limit of a header. */
  const uint8_t* header(uint64_t end);
  /** Copies [offset, offset + n), which must lie in the file. Throws MG_E_FORMAT where the file has
   * been cut off since. Callable from several threads at once. */
  void read(uint64_t offset, uint64_t n, uint8_t* out) const;
  /** What was read is not needed again soon. */
  void give_back(uint64_t offset, uint64_t n) const;

 private:
  uint64_t size_ = 0;
  std::unique_ptr<MappedFile> map_;  // null: `memory_` holds all of it
  std::unique_ptr<Mapping> memory_;
  uint64_t copied_ = 0;  // bytes of `memory_` that are filled
};

struct GgufFile : LiveHandle {
  explicit GgufFile(GgufBytes content) : bytes(std::move(content)) {}
  GgufBytes bytes;
  std::vector<GgufValue> values;
  std::vector<GgufTensor> tensors;

  /** Null where the key is not there. */
  const GgufValue* value(std::string_view key) const;
  const GgufTensor* tensor(std::string_view name) const;
  /** A required or defaulted scalar; MG_E_FORMAT where it is missing or has another type. */
  uint32_t u32(std::string_view key) const;
  uint32_t u32_or(std::string_view key, uint32_t otherwise) const;
  float f32_or(std::string_view key, float otherwise) const;
  std::string_view text_or(std::string_view key, std::string_view otherwise) const;
};

/** Throws MG_E_FORMAT or MG_E_UNSUPPORTED. */
std::unique_ptr<GgufFile> parse_gguf(GgufBytes bytes);

/** The file behind a handle of the C ABI; throws MG_E_INVALID for null. */
const GgufFile& gguf_of(void* handle);

}  // namespace magnet
