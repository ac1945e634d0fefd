#include "client/cli/unicode.h"

namespace attribution::cli {
namespace {

// Returns the bytes a sequence has by its first byte; 0 if no sequence starts with it.
int SequenceLength(unsigned char first) {
  if (first < 0x80) return 1;
  if (first >= 0xC2 && first <= 0xDF) return 2;
  if (first >= 0xE0 && first <= 0xEF) return 3;
  if (first >= 0xF0 && first <= 0xF4) return 4;
  return 0;
}

// Whether a decoded code point may be written with `length` bytes: not overlong, no surrogate, in range.
bool IsValid(char32_t code_point, int length) {
  if (length == 3) return code_point >= 0x800 && (code_point < 0xD800 || code_point > 0xDFFF);
  if (length == 4) return code_point >= 0x10000 && code_point <= 0x10FFFF;
  return true;
}

}  // namespace

char32_t TakeCodePoint(std::string_view& text) {
  const auto first = static_cast<unsigned char>(text[0]);
  const int length = SequenceLength(first);
  char32_t code_point = length <= 1 ? first : first & (0x7Fu >> length);
  bool valid = length > 0 && static_cast<size_t>(length) <= text.size();
  for (int i = 1; valid && i < length; ++i) {
    const auto next = static_cast<unsigned char>(text[static_cast<size_t>(i)]);
    valid = (next & 0xC0) == 0x80;
    code_point = (code_point << 6) | (next & 0x3Fu);
  }
  if (!valid || !IsValid(code_point, length)) {
    text.remove_prefix(1);
    return kReplacementCharacter;
  }
  text.remove_prefix(static_cast<size_t>(length));
  return code_point;
}

void AppendUtf8(char32_t code_point, std::string& text) {
  const auto continuation = [](char32_t bits) { return static_cast<char>(0x80 | (bits & 0x3F)); };
  if (code_point < 0x80) {
    text += static_cast<char>(code_point);
  } else if (code_point < 0x800) {
    text += static_cast<char>(0xC0 | (code_point >> 6));
    text += continuation(code_point);
  } else if (code_point < 0x10000) {
    text += static_cast<char>(0xE0 | (code_point >> 12));
    text += continuation(code_point >> 6);
    text += continuation(code_point);
  } else {
    text += static_cast<char>(0xF0 | (code_point >> 18));
    text += continuation(code_point >> 12);
    text += continuation(code_point >> 6);
    text += continuation(code_point);
  }
}

}  // namespace attribution::cli
