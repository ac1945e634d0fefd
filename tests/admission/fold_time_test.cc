#include "server/admission/fold_time.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "server/admission/chunk_planner.h"

namespace attribution::admission {
namespace {

constexpr int64_t kPlenty = int64_t{1} << 40;

PlanRequest Request(std::vector<int64_t> lengths, RowsAlone rows_alone) {
  PlanRequest request;
  request.lengths = std::move(lengths);
  request.rows_alone = rows_alone;
  return request;
}

struct Row {
  int64_t length;
  RowsAlone rows_alone;
  RolloutMethod want;
};

class FoldMethodTest : public testing::TestWithParam<Row> {};

TEST_P(FoldMethodTest, IsTheFasterOneWhereBothFit) {
  const Row& row = GetParam();
  const auto plan = PlanChunks(Request({row.length}, row.rows_alone), kPlenty);
  ASSERT_TRUE(plan.has_value());
  EXPECT_EQ(plan->rollout_method, row.want);
}

INSTANTIATE_TEST_SUITE_P(
    Table, FoldMethodTest,
    testing::Values(Row{2048, {1, 6, true}, RolloutMethod::kSelectedRows},
                    Row{2048, {1, 6, false}, RolloutMethod::kSelectedRows},
                    Row{128, {1, 6, true}, RolloutMethod::kSelectedRows},
                    Row{128, {4, 12, true}, RolloutMethod::kSelectedRows},
                    Row{2048, {2048, 6, true}, RolloutMethod::kFullMatrix},
                    Row{2048, {2000, 6, true}, RolloutMethod::kFullMatrix},  // 5/6 of 2048 are 1707
                    Row{2048, {1500, 6, true}, RolloutMethod::kSelectedRows},
                    Row{128, {1000, 6, false}, RolloutMethod::kFullMatrix},  // no more than there are
                    Row{512, {1, 1, true}, RolloutMethod::kFullMatrix},      // one layer is no product
                    Row{1, {1, 6, true}, RolloutMethod::kFullMatrix}));

TEST(FoldTimeTest, GrowsWithTheCubeOrTheSquareOfTheLength) {
  const RowsAlone one_row{1, 6, true};
  EXPECT_NEAR(FullMatrixSeconds(6, {8192}) / FullMatrixSeconds(6, {4096}), 8, 0.1);
  EXPECT_NEAR(SelectedRowsSeconds(one_row, {8192}) / SelectedRowsSeconds(one_row, {4096}), 4, 1e-9);
  EXPECT_DOUBLE_EQ(FullMatrixSeconds(6, {100, 100}), 2 * FullMatrixSeconds(6, {100}));
}

// B = 1, S = 1000, H = 0: rows alone hold 6 layers, their sums and 4 vectors; whole, R and the spare.
constexpr int64_t kCommon = 2 * 128 * 1000 * 4 + 16'000;
constexpr int64_t kWhole = 2 * 4'000'000 + kCommon;
constexpr int64_t kKept = 6 * (4'000'000 + 4'000) + 4 * 4'000 + kCommon;

TEST(FoldMethodMemoryTest, WholeIfOnlyThatFits) {
  const PlanRequest request = Request({1000}, {1, 6, true});
  EXPECT_EQ(PlanChunks(request, kKept)->rollout_method, RolloutMethod::kSelectedRows);
  EXPECT_EQ(PlanChunks(request, kKept)->estimated_peak_bytes, kKept);
  EXPECT_EQ(PlanChunks(request, kKept - 1)->rollout_method, RolloutMethod::kFullMatrix);
  EXPECT_EQ(PlanChunks(request, kKept - 1)->estimated_peak_bytes, kWhole);
  EXPECT_FALSE(PlanChunks(request, kWhole - 1).has_value());
  EXPECT_EQ(SmallestPlan(request).estimated_peak_bytes, kWhole);
  EXPECT_EQ(SmallestPlan(request).rollout_method, RolloutMethod::kFullMatrix);
  EXPECT_EQ(LongestSequenceThatFits(request, kWhole), 1000);
}

// Rows that go forward hold vectors: 1 row, 32 + 4 products of blocks at most, 4 in work.
TEST(FoldMethodMemoryTest, RowsAloneIfOnlyTheyFit) {
  const int64_t forward = (1 + 36 + 4) * 4'000 + kCommon;
  PlanRequest request = Request({1000}, {1, 6, false});
  EXPECT_EQ(PlanChunks(request, forward)->rollout_method, RolloutMethod::kSelectedRows);
  EXPECT_FALSE(PlanChunks(request, forward - 1).has_value());
  EXPECT_EQ(LongestSequenceThatFits(request, forward), 1000);
  request.rows_alone->layers = 1;  // now whole is predicted to be as fast, but does not fit
  EXPECT_EQ(PlanChunks(request, forward)->rollout_method, RolloutMethod::kSelectedRows);
}

TEST(FoldMethodMemoryTest, WithoutRowsAloneThereIsOneMethod) {
  PlanRequest request = Request({1000}, {1, 6, true});
  request.rows_alone.reset();
  EXPECT_EQ(PlanChunks(request, kPlenty)->rollout_method, RolloutMethod::kFullMatrix);
}

}  // namespace
}  // namespace attribution::admission
