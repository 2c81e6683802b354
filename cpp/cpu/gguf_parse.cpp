// GGUF v3 parser; see gguf.hpp for what it promises.
#include <algorithm>
#include <cstring>

#include "gguf.hpp"
#include "quants.hpp"

namespace magnet {
namespace {

using ull = unsigned long long;

/** Reads forward through the header; every read checks what is left of the file. */
class Reader {
 public:
  explicit Reader(GgufBytes& bytes) : bytes_(bytes), data_(bytes.header(0)), size_(bytes.size()) {}
  uint64_t position() const { return at_; }

  const uint8_t* take(uint64_t bytes, const char* what) {
    if (bytes > size_ - at_)
      fail(MG_E_FORMAT, "GGUF: %s needs %llu bytes at offset %llu, but the file ends at %llu", what,
           static_cast<ull>(bytes), static_cast<ull>(at_), static_cast<ull>(size_));
    const uint8_t* p = data_ + at_;
    at_ += bytes;
    if (at_ > copied_) {
      copied_ = std::min(size_, at_ + READ_AHEAD);
      bytes_.header(copied_);
    }
    return p;
  }
  template <class T>
  T number(const char* what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what), sizeof(T));
    return value;
  }
  std::string_view text(uint64_t limit, const char* what) {
    const uint64_t bytes = number<uint64_t>(what);
    if (bytes > limit)
      fail(MG_E_FORMAT, "GGUF: %s of %llu bytes at offset %llu (limit %llu)", what,
           static_cast<ull>(bytes), static_cast<ull>(at_ - 8), static_cast<ull>(limit));
    return {reinterpret_cast<const char*>(take(bytes, what)), bytes};
  }

 private:
  /** A header is some kilobytes without, some megabytes with a tokenizer. */
  static constexpr uint64_t READ_AHEAD = 1u << 18;
  GgufBytes& bytes_;
  const uint8_t* data_;
  uint64_t size_;
  uint64_t copied_ = 0;
  uint64_t at_ = 0;
};

uint64_t scalar_bytes(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean: return 1;
    case GgufType::u16:
    case GgufType::i16: return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32: return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64: return 8;
    default: return 0;
  }
}

GgufType value_type(Reader& in) {
  const uint32_t raw = in.number<uint32_t>("a value type");
  if (raw > static_cast<uint32_t>(GgufType::f64))
    fail(MG_E_FORMAT, "GGUF: value type %u at offset %llu (limit 12)", raw,
         static_cast<ull>(in.position() - 4));
  return static_cast<GgufType>(raw);
}

void check_booleans(const uint8_t* data, uint64_t n) {
  require(std::all_of(data, data + n, [](uint8_t b) { return b <= 1; }), MG_E_FORMAT,
          "GGUF: a boolean that is neither 0 nor 1");
}

void read_array(Reader& in, GgufValue& value) {
  value.element_type = value_type(in);
  value.count = in.number<uint64_t>("an array count");
  if (value.count > GgufLimits::array_items)
    fail(MG_E_FORMAT, "GGUF: array %.*s of %llu items (limit %llu)",
         static_cast<int>(value.key.size()), value.key.data(), static_cast<ull>(value.count),
         static_cast<ull>(GgufLimits::array_items));
  const uint64_t start = in.position();
  value.data = in.take(0, "an array");
  if (value.element_type == GgufType::string) {
    for (uint64_t i = 0; i < value.count; i++)
      in.text(GgufLimits::string_bytes, "an array's string");
  } else {
    const uint64_t item = scalar_bytes(value.element_type);
    require(item > 0, MG_E_FORMAT, "GGUF: an array of arrays");
    in.take(value.count * item, "an array");
    if (value.element_type == GgufType::boolean) check_booleans(value.data, value.count);
  }
  value.data_bytes = in.position() - start;
}

GgufValue read_value(Reader& in) {
  GgufValue value{};
  value.key = in.text(GgufLimits::key_bytes, "a key");
  require(!value.key.empty() && value.key.find('\0') == std::string_view::npos, MG_E_FORMAT,
          "GGUF: a key that is empty or holds a NUL");
  value.type = value_type(in);
  value.element_type = value.type;
  value.count = 1;
  if (value.type == GgufType::array) {
    read_array(in, value);
  } else if (value.type == GgufType::string) {
    const std::string_view text = in.text(GgufLimits::string_bytes, "a string");
    value.data = reinterpret_cast<const uint8_t*>(text.data());
    value.data_bytes = text.size();
  } else {
    value.data_bytes = scalar_bytes(value.type);
    value.data = in.take(value.data_bytes, "a value");
    if (value.type == GgufType::boolean) check_booleans(value.data, 1);
  }
  return value;
}

