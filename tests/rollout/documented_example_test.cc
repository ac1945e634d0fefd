// The example of docs/rollout.md, number by number: every one of them was worked out by hand.
#include <gtest/gtest.h>

#include <cmath>

#include "server/rollout/metrics.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

const std::vector<oracle::Matrix> kLayers = {{{0.5, 0.5}, {0, 1}}, {{0.5, 0.5}, {1, 0}}};
const oracle::Matrix kAbnar = {{9.0 / 16, 7.0 / 16}, {3.0 / 8, 5.0 / 8}};
const oracle::Matrix kIclr = {{5.0 / 8, 3.0 / 8}, {1.0 / 2, 1.0 / 2}};

TEST(DocumentedExampleTest, FoldGivesTheRolloutsOfThePage) {
  const Sample sample = SampleOf(kLayers);
  ExpectNear(FoldSample(sample, Defaults(2)).folds[0].rollout(), kAbnar, 1e-7);
  ExpectNear(FoldSample(sample, Defaults(2, Preset::kIclrMetrics)).folds[0].rollout(), kIclr, 1e-7);
}

TEST(DocumentedExampleTest, OracleGivesTheRolloutsOfThePage) {
  const Sample sample = SampleOf(kLayers);
  const auto abnar = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, Defaults(2));
  EXPECT_EQ(abnar.rollouts[0], kAbnar);
  const auto iclr =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, Defaults(2, Preset::kIclrMetrics));
  EXPECT_EQ(iclr.rollouts[0], kIclr);
}

TEST(DocumentedExampleTest, MetricsAreThoseOfThePage) {
  const ChunkFold abnar = FoldSample(SampleOf(kLayers), Defaults(2));
  const Metrics metrics = MakeMetrics(abnar.statistics[1][0], abnar.folds[0].MeasureRollout(), 1, 2);
  EXPECT_NEAR(*metrics.mean_attention, 0.5, 1e-7);
  EXPECT_NEAR(*metrics.max_attention, 1.0, 1e-7);
  EXPECT_NEAR(*metrics.attention_entropy, 0.3466, 1e-4);
  EXPECT_NEAR(*metrics.attention_concentration, 0.75, 1e-7);
  EXPECT_NEAR(*metrics.rollout_max, 0.625, 1e-7);
  EXPECT_NEAR(*metrics.rollout_entropy, 0.6734, 1e-4);
  const ChunkFold iclr = FoldSample(SampleOf(kLayers), Defaults(2, Preset::kIclrMetrics));
  EXPECT_NEAR(iclr.folds[0].MeasureRollout().entropy(), 0.6774, 1e-4);
}

}  // namespace
}  // namespace attribution::rollout
