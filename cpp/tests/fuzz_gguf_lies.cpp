// What the fuzz driver does to valid files: parts that lie, bytes that are damaged.
#include <algorithm>
#include <cstring>

#include "fuzz_gguf_files.hpp"

namespace fuzz {
namespace {

/** Numbers at which arithmetic goes wrong, and some near the right one. */
uint64_t bad_number(Random& random, uint64_t right) {
  static const std::vector<uint64_t> NUMBERS{
      0,         1,           2,           3,           255,         1ull << 15,
      1ull << 16, (1ull << 31) - 1, 1ull << 31, (1ull << 32) - 1, 1ull << 32, (1ull << 32) + 1,
      1ull << 40, 1ull << 46, 1ull << 61,  1ull << 62,  (1ull << 63) - 1, 1ull << 63,
      ~0ull - 31, ~0ull - 7,  ~0ull};
  switch (random.below(4)) {
    case 0: return right + 1;
    case 1: return right - 1;
    case 2: return right * (2 + random.below(1000));
    default: return random.of(NUMBERS);
  }
}

/** Another number in an entry's value: of a scalar, or the count or the first length of an array. */
void corrupt_value(Entry& entry, Random& random) {
  if (entry.value.empty()) return;
  const uint64_t at = entry.type == 9 && !random.one_in(3)
                          ? random.of<uint64_t>({0, 4, 12})
                          : random.below(entry.value.size());
  const uint64_t bytes = std::min<uint64_t>(at == 0 && entry.type != 8 ? 4 : 8,
                                            entry.value.size() - std::min(at, entry.value.size()));
  if (bytes == 0) return;
  uint64_t number = 0;
  std::memcpy(&number, entry.value.data() + at, bytes);
  number = bad_number(random, number);
  std::memcpy(entry.value.data() + at, &number, bytes);
}

/** A string of an array becomes another one; the lengths stay true. */
void corrupt_string(Entry& entry, Random& random) {
  if (entry.type != 9 || entry.value.size() < 12) return;
  uint64_t count;
  std::memcpy(&count, entry.value.data() + 4, 8);
  if (entry.value[0] != 8 || count == 0 || count > 1000) return;
  std::vector<std::string> items;
  for (size_t at = 12; items.size() < count && at + 8 <= entry.value.size();) {
    uint64_t length;
    std::memcpy(&length, entry.value.data() + at, 8);
    if (length > entry.value.size() - at - 8) return;
    items.emplace_back(reinterpret_cast<const char*>(entry.value.data()) + at + 8, length);
    at += 8 + length;
  }
  if (items.empty()) return;
  std::string& item = items[random.below(items.size())];
  switch (random.below(6)) {
    case 0: item.clear(); break;
    case 1: item = random.of(items); break;
    case 2: item += ' '; break;
    case 3: item += static_cast<char>(random.bits()); break;
    case 4: item.assign(random.below(6000), 'a'); break;
    default: items.erase(items.begin() + static_cast<long>(random.below(items.size())));
  }
  entry.value = texts_entry("", items).value;
}

void corrupt_entry(File& file, Random& random) {
  if (file.entries.empty()) return;
  const size_t i = random.below(file.entries.size());
  Entry& entry = file.entries[i];
  switch (random.below(8)) {
    case 0: file.entries.erase(file.entries.begin() + static_cast<long>(i)); break;
    case 1: file.entries.push_back(Entry(entry)); break;  // twice
    case 2: entry.type = static_cast<uint32_t>(bad_number(random, entry.type)); break;
    case 3: entry.stated_key_bytes = bad_number(random, entry.key.size()); break;
    case 4: entry.key = file.entries[random.below(file.entries.size())].key; break;
    case 5: corrupt_string(entry, random); break;
    default: corrupt_value(entry, random);
  }
}

/** A tensor of the same shape as before, of another type, with as many bytes as that needs. */
void retype(TensorPart& tensor, Random& random) {
  static const std::vector<uint32_t> TYPES{0, 1, 2, 8, 12, 14, 30, 34, 35, 36};
  tensor.type = random.of(TYPES);
  const uint64_t cols = tensor.dims.empty() ? 1 : tensor.dims[0];
  const uint64_t rows = tensor.dims.size() < 2 ? 1 : tensor.dims[1];
  if (cols % 256 == 0 && rows * cols < (1u << 20))
    tensor.data = valid_data(random, tensor.type, rows, cols);
}

void corrupt_tensor(File& file, Random& random) {
  if (file.tensors.empty()) return;
  const size_t i = random.below(file.tensors.size());
  TensorPart& t = file.tensors[i];
  TensorPart& other = file.tensors[random.below(file.tensors.size())];
  switch (random.below(13)) {
    case 0: file.tensors.erase(file.tensors.begin() + static_cast<long>(i)); break;
    case 1: file.tensors.push_back(TensorPart(t)); break;  // twice
    case 2: t.type = static_cast<uint32_t>(bad_number(random, t.type)); break;
    case 3: retype(t, random); break;
    case 4: t.dims[random.below(t.dims.size())] = bad_number(random, t.dims[0]); break;
    case 5: std::swap(t.dims.front(), t.dims.back()); break;
    case 6: t.dims.push_back(bad_number(random, 1)); break;
    case 7: t.stated_dims = static_cast<uint32_t>(bad_number(random, t.dims.size())); break;
    case 8: t.stated_offset = bad_number(random, 32 * random.below(1000)); break;
    case 9: t.stated_name_bytes = bad_number(random, t.name.size()); break;
    case 10: std::swap(t.name, other.name); break;
    case 11: t.name = random.of<std::string>({"", "rope_freqs.weight", "output.weight", "x"}); break;
    default: t.data.resize(bad_number(random, t.data.size()) % (2 * t.data.size() + 64));
  }
}

void corrupt_data(File& file, Random& random) {
  if (file.tensors.empty()) return;
  Bytes& data = file.tensors[random.below(file.tensors.size())].data;
  for (uint64_t n = 1 + random.below(40); n > 0 && !data.empty(); n--)
    data[random.below(data.size())] =
        random.of<uint8_t>({0, 0xff, 0x7f, 0x80, 0x7c, static_cast<uint8_t>(random.bits())});
}

}  // namespace

void corrupt(File& file, Random& random) {
  switch (random.below(12)) {
    case 0: file.version = static_cast<uint32_t>(bad_number(random, 3)); break;
    case 1: file.stated_tensors = bad_number(random, file.tensors.size()); break;
    case 2: file.stated_entries = bad_number(random, file.entries.size()); break;
    case 3: file.alignment = random.of<uint64_t>({1, 2, 8, 16, 64, 3}); break;
    case 4: file.extra_bytes = 1 + random.below(100); break;
    case 5:
    case 6:
    case 7: corrupt_entry(file, random); break;
    case 8: corrupt_data(file, random); break;
    default: corrupt_tensor(file, random);
  }
}

void damage(Bytes& bytes, uint64_t header_bytes, Random& random) {
  for (uint64_t n = 1 + random.below(4); n > 0 && !bytes.empty(); n--) {
    const uint64_t limit = random.one_in(4) ? bytes.size() : header_bytes;
    const uint64_t at = random.below(std::max<uint64_t>(1, std::min(limit, bytes.size())));
    const auto place = bytes.begin() + static_cast<long>(at);
    switch (random.below(8)) {
      case 0: bytes.resize(at); break;
      case 1: bytes.erase(place, place + static_cast<long>(std::min<uint64_t>(
                                             1 + random.below(16), bytes.size() - at))); break;
      case 2: bytes.insert(place, 1 + random.below(16), static_cast<uint8_t>(random.bits())); break;
      case 3: *place = static_cast<uint8_t>(*place ^ 1u << random.below(8)); break;
      case 4: {
        const uint64_t number = bad_number(random, at);
        std::memcpy(&*place, &number, std::min<uint64_t>(8, bytes.size() - at));
        break;
      }
      default: *place = random.of<uint8_t>({0, 1, 0x7f, 0x80, 0xff,
                                            static_cast<uint8_t>(random.bits())});
    }
  }
}

}  // namespace fuzz
