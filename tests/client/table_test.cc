#include "client/cli/table.h"

#include <gtest/gtest.h>

namespace attribution::cli {
namespace {

TEST(TableTest, AlignsTextLeftAndNumbersRight) {
  Table table({{"metric"}, {"batch"}, {"module", Table::Align::kLeft}});
  table.AddRow({"max", "0.5", "a"});
  table.AddRow({"entropy", "12.25", "b.c"});
  EXPECT_EQ(table.Render(80),
            "metric   batch  module\n"
            "max        0.5  a\n"
            "entropy  12.25  b.c\n");
}

TEST(TableTest, BreaksIntoBlocksThatRepeatTheFirstColumn) {
  Table table({{"m"}, {"one"}, {"two"}, {"six"}});
  table.AddRow({"x", "1", "2", "6"});
  EXPECT_EQ(table.Render(11),
            "m  one  two\n"
            "x    1    2\n"
            "\n"
            "m  six\n"
            "x    6\n");
}

TEST(TableTest, PrintsAColumnThatIsWiderThanTheTerminal) {
  Table table({{"m"}, {"wide title"}});
  table.AddRow({"x", "1"});
  EXPECT_EQ(table.Render(5), "m  wide title\nx           1\n");
}

TEST(TableTest, ControlCharactersInCellsDoNotBreakLines) {
  Table table({{"m"}, {"v"}});
  table.AddRow({"a\nb", "1"});
  EXPECT_EQ(table.Render(80), "m     v\na\\nb  1\n");
}

}  // namespace
}  // namespace attribution::cli
