#include "server/admission/chunk_planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <random>
#include <vector>

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Costs of nothing but rollouts, spare and rows make numbers that can be checked by hand: B·S²·4 + S²·4 +
// what a block takes, 8·S² or 4·S² + 12·S, + B·S·16, for S <= 128.
PlanRequest Request(std::vector<int64_t> lengths, ChunkPolicy policy = ChunkPolicy::kAdaptive) {
  PlanRequest request;
  request.lengths = std::move(lengths);
  request.policy = policy;
  return request;
}

int64_t BytesOf(int64_t sequences, int64_t length) {
  const int64_t block = std::max(8 * length * length, 4 * length * length + 12 * length);
  return sequences * length * length * 4 + length * length * 4 + block + sequences * length * 16;
}

TEST(CutChunksTest, CutsInRequestOrderAndPadsToTheLongest) {
  EXPECT_THAT(CutChunks({3, 9, 4, 4, 7}, 2, false),
              ElementsAre(Chunk{0, 2, 9}, Chunk{2, 2, 4}, Chunk{4, 1, 7}));
}

TEST(CutChunksTest, OneChunkHoldsAllWhenTheSizeAllows) {
  EXPECT_THAT(CutChunks({3, 9}, 100, false), ElementsAre(Chunk{0, 2, 9}));
}

TEST(CutChunksTest, EndsAChunkWhereTheLengthChanges) {
  EXPECT_THAT(CutChunks({5, 5, 5, 6, 6, 5}, 2, true),
              ElementsAre(Chunk{0, 2, 5}, Chunk{2, 1, 5}, Chunk{3, 2, 6}, Chunk{5, 1, 5}));
}

TEST(CutChunksTest, NothingGivesNoChunks) { EXPECT_THAT(CutChunks({}, 2, false), IsEmpty()); }

TEST(ChunkSizeAfterOutOfMemoryTest, ReferenceGoesToSixteenThenHalves) {
  std::vector<int32_t> sizes;
  for (int32_t size = 64; size > 0; size = ChunkSizeAfterOutOfMemory(ChunkPolicy::kReference, size)) {
    sizes.push_back(size);
  }
  EXPECT_THAT(sizes, ElementsAre(64, 16, 8, 4, 2, 1));
  EXPECT_EQ(ChunkSizeAfterOutOfMemory(ChunkPolicy::kReference, 17), 16);
}

TEST(ChunkSizeAfterOutOfMemoryTest, AdaptiveHalvesDownToOneSequence) {
  std::vector<int32_t> sizes;
  for (int32_t size = 50; size > 0; size = ChunkSizeAfterOutOfMemory(ChunkPolicy::kAdaptive, size)) {
    sizes.push_back(size);
  }
  EXPECT_THAT(sizes, ElementsAre(50, 25, 12, 6, 3, 1));
}

struct ReferenceRow {
  int32_t layers;
  int32_t heads;
  int64_t batch;
  int64_t length;
  int32_t size;
};

class ReferenceChunkSizeTest : public ::testing::TestWithParam<ReferenceRow> {};

TEST_P(ReferenceChunkSizeTest, FollowsTheTable) {
  const ReferenceRow& row = GetParam();
  EXPECT_EQ(ReferenceChunkSize(row.layers, row.heads, row.batch, row.length), row.size);
}

INSTANTIATE_TEST_SUITE_P(
    Table, ReferenceChunkSizeTest,
    ::testing::Values(ReferenceRow{6, 12, 16, 256, 16},      // 0.30 GB
                      ReferenceRow{10, 10, 100, 316, 100},   // 3.994 GB
                      ReferenceRow{10, 10, 100, 317, 64},    // 4.020 GB
                      ReferenceRow{1, 1, 1000, 1000, 1000},  // 4 GB, not above it
                      ReferenceRow{1, 1, 2000, 1000, 64},    // 8 GB, not above it
                      ReferenceRow{1, 1, 2001, 1000, 32},    // 8.004 GB
                      ReferenceRow{12, 12, 128, 512, 32},    // 19.3 GB
                      ReferenceRow{12, 12, 20, 1024, 20},    // 12.1 GB, but the batch is smaller
                      ReferenceRow{12, 12, 40, 512, 40},     // 6.04 GB, but the batch is smaller
                      ReferenceRow{24, 16, 1, 100000, 1}));

