#include "server/rollout/metrics.h"

#include <gtest/gtest.h>

#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

const std::vector<std::vector<int32_t>> kMasks = {{1, 1, 1, 1, 1}, {1, 1}, {0, 1, 1, 0, 1, 1, 0}, {1}};

void ExpectSame(const Metrics& got, const Metrics& want, double tolerance) {
  EXPECT_NEAR(*got.mean_attention, *want.mean_attention, tolerance);
  EXPECT_NEAR(*got.max_attention, *want.max_attention, tolerance);
  EXPECT_NEAR(*got.attention_entropy, *want.attention_entropy, tolerance);
  EXPECT_NEAR(*got.attention_concentration, *want.attention_concentration, tolerance);
  EXPECT_NEAR(*got.rollout_max, *want.rollout_max, tolerance);
  EXPECT_NEAR(*got.rollout_entropy, *want.rollout_entropy, tolerance);
  EXPECT_EQ(got.batch_size, want.batch_size);
  EXPECT_EQ(got.seq_length, want.seq_length);
}

TEST(MetricsTest, SequencesAndBatchAgreeWithNaiveOracle) {
  for (const Preset preset : {Preset::kAbnar2020, Preset::kIclrMetrics}) {
    const Sample sample = RandomSample(11, 3, 2, kMasks);
    ResolvedOptions options = Defaults(3, preset);
    options.layer_idx = 1;
    const oracle::NaiveResult want =
        oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, options);
    ChunkFold chunk = FoldSample(sample, options);
    AttentionStatistics attention, rollout;
    for (size_t b = 0; b < chunk.folds.size(); ++b) {
      const AttentionStatistics of_rollout = chunk.folds[b].MeasureRollout();
      ExpectSame(MakeMetrics(chunk.statistics[1][b], of_rollout, 1, sample.lengths[b]), want.sequences[b],
                 1e-5);
      attention.Merge(chunk.statistics[1][b]);
      rollout.Merge(of_rollout);
    }
    ExpectSame(MakeMetrics(attention, rollout, 4, 7), want.batch, 1e-5);
  }
}

TEST(MetricsTest, EveryLayerAgreesWithNaiveOracle) {
  const Sample sample = RandomSample(12, 3, 2, kMasks);
  const oracle::NaiveResult want =
      oracle::NaiveRollout(sample.layers, sample.masks, sample.lengths, Defaults(3));
  const ChunkFold chunk = FoldSample(sample, Defaults(3));
  for (size_t l = 0; l < 3; ++l) {
    AttentionStatistics merged;
    for (const AttentionStatistics& statistics : chunk.statistics[l]) merged.Merge(statistics);
    LayerMetrics layer;
    FillLayerMetrics(merged, layer);
    EXPECT_NEAR(layer.mean_attention, want.layers[l].mean_attention, 1e-5);
    EXPECT_NEAR(layer.max_attention, want.layers[l].max_attention, 1e-5);
    EXPECT_NEAR(layer.attention_entropy, want.layers[l].attention_entropy, 1e-5);
    EXPECT_NEAR(layer.attention_concentration, want.layers[l].attention_concentration, 1e-5);
    EXPECT_EQ(layer.num_rows, want.layers[l].num_rows);
    EXPECT_EQ(layer.num_cells, want.layers[l].num_cells);
  }
}

TEST(MetricsTest, ChunksMergeToTheWhole) {
  const Sample sample = RandomSample(13, 2, 2, kMasks);
  const ChunkFold chunk = FoldSample(sample, Defaults(2));
  AttentionStatistics whole, first, second;
  for (size_t b = 0; b < 4; ++b) {
    whole.Merge(chunk.statistics[1][b]);
    (b < 1 ? first : second).Merge(chunk.statistics[1][b]);
  }
  first.Merge(second);
  ExpectSame(MakeMetrics(first, first, 4, 7), MakeMetrics(whole, whole, 4, 7), 1e-12);
}

TEST(MetricsTest, RolloutMetricsAreAbsentWithoutRollout) {
  const Metrics metrics = MakeMetrics(AttentionStatistics(), std::nullopt, 1, 5);
  EXPECT_FALSE(metrics.rollout_max.has_value());
  EXPECT_FALSE(metrics.rollout_entropy.has_value());
  EXPECT_TRUE(metrics.mean_attention.has_value());
  EXPECT_EQ(metrics.seq_length, 5);
}

}  // namespace
}  // namespace attribution::rollout
