#include "server/rollout/attention_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

const at::TensorOptions kFloat32(at::kFloat);

AttentionStatistics StatisticsOf(const oracle::Matrix& matrix, const std::vector<int32_t>& mask = {}) {
  const at::Tensor cells = ToTensor({matrix})[0];
  return MeasureMatrix(cells, ValidPositions(mask, cells.size(0), kFloat32));
}

TEST(AttentionStatisticsTest, MeasuresRowsAndCells) {
  const AttentionStatistics statistics = StatisticsOf({{0.5, 0.5}, {1, 0}});
  EXPECT_EQ(statistics.num_rows, 2);
  EXPECT_EQ(statistics.num_cells, 4);
  EXPECT_NEAR(statistics.mean(), 0.5, 1e-7);
  EXPECT_NEAR(statistics.max_cell, 1.0, 1e-7);
  EXPECT_NEAR(statistics.entropy(), std::log(2.0) / 2, 1e-6);
  EXPECT_NEAR(statistics.concentration(), 0.75, 1e-7);
}

TEST(AttentionStatisticsTest, CountsOnlyValidPositions) {
  const AttentionStatistics statistics = StatisticsOf({{0.5, 0, 0.5}, {0, 0, 0}, {0.25, 0, 0.75}}, {1, 0, 1});
  EXPECT_EQ(statistics.num_rows, 2);
  EXPECT_EQ(statistics.num_cells, 4);
  EXPECT_NEAR(statistics.mean(), 0.5, 1e-7);
  EXPECT_NEAR(statistics.concentration(), 0.625, 1e-7);
}

TEST(AttentionStatisticsTest, UniformRowsHaveEntropyLogN) {
  for (const int64_t size : {2, 7, 300}) {
    const at::Tensor uniform = at::full({size, size}, 1.0 / static_cast<double>(size), kFloat32);
    const AttentionStatistics statistics = MeasureMatrix(uniform, ValidPositions({}, size, kFloat32));
    EXPECT_NEAR(statistics.entropy(), std::log(static_cast<double>(size)), 1e-5);
    EXPECT_NEAR(statistics.concentration(), 1.0 / static_cast<double>(size), 1e-7);
    EXPECT_EQ(statistics.num_rows, size);
  }
}

TEST(AttentionStatisticsTest, OneTokenHasEntropyZero) {
  const AttentionStatistics statistics = StatisticsOf({{1}});
  EXPECT_EQ(statistics.entropy(), 0.0);
  EXPECT_EQ(statistics.mean(), 1.0);
  EXPECT_EQ(statistics.concentration(), 1.0);
}

TEST(AttentionStatisticsTest, MergeWeighsRowsAndCellsEqually) {
  AttentionStatistics merged = StatisticsOf({{1}});
  merged.Merge(StatisticsOf({{0.5, 0.5}, {0.5, 0.5}}));
  EXPECT_EQ(merged.num_rows, 3);
  EXPECT_EQ(merged.num_cells, 5);
  EXPECT_NEAR(merged.mean(), 3.0 / 5.0, 1e-7);
  EXPECT_NEAR(merged.entropy(), 2.0 * std::log(2.0) / 3.0, 1e-6);
  EXPECT_NEAR(merged.concentration(), 2.0 / 3.0, 1e-7);
  EXPECT_EQ(merged.max_cell, 1.0);
}

TEST(AttentionStatisticsTest, NothingMeasuredGivesZeros) {
  const AttentionStatistics nothing;
  EXPECT_EQ(nothing.mean(), 0.0);
  EXPECT_EQ(nothing.entropy(), 0.0);
  EXPECT_EQ(nothing.concentration(), 0.0);
}

TEST(AttentionStatisticsTest, MeasurerLeavesTheBlockAlone) {
  const at::Tensor block = ToTensor({{{0.5, 0.5}, {1, 0}}})[0];
  const at::Tensor copy = block.clone();
  RowMeasurer(2, kFloat32).Measure(0, block, /*statistics=*/true);
  EXPECT_TRUE(at::equal(block, copy));
}

}  // namespace
}  // namespace attribution::rollout
