// Pre-tokenisation: classes of code points (letter, number, space), decoding of UTF-8 that treats
// each malformed byte as one symbol of no class, and the alternatives of the pattern in their
// order.
#include "pretokenize.hpp"

#include <algorithm>
#include <vector>

#include "common.hpp"

namespace magnet {
namespace {

enum Class : uint8_t { other = 0, letter = 1, number = 2, space = 3, newline = 4 };

struct Run {
  uint32_t first, length;
  uint8_t kind;
};
constexpr Run RUNS[] = {
#include "unicode_classes.inc"
};
constexpr uint32_t CODE_POINTS = 0x110000;
constexpr uint32_t PAGE = 256;

/** Two levels: the page of a code point, then its class; equal pages are stored once. */
struct ClassTable {
  uint16_t page_of[CODE_POINTS / PAGE] = {};
  std::vector<uint8_t> pages;

  ClassTable() {
    std::vector<uint8_t> flat(CODE_POINTS, other);
    for (const Run& run : RUNS)
      for (uint32_t i = 0; i < run.length; i++) flat[run.first + i] = run.kind;
    flat['\r'] = flat['\n'] = newline;
    for (uint32_t p = 0; p < CODE_POINTS / PAGE; p++) {
      const auto begin = flat.begin() + p * PAGE;
      uint32_t known = 0;
      const uint32_t count = static_cast<uint32_t>(pages.size() / PAGE);
      while (known < count && !std::equal(begin, begin + PAGE, pages.begin() + known * PAGE))
        known++;
      if (known == count) pages.insert(pages.end(), begin, begin + PAGE);
      page_of[p] = static_cast<uint16_t>(known);
    }
  }
  Class at(uint32_t code) const {
    return static_cast<Class>(pages[page_of[code / PAGE] * PAGE + code % PAGE]);
  }
};

const ClassTable& classes() {
  static const ClassTable table;
  return table;
}

struct Symbol {
  Class kind;
  uint32_t length;  // bytes
};

bool continues(uint8_t byte) { return (byte & 0xc0) == 0x80; }

/** A code point of two to four bytes (shortest form, no surrogate), or a byte of class other. */
Symbol multibyte(const ClassTable& table, const uint8_t* s, size_t left) {
  const uint8_t b = s[0];
  if (b >= 0xc2 && b <= 0xdf && left >= 2 && continues(s[1]))
    return {table.at((b & 0x1fu) << 6 | (s[1] & 0x3fu)), 2};
  if (b >= 0xe0 && b <= 0xef && left >= 3 && continues(s[1]) && continues(s[2])) {
    const uint32_t code = (b & 0xfu) << 12 | (s[1] & 0x3fu) << 6 | (s[2] & 0x3fu);
    if (code >= 0x800 && (code < 0xd800 || code > 0xdfff)) return {table.at(code), 3};
  }
  if (b >= 0xf0 && b <= 0xf4 && left >= 4 && continues(s[1]) && continues(s[2]) &&
      continues(s[3])) {
    const uint32_t code =
        (b & 7u) << 18 | (s[1] & 0x3fu) << 12 | (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
    if (code >= 0x10000 && code < CODE_POINTS) return {table.at(code), 4};
  }
  return {other, 1};
}

class Reader {
 public:
  Reader(const uint8_t* text, size_t n) : table_(classes()), text_(text), n_(n) {}

  Symbol peek(size_t pos) const {
    const uint8_t b = text_[pos];
    if (b < 0x80) return {table_.at(b), 1};
    return multibyte(table_, text_ + pos, n_ - pos);
  }
  /** Whether the symbol at pos has the class; the end has none. */
  bool is(size_t pos, Class kind) const { return pos < n_ && peek(pos).kind == kind; }
  /** First position from pos on whose symbol is not of the class. */
  size_t skip(size_t pos, Class kind) const {
    while (pos < n_) {
      const Symbol s = peek(pos);
      if (s.kind != kind) break;
      pos += s.length;
    }
    return pos;
  }
  /** Length of 's 't 're 've 'm 'll 'd in either case at pos, or 0. */
  size_t contraction(size_t pos) const {
    if (text_[pos] != '\'' || pos + 1 >= n_) return 0;
    const uint8_t a = text_[pos + 1] | 0x20;
    const bool ascii = text_[pos + 1] < 0x80;
    if (!ascii) return 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 2;
    if (pos + 2 >= n_ || text_[pos + 2] >= 0x80) return 0;
    const uint8_t b = text_[pos + 2] | 0x20;
    return (a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l') ? 3 : 0;
  }
  /** \s*[\r\n]+ | \s+(?!\S) | \s+ for a run of spaces that starts at pos. */
  size_t whitespace(size_t pos) const {
    size_t end = pos, last = pos, after_newline = pos;
    while (end < n_) {
      const Symbol s = peek(end);
      if (s.kind < space) break;
      last = end;
      end += s.length;
      if (s.kind == newline) after_newline = end;
    }
    if (after_newline > pos) return after_newline;
    return end == n_ || last == pos ? end : last;  // the last space goes with the word that follows
  }
  size_t next(size_t pos) const {
    if (const size_t length = contraction(pos)) return pos + length;
    const Symbol first = peek(pos);
    const size_t second = pos + first.length;
    if (first.kind == letter) return skip(second, letter);
    if (first.kind == number) {
      size_t end = second;
      for (int i = 1; i < 3 && is(end, number); i++) end += peek(end).length;
      return end;
    }
    if (first.kind != newline && is(second, letter)) return skip(second, letter);
    if (first.kind == other || (text_[pos] == ' ' && is(second, other)))
      return skip(skip(second, other), newline);
    return whitespace(pos);
  }

 private:
  const ClassTable& table_;
  const uint8_t* text_;
  size_t n_;
};

}  // namespace

size_t next_pretoken(const uint8_t* text, size_t pos, size_t n) {
  return Reader(text, n).next(pos);
}

}  // namespace magnet
