#include "client/cli/latency_histogram.h"

#include <gtest/gtest.h>

namespace attribution::cli {
namespace {

TEST(LatencyHistogramTest, AnEmptyOneHasNoQuantiles) {
  const LatencyHistogram histogram;
  EXPECT_EQ(histogram.count(), 0);
  EXPECT_EQ(histogram.Quantile(0.99), 0);
  EXPECT_TRUE(histogram.PowersOfTwo().empty());
}

TEST(LatencyHistogramTest, QuantilesAreWithinOnePercent) {
  LatencyHistogram histogram;
  for (int i = 1; i <= 10000; ++i) histogram.Add(i * 1e-4);  // 0.1 ms to 1 s
  EXPECT_EQ(histogram.count(), 10000);
  EXPECT_NEAR(histogram.Quantile(0.5), 0.5, 0.005);
  EXPECT_NEAR(histogram.Quantile(0.9), 0.9, 0.009);
  EXPECT_NEAR(histogram.Quantile(0.99), 0.99, 0.0099);
  EXPECT_EQ(histogram.Quantile(1), 1.0);
  EXPECT_NEAR(histogram.mean(), 0.50005, 1e-9);
}

TEST(LatencyHistogramTest, SmallDurationsAreExact) {
  LatencyHistogram histogram;
  for (const double microseconds : {0.0, 3.0, 127.0}) histogram.Add(microseconds * 1e-6);
  EXPECT_NEAR(histogram.Quantile(0.3), 0, 1e-12);
  EXPECT_NEAR(histogram.Quantile(0.6), 3e-6, 1e-12);
  EXPECT_NEAR(histogram.Quantile(1), 127e-6, 1e-12);
}

TEST(LatencyHistogramTest, OneDurationIsEveryQuantile) {
  LatencyHistogram histogram;
  histogram.Add(12.3456);
  EXPECT_EQ(histogram.Quantile(0.01), 12.3456);
  EXPECT_EQ(histogram.Quantile(1), 12.3456);
}

TEST(LatencyHistogramTest, MergedOnesCountTogether) {
  LatencyHistogram one;
  LatencyHistogram other;
  one.Add(0.001);
  other.Add(10);
  one.Merge(other);
  EXPECT_EQ(one.count(), 2);
  EXPECT_EQ(one.max(), 10);
  EXPECT_NEAR(one.Quantile(0.5), 0.001, 1e-5);
}

TEST(LatencyHistogramTest, PowersOfTwoHoldEveryDurationAndTheGapsBetween) {
  LatencyHistogram histogram;
  histogram.Add(100e-6);
  histogram.Add(120e-6);
  histogram.Add(1000e-6);
  const auto buckets = histogram.PowersOfTwo();
  ASSERT_EQ(buckets.size(), 4u);
  EXPECT_NEAR(buckets[0].upper_seconds, 128e-6, 1e-12);
  EXPECT_EQ(buckets[0].count, 2);
  EXPECT_EQ(buckets[1].count, 0);
  EXPECT_EQ(buckets[2].count, 0);
  EXPECT_NEAR(buckets[3].upper_seconds, 1024e-6, 1e-12);
  EXPECT_EQ(buckets[3].count, 1);
}

}  // namespace
}  // namespace attribution::cli
