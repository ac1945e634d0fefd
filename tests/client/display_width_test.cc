#include "client/cli/display_width.h"

#include <gtest/gtest.h>

namespace attribution::cli {
namespace {

TEST(DisplayWidthTest, AsciiLettersTakeOneColumn) { EXPECT_EQ(DisplayWidth("[CLS] cat"), 9); }

TEST(DisplayWidthTest, ChineseJapaneseAndKoreanTakeTwoColumns) {
  EXPECT_EQ(DisplayWidth("猫"), 2);
  EXPECT_EQ(DisplayWidth("かな"), 4);
  EXPECT_EQ(DisplayWidth("한글"), 4);
}

TEST(DisplayWidthTest, CombiningAccentTakesNoColumn) { EXPECT_EQ(DisplayWidth("e\u0301"), 1); }

TEST(DisplayWidthTest, EmojiTakesTwoColumns) { EXPECT_EQ(DisplayWidth("🐈"), 2); }

TEST(DisplayWidthTest, JoinedEmojiIsOneGlyphOfTwoColumns) {
  const std::vector<Glyph> family = SplitGlyphs("👩\u200D👧");
  ASSERT_EQ(family.size(), 1u);
  EXPECT_EQ(family[0].width, 2);
}

TEST(DisplayWidthTest, SkinToneBelongsToItsEmoji) { EXPECT_EQ(DisplayWidth("👋🏽"), 2); }

TEST(DisplayWidthTest, FlagIsOneGlyphOfTwoColumns) {
  EXPECT_EQ(SplitGlyphs("🇩🇪🇫🇷").size(), 2u);
  EXPECT_EQ(DisplayWidth("🇩🇪🇫🇷"), 4);
}

TEST(DisplayWidthTest, EmojiPresentationWidensASymbol) {
  EXPECT_EQ(DisplayWidth("❤"), 1);
  EXPECT_EQ(DisplayWidth("❤\uFE0F"), 2);
}

TEST(DisplayWidthTest, BrokenUtf8CountsAsReplacementCharacters) {
  EXPECT_EQ(DisplayWidth("a\xFF"
                         "b"),
            3);
  EXPECT_EQ(DisplayWidth("\xC3"), 1);
  EXPECT_EQ(DisplayWidth("\xED\xA0\x80"), 3);  // a surrogate: three bytes, none valid
}

TEST(DisplayWidthTest, FitLeftPadsOnTheRight) { EXPECT_EQ(FitLeft("猫", 4), "猫  "); }

TEST(DisplayWidthTest, FitRightPadsOnTheLeft) { EXPECT_EQ(FitRight("cat", 5), "  cat"); }

TEST(DisplayWidthTest, CutTextEndsInAnEllipsis) { EXPECT_EQ(FitLeft("attention", 5), "atte…"); }

TEST(DisplayWidthTest, CutNeverSplitsAWideCharacter) { EXPECT_EQ(FitLeft("猫猫猫", 4), "猫… "); }

TEST(DisplayWidthTest, PrintableMakesControlCharactersVisible) {
  EXPECT_EQ(Printable("a\nb\x1b[31m\t\x7f"), "a\\nb\\x1b[31m\\t\\x7f");
}

TEST(DisplayWidthTest, PrintableMakesDirectionOverridesVisible) {
  EXPECT_EQ(Printable("a\u202Eb"), "a\\u202eb");
}

TEST(DisplayWidthTest, PrintableReplacesBrokenUtf8) { EXPECT_EQ(Printable("a\x80"), "a\uFFFD"); }

}  // namespace
}  // namespace attribution::cli
