#include "client/cli/heat_map.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_split.h"
#include "client/cli/color_scale.h"
#include "client/cli/display_width.h"

namespace attribution::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

LabelledMatrix Cats() {
  return {
      .row_labels = {"the", "cat"}, .column_labels = {"the", "cat"}, .values = {1.0f, 0.0f, 0.25f, 0.75f}};
}

LabelledMatrix Uniform(int size) {
  LabelledMatrix matrix;
  for (int i = 0; i < size; ++i) matrix.row_labels.push_back("token" + std::to_string(i));
  matrix.column_labels = matrix.row_labels;
  matrix.values.assign(static_cast<size_t>(size * size), 1.0f / static_cast<float>(size));
  return matrix;
}

TEST(HeatMapTest, DrawsShadesAndValuesWithoutColour) {
  EXPECT_EQ(DrawHeatMap(Cats(), {.width = 40, .color = ColorDepth::kNone, .unicode = true}),
            "    the   cat\n"
            "the ██1.0   .00\n"
            "cat ▓▓.25 ██.75\n"  // 4/6 and 5.6/6 of the scale
            "0.016   ░░░░▒▒▒▒▓▓▓▓██ 1.000, logarithmic\n");
}

TEST(HeatMapTest, DrawsAsciiWhereTheLocaleHasNoShades) {
  const std::string text = DrawHeatMap(Cats(), {.width = 40, .color = ColorDepth::kNone, .unicode = false});
  EXPECT_THAT(text, HasSubstr("the ##1.0   .00\ncat %%.25 ##.75\n"));
}

TEST(HeatMapTest, WrapsLabelsThatAreWiderThanACell) {
  LabelledMatrix matrix = Cats();
  for (int i = 0; i < 8; ++i) matrix.column_labels.push_back("x");
  matrix.column_labels[0] = "attention";
  matrix.values.assign(20, 0.1f);
  const std::string text = DrawHeatMap(matrix, {.width = 70, .color = ColorDepth::kNone, .unicode = true});
  EXPECT_THAT(text, HasSubstr("    atten\n    tion  cat   x"));
}

TEST(HeatMapTest, PaintsCellsInTrueColour) {
  const std::string text =
      DrawHeatMap(Cats(), {.width = 40, .color = ColorDepth::kTrueColor, .unicode = true});
  EXPECT_THAT(text, HasSubstr("48;2;252;232;84m 1.0"));  // the largest value has the last stop of the scale
  EXPECT_THAT(text, HasSubstr("48;2;16;18;58m .00"));
  EXPECT_THAT(text, Not(HasSubstr("█")));
}

TEST(HeatMapTest, PaintsCellsIn256Colours) {
  const std::string text = DrawHeatMap(Cats(), {.width = 40, .color = ColorDepth::k256, .unicode = true});
  EXPECT_THAT(text, HasSubstr("48;5;"));
  EXPECT_THAT(text, Not(HasSubstr("48;2;")));
}

TEST(HeatMapTest, EveryPaintedLineEndsWithAReset) {
  const std::string text = DrawHeatMap(Cats(), {.width = 40, .color = ColorDepth::k256, .unicode = true});
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  EXPECT_THAT(lines[1], ::testing::EndsWith(kResetSequence));
  EXPECT_THAT(lines[2], ::testing::EndsWith(kResetSequence));
}

TEST(HeatMapTest, FoldsALongSequenceToTheWidth) {
  const std::string text =
      DrawHeatMap(Uniform(500), {.width = 80, .color = ColorDepth::kNone, .unicode = true});
  // 80 columns leave room for 29 cells of two, so a cell is ceil(500 / 29) tokens.
  EXPECT_THAT(text, HasSubstr("a cell is 18 tokens"));
  const std::vector<std::string> lines = absl::StrSplit(text, '\n');
  for (const std::string& line : lines) EXPECT_LE(DisplayWidth(line), 80) << line;
}

TEST(HeatMapTest, KeepsWideLabelsAligned) {
  LabelledMatrix matrix = Cats();
  matrix.row_labels = {"猫", "cat"};
  const std::string text = DrawHeatMap(matrix, {.width = 40, .color = ColorDepth::kNone, .unicode = true});
  EXPECT_THAT(text, HasSubstr("\n 猫 ██1.0"));
  EXPECT_THAT(text, HasSubstr("\ncat ▓▓.25"));
}

TEST(HeatMapTest, DrawsAMatrixOfZeros) {
  LabelledMatrix matrix = Cats();
  matrix.values.assign(4, 0.0f);
  EXPECT_THAT(DrawHeatMap(matrix, {.width = 40}), HasSubstr("the   .00   .00\n"));
}

TEST(HeatShareTest, EachDoublingIsASixthOfTheScale) {
  EXPECT_DOUBLE_EQ(HeatShare(0.5f, 0.5f), 1.0);
  EXPECT_DOUBLE_EQ(HeatShare(0.25f, 0.5f), 5.0 / 6);
  EXPECT_DOUBLE_EQ(HeatShare(0.0625f, 0.5f), 0.5);
  EXPECT_DOUBLE_EQ(HeatShare(0.5f / 64, 0.5f), 0.0);
}

TEST(HeatShareTest, NothingIsTheLowEnd) {
  EXPECT_EQ(HeatShare(0.0f, 0.5f), 0.0);
  EXPECT_EQ(HeatShare(0.0f, 0.0f), 0.0);
}

TEST(FoldTest, LeavesAMatrixThatFits) { EXPECT_EQ(Fold(Cats(), 2).values, Cats().values); }

TEST(FoldTest, AveragesRowsAndSumsColumns) {
  LabelledMatrix matrix;
  matrix.row_labels = matrix.column_labels = {"a", "b", "c"};
  matrix.values = {0.5f, 0.25f, 0.25f, 0.0f, 0.25f, 0.75f, 0.125f, 0.125f, 0.75f};
  const LabelledMatrix folded = Fold(matrix, 2);
  EXPECT_EQ(folded.fold, 2);
  EXPECT_EQ(folded.row_labels, (std::vector<std::string>{"0-1 a", "2-2 c"}));
  EXPECT_EQ(folded.column_labels, (std::vector<std::string>{"0", "2"}));
  EXPECT_EQ(folded.values, (std::vector<float>{0.5f, 0.5f, 0.25f, 0.75f}));
}

TEST(FoldTest, KeepsAFewChosenRows) {
  LabelledMatrix matrix = Uniform(4);
  matrix.row_labels = {"token2"};
  matrix.values = {0.1f, 0.2f, 0.3f, 0.4f};
  const LabelledMatrix folded = Fold(matrix, 2);
  EXPECT_EQ(folded.row_labels, std::vector<std::string>{"token2"});
  EXPECT_THAT(folded.values, ::testing::Pointwise(::testing::FloatEq(), {0.3f, 0.7f}));
}

}  // namespace
}  // namespace attribution::cli
