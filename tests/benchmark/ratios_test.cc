#include "tests/benchmark/ratios.h"

#include <gtest/gtest.h>

namespace attribution::benchmark {
namespace {

TEST(RatiosTest, MedianIsTheMiddleOrTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(Median({9, 1, 4}), 4);
  EXPECT_EQ(Median({9, 1, 4, 2}), 3);
}

TEST(RatiosTest, EachRoundIsComparedWithItself) {
  // The machine is ten times as slow in the second round; the ratios are 2, 1.5 and 1.
  const Ratio ratio = RatioOf({2, 15, 1}, {1, 10, 1});
  EXPECT_EQ(ratio.median, 1.5);
  EXPECT_EQ(ratio.smallest, 1);
  EXPECT_EQ(ratio.largest, 2);
  EXPECT_EQ(ToString(ratio), "1.500 [1.000, 2.000]");
}

}  // namespace
}  // namespace attribution::benchmark
