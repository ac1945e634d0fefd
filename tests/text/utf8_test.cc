#include "server/text/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace attribution::text {
namespace {

// Writes a code point without asking whether it may be written, in `bytes` bytes.
std::string Encoded(uint32_t point, int bytes) {
  if (bytes == 1) return std::string(1, static_cast<char>(point));
  std::string text;
  for (int i = 1; i < bytes; ++i, point >>= 6)
    text.insert(text.begin(), static_cast<char>(0x80 | (point & 0x3F)));
  const uint32_t lead = (0xFF00u >> bytes) & 0xFF;
  text.insert(text.begin(), static_cast<char>(lead | point));
  return text;
}

int ShortestLength(uint32_t point) { return point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4; }

TEST(Utf8Test, EveryCodePointIsValidInItsShortestFormAlone) {
  for (uint32_t point = 0; point < 0x200000; ++point) {
    const bool surrogate = point >= 0xD800 && point < 0xE000;
    for (int bytes = ShortestLength(point); bytes <= 4; ++bytes) {
      const std::string text = Encoded(point, bytes);
      const bool valid = bytes == ShortestLength(point) && !surrogate && point <= 0x10FFFF;
      ASSERT_EQ(ValidUtf8Prefix(text), valid ? text.size() : 0) << point << " in " << bytes;
    }
  }
}

TEST(Utf8Test, SaysWhereTextBreaks) {
  EXPECT_EQ(ValidUtf8Prefix("ab\xFF"), 2u);
  EXPECT_EQ(ValidUtf8Prefix("é\x80"), 2u);
}

TEST(Utf8Test, SequenceCutShortIsInvalid) {
  EXPECT_EQ(ValidUtf8Prefix("a\xF0\x9F\x8C"), 1u);
  EXPECT_EQ(ValidUtf8Prefix("\xE2\x82z"), 0u);
}

TEST(Utf8Test, EmptyTextIsValid) { EXPECT_EQ(ValidUtf8Prefix(""), 0u); }

}  // namespace
}  // namespace attribution::text
