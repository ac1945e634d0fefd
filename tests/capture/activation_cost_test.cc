#include "server/capture/activation_cost.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace attribution::capture {
namespace {

// A model that allocates exactly `per_token`, `per_cell` and `fixed` bytes.
auto Model(int64_t per_token, int64_t per_cell, int64_t fixed, int64_t* longest = nullptr) {
  return [=](int64_t batch, int64_t length) -> absl::StatusOr<int64_t> {
    if (longest != nullptr) *longest = std::max(*longest, length);
    return batch * length * per_token + batch * length * length * per_cell + fixed;
  };
}

TEST(ActivationCostTest, RecoversTheThreeCoefficients) {
  const auto cost = FitActivationCost(Model(4096, 12, 70000), /*max_length=*/0);
  ASSERT_TRUE(cost.ok());
  EXPECT_NEAR(cost->bytes_per_token, 4096, 1e-6);
  EXPECT_NEAR(cost->bytes_per_cell, 12, 1e-6);
  EXPECT_NEAR(cost->fixed_bytes, 70000, 1e-6);
}

// Its peak is another moment for many short sequences than for few long ones.
TEST(ActivationCostTest, DoesNotLieBelowThePeakOfManyShortSequences) {
  const auto peak = [](int64_t batch, int64_t length) -> absl::StatusOr<int64_t> {
    const int64_t tokens = batch * length;
    return std::max(tokens * 200 + 9000, tokens * 100 + tokens * length * 8 + 9000);
  };
  const auto cost = FitActivationCost(peak, /*max_length=*/0);
  ASSERT_TRUE(cost.ok()) << cost.status();
  for (const int64_t batch : {1, 16, 64, 1000}) {
    for (const int64_t length : {8, 16, 48, 512}) {
      const auto tokens = static_cast<double>(batch * length);
      const double predicted = tokens * cost->bytes_per_token +
                               tokens * static_cast<double>(length) * cost->bytes_per_cell +
                               cost->fixed_bytes;
      EXPECT_GE(predicted, static_cast<double>(*peak(batch, length))) << batch << " x " << length;
    }
  }
}

TEST(ActivationCostTest, RecoversThemOnAShortModel) {
  int64_t longest = 0;
  const auto cost = FitActivationCost(Model(300, 8, 5000, &longest), /*max_length=*/10);
  ASSERT_TRUE(cost.ok());
  EXPECT_LE(longest, 10);
  EXPECT_NEAR(cost->bytes_per_token, 300, 1e-6);
  EXPECT_NEAR(cost->bytes_per_cell, 8, 1e-6);
  EXPECT_NEAR(cost->fixed_bytes, 5000, 1e-6);
}

TEST(ActivationCostTest, NeverRunsLongerThanTheModelAllows) {
  for (int64_t max_length = 1; max_length < 60; ++max_length) {
    int64_t longest = 0;
    ASSERT_TRUE(FitActivationCost(Model(1, 1, 1, &longest), max_length).ok());
    EXPECT_LE(longest, max_length);
  }
}

TEST(ActivationCostTest, RunsStayShortForALongModel) {
  int64_t longest = 0;
  ASSERT_TRUE(FitActivationCost(Model(1, 1, 1, &longest), /*max_length=*/131072).ok());
  EXPECT_LE(longest, 64) << "loading must not take longer for a longer model";
}

TEST(ActivationCostTest, ModelOfOneTokenCostsWhatItCosts) {
  const auto cost = FitActivationCost(Model(300, 0, 5000), /*max_length=*/1);
  ASSERT_TRUE(cost.ok());
  EXPECT_NEAR(cost->bytes_per_token + cost->bytes_per_cell, 300, 1e-6);
  EXPECT_NEAR(cost->fixed_bytes, 5000, 1e-6);
}

TEST(ActivationCostTest, NoCoefficientIsNegative) {
  const auto shrinking = [](int64_t batch, int64_t length) -> absl::StatusOr<int64_t> {
    return 100000 - batch * 640 - length * length;
  };
  const auto cost = FitActivationCost(shrinking, /*max_length=*/0);
  ASSERT_TRUE(cost.ok());
  EXPECT_GE(cost->bytes_per_token, 0);
  EXPECT_GE(cost->bytes_per_cell, 0);
  EXPECT_GE(cost->fixed_bytes, 0);
}

TEST(ActivationCostTest, ShorterRunsDoWhereLongOnesFail) {
  const auto peak = [](int64_t batch, int64_t length) -> absl::StatusOr<int64_t> {
    if (length > 10) return absl::InternalError("too long for a table that the graph does not show");
    return 100 * batch * length;
  };
  const auto cost = FitActivationCost(peak, /*max_length=*/0);
  ASSERT_TRUE(cost.ok()) << cost.status();
  EXPECT_DOUBLE_EQ(cost->bytes_per_token, 100);
}

TEST(ActivationCostTest, ModelThatNeverRunsGivesItsError) {
  const auto peak = [](int64_t, int64_t) -> absl::StatusOr<int64_t> {
    return absl::InternalError("the model threw");
  };
  EXPECT_EQ(FitActivationCost(peak, /*max_length=*/0).status(), absl::InternalError("the model threw"));
}

// Of two moments the one that grows faster is the smaller in small batches.
TEST(ActivationCostTest, OfFixedSizeLiesBelowNoBatch) {
  const auto peak = [](int64_t batch) -> absl::StatusOr<int64_t> {
    return std::max(batch * 1000 + 90000, batch * 7000);
  };
  const auto cost = FitActivationCostOfFixedSize(peak, /*length=*/17);
  ASSERT_TRUE(cost.ok());
  EXPECT_EQ(cost->bytes_per_cell, 0);
  for (const int64_t batch : {1, 2, 8, 15, 64, 4096}) {
    const double predicted = static_cast<double>(batch * 17) * cost->bytes_per_token + cost->fixed_bytes;
    EXPECT_GE(predicted, static_cast<double>(*peak(batch)) * (1 - 1e-12)) << batch;
  }
}

TEST(ActivationCostTest, OfFixedSizeIsExactWithoutFixedBytes) {
  const auto cost =
      FitActivationCostOfFixedSize([](int64_t batch) -> absl::StatusOr<int64_t> { return batch * 3400; }, 17);
  ASSERT_TRUE(cost.ok());
  EXPECT_NEAR(cost->bytes_per_token, 200, 1e-9);
  EXPECT_NEAR(cost->fixed_bytes, 0, 1e-9);
}

}  // namespace
}  // namespace attribution::capture
