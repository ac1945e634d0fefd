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
  cost.score_bytes_per_cell = 4.0 * heads;
  return cost;
}

ModelCost CostOf(const MomentCost& forward, const MomentCost& attention = {}) {
  ModelCost cost = CostWithHeads(3);
  cost.ranges = {{.forward = forward, .attention = attention}};
  return cost;
}

// What B = 2, S = 10, H = 3 holds all the time: R 800, spare 400, rows 2·10·16; and its block of attention:
// scores 3·100·4, fused 2·100·4.
constexpr int64_t kHeld = 800 + 400 + 320;
constexpr int64_t kBlock = 1200 + 800;

TEST(MemoryModelTest, AddsTheTermsOfAttentionBelowABlock) {
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(3), {2, 10}, {}), kHeld + kBlock);
}

TEST(MemoryModelTest, HoldsOneBlockOfRowsOfALongSequence) {
  // B = 1, S = 1024, H = 12: 128 rows at a time.
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(12), {1, 1024}, {}),
            2 * 1024 * 1024 * 4 + (12 + 2) * (128 + 3) * 1024 * 4 + 1024 * 16);
}

// 3 more: rows are shared out to up to four threads.
TEST(MemoryModelTest, CutsALengthIntoBlocksOfAsManyRows) {
  const auto rows = [](int64_t length) {
    ModelCost cost = CostWithHeads(250);
    return (PredictTerms(cost, {1, length}, {}).moment) / static_cast<double>(length * (1000 + 8));
  };
  EXPECT_EQ(rows(20), 20);
  EXPECT_EQ(rows(128), 128);
  EXPECT_EQ(rows(130), 65 + 3);
  EXPECT_EQ(rows(300), 100 + 3);
}

TEST(MemoryModelTest, TappedLayersHaveNoBlockOfScores) {
  ModelCost cost = CostWithHeads(12);
  cost.score_bytes_per_cell = 0;
  EXPECT_EQ(PredictPeakBytes(cost, {1, 1000}, {}), 8'000'000 + 2 * 128 * 1000 * 4 + 16'000);
}

TEST(MemoryModelTest, HonoursTheRowsOfABlock) {
  ModelCost cost = CostWithHeads(1);
  cost.block_rows = 25;
  EXPECT_EQ(PredictPeakBytes(cost, {1, 1000}, {}), 8'000'000 + (1 + 2) * 25 * 1000 * 4 + 16'000);
}

// 7·20 + 2.5·200 + 2·11 + 10·13 + 3·100 + 17 are 1109.
constexpr MomentCost kMoment = {.bytes_per_token = 7,
                                .bytes_per_cell = 2.5,
                                .bytes_per_sequence = 11,
                                .bytes_per_position = 13,
                                .bytes_per_square = 3,
                                .fixed_bytes = 17};

TEST(MemoryModelTest, AttentionsMomentHasTheBlockBesideIt) {
  EXPECT_EQ(PredictPeakBytes(CostOf({}, kMoment), {2, 10}, {}), kHeld + kBlock + 1109);
}

TEST(MemoryModelTest, TheLargerMomentIsThePeak) {
  EXPECT_EQ(PredictPeakBytes(CostOf(kMoment), {2, 10}, {}), kHeld + kBlock) << "1109 are less than the block";
  MomentCost larger = kMoment;
  larger.fixed_bytes += 5000;
  EXPECT_EQ(PredictPeakBytes(CostOf(larger), {2, 10}, {}), kHeld + 6109);
  EXPECT_EQ(PredictPeakBytes(CostOf(larger, kMoment), {2, 10}, {}), kHeld + 6109);
}

TEST(MemoryModelTest, TakesTheRangeOfTheLength) {
  ModelCost cost = CostWithHeads(0);
  cost.ranges = {{.from_length = 1, .forward = {.fixed_bytes = 1e6}},
                 {.from_length = 10, .forward = {.fixed_bytes = 2e6}}};
  EXPECT_EQ(PredictTerms(cost, {2, 9}, {}).moment, 1e6);
  EXPECT_EQ(PredictTerms(cost, {2, 10}, {}).moment, 2e6);
  EXPECT_EQ(PredictTerms(cost, {2, 11}, {}).moment, 2e6);
}

TEST(MemoryModelTest, RolloutsAreAsLongAsTheirSequences) {
  // Lengths 10 and 4: R 4·(100 + 16), rows 16·14.
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(3), {2, 10, 14, 116}, {}), 464 + 400 + 224 + kBlock);
}

// The model's own memory is gone when what is sent is made.
TEST(MemoryModelTest, OutputDoesNotFallTogetherWithTheForwardPass) {
  const OutputCost output{.rollout_matrix = true};
  ModelCost cost = CostOf({.fixed_bytes = 1e6});
  EXPECT_EQ(PredictPeakBytes(cost, {2, 10}, output), PredictPeakBytes(cost, {2, 10}, {}));
  const PeakParts parts = PredictPeak(cost, {2, 10}, output);
  EXPECT_EQ(parts.own_bytes, 800 + 320 + 800) << "it is reserved for its owner all the same";
  EXPECT_EQ(parts.total(), 1'000'000 + kHeld);
}

