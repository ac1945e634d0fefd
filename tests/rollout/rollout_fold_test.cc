#include "server/rollout/rollout_fold.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

// Layers whose products do not commute: the first moves everything to token 0, the second swaps tokens 0
// and 1.
const oracle::Matrix kToFirst = {{1, 0, 0}, {1, 0, 0}, {1, 0, 0}};
const oracle::Matrix kSwap = {{0, 1, 0}, {1, 0, 0}, {0, 0, 1}};

oracle::Matrix RolloutOf(const std::vector<oracle::Matrix>& layers, const ResolvedOptions& options) {
  return ToMatrix(FoldSample(SampleOf(layers), options).folds[0].rollout());
}

TEST(RolloutFoldTest, LaterLayerMultipliesFromTheLeft) {
  ResolvedOptions options = Defaults(2);
  options.residual_weight = 0;
  // kSwap · kToFirst: swapping rows that are all alike changes nothing.
  EXPECT_EQ(RolloutOf({kToFirst, kSwap}, options), kToFirst);
}

TEST(RolloutFoldTest, IclrLaterLayerMultipliesFromTheRight) {
  ResolvedOptions options = Defaults(2, Preset::kIclrMetrics);
  options.residual_weight = 0;
  // kToFirst · kSwap: what went to token 0 comes from token 1.
  EXPECT_EQ(RolloutOf({kToFirst, kSwap}, options), (oracle::Matrix{{0, 1, 0}, {0, 1, 0}, {0, 1, 0}}));
}

TEST(RolloutFoldTest, FirstLayerHasItsResidual) {
  EXPECT_EQ(RolloutOf({kSwap}, Defaults(1)), (oracle::Matrix{{0.5, 0.5, 0}, {0.5, 0.5, 0}, {0, 0, 1}}));
}

TEST(RolloutFoldTest, IclrFirstLayerIsRaw) {
  const oracle::Matrix half_rows = {{0.25, 0.25}, {0.5, 0}};
  EXPECT_EQ(RolloutOf({half_rows}, Defaults(1, Preset::kIclrMetrics)), half_rows);
}

TEST(RolloutFoldTest, ResidualWeightIsTheShareOfTheIdentity) {
  ResolvedOptions options = Defaults(1);
  options.residual_weight = 0.25;
  EXPECT_EQ(RolloutOf({kSwap}, options), (oracle::Matrix{{0.25, 0.75, 0}, {0.75, 0.25, 0}, {0, 0, 1}}));
}

TEST(RolloutFoldTest, ResidualWeightOneLeavesTheIdentity) {
  ResolvedOptions options = Defaults(3);
  options.residual_weight = 1;
  EXPECT_EQ(RolloutOf({kToFirst, kSwap, kToFirst}, options),
            (oracle::Matrix{{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}));
}

TEST(RolloutFoldTest, AgreesWithNaiveOracleOnRandomStochasticLayers) {
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    for (const double weight : {0.0, 0.2, 0.5, 0.9}) {
      ResolvedOptions options = Defaults(5, preset);
      options.residual_weight = weight;
      ExpectAgreesWithOracle(RandomSample(1, 5, 3, {{1, 1, 1, 1, 1, 1, 1, 1}, {1, 1, 1}}), options, 1000);
    }
  }
}

TEST(RolloutFoldTest, BlockSizeDoesNotShow) {
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    for (const int64_t block_rows : {1, 3, 7, 1000}) {
      ResolvedOptions options = Defaults(4, preset);
      options.residual_weight = 0.2;
      ExpectAgreesWithOracle(RandomSample(2, 4, 2, {{1, 1, 1, 1, 1, 1, 1}, {1, 0, 1, 1}}), options,
                             block_rows);
    }
  }
}

TEST(RolloutFoldTest, FusionsHeadsAndLayerRangesAgreeWithNaiveOracle) {
  const Sample sample = RandomSample(3, 6, 4, {{1, 1, 1, 1, 1}});
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    for (const HeadFusion fusion : {HeadFusion::kMean, HeadFusion::kMax, HeadFusion::kMin}) {
      ResolvedOptions options = Defaults(6, preset);
      options.head_fusion = fusion;
      ExpectAgreesWithOracle(sample, options, 2);
    }
    ResolvedOptions options = Defaults(6, preset);
    options.head = 3;
    options.start_layer = 1;
    options.end_layer = 4;
    ExpectAgreesWithOracle(sample, options, 2);
  }
}

