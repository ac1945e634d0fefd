// What padding must not do to a rollout. Samples hold NaN in every masked row and column.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "server/rollout/rollout_fold.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

struct MaskCase {
  const char* name;
  std::vector<int32_t> mask;
};

class RolloutFoldValidityTest : public ::testing::TestWithParam<MaskCase> {};

TEST_P(RolloutFoldValidityTest, AgreesWithNaiveOracleAndStaysZeroAtMaskedPositions) {
  const std::vector<int32_t>& mask = GetParam().mask;
  // The second sequence makes the chunk longer, so that the first one is padded too.
  const Sample sample = RandomSample(21, 4, 2, {mask, std::vector<int32_t>(mask.size() + 3, 1)});
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    for (const int64_t block_rows : {1, 3, 100}) {
      ResolvedOptions options = Defaults(4, preset);
      options.residual_weight = 0.2;
      const oracle::NaiveResult want =
          oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options);
      const ChunkFold chunk = FoldSample(sample, options, block_rows);
      ExpectNear(chunk.folds[0].rollout(), want.rollouts[0], 1e-5);
      ExpectNear(chunk.folds[1].rollout(), want.rollouts[1], 1e-5);
      const oracle::Matrix rollout = ToMatrix(chunk.folds[0].rollout());
      for (size_t i = 0; i < mask.size(); ++i) {
        for (size_t j = 0; j < mask.size(); ++j) {
          if (mask[i] != 0 && mask[j] != 0) continue;
          EXPECT_EQ(rollout[i][j], 0.0) << i << ", " << j;
        }
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Masks, RolloutFoldValidityTest,
    ::testing::Values(MaskCase{"Full", {1, 1, 1, 1, 1}}, MaskCase{"Right", {1, 1, 1, 0, 0}},
                      MaskCase{"Left", {0, 0, 1, 1, 1}}, MaskCase{"Gap", {1, 0, 1, 0, 1}},
                      MaskCase{"All", {0, 1, 1, 0, 1, 1, 0}}, MaskCase{"One", {0, 1, 0}}),
    [](const auto& test) { return test.param.name; });

// The same attention alone, padded on the right, on the left, and with a gap gives the same numbers.
TEST(RolloutFoldPaddingTest, PaddingNeverChangesAnAnswer) {
  const Sample alone = RandomSample(22, 3, 2, {{1, 1, 1}});
  const oracle::Matrix want = ToMatrix(FoldSample(alone, Defaults(3)).folds[0].rollout());
  for (const std::vector<int32_t>& mask :
       std::vector<std::vector<int32_t>>{{1, 1, 1, 0, 0}, {0, 0, 1, 1, 1}, {1, 0, 1, 0, 1}}) {
    std::vector<size_t> positions;
    for (size_t i = 0; i < mask.size(); ++i) {
      if (mask[i] != 0) positions.push_back(i);
    }
    Sample padded = RandomSample(23, 3, 2, {mask});
    for (size_t l = 0; l < 3; ++l) {
      for (size_t h = 0; h < 2; ++h) {
        for (size_t i = 0; i < 3; ++i) {
          for (size_t j = 0; j < 3; ++j) {
            padded.layers[l][0][h][positions[i]][positions[j]] = alone.layers[l][0][h][i][j];
          }
        }
      }
    }
    const ChunkFold chunk = FoldSample(padded, Defaults(3));
    const oracle::Matrix got = ToMatrix(chunk.folds[0].rollout());
    for (size_t i = 0; i < 3; ++i) {
      for (size_t j = 0; j < 3; ++j) EXPECT_NEAR(got[positions[i]][positions[j]], want[i][j], 1e-6);
    }
    EXPECT_EQ(chunk.statistics[0][0].num_rows, 3);
    EXPECT_EQ(chunk.statistics[0][0].num_cells, 9);
  }
}

}  // namespace
}  // namespace attribution::rollout