TEST(MemoryModelTest, RoundsUp) {
  EXPECT_EQ(PredictPeakBytes(CostOf({}, {.fixed_bytes = 0.25}), {2, 10}, {}), kHeld + kBlock + 1);
}

// A model that takes nothing, so that the end of the chunk is its peak: a block of a rollout is measured
// there.
int64_t BytesOfEnd(const OutputCost& output) {
  ModelCost cost = CostWithHeads(0);
  cost.block_rows = 10;
  const PeakTerms terms = PredictTerms(cost, {2, 10}, output);
  EXPECT_EQ(terms.own_held - (output.uniform_rollout ? 1800 : 0) + terms.common_held, kHeld);
  return static_cast<int64_t>(terms.own_output + terms.common_end) - 400;
}

TEST(MemoryModelTest, CountsUnsentMatricesOnlyWhenAsked) {
  EXPECT_EQ(BytesOfEnd({}), 0);
  EXPECT_EQ(BytesOfEnd({true, 4}), 800);
  EXPECT_EQ(BytesOfEnd({true, 2}), 400);
}

TEST(MemoryModelTest, CountsTheRowsThatAreSentAlone) {
  EXPECT_EQ(BytesOfEnd({.rollout_matrix = true, .cell_bytes = 2, .rows = 3}), 2 * 3 * 10 * 2);
  EXPECT_EQ(BytesOfEnd({.rollout_matrix = true, .cell_bytes = 2, .rows = 11}), 2 * 10 * 10 * 2);
}

TEST(MemoryModelTest, HoldsEveryLayerThatIsSentAndOneOfThemTwice) {
  const ModelCost cost = CostWithHeads(3);  // 6 layers
  const PeakTerms without = PredictTerms(cost, {2, 10}, {});
  const PeakTerms terms = PredictTerms(cost, {2, 10}, {.cell_bytes = 4, .layer_matrices = true, .rows = 1});
  EXPECT_EQ(terms.own_held - without.own_held, 2 * 6 * 10 * 4);
  EXPECT_EQ(terms.own_output - without.own_output, 10 * 4);
}

TEST(MemoryModelTest, CountsListedCellsUpToAllThereAreAndOneListTwice) {
  EXPECT_EQ(BytesOfEnd({.top_cells = 7}), (2 + 1) * 7 * 12);
  EXPECT_EQ(BytesOfEnd({.top_cells = 1000}), (2 + 1) * 100 * 12);
}

// B = 2, S = 10: D 100·4, rows of it 3·128·10·8; a second list of 7 cells a sequence and its matrix.
TEST(MemoryModelTest, CountsACorrectedRollout) {
  OutputCost output;
  output.rollout_matrix = true;
  output.top_cells = 7;
  const int64_t plain = BytesOfEnd(output);
  output.corrected = true;
  EXPECT_EQ(BytesOfEnd(output) - plain, 400 + 3 * 128 * 10 * 8 + 2 * 400 + 2 * 7 * 12);
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
  for (const double bytes : {std::nan(""), static_cast<double>(INFINITY)}) {
    EXPECT_EQ(PredictPeakBytes(CostOf({.fixed_bytes = bytes}), {1, 1}, {}), kLargest);
    EXPECT_EQ(PredictPeakBytes(CostOf({}, {.fixed_bytes = bytes}), {1, 1}, {}), kLargest);
  }
}

TEST(MemoryModelTest, NegativeInputsCountAsNothing) {
  const MomentCost negative = {.bytes_per_token = -5,
                               .bytes_per_cell = -5,
                               .bytes_per_sequence = -5,
                               .bytes_per_position = -5,
                               .bytes_per_square = -5,
                               .fixed_bytes = -5};
  EXPECT_EQ(PredictPeakBytes(CostOf(negative, negative), {2, 10}, {}), kHeld + kBlock);
  EXPECT_EQ(PredictPeakBytes(CostWithHeads(-1), {-2, -10}, {}), 0);
}

TEST(MemoryModelTest, GrowsWithBothSizes) {
  for (int64_t size = 1; size < 300; ++size) {
    EXPECT_LT(PredictPeakBytes(CostWithHeads(2), {size, 50}, {}),
              PredictPeakBytes(CostWithHeads(2), {size + 1, 50}, {}));
    if (size % 128 == 0) continue;  // the rows are cut into smaller blocks
    EXPECT_LT(PredictPeakBytes(CostWithHeads(2), {3, size}, {}),
              PredictPeakBytes(CostWithHeads(2), {3, size + 1}, {}));
  }
}

}  // namespace
}  // namespace attribution::admission