TEST(PlanChunksTest, AdaptiveTakesTheLargestSizeThatFits) {
  const PlanRequest request = Request(std::vector<int64_t>(10, 20));
  const auto plan = PlanChunks(request, BytesOf(4, 20));
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->chunk_size, 4);
  EXPECT_EQ(plan->estimated_peak_bytes, BytesOf(4, 20));
  EXPECT_THAT(plan->chunks, ElementsAre(Chunk{0, 4, 20}, Chunk{4, 4, 20}, Chunk{8, 2, 20}));
  EXPECT_EQ(PlanChunks(request, BytesOf(4, 20) - 1)->chunk_size, 3);
}

TEST(PlanChunksTest, OneChunkWhenEverythingFits) {
  const auto plan = PlanChunks(Request({5, 20, 7}), std::numeric_limits<int64_t>::max());
  ASSERT_TRUE(plan.has_value());
  EXPECT_THAT(plan->chunks, ElementsAre(Chunk{0, 3, 20}));
}

TEST(PlanChunksTest, GoesDownToOneSequenceAndNoFurther) {
  const PlanRequest request = Request({20, 30, 20});
  const auto plan = PlanChunks(request, BytesOf(1, 30));
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->chunk_size, 1);
  EXPECT_EQ(plan->chunks.size(), 3u);
  EXPECT_FALSE(PlanChunks(request, BytesOf(1, 30) - 1).has_value());
  EXPECT_FALSE(PlanChunks(request, 0).has_value());
}

TEST(PlanChunksTest, FindsALargerSizeThatFitsAboveOneThatDoesNot) {
  // Two and three sequences a chunk pair the long one with a short one; four leave it alone.
  const PlanRequest request = Request({10, 10, 10, 10, 40});
  const int64_t free_bytes = BytesOf(1, 40);
  ASSERT_LT(BytesOf(4, 10), free_bytes);
  ASSERT_GT(BytesOf(2, 40), free_bytes);
  const auto plan = PlanChunks(request, free_bytes);
  ASSERT_TRUE(plan.has_value());
  EXPECT_THAT(plan->chunks, ElementsAre(Chunk{0, 4, 10}, Chunk{4, 1, 40}));
}

TEST(PlanChunksTest, HonoursTheCallersLargestChunk) {
  for (const ChunkPolicy policy : {ChunkPolicy::kAdaptive, ChunkPolicy::kReference}) {
    PlanRequest request = Request(std::vector<int64_t>(10, 20), policy);
    request.max_chunk_size = 3;
    EXPECT_EQ(PlanChunks(request, BytesOf(10, 20))->chunk_size, 3);
    request.max_chunk_size = 300;
    EXPECT_EQ(PlanChunks(request, BytesOf(10, 20))->chunk_size, 10);
  }
}

TEST(PlanChunksTest, NeverPadsAModelWithoutAMask) {
  PlanRequest request = Request({20, 20, 30, 20});
  request.equal_lengths_only = true;
  const auto plan = PlanChunks(request, BytesOf(4, 30));
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->chunk_size, 2);
  EXPECT_THAT(plan->chunks, ElementsAre(Chunk{0, 2, 20}, Chunk{2, 1, 30}, Chunk{3, 1, 20}));
}

TEST(PlanChunksTest, RunsOfEqualLengthAfterTheFirstMayBeLonger) {
  PlanRequest request = Request({20, 30, 30, 30});
  request.equal_lengths_only = true;
  EXPECT_EQ(PlanChunks(request, BytesOf(3, 30))->chunk_size, 3);
}

TEST(PlanChunksTest, ReferenceHalvesUntilItFits) {
  PlanRequest request = Request(std::vector<int64_t>(100, 100), ChunkPolicy::kReference);
  request.cost.layers = 3000;  // 12 GB with one head
  request.cost.heads = 1;
  request.cost.score_bytes_per_cell = 4;
  const int64_t scores = 100 * 100 * 4;
  EXPECT_EQ(PlanChunks(request, BytesOf(100, 100) + scores)->chunk_size, 32);
  EXPECT_EQ(PlanChunks(request, BytesOf(32, 100) + scores)->chunk_size, 32);
  EXPECT_EQ(PlanChunks(request, BytesOf(32, 100) + scores - 1)->chunk_size, 16);
  EXPECT_EQ(PlanChunks(request, BytesOf(1, 100) + scores)->chunk_size, 1);
  EXPECT_FALSE(PlanChunks(request, BytesOf(1, 100) + scores - 1).has_value());
}

TEST(PlanChunksTest, ServerDefaultIsAdaptive) {
  EXPECT_EQ(PlanChunks(Request(std::vector<int64_t>(10, 20), ChunkPolicy::kServerDefault), BytesOf(7, 20))
                ->chunk_size,
            7);
}

