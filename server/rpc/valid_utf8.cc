#include "server/rpc/valid_utf8.h"

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace attribution::rpc {
namespace {

// Returns the length of the well-formed character at the start of `text`, 0 if there is none (Unicode, table
// 3-7).
size_t CharacterLength(std::string_view text) {
  const auto byte = [&](size_t i) -> uint8_t { return i < text.size() ? static_cast<uint8_t>(text[i]) : 0; };
  const auto continues = [&](size_t i) { return (byte(i) & 0xC0) == 0x80; };
  const uint8_t first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return continues(1) ? 2 : 0;
  if (first < 0xF0) {
    const uint8_t low = first == 0xE0 ? 0xA0 : 0x80;   // not longer than needed
    const uint8_t high = first == 0xED ? 0x9F : 0xBF;  // no surrogates
    return byte(1) >= low && byte(1) <= high && continues(2) ? 3 : 0;
  }
  if (first > 0xF4) return 0;
  const uint8_t low = first == 0xF0 ? 0x90 : 0x80;
  const uint8_t high = first == 0xF4 ? 0x8F : 0xBF;  // not above U+10FFFF
  return byte(1) >= low && byte(1) <= high && continues(2) && continues(3) ? 4 : 0;
}

}  // namespace

std::string ValidUtf8(std::string text) {
  std::string valid;
  const std::string_view all = text;
  bool changed = false;
  for (size_t at = 0; at < all.size();) {
    const size_t length = CharacterLength(all.substr(at));
    if (length == 0 && !changed) {
      changed = true;
      valid.assign(all.substr(0, at));
    }
    if (changed) valid.append(length == 0 ? std::string_view("\xEF\xBF\xBD") : all.substr(at, length));
    at += length == 0 ? 1 : length;
  }
  return changed ? valid : text;
}

}  // namespace attribution::rpc
