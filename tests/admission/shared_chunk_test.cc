#include "server/admission/shared_chunk.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

namespace attribution::admission {
namespace {

constexpr int64_t kAnyBytes = std::numeric_limits<int64_t>::max();
constexpr int64_t kManyTokens = 1 << 20;

PlanRequest Request(std::vector<int64_t> lengths) {
  PlanRequest request;
  request.cost.layers = 6;
  request.cost.heads = 12;
  request.cost.ranges = {{.forward = {.bytes_per_token = 5000, .fixed_bytes = 300000}}};
  request.output.rollout_matrix = true;
  request.lengths = std::move(lengths);
  return request;
}

PeakParts PeakOf(const PlanRequest& request, const ChunkShape& shape) {
  return PredictPeak(request.cost, shape, request.output);
}

// A chunk that bounds nothing but lengths.
class SharedChunkTest : public ::testing::Test {
 protected:
  // Whether requests of these lengths run together.
  static bool GoTogether(const std::vector<std::vector<int64_t>>& requests, bool equal_lengths_only = false) {
    PlanRequest first = Request(requests.front());
    first.equal_lengths_only = equal_lengths_only;
    SharedChunk chunk(first, RolloutMethod::kFullMatrix, kManyTokens);
    for (size_t i = 1; i < requests.size(); ++i) {
      PlanRequest next = Request(requests[i]);
      next.equal_lengths_only = equal_lengths_only;
      if (!chunk.TryAdd(next, kAnyBytes)) return false;
    }
    return true;
  }
};

TEST_F(SharedChunkTest, PaddedTokensAreThoseOfTheLongest) { EXPECT_EQ(PaddedTokens(Request({3, 9, 4})), 27); }

TEST_F(SharedChunkTest, OneRequestCostsWhatItCostsAlone) {
  const PlanRequest request = Request({20, 30});
  const SharedChunk chunk(request, RolloutMethod::kFullMatrix, kManyTokens);
  const PeakParts alone = PeakOf(request, {2, 30, 50, 400 + 900});
  EXPECT_EQ(chunk.size(), 1u);
  EXPECT_EQ(chunk.OwnBytes(0), alone.own_bytes);
  EXPECT_EQ(chunk.EstimateOf(0), alone.total());
  EXPECT_EQ(chunk.BytesToReserve(), ReservedBytes(alone.total()));
}

TEST_F(SharedChunkTest, TakesLikeLengths) {
  EXPECT_TRUE(GoTogether({{20}, {33}}));
  EXPECT_FALSE(GoTogether({{20}, {34}}));
  EXPECT_TRUE(GoTogether({{33}, {20}}));
  EXPECT_FALSE(GoTogether({{34}, {20}}));
  EXPECT_TRUE(GoTogether({{400}, {508}}));
  EXPECT_FALSE(GoTogether({{400}, {509}}));
}

TEST_F(SharedChunkTest, AllAreAlikeNotOnlyTwoAndTwo) {
  EXPECT_TRUE(GoTogether({{33}, {45}}));
  EXPECT_FALSE(GoTogether({{20}, {33}, {45}}));
  EXPECT_FALSE(GoTogether({{33}, {45}, {20}}));
  EXPECT_FALSE(GoTogether({{33}, {20}, {45}}));
}

TEST_F(SharedChunkTest, WhatARequestPadsAnywayDoesNotCount) { EXPECT_TRUE(GoTogether({{30}, {1, 30}})); }

TEST_F(SharedChunkTest, WithoutAMaskAllLengthsAreEqual) {
  EXPECT_TRUE(GoTogether({{20}, {20, 20}}, true));
  EXPECT_FALSE(GoTogether({{20}, {21}}, true));
  EXPECT_FALSE(GoTogether({{20}, {19, 20}}, true));
}

TEST_F(SharedChunkTest, BoundsThePaddedTokensOfAll) {
  const PlanRequest first = Request({20});
  const PlanRequest longer = Request({25});
  SharedChunk chunk(first, RolloutMethod::kFullMatrix, 75);
  EXPECT_TRUE(chunk.TryAdd(first, kAnyBytes));
  EXPECT_TRUE(chunk.TryAdd(longer, kAnyBytes));  // 3 · 25
  EXPECT_FALSE(chunk.TryAdd(first, kAnyBytes));
  EXPECT_EQ(chunk.size(), 3u);
}

TEST_F(SharedChunkTest, BoundsTheSequencesByWhatTheClientAllows) {
  PlanRequest first = Request({20});
  first.max_chunk_size = 3;
  PlanRequest two = Request({20, 20});
  two.max_chunk_size = 3;
  SharedChunk chunk(first, RolloutMethod::kFullMatrix, kManyTokens);
  EXPECT_TRUE(chunk.TryAdd(two, kAnyBytes));
  EXPECT_FALSE(chunk.TryAdd(first, kAnyBytes));
}

TEST_F(SharedChunkTest, BoundsTheBytesToReserve) {
  const PlanRequest first = Request({20});
  const PlanRequest second = Request({25, 22});
  SharedChunk unbounded(first, RolloutMethod::kFullMatrix, kManyTokens);
  ASSERT_TRUE(unbounded.TryAdd(second, kAnyBytes));

  SharedChunk chunk(first, RolloutMethod::kFullMatrix, kManyTokens);
  const int64_t before = chunk.BytesToReserve();
  EXPECT_FALSE(chunk.TryAdd(second, unbounded.BytesToReserve() - 1));
  EXPECT_EQ(chunk.size(), 1u);
  EXPECT_EQ(chunk.BytesToReserve(), before);
  EXPECT_TRUE(chunk.TryAdd(second, unbounded.BytesToReserve()));
  EXPECT_EQ(chunk.BytesToReserve(), unbounded.BytesToReserve());
}

TEST_F(SharedChunkTest, ReservesForWhatEachHasAndForTheChunkAsAWhole) {
  const PlanRequest first = Request({20});
  const PlanRequest second = Request({25, 22});
  SharedChunk chunk(first, RolloutMethod::kFullMatrix, kManyTokens);
  ASSERT_TRUE(chunk.TryAdd(second, kAnyBytes));
  EXPECT_EQ(chunk.OwnBytes(0), PeakOf(first, {1, 20}).own_bytes);
  EXPECT_EQ(chunk.OwnBytes(1), PeakOf(second, {2, 25, 47, 625 + 484}).own_bytes);
  const int64_t common = PeakOf(first, {3, 25, 67, 400 + 625 + 484}).common_bytes;
  EXPECT_EQ(chunk.BytesToReserve(), ReservedBytes(chunk.OwnBytes(0) + chunk.OwnBytes(1) + common));
}

TEST_F(SharedChunkTest, EstimatesAreSharesByPaddedTokensAndAddUp) {
  const PlanRequest first = Request({20});
  const PlanRequest second = Request({25, 22});
  SharedChunk chunk(first, RolloutMethod::kFullMatrix, kManyTokens);
  ASSERT_TRUE(chunk.TryAdd(second, kAnyBytes));
  const int64_t common = PeakOf(first, {3, 25, 67, 400 + 625 + 484}).common_bytes;
  EXPECT_EQ(chunk.EstimateOf(0) - chunk.OwnBytes(0), common / 3);
  EXPECT_EQ(chunk.EstimateOf(1) - chunk.OwnBytes(1), common * 2 / 3);
  const int64_t sum = chunk.EstimateOf(0) + chunk.EstimateOf(1);
  const int64_t total = chunk.OwnBytes(0) + chunk.OwnBytes(1) + common;
  EXPECT_LE(sum, total);
  EXPECT_GE(sum, total - 2);  // each is rounded down
}

TEST_F(SharedChunkTest, TogetherTheyCostLessThanOneByOne) {
  const PlanRequest request = Request({24});
  SharedChunk chunk(request, RolloutMethod::kFullMatrix, kManyTokens);
  for (int i = 1; i < 8; ++i) ASSERT_TRUE(chunk.TryAdd(request, kAnyBytes));
  EXPECT_LT(chunk.BytesToReserve(), 8 * ReservedBytes(PeakOf(request, {1, 24}).total()));
}

TEST_F(SharedChunkTest, CountsTheFoldThatIsUsed) {
  PlanRequest request = Request({64});
  request.output.rollout_matrix = false;
  request.rows_alone = RowsAlone{.rows = 1, .layers = 6, .keeps_layers = false};
  const SharedChunk whole(request, RolloutMethod::kFullMatrix, kManyTokens);
  const SharedChunk alone(request, RolloutMethod::kSelectedRows, kManyTokens);
  EXPECT_EQ(whole.EstimateOf(0), PredictPeakBytes(request.cost, {1, 64}, request.output));
  EXPECT_EQ(alone.EstimateOf(0), PredictPeakBytes(request.cost, {1, 64}, request.output, request.rows_alone));
}

TEST_F(SharedChunkTest, WhoNeedsWholeRolloutsHasNoPartWhereRowsAreFoldedAlone) {
  const PlanRequest whole = Request({64});
  PlanRequest rows = Request({64});
  rows.rows_alone = RowsAlone{.rows = 1, .layers = 6, .keeps_layers = false};
  SharedChunk alone(rows, RolloutMethod::kSelectedRows, kManyTokens);
  EXPECT_FALSE(alone.TryAdd(whole, kAnyBytes));
  EXPECT_TRUE(alone.TryAdd(rows, kAnyBytes));
  SharedChunk full(rows, RolloutMethod::kFullMatrix, kManyTokens);
  EXPECT_TRUE(full.TryAdd(whole, kAnyBytes));
}

}  // namespace
}  // namespace attribution::admission
