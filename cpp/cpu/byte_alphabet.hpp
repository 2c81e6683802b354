// GPT-2's byte alphabet: a printable character for each byte, in which tokenizer.json and GGUF write
// tokens. Printable Latin-1 bytes stand for themselves, the other 68 for U+0100 onwards.
#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace magnet {

struct ByteAlphabet {
  static constexpr uint32_t CHARACTERS = 0x144;  // all are below U+0144
  std::array<uint16_t, 256> character{};         // of a byte
  std::array<int16_t, CHARACTERS> byte{};        // of a character; -1: none
  std::array<uint8_t, 256> order{};              // a byte's place by its character

  static constexpr bool is_printable(uint32_t byte) {
    return (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
  }
  constexpr ByteAlphabet() {
    for (int16_t& b : byte) b = -1;
    uint16_t shifted = 0x100;
    for (uint32_t b = 0; b < 256; b++)
      character[b] = is_printable(b) ? static_cast<uint16_t>(b) : shifted++;
    for (uint32_t b = 0; b < 256; b++) byte[character[b]] = static_cast<int16_t>(b);
    uint8_t place = 0;
    for (const int16_t b : byte)
      if (b >= 0) order[static_cast<uint32_t>(b)] = place++;
  }
};
inline constexpr ByteAlphabet BYTE_ALPHABET;

/** Appends the characters of some bytes, as UTF-8. */
inline void append_characters(std::string_view bytes, std::string& out) {
  for (const char c : bytes) {
    const uint16_t character = BYTE_ALPHABET.character[static_cast<uint8_t>(c)];
    if (character < 0x80) {
      out.push_back(static_cast<char>(character));
    } else {
      out.push_back(static_cast<char>(0xc0 | character >> 6));
      out.push_back(static_cast<char>(0x80 | (character & 0x3f)));
    }
  }
}

/** Writes the bytes that a text stands for, as many as it has characters, to `out`, which has room
 * for one a byte of the text. Returns how many, or -1 where a character is not of the alphabet. */
inline int64_t bytes_of_characters(std::string_view text, char* out) {
  char* to = out;
  for (size_t i = 0; i < text.size(); i++) {
    uint32_t character = static_cast<uint8_t>(text[i]);
    if (character >= 0x80) {
      // Two bytes make up to U+07FF; all of the alphabet has at most two.
      if ((character & 0xe0) != 0xc0 || i + 1 == text.size()) return -1;
      const uint32_t low = static_cast<uint8_t>(text[++i]);
      character = (character & 0x1f) << 6 | (low & 0x3f);
      if ((low & 0xc0) != 0x80 || character < 0x80) return -1;
    }
    if (character >= ByteAlphabet::CHARACTERS || BYTE_ALPHABET.byte[character] < 0) return -1;
    *to++ = static_cast<char>(BYTE_ALPHABET.byte[character]);
  }
  return to - out;
}

}  // namespace magnet
