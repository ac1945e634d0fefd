#include "server/admission/memory_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <limits>

namespace attribution::admission {
namespace {

constexpr int64_t kLargest = std::numeric_limits<int64_t>::max();

ModelCost CostWithHeads(int32_t heads) {
  ModelCost cost;
  cost.layers = 6;
  cost.heads = heads;
  return cost;
}

TEST(MemoryModelTest, AddsTheTermsOfAttentionBelowABlock) {
  // B = 2, S = 10, H = 3: R 800, spare 400, scores 3·100·4, fused 3·100·4, rows 2·10·16.
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(3), {2, 10}, {}), 800 + 400 + 1200 + 1200 + 320);
}

TEST(MemoryModelTest, HoldsOneBlockOfRowsOfALongSequence) {
  // B = 1, S = 1000, H = 12: 128 rows at a time.
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(12), {1, 1000}, {}),
            4'000'000 + 4'000'000 + 12 * 128 * 1000 * 4 + 3 * 128 * 1000 * 4 + 16'000);
}

TEST(MemoryModelTest, HonoursTheRowsOfABlock) {
  ModelCost cost = CostWithHeads(1);
  const int64_t with_128_rows = PredictPeakBytes(cost, {1, 1000}, {});
  cost.block_rows = 28;
  EXPECT_EQ(with_128_rows - PredictPeakBytes(cost, {1, 1000}, {}), (1 + 3) * 100 * 1000 * 4);
}

TEST(MemoryModelTest, AddsActivations) {
  ModelCost cost = CostWithHeads(3);
  const int64_t attention = PredictPeakBytes(cost, {2, 10}, {});
  cost.bytes_per_token = 7;
  cost.bytes_per_cell = 2.5;
  cost.fixed_bytes = 11;
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {}) - attention, 2 * 10 * 7 + 2 * 100 * 5 / 2 + 11);
}

TEST(MemoryModelTest, RoundsUp) {
  ModelCost cost = CostWithHeads(3);
  const int64_t whole = PredictPeakBytes(cost, {2, 10}, {});
  cost.fixed_bytes = 0.25;
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {}), whole + 1);
}

TEST(MemoryModelTest, CountsUnsentMatricesOnlyWhenAsked) {
  const ModelCost cost = CostWithHeads(3);
  const int64_t without = PredictPeakBytes(cost, {2, 10}, {false, 4});
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {true, 4}) - without, 800);
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {true, 2}) - without, 400);
}

TEST(MemoryModelTest, CountsTheRowsThatAreSentAlone) {
  const ModelCost cost = CostWithHeads(3);
  OutputCost output{.rollout_matrix = true, .cell_bytes = 2};
  const int64_t without = PredictPeakBytes(cost, {2, 10}, {});
  output.rows = 3;
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, output) - without, 2 * 3 * 10 * 2);
  output.rows = 11;
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, output) - without, 2 * 10 * 10 * 2);
}

TEST(MemoryModelTest, CountsEveryLayerThatIsSentAndOneOfThemTwice) {
  const ModelCost cost = CostWithHeads(3);  // 6 layers
  OutputCost output{.cell_bytes = 4, .layer_matrices = true, .rows = 1};
  const int64_t without = PredictPeakBytes(cost, {2, 10}, {});
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, output) - without, (2 * 6 + 1) * 10 * 4);
  output.rollout_matrix = true;
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, output) - without, (2 * 7 + 1) * 10 * 4);
}

TEST(MemoryModelTest, CountsListedCellsUpToAllThereAreAndOneListTwice) {
  const ModelCost cost = CostWithHeads(3);
  const int64_t without = PredictPeakBytes(cost, {2, 10}, {});
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {.top_cells = 7}) - without, (2 + 1) * 7 * 12);
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {.top_cells = 1000}) - without, (2 + 1) * 100 * 12);
}

// B = 2, S = 10, H = 3: D 100·4, rows of it 3·128·10·8; a second list of 7 cells a sequence and its matrix.
TEST(MemoryModelTest, CountsACorrectedRollout) {
  OutputCost output;
  output.rollout_matrix = true;
  output.top_cells = 7;
  const int64_t plain = PredictPeakBytes(CostWithHeads(3), {2, 10}, output);
  output.corrected = true;
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(3), {2, 10}, output) - plain,
            400 + 3 * 128 * 10 * 8 + 2 * 400 + 2 * 7 * 12);
}

// Of each sequence R_u and a bool a cell; of one a layer, its product and what is discarded; seen cells of a
// block.
TEST(MemoryModelTest, CountsAUniformRollout) {
  OutputCost output;
  const int64_t plain = PredictPeakBytes(CostWithHeads(3), {2, 10}, output);
  output.uniform_rollout = true;
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(3), {2, 10}, output) - plain,
            2 * 100 * 9 + 100 * (16 + 4 + 1) + 3 * 100);
}

TEST(MemoryModelTest, SaturatesInsteadOfOverflowing) {
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(12), {kLargest, kLargest}, {true, 4}), kLargest);
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(12), {1, int64_t{1} << 32}, {}), kLargest);
  ModelCost cost = CostWithHeads(1);
  cost.fixed_bytes = std::nan("");
  EXPECT_EQ(PredictPeakBytes(cost, {1, 1}, {}), kLargest);
  cost.fixed_bytes = INFINITY;
  EXPECT_EQ(PredictPeakBytes(cost, {1, 1}, {}), kLargest);
}

TEST(MemoryModelTest, NegativeInputsCountAsNothing) {
  ModelCost cost = CostWithHeads(3);
  cost.fixed_bytes = -5;
  cost.bytes_per_token = -5;
  cost.bytes_per_cell = -5;
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, {}), PredictPeakBytes(CostWithHeads(3), {2, 10}, {}));
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(-1), {-2, -10}, {}), 0);
}

TEST(MemoryModelTest, GrowsWithBothSizes) {
  for (int64_t size = 1; size < 300; ++size) {
    EXPECT_LT(PredictPeakBytes(CostWithHeads(2), {size, 50}, {}),
              PredictPeakBytes(CostWithHeads(2), {size + 1, 50}, {}));
    EXPECT_LT(PredictPeakBytes(CostWithHeads(2), {3, size}, {}),
              PredictPeakBytes(CostWithHeads(2), {3, size + 1}, {}));
  }
}

}  // namespace
}  // namespace attribution::admission