TEST(SmallestPlanTest, IsOneSequenceAtATime) {
  const ChunkPlan plan = SmallestPlan(Request({20, 30}));
  EXPECT_EQ(plan.chunk_size, 1);
  EXPECT_EQ(plan.estimated_peak_bytes, BytesOf(1, 30));
  EXPECT_THAT(plan.chunks, ElementsAre(Chunk{0, 1, 20}, Chunk{1, 1, 30}));
}

TEST(LongestSequenceThatFitsTest, IsTheLastThatFits) {
  const PlanRequest request = Request({500});
  EXPECT_EQ(LongestSequenceThatFits(request, BytesOf(1, 77)), 77);
  EXPECT_EQ(LongestSequenceThatFits(request, BytesOf(1, 77) - 1), 76);
  EXPECT_EQ(LongestSequenceThatFits(request, BytesOf(1, 1) - 1), 0);
  EXPECT_EQ(LongestSequenceThatFits(request, std::numeric_limits<int64_t>::max()),
            std::numeric_limits<int32_t>::max());
}

TEST(PlanChunksTest, HoldsItsPromisesForRandomRequests) {
  std::mt19937 random(7);
  const auto draw = [&random](int64_t least, int64_t most) {
    return std::uniform_int_distribution<int64_t>(least, most)(random);
  };
  for (int round = 0; round < 2000; ++round) {
    PlanRequest request = Request(std::vector<int64_t>(draw(1, 40)),
                                  draw(0, 1) ? ChunkPolicy::kAdaptive : ChunkPolicy::kReference);
    for (int64_t& length : request.lengths) length = draw(1, 300);
    request.cost.layers = 6;
    request.cost.heads = static_cast<int32_t>(draw(1, 12));
    request.cost.score_bytes_per_cell = 4.0 * request.cost.heads;
    const MomentCost forward = {
        .bytes_per_token = static_cast<double>(draw(0, 5000)), .bytes_per_cell = 3.5, .fixed_bytes = 1000};
    request.cost.ranges = {{.forward = forward}};
    request.output.rollout_matrix = draw(0, 1) == 1;
    request.equal_lengths_only = draw(0, 3) == 0;
    request.max_chunk_size = static_cast<int32_t>(draw(0, 20));
    const int64_t smallest = SmallestPlan(request).estimated_peak_bytes;
    const int64_t free_bytes = draw(smallest / 2, smallest * 10);
    const auto plan = PlanChunks(request, free_bytes);
    ASSERT_EQ(plan.has_value(), smallest <= free_bytes);
    if (!plan.has_value()) continue;
    ASSERT_LE(plan->estimated_peak_bytes, free_bytes);
    int32_t next = 0;
    for (const Chunk& chunk : plan->chunks) {
      ASSERT_EQ(chunk.first_sequence, next);
      ASSERT_GE(chunk.num_sequences, 1);
      ASSERT_LE(chunk.num_sequences, plan->chunk_size);
      next += chunk.num_sequences;
      int64_t longest = 0;
      for (int32_t i = chunk.first_sequence; i < next; ++i) {
        longest = std::max(longest, request.lengths[i]);
        if (request.equal_lengths_only) {
          ASSERT_EQ(request.lengths[i], chunk.padded_length);
        }
      }
      ASSERT_EQ(chunk.padded_length, longest);
      ASSERT_LE(PredictPeakBytes(request.cost, ShapeOf(chunk, request.lengths), request.output), free_bytes);
    }
    ASSERT_EQ(next, static_cast<int32_t>(request.lengths.size()));
    if (request.max_chunk_size > 0) {
      ASSERT_LE(plan->chunk_size, request.max_chunk_size);
    }
    if (request.policy != ChunkPolicy::kAdaptive) continue;
    // No larger size would have done.
    const auto batch = static_cast<int32_t>(request.lengths.size());
    const int32_t limit = request.max_chunk_size > 0 ? std::min(batch, request.max_chunk_size) : batch;
    for (int32_t size = plan->chunk_size + 1; size <= limit; ++size) {
      const std::vector<Chunk> larger = CutChunks(request.lengths, size, request.equal_lengths_only);
      if (larger == plan->chunks) continue;
      ASSERT_TRUE(std::any_of(larger.begin(), larger.end(), [&](const Chunk& chunk) {
        return PredictPeakBytes(request.cost, ShapeOf(chunk, request.lengths), request.output) > free_bytes;
      }));
    }
  }
}

}  // namespace
}  // namespace attribution::admission
