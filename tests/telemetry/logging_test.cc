#include "server/telemetry/logging.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

namespace attribution::telemetry {
namespace {

using ::testing::EndsWith;
using ::testing::MatchesRegex;

TEST(LoggingTest, TextLineNamesItsFields) {
  EXPECT_EQ(
      FormatLine(LogFormat::kText, "Model loaded.", {{"model", "minilm"}, {"layers", 6}, {"seconds", 0.25}}),
      "Model loaded. model=minilm layers=6 seconds=0.25");
}

TEST(LoggingTest, TextValuesAreQuotedWhenTheyMustBe) {
  EXPECT_EQ(FormatLine(LogFormat::kText, "M.", {{"a", "two words"}, {"b", ""}, {"c", "x=\"y\""}}),
            R"(M. a="two words" b="" c="x=\"y\"")");
}

TEST(LoggingTest, JsonKeepsNumbersAsNumbers) {
  EXPECT_EQ(FormatLine(LogFormat::kJson, "Model \"m\" loaded.",
                       {{"model", "m"}, {"layers", int64_t{6}}, {"s", 0.5}}),
            R"("message":"Model \"m\" loaded.","model":"m","layers":6,"s":0.5)");
}

TEST(LoggingTest, JsonHasNoNumberForNan) {
  EXPECT_EQ(FormatLine(LogFormat::kJson, "M.", {{"x", std::numeric_limits<double>::quiet_NaN()}}),
            R"("message":"M.","x":"nan")");
}

TEST(LoggingTest, LinesCannotBeForged) {
  EXPECT_EQ(FormatLine(LogFormat::kText, "One\ntwo", {{"id", "a\nERROR\x1b"}}),
            R"(One\ntwo id="a\nERROR\u001b")");
  EXPECT_EQ(FormatLine(LogFormat::kJson, "One\ntwo", {{"id", "a\tb"}}),
            R"("message":"One\ntwo","id":"a\u0009b")");
}

TEST(LoggingTest, WritesWholeLinesToStandardError) {
  SetUpLogging(LogFormat::kJson, LogLevel::kInfo);
  testing::internal::CaptureStderr();
  Log(LogLevel::kWarning, "Careful {}.", {{"n", 1}});
  const std::string line = testing::internal::GetCapturedStderr();
  EXPECT_THAT(line, MatchesRegex("\\{\"time\":\"[-0-9T:.+]+\",\"level\":\"warning\",.*\n"));
  EXPECT_THAT(line, EndsWith("\"message\":\"Careful {}.\",\"n\":1}\n"));
}

TEST(LoggingTest, LinesBelowTheLevelAreDropped) {
  SetUpLogging(LogFormat::kText, LogLevel::kWarning);
  testing::internal::CaptureStderr();
  Log(LogLevel::kInfo, "Not shown.");
  Log(LogLevel::kError, "Shown.");
  EXPECT_THAT(testing::internal::GetCapturedStderr(), MatchesRegex("[-0-9T:.+]+ error Shown\\.\n"));
}

}  // namespace
}  // namespace attribution::telemetry
