#include "client/cli/terminal.h"

#include <gtest/gtest.h>

#include <map>

namespace attribution::cli {
namespace {

OutputFacts Facts(bool is_terminal, std::map<std::string, std::string> environment) {
  return {.is_terminal = is_terminal, .columns = 0, .environment = [environment](const std::string& name) {
            const auto found = environment.find(name);
            return found == environment.end() ? std::string() : found->second;
          }};
}

ColorDepth ColorOf(const OutputFacts& facts, ColorMode mode = ColorMode::kAuto) {
  return DecideTerminal(facts, mode).color;
}

TEST(TerminalTest, PipeHasNoColour) {
  EXPECT_EQ(ColorOf(Facts(false, {{"COLORTERM", "truecolor"}})), ColorDepth::kNone);
}

TEST(TerminalTest, ColortermTellsTrueColour) {
  EXPECT_EQ(ColorOf(Facts(true, {{"COLORTERM", "truecolor"}, {"TERM", "xterm"}})), ColorDepth::kTrueColor);
}

TEST(TerminalTest, TermTells256Colours) {
  EXPECT_EQ(ColorOf(Facts(true, {{"TERM", "screen-256color"}})), ColorDepth::k256);
}

TEST(TerminalTest, TerminalWith16ColoursGetsShades) {
  EXPECT_EQ(ColorOf(Facts(true, {{"TERM", "linux"}})), ColorDepth::kNone);
}

TEST(TerminalTest, NoColorIsHonoured) {
  EXPECT_EQ(ColorOf(Facts(true, {{"TERM", "xterm-256color"}, {"NO_COLOR", "1"}})), ColorDepth::kNone);
}

TEST(TerminalTest, AlwaysColoursAPipe) {
  EXPECT_EQ(ColorOf(Facts(false, {}), ColorMode::kAlways), ColorDepth::k256);
}

TEST(TerminalTest, NeverOverridesTheTerminal) {
  EXPECT_EQ(ColorOf(Facts(true, {{"COLORTERM", "truecolor"}}), ColorMode::kNever), ColorDepth::kNone);
}

TEST(TerminalTest, ColumnsGivesTheWidthOfAPipe) {
  EXPECT_EQ(DecideTerminal(Facts(false, {{"COLUMNS", "132"}}), ColorMode::kAuto).width, 132);
  EXPECT_EQ(DecideTerminal(Facts(false, {}), ColorMode::kAuto).width, 80);
}

TEST(TerminalTest, LocaleDecidesBetweenShadesAndAscii) {
  EXPECT_TRUE(DecideTerminal(Facts(true, {}), ColorMode::kAuto).unicode);
  EXPECT_TRUE(DecideTerminal(Facts(true, {{"LANG", "de_DE.UTF-8"}}), ColorMode::kAuto).unicode);
  EXPECT_FALSE(
      DecideTerminal(Facts(true, {{"LANG", "de_DE.UTF-8"}, {"LC_ALL", "C"}}), ColorMode::kAuto).unicode);
}

}  // namespace
}  // namespace attribution::cli
