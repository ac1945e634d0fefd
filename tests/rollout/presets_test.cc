// Every preset and the parameters that change how layers are multiplied, against the oracle.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <optional>
#include <tuple>

#include "server/rollout/rollout_fold.h"
#include "server/rollout/rollout_options.h"
#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

constexpr int32_t kLayers = 4;
constexpr int32_t kHeads = 3;

// A whole sequence, one with gaps at its front and inside, one padded by the chunk.
const std::vector<std::vector<int32_t>> kMasks = {
    {1, 1, 1, 1, 1, 1, 1, 1}, {0, 0, 1, 1, 0, 1, 1, 0}, {1, 1, 1, 1, 1}};

ResolvedOptions Resolve(const AttributionOptions& options) {
  const auto resolved = ResolveOptions(options, kLayers, kHeads);
  EXPECT_TRUE(resolved.ok()) << resolved.status();
  return *resolved;
}

class PresetsTest : public ::testing::TestWithParam<std::tuple<Preset, double, std::optional<double>, bool>> {
 protected:
  AttributionOptions Options() const {
    AttributionOptions options;
    std::tie(options.preset, options.residual_weight, options.discard_ratio, options.include_padding) =
        GetParam();
    return options;
  }
  Sample Attention() const {
    return Options().include_padding ? PaddedSample(31, kLayers, kHeads, kMasks)
                                     : RandomSample(31, kLayers, kHeads, kMasks);
  }
};

TEST_P(PresetsTest, AgreesWithNaiveOracleWhateverTheBlocks) {
  for (const int64_t block_rows : {1, 3, 100}) {
    ExpectAgreesWithOracle(Attention(), Resolve(Options()), block_rows);
  }
}

TEST_P(PresetsTest, MetricsAgreeWithNaiveOracle) {
  AttributionOptions options = Options();
  options.layer_idx = 2;
  const ResolvedOptions resolved = Resolve(options);
  const Sample sample = Attention();
  const auto want = oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, resolved);
  const ChunkFold chunk = FoldSample(sample, resolved, 3);
  for (size_t b = 0; b < chunk.folds.size(); ++b) {
    SCOPED_TRACE(b);
    const AttentionStatistics attention = chunk.statistics[2][b];
    const AttentionStatistics rollout = chunk.folds[b].MeasureRollout();
    EXPECT_NEAR(attention.mean(), *want.sequences[b].mean_attention, 1e-5);
    EXPECT_NEAR(attention.max_cell, *want.sequences[b].max_attention, 1e-5);
    EXPECT_NEAR(attention.entropy(), *want.sequences[b].attention_entropy, 1e-5);
    EXPECT_NEAR(attention.concentration(), *want.sequences[b].attention_concentration, 1e-5);
    EXPECT_NEAR(rollout.max_cell, *want.sequences[b].rollout_max, 1e-5);
    EXPECT_NEAR(rollout.entropy(), *want.sequences[b].rollout_entropy, 1e-5);
  }
}

TEST_P(PresetsTest, FusionsHeadsAndLayerRangesAgreeWithNaiveOracle) {
  for (const HeadFusion fusion : {HeadFusion::kMax, HeadFusion::kMin}) {
    AttributionOptions options = Options();
    options.head_fusion = fusion;
    ExpectAgreesWithOracle(Attention(), Resolve(options), 3);
  }
  AttributionOptions options = Options();
  options.head = 2;
  options.start_layer = 1;
  options.end_layer = -2;
  ExpectAgreesWithOracle(Attention(), Resolve(options), 3);
}

INSTANTIATE_TEST_SUITE_P(Options, PresetsTest,
                         ::testing::Combine(::testing::Values(Preset::kAbnar2020, Preset::kIclrMetrics,
                                                              Preset::kChefer2021, Preset::kVitExplain,
                                                              Preset::kVitExplainFixed),
                                            ::testing::Values(0.5, 0.2),
                                            ::testing::Values(std::nullopt, 0.0, 0.35), ::testing::Bool()));

// The wider the matrix, the more strips a product in place goes through.
TEST(PresetsWideTest, MatricesWiderThanAStripAgreeWithNaiveOracle) {
  const Sample sample = RandomSample(32, 3, 1, {std::vector<int32_t>(150, 1), std::vector<int32_t>(131, 1)});
  for (const Preset preset : {Preset::kIclrMetrics, Preset::kVitExplain}) {
    ResolvedOptions options = Defaults(3, preset);
    options.residual_weight = 0.2;
    ExpectAgreesWithOracle(sample, options, 64);
  }
}

}  // namespace
}  // namespace attribution::rollout
