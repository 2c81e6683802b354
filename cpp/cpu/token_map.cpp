// Token files mapped into memory: windows of tokens are copied out of the mapping as int32.
#include <cstring>
#include <memory>

#include "common.hpp"
#include "mapped_file.hpp"

namespace magnet {
namespace {

struct TokenMap {
  MappedFile file;
  uint64_t offset;
  uint64_t count;
  uint32_t token_bytes;
};

struct Window {
  uint64_t at;
  uint64_t count;
  uint32_t token_bytes;
  int32_t* out;
};

void copy_tokens(const uint8_t* data, const void* context) {
  const auto& w = *static_cast<const Window*>(context);
  const uint8_t* from = data + w.at;
  if (w.token_bytes == 4) {
    memcpy(w.out, from, w.count * 4);
    return;
  }
  for (uint64_t i = 0; i < w.count; i++) {
    uint16_t token;
    memcpy(&token, from + 2 * i, 2);
    w.out[i] = token;
  }
}

}  // namespace
}  // namespace magnet

using namespace magnet;

int32_t mg_token_map_open(int32_t fd, uint64_t offset, uint64_t count, uint32_t token_bytes,
                          void** out_map) {
  return guard([&] {
    require(out_map != nullptr, MG_E_INVALID, "no place for the map");
    require(token_bytes == 2 || token_bytes == 4, MG_E_INVALID, "tokens have 2 or 4 bytes");
    require(offset % token_bytes == 0, MG_E_INVALID, "the tokens are not aligned");
    constexpr uint64_t LIMIT = uint64_t{1} << 46;
    require(count >= 1 && count <= LIMIT && offset <= LIMIT, MG_E_INVALID, "too many tokens");
    const uint64_t bytes = offset + count * token_bytes;
    // Windows are drawn from all over.
    *out_map = new TokenMap{{fd, bytes, MappedFile::Order::anywhere}, offset, count, token_bytes};
    return MG_OK;
  });
}

int32_t mg_token_map_free(void* map) {
  return guard([&] {
    delete static_cast<TokenMap*>(map);
    return MG_OK;
  });
}

int32_t mg_token_map_read(const void* map, uint64_t start, uint64_t count, int32_t* out) {
  return guard([&] {
    require(map != nullptr && (out != nullptr || count == 0), MG_E_INVALID, "null argument");
    const auto& tokens = *static_cast<const TokenMap*>(map);
    require(start <= tokens.count && count <= tokens.count - start, MG_E_INVALID,
            "tokens outside the file");
    const Window window{tokens.offset + start * tokens.token_bytes, count, tokens.token_bytes, out};
    if (count > 0 && !tokens.file.read_guarded(copy_tokens, &window))
      fail(MG_E_FORMAT, "the file was cut off while it was mapped");
    return MG_OK;
  });
}
