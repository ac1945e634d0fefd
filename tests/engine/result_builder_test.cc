#include "server/engine/result_builder.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

namespace attribution::engine {
namespace {

using rollout::AttentionStatistics;

const std::vector<AttentionSite> kSites = {{0, "layer.0", SiteKind::kBlocked, "", 1},
                                           {1, "layer.1", SiteKind::kBlocked, "", 1},
                                           {2, "layer.2", SiteKind::kBlocked, "", 1}};

// Sums of one stochastic matrix of n rows.
AttentionStatistics RandomStatistics(std::mt19937& generator, int64_t n) {
  const auto random = [&] { return static_cast<double>(generator()) / 4294967296.0; };
  AttentionStatistics statistics;
  statistics.num_rows = n;
  statistics.num_cells = n * n;
  statistics.cell_sum = static_cast<double>(n);
  for (int64_t row = 0; row < n; ++row) {
    statistics.entropy_sum += random() * std::log(static_cast<double>(n));
    const double largest = random();
    statistics.concentration_sum += largest;
    statistics.max_cell = std::max(statistics.max_cell, largest);
  }
  return statistics;
}

struct Batch {
  std::vector<SequenceGroup> sequences;
  std::vector<std::vector<AttentionStatistics>> layers;  // [L][B]
};

Batch RandomBatch() {
  std::mt19937 generator(3);
  Batch batch;
  batch.layers.resize(3);
  for (const int64_t n : {12, 3, 7, 1, 9, 2, 5, 5, 11}) {
    for (auto& layer : batch.layers) layer.push_back(RandomStatistics(generator, n));
    batch.sequences.push_back({batch.layers[2].back(), RandomStatistics(generator, n), 1, n});
  }
  return batch;
}

// Hands the batch over in chunks, as a job does.
AttributionResult BuildInChunks(const Batch& batch, size_t chunk_size) {
  ResultBuilder builder;
  for (size_t first = 0; first < batch.sequences.size(); first += chunk_size) {
    const size_t end = std::min(first + chunk_size, batch.sequences.size());
    for (int32_t layer = 0; layer < 3; ++layer) {
      AttentionStatistics merged;
      for (size_t b = first; b < end; ++b) merged.Merge(batch.layers[layer][b]);
      builder.AddLayer(layer, layer, merged);
    }
    for (size_t b = first; b < end; ++b) builder.AddSequence(batch.sequences[b]);
  }
  return builder.Build(kSites, /*layer_metrics=*/true);
}

TEST(ResultBuilderTest, RowsAndCellsWeighEqually) {
  // By hand: one sequence of 2 rows, one of 4.
  AttentionStatistics small{.cell_sum = 2,
                            .entropy_sum = 1,
                            .concentration_sum = 1.5,
                            .max_cell = 0.9,
                            .num_rows = 2,
                            .num_cells = 4};
  AttentionStatistics large{.cell_sum = 4,
                            .entropy_sum = 5,
                            .concentration_sum = 1.5,
                            .max_cell = 0.7,
                            .num_rows = 4,
                            .num_cells = 16};
  ResultBuilder builder;
  builder.AddSequence({small, large, 1, 2});
  builder.AddSequence({large, small, 1, 4});
  const AttributionResult result = builder.Build(kSites, false);
  EXPECT_DOUBLE_EQ(*result.metrics.mean_attention, 6.0 / 20);
  EXPECT_DOUBLE_EQ(*result.metrics.attention_entropy, 6.0 / 6);
  EXPECT_DOUBLE_EQ(*result.metrics.attention_concentration, 3.0 / 6);
  EXPECT_DOUBLE_EQ(*result.metrics.max_attention, 0.9);
  EXPECT_DOUBLE_EQ(*result.metrics.rollout_max, 0.9);
  EXPECT_DOUBLE_EQ(*result.metrics.rollout_entropy, 1.0);
  EXPECT_EQ(result.metrics.batch_size, 2);
  EXPECT_EQ(result.metrics.seq_length, 4);
  ASSERT_EQ(result.sequences.size(), 2);
  EXPECT_DOUBLE_EQ(*result.sequences[0].mean_attention, 0.5);
  EXPECT_DOUBLE_EQ(*result.sequences[0].rollout_entropy, 1.25);
  EXPECT_EQ(result.sequences[0].batch_size, 1);
  EXPECT_EQ(result.sequences[0].seq_length, 2);
}

TEST(ResultBuilderTest, CutOfTheBatchDoesNotShow) {
  const Batch batch = RandomBatch();
  const AttributionResult whole = BuildInChunks(batch, 9);
  for (const size_t chunk_size : {1, 3, 7}) {
    SCOPED_TRACE(testing::Message() << "chunks of " << chunk_size);
    const AttributionResult cut = BuildInChunks(batch, chunk_size);
    EXPECT_NEAR(*cut.metrics.mean_attention, *whole.metrics.mean_attention, 1e-6);
    EXPECT_EQ(*cut.metrics.max_attention, *whole.metrics.max_attention);
    EXPECT_NEAR(*cut.metrics.attention_entropy, *whole.metrics.attention_entropy, 1e-6);
    EXPECT_NEAR(*cut.metrics.rollout_entropy, *whole.metrics.rollout_entropy, 1e-6);
    ASSERT_EQ(cut.layers.size(), 3);
    for (size_t l = 0; l < 3; ++l) {
      EXPECT_NEAR(cut.layers[l].mean_attention, whole.layers[l].mean_attention, 1e-6);
      EXPECT_NEAR(cut.layers[l].attention_entropy, whole.layers[l].attention_entropy, 1e-6);
      EXPECT_NEAR(cut.layers[l].attention_concentration, whole.layers[l].attention_concentration, 1e-6);
      EXPECT_EQ(cut.layers[l].max_attention, whole.layers[l].max_attention);
      EXPECT_EQ(cut.layers[l].num_rows, 55);
      EXPECT_EQ(cut.layers[l].num_cells, 459);
    }
  }
}

TEST(ResultBuilderTest, ChunkValuesAreThoseOfItsSequences) {
  const Batch batch = RandomBatch();
  SequenceGroup together;
  together.Merge(batch.sequences[0]);
  together.Merge(batch.sequences[1]);
  EXPECT_EQ(together.ToMetrics().batch_size, 2);
  EXPECT_EQ(together.ToMetrics().seq_length, 12);
  EXPECT_DOUBLE_EQ(*together.ToMetrics().mean_attention, 15.0 / 153);
}

TEST(ResultBuilderTest, RolloutThatWasNotAskedForIsAbsent) {
  ResultBuilder builder;
  builder.AddSequence({RandomBatch().sequences[0].attention, std::nullopt, 1, 12});
  const AttributionResult result = builder.Build(kSites, true);
  EXPECT_FALSE(result.metrics.rollout_max.has_value());
  EXPECT_FALSE(result.sequences[0].rollout_entropy.has_value());
  EXPECT_TRUE(result.metrics.mean_attention.has_value());
}

TEST(ResultBuilderTest, LayersThatDidNotRunAreLeftOut) {
  ResultBuilder builder;
  builder.AddLayer(0, 0, RandomBatch().layers[0][0]);
  const AttributionResult result = builder.Build(kSites, true);
  ASSERT_EQ(result.layers.size(), 1);
  EXPECT_EQ(result.layers[0].module_path, "layer.0");
}

TEST(ResultBuilderTest, LayersAreLeftOutUnlessAsked) {
  ResultBuilder builder;
  builder.AddLayer(0, 0, RandomBatch().layers[0][0]);
  EXPECT_TRUE(builder.Build(kSites, false).layers.empty());
}

TEST(ResultBuilderTest, LayerNamesItsSite) {
  const LayerMetrics layer = MakeLayerMetrics(kSites[2], 1, 5, RandomBatch().layers[0][0]);
  EXPECT_EQ(layer.layer_idx, 1);
  EXPECT_EQ(layer.site_index, 2);
  EXPECT_EQ(layer.module_path, "layer.2");
  EXPECT_EQ(layer.chunk_index, 5);
  EXPECT_EQ(layer.num_rows, 12);
}

}  // namespace
}  // namespace attribution::engine
