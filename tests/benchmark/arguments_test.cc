#include "tests/benchmark/arguments.h"

#include <gtest/gtest.h>

namespace attribution::benchmark {
namespace {

TEST(ArgumentsTest, ShapesAreBatchTimesLength) {
  const auto shapes = ParseShapes("16x256,1x2048");
  ASSERT_TRUE(shapes);
  ASSERT_EQ(shapes->size(), 2);
  EXPECT_EQ(shapes->front().batch, 16);
  EXPECT_EQ(shapes->front().length, 256);
  EXPECT_EQ(shapes->back().batch, 1);
  EXPECT_EQ(shapes->back().length, 2048);
}

TEST(ArgumentsTest, WhatIsNoShapeIsRefused) {
  for (const char* text : {"", "16", "16x", "0x8", "8x-1", "8x8,", "8x8x8", "axb"})
    EXPECT_FALSE(ParseShapes(text)) << text;
}

TEST(ArgumentsTest, ReadsSectionAndFlags) {
  const auto arguments =
      ParseArguments({"forward", "--repository", "models", "--shapes", "1x16", "--rounds", "3"});
  ASSERT_TRUE(arguments);
  EXPECT_EQ(arguments->section, "forward");
  EXPECT_EQ(arguments->repository, "models");
  EXPECT_EQ(arguments->rounds, 3);
}

TEST(ArgumentsTest, IncompleteCommandLinesAreRefused) {
  EXPECT_FALSE(ParseArguments({}));
  EXPECT_FALSE(ParseArguments({"forward", "--shapes", "1x16"}));
  EXPECT_FALSE(ParseArguments({"forward", "--repository", "models"}));
  EXPECT_FALSE(ParseArguments({"naive", "--repository", "models", "--shapes", "1x16"}));
  EXPECT_FALSE(ParseArguments({"forward", "--repository", "models", "--shapes", "1x16", "--rounds", "0"}));
  EXPECT_FALSE(ParseArguments({"forward", "--repository", "models", "--shapes", "1x16", "--rounds"}));
}

}  // namespace
}  // namespace attribution::benchmark