TEST(RolloutFoldTest, LayersOutsideTheRangeAreMeasuredOnly) {
  ResolvedOptions options = Defaults(3);
  options.start_layer = 1;
  options.end_layer = 1;
  const ChunkFold chunk = FoldSample(SampleOf({kToFirst, kSwap, kToFirst}), options);
  EXPECT_EQ(ToMatrix(chunk.folds[0].rollout()), (oracle::Matrix{{0.5, 0.5, 0}, {0.5, 0.5, 0}, {0, 0, 1}}));
  EXPECT_EQ(chunk.folds[0].folded_layers(), 1);
  EXPECT_EQ(chunk.statistics[2][0].num_cells, 9);
}

TEST(RolloutFoldTest, RowsThatDoNotSumToOneAreNormalised) {
  const oracle::Matrix half_rows = {{0.25, 0.25}, {0.5, 0}};
  // 0.5 A + 0.5 I = {{0.625, 0.125}, {0.25, 0.5}}, row sums 0.75.
  ExpectNear(FoldSample(SampleOf({half_rows}), Defaults(1)).folds[0].rollout(),
             {{5.0 / 6, 1.0 / 6}, {1.0 / 3, 2.0 / 3}}, 1e-6);
  ResolvedOptions options = Defaults(3);
  options.residual_weight = 0.2;
  ExpectAgreesWithOracle(SampleOf({half_rows, {{0, 0}, {0.1, 0.3}}, half_rows}), options, 1);
}

TEST(RolloutFoldTest, OneTokenSequenceHasEntropyZero) {
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    const ChunkFold chunk = FoldSample(SampleOf({{{1}}, {{1}}}), Defaults(2, preset));
    EXPECT_EQ(ToMatrix(chunk.folds[0].rollout()), (oracle::Matrix{{1}}));
    EXPECT_EQ(chunk.folds[0].MeasureRollout().entropy(), 0.0);
    EXPECT_EQ(chunk.statistics[1][0].entropy(), 0.0);
  }
}

// The bound of docs/rollout.md: cells are off by 2·L·u of themselves at most, where u is the rounding of one
// probability.
TEST(RolloutFoldTest, HalfPrecisionAttentionStaysWithinTheDocumentedBound) {
  constexpr int32_t kLayers = 6;
  const Sample sample = RandomSample(5, kLayers, 3, {std::vector<int32_t>(40, 1)});
  struct Case {
    at::ScalarType dtype;
    double rounding;
  };
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    const ResolvedOptions options = Defaults(kLayers, preset);
    const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options).rollouts[0];
    for (const Case test : {Case{at::kHalf, std::exp2(-11)}, Case{at::kBFloat16, std::exp2(-8)}}) {
      const oracle::Matrix got = ToMatrix(FoldSample(sample, options, 16, test.dtype).folds[0].rollout());
      for (size_t i = 0; i < got.size(); ++i) {
        for (size_t j = 0; j < got.size(); ++j) {
          ASSERT_NEAR(got[i][j], want[i][j], 2 * kLayers * test.rounding * want[i][j] + 1e-6);
        }
      }
    }
  }
}

TEST(RolloutFoldTest, LeavesProbabilitiesAlone) {
  at::Tensor spare = at::empty({9}, at::TensorOptions(at::kFloat));
  SequenceFold fold(Defaults(1), ValidPositions({1, 1, 0}, 3, spare.options()), spare.options());
  const at::Tensor probabilities = ToTensor({kSwap});
  fold.BeginLayer(0, true);
  fold.AddRows(0, probabilities, spare);
  EXPECT_TRUE(at::equal(probabilities, ToTensor({kSwap})));
}

TEST(RolloutFoldTest, HoldsOneMatrixAndAFewNumbersARow) {
  const ChunkFold chunk = FoldSample(RandomSample(6, 2, 2, {std::vector<int32_t>(64, 1)}), Defaults(2));
  EXPECT_GE(chunk.folds[0].bytes(), 64 * 64 * 4);
  EXPECT_LE(chunk.folds[0].bytes(), 64 * 64 * 4 + 64 * 32);
}

}  // namespace
}  // namespace attribution::rollout