/** Its offset is counted from the start of the data section, which is not known yet. */
GgufTensor read_tensor(Reader& in) {
  GgufTensor t{};
  t.name = in.text(GgufLimits::name_bytes, "a tensor name");
  require(!t.name.empty() && t.name.find('\0') == std::string_view::npos, MG_E_FORMAT,
          "GGUF: a tensor name that is empty or holds a NUL");
  t.n_dims = in.number<uint32_t>("a dimension count");
  if (t.n_dims < 1 || t.n_dims > 4)
    fail(MG_E_FORMAT, "GGUF: tensor %.*s has %u dimensions (1 to 4)",
         static_cast<int>(t.name.size()), t.name.data(), t.n_dims);
  t.rows = 1;
  for (uint32_t i = 0; i < t.n_dims; i++) {
    const uint64_t extent = in.number<uint64_t>("a dimension");
    if (extent < 1 || extent >= (1ull << 31) || (i > 0 && extent > (1ull << 31) / t.rows))
      fail(MG_E_FORMAT, "GGUF: tensor %.*s has a dimension of %llu (1 to 2^31 - 1)",
           static_cast<int>(t.name.size()), t.name.data(), static_cast<ull>(extent));
    if (i == 0)
      t.cols = extent;
    else
      t.rows *= extent;
  }
  t.type = in.number<uint32_t>("a tensor type");
  t.offset = in.number<uint64_t>("a tensor offset");
  try {
    t.data_bytes = packed_bytes(t.type, t.rows, t.cols);
  } catch (const Error& e) {
    fail(e.code == MG_E_SHAPE ? MG_E_FORMAT : e.code, "GGUF: tensor %.*s: %s",
         static_cast<int>(t.name.size()), t.name.data(), e.message.c_str());
  }
  return t;
}

template <class Item, class Name>
void refuse_duplicates(const std::vector<Item>& items, Name name, const char* what) {
  std::vector<std::string_view> names;
  names.reserve(items.size());
  for (const Item& item : items) names.push_back(name(item));
  std::sort(names.begin(), names.end());
  const auto twice = std::adjacent_find(names.begin(), names.end());
  if (twice != names.end())
    fail(MG_E_FORMAT, "GGUF: %s %.*s appears twice", what, static_cast<int>(twice->size()),
         twice->data());
}

uint64_t alignment_of(const GgufFile& file) {
  const uint32_t alignment = file.u32_or("general.alignment", 32);
  if (alignment < 8 || alignment > GgufLimits::alignment || (alignment & (alignment - 1)) != 0)
    fail(MG_E_FORMAT, "GGUF: general.alignment %u is not a power of two from 8 to %llu", alignment,
         static_cast<ull>(GgufLimits::alignment));
  return alignment;
}

/** Tensors must follow each other without gap or overlap, each at a multiple of the alignment. */
void place_tensors(GgufFile& file, uint64_t header_end) {
  const uint64_t alignment = alignment_of(file);
  const uint64_t size = file.bytes.size();
  const auto padded = [alignment](uint64_t n) {
    return (n + alignment - 1) / alignment * alignment;
  };
  const uint64_t start = padded(header_end);
  uint64_t expected = 0;
  uint64_t end = header_end;
  for (GgufTensor& t : file.tensors) {
    const int length = static_cast<int>(t.name.size());
    if (t.offset != expected)
      fail(MG_E_FORMAT, "GGUF: tensor %.*s stands at offset %llu, not at %llu (gap or overlap)",
           length, t.name.data(), static_cast<ull>(t.offset), static_cast<ull>(expected));
    end = start + expected + t.data_bytes;
    if (end > size)
      fail(MG_E_FORMAT, "GGUF: truncated: tensor %.*s ends at byte %llu, the file at %llu", length,
           t.name.data(), static_cast<ull>(end), static_cast<ull>(size));
    t.offset += start;
    expected = padded(expected + t.data_bytes);
    require(expected <= GgufLimits::file_bytes, MG_E_FORMAT, "GGUF: tensors beyond the file limit");
  }
  if (size > padded(end))
    fail(MG_E_FORMAT, "GGUF: %llu bytes after the last tensor",
         static_cast<ull>(size - padded(end)));
}

}  // namespace

std::unique_ptr<GgufFile> parse_gguf(GgufBytes bytes) {
  auto file = std::make_unique<GgufFile>(std::move(bytes));
  Reader in(file->bytes);
  require(std::memcmp(in.take(4, "the magic"), "GGUF", 4) == 0, MG_E_FORMAT,
          "not a GGUF file: no GGUF magic");
  const uint32_t version = in.number<uint32_t>("the version");
  if (version != 3) fail(MG_E_UNSUPPORTED, "GGUF version %u; only 3 is read", version);
  const uint64_t tensors = in.number<uint64_t>("the tensor count");
  const uint64_t values = in.number<uint64_t>("the key count");
  if (tensors > GgufLimits::tensors || values > GgufLimits::values)
    fail(MG_E_FORMAT, "GGUF: %llu tensors and %llu keys (limits %llu and %llu)",
         static_cast<ull>(tensors), static_cast<ull>(values), static_cast<ull>(GgufLimits::tensors),
         static_cast<ull>(GgufLimits::values));
  for (uint64_t i = 0; i < values; i++) file->values.push_back(read_value(in));
  refuse_duplicates(file->values, [](const GgufValue& v) { return v.key; }, "key");
  for (uint64_t i = 0; i < tensors; i++) file->tensors.push_back(read_tensor(in));
  place_tensors(*file, in.position());
  refuse_duplicates(file->tensors, [](const GgufTensor& t) { return t.name; }, "tensor");
  return file;
}

}  // namespace magnet
