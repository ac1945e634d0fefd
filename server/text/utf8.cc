#include "server/text/utf8.h"

#include <cstdint>

namespace attribution::text {
namespace {

// Bytes of the sequence that starts with `lead`, and the range of its second byte; 0 bytes if nothing starts
// so.
struct Sequence {
  size_t bytes;
  uint8_t least_second;
  uint8_t most_second;
};

Sequence SequenceOf(uint8_t lead) {
  if (lead < 0x80) return {1, 0, 0};
  if (lead < 0xC2) return {0, 0, 0};
  if (lead < 0xE0) return {2, 0x80, 0xBF};
  if (lead == 0xE0) return {3, 0xA0, 0xBF};
  if (lead == 0xED) return {3, 0x80, 0x9F};
  if (lead < 0xF0) return {3, 0x80, 0xBF};
  if (lead == 0xF0) return {4, 0x90, 0xBF};
  if (lead < 0xF4) return {4, 0x80, 0xBF};
  if (lead == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

}  // namespace

size_t ValidUtf8Prefix(std::string_view text) {
  size_t at = 0;
  while (at < text.size()) {
    const Sequence sequence = SequenceOf(static_cast<uint8_t>(text[at]));
    if (sequence.bytes == 0 || sequence.bytes > text.size() - at) return at;
    for (size_t i = 1; i < sequence.bytes; ++i) {
      const uint8_t byte = static_cast<uint8_t>(text[at + i]);
      const uint8_t least = i == 1 ? sequence.least_second : 0x80;
      const uint8_t most = i == 1 ? sequence.most_second : 0xBF;
      if (byte < least || byte > most) return at;
    }
    at += sequence.bytes;
  }
  return at;
}

}  // namespace attribution::text
