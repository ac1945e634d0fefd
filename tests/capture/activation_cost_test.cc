#include "server/capture/activation_cost.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace attribution::capture {
namespace {

using Run = std::function<absl::StatusOr<MeasuredRun>(int64_t batch, int64_t length)>;

double At(const MomentCost& cost, int64_t batch, int64_t length) {
  const auto b = static_cast<double>(batch);
  const auto s = static_cast<double>(length);
  return b * ((s * cost.bytes_per_cell + cost.bytes_per_token) * s + cost.bytes_per_sequence) +
         (s * cost.bytes_per_square + cost.bytes_per_position) * s + cost.fixed_bytes;
}

const MomentCost kForward = {.bytes_per_token = 4096,
                             .bytes_per_cell = 12,
                             .bytes_per_sequence = 500,
                             .bytes_per_position = 64,
                             .bytes_per_square = 4,
                             .fixed_bytes = 70000};
const MomentCost kAttention = {.bytes_per_token = 900, .bytes_per_position = 7, .fixed_bytes = 3};

// A model that allocates exactly that. `longest`: set to the longest run.
Run Model(int64_t* longest = nullptr) {
  return [longest](int64_t batch, int64_t length) -> absl::StatusOr<MeasuredRun> {
    if (longest != nullptr) *longest = std::max(*longest, length);
    return MeasuredRun{static_cast<int64_t>(At(kForward, batch, length)),
                       static_cast<int64_t>(At(kAttention, batch, length)), 48};
  };
}

void ExpectNear(const MomentCost& cost, const MomentCost& want) {
  EXPECT_NEAR(cost.bytes_per_token, want.bytes_per_token, 1e-6);
  EXPECT_NEAR(cost.bytes_per_cell, want.bytes_per_cell, 1e-6);
  EXPECT_NEAR(cost.bytes_per_sequence, want.bytes_per_sequence, 1e-6);
  EXPECT_NEAR(cost.bytes_per_position, want.bytes_per_position, 1e-6);
  EXPECT_NEAR(cost.bytes_per_square, want.bytes_per_square, 1e-6);
  EXPECT_NEAR(cost.fixed_bytes, want.fixed_bytes, 1e-6);
}

TEST(ActivationCostTest, RecoversEveryNumberOfBothMoments) {
  const auto cost = FitActivationCost(Model(), /*max_length=*/0, {12});
  ASSERT_TRUE(cost.ok());
  ASSERT_EQ(cost->ranges.size(), 1);
  EXPECT_EQ(cost->ranges[0].from_length, 1);
  ExpectNear(cost->ranges[0].forward, kForward);
  ExpectNear(cost->ranges[0].attention, kAttention);
  EXPECT_EQ(cost->score_bytes_per_cell, 48);
}

TEST(ActivationCostTest, RecoversThemOnAShortModel) {
  int64_t longest = 0;
  const auto cost = FitActivationCost(Model(&longest), /*max_length=*/10, {12, 40});
  ASSERT_TRUE(cost.ok());
  EXPECT_LE(longest, 10);
  ASSERT_EQ(cost->ranges.size(), 1) << "both ranges have runs of 3, 6 and 9";
  ExpectNear(cost->ranges[0].forward, kForward);
}

// Its peak is another moment for long sequences than for short ones.
TEST(ActivationCostTest, LengthsFarApartHaveRangesOfTheirOwn) {
  const auto bytes = [](int64_t batch, int64_t length) {
    const int64_t tokens = batch * length;
    return std::max(tokens * 400 + 9000, tokens * 100 + tokens * length * 8);
  };
  const auto cost = FitActivationCost(
      [&](int64_t batch, int64_t length) -> absl::StatusOr<MeasuredRun> {
        return MeasuredRun{bytes(batch, length), 0, 0};
      },
      /*max_length=*/0, {4, 400});
  ASSERT_TRUE(cost.ok()) << cost.status();
  ASSERT_EQ(cost->ranges.size(), 2);
  EXPECT_EQ(cost->ranges[1].from_length, 206) << "between the runs of 12 and of 400";
  EXPECT_NEAR(At(cost->ranges[0].forward, 7, 20), static_cast<double>(bytes(7, 20)), 1e-6);
  EXPECT_NEAR(At(cost->ranges[1].forward, 7, 2000), static_cast<double>(bytes(7, 2000)), 1e-3);
}

TEST(ActivationCostTest, DoesNotLieBelowThePeakOfManySequences) {
  const auto bytes = [](int64_t batch, int64_t length) {
    return std::max(batch * length * 100 + 9000, batch * length * 200);
  };
  const auto cost = FitActivationCost(
      [&](int64_t batch, int64_t length) -> absl::StatusOr<MeasuredRun> {
        return MeasuredRun{bytes(batch, length), 0, 0};
      },
      /*max_length=*/0, {12});
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_GE(At(cost->ranges[0].forward, 16, 6) * (1 + 1e-12), static_cast<double>(bytes(16, 6)));
}

TEST(ActivationCostTest, NeverRunsLongerThanTheModelAllows) {
  for (int64_t max_length = 1; max_length < 130; ++max_length) {
    int64_t longest = 0;
    ASSERT_TRUE(FitActivationCost(Model(&longest), max_length, {12, 40}).ok());
    EXPECT_LE(longest, max_length);
  }
}

TEST(ActivationCostTest, RunsStayShortForALongModel) {
  int64_t longest = 0;
  ASSERT_TRUE(FitActivationCost(Model(&longest), /*max_length=*/131072, {12}).ok());
  EXPECT_EQ(longest, 36) << "loading must not take longer for a longer model";
}

TEST(ActivationCostTest, ModelOfOneTokenCostsWhatItCosts) {
  const auto cost = FitActivationCost(Model(), /*max_length=*/1, {12});
  ASSERT_TRUE(cost.ok());
  for (const int64_t batch : {1, 2, 16, 64})
    EXPECT_NEAR(At(cost->ranges[0].forward, batch, 1), At(kForward, batch, 1), 1e-6);
}

TEST(ActivationCostTest, NoNumberIsNegative) {
  const auto cost = FitActivationCost(
      [](int64_t batch, int64_t length) -> absl::StatusOr<MeasuredRun> {
        return MeasuredRun{100000 - batch * 640 - length * length, 50000 - length, 0};
      },
      /*max_length=*/0, {12});
  ASSERT_TRUE(cost.ok());
  for (const MomentCost& moment : {cost->ranges[0].forward, cost->ranges[0].attention}) {
    EXPECT_GE(moment.bytes_per_token, 0);
    EXPECT_GE(moment.bytes_per_cell, 0);
    EXPECT_GE(moment.bytes_per_sequence, 0);
    EXPECT_GE(moment.bytes_per_position, 0);
    EXPECT_GE(moment.bytes_per_square, 0);
    EXPECT_GE(moment.fixed_bytes, 0);
  }
}

// Fails above `most` positions.
Run ModelUpTo(int64_t most) {
  return [most](int64_t batch, int64_t length) -> absl::StatusOr<MeasuredRun> {
    if (length > most) return absl::InternalError("too long for a table that the graph does not show");
    return MeasuredRun{100 * batch * length, 10 * batch * length, 0};
  };
}

TEST(ActivationCostTest, ShorterRunsDoWhereLongOnesFail) {
  const auto one_range = FitActivationCost(ModelUpTo(40), /*max_length=*/0, {12, 40});
  ASSERT_TRUE(one_range.ok()) << one_range.status();
  EXPECT_EQ(one_range->ranges.size(), 1);
  const auto shortest = FitActivationCost(ModelUpTo(10), /*max_length=*/0, {12, 40});
  ASSERT_TRUE(shortest.ok()) << shortest.status();
  EXPECT_NEAR(shortest->ranges[0].forward.bytes_per_token, 100, 1e-9);
}

TEST(ActivationCostTest, ModelThatNeverRunsGivesItsError) {
  EXPECT_EQ(FitActivationCost(ModelUpTo(0), /*max_length=*/0, {12}).status(),
            absl::InternalError("too long for a table that the graph does not show"));
}

// Of two moments the one that grows faster is the smaller in small batches.
TEST(ActivationCostTest, OfFixedSizeLiesBelowNoBatch) {
  const auto bytes = [](int64_t batch) { return std::max(batch * 1000 + 90000, batch * 7000); };
  const auto cost = FitActivationCostOfFixedSize(
      [&](int64_t batch) -> absl::StatusOr<MeasuredRun> {
        return MeasuredRun{bytes(batch), 2 * bytes(batch), 4};
      },
      /*length=*/17);
  ASSERT_TRUE(cost.ok());
  ASSERT_EQ(cost->ranges.size(), 1);
  EXPECT_EQ(cost->ranges[0].forward.bytes_per_cell, 0);
  EXPECT_EQ(cost->score_bytes_per_cell, 4);
  for (const int64_t batch : {1, 2, 8, 15, 64, 4096}) {
    const auto least = static_cast<double>(bytes(batch)) * (1 - 1e-12);
    EXPECT_GE(At(cost->ranges[0].forward, batch, 17), least) << batch;
    EXPECT_GE(At(cost->ranges[0].attention, batch, 17), 2 * least) << batch;
  }
}

TEST(ActivationCostTest, OfFixedSizeIsExactWithoutFixedBytes) {
  const auto cost = FitActivationCostOfFixedSize(
      [](int64_t batch) -> absl::StatusOr<MeasuredRun> { return MeasuredRun{batch * 3400, 0, 0}; }, 17);
  ASSERT_TRUE(cost.ok());
  EXPECT_NEAR(cost->ranges[0].forward.bytes_per_token, 200, 1e-9);
  EXPECT_NEAR(cost->ranges[0].forward.fixed_bytes, 0, 1e-9);
}

}  // namespace
}  // namespace attribution::capture
