#include "server/admission/cost_correction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace attribution::admission {
namespace {

// 1000 bytes a position beyond what is exact.
ModelCost Model() {
  ModelCost cost;
  cost.ranges = {{.forward = {.bytes_per_token = 1000}}};
  return cost;
}

// The bytes of a chunk that takes `ratio` times the moment that is predicted.
int64_t Measured(const ChunkShape& chunk, double ratio, const OutputCost& output = {}) {
  const PeakTerms terms = PredictTerms(Model(), chunk, output);
  return static_cast<int64_t>(terms.own_held + terms.common_held + ratio * terms.moment);
}

class CostCorrectionTest : public ::testing::Test {
 protected:
  void Observe(const ChunkShape& chunk, double ratio) {
    correction_.Observe(Model(), chunk, {}, std::nullopt, Measured(chunk, ratio));
  }

  double FactorOf(const ChunkShape& chunk, const OutputCost& output = {}) const {
    const auto factors = correction_.factors();
    return factors == nullptr ? 1 : factors->FactorFor(chunk, output, std::nullopt);
  }

  // measured / estimated of a chunk that takes `ratio` times what is predicted.
  double RatioOf(const ChunkShape& chunk, double ratio) const {
    ModelCost cost = Model();
    cost.correction = correction_.factors();
    return static_cast<double>(Measured(chunk, ratio)) /
           static_cast<double>(PredictPeakBytes(cost, chunk, {}));
  }

  CostCorrection correction_;
};

TEST_F(CostCorrectionTest, IsNothingUntilSomethingWasMeasured) {
  EXPECT_EQ(correction_.factors(), nullptr);
  Observe({4, 32}, 0.9);
  EXPECT_NE(correction_.factors(), nullptr);
}

TEST_F(CostCorrectionTest, RisesAtOnce) {
  Observe({4, 32}, 1.5);
  EXPECT_NEAR(FactorOf({4, 32}), 1.5 * 1.06, 1e-3);
  EXPECT_LT(RatioOf({4, 32}, 1.5), 1);
}

TEST_F(CostCorrectionTest, FallsStepByStepToWhatWasMeasured) {
  Observe({4, 32}, 0.5);
  EXPECT_NEAR(FactorOf({4, 32}), 0.53 + 0.47 * 0.7, 1e-3);
  for (int i = 0; i < 10; ++i) Observe({4, 32}, 0.5);
  EXPECT_NEAR(FactorOf({4, 32}), 0.53, 1e-2);
}

TEST_F(CostCorrectionTest, FollowsTheLargestOfABand) {
  for (int i = 0; i < 10; ++i) {
    Observe({4, 32}, 0.6);
    Observe({4, 34}, 0.7);
  }
  EXPECT_NEAR(FactorOf({4, 32}), 0.7 * 1.06, 1e-3);
}

TEST_F(CostCorrectionTest, ForgetsALargeOneInTheEnd) {
  Observe({4, 32}, 2);
  for (int i = 0; i < 31; ++i) Observe({4, 32}, 0.8);
  EXPECT_GT(FactorOf({4, 32}), 2);
  for (int i = 0; i < 33; ++i) Observe({4, 32}, 0.8);
  EXPECT_NEAR(FactorOf({4, 32}), 0.8 * 1.06, 1e-3);
}

TEST_F(CostCorrectionTest, IsBounded) {
  for (int i = 0; i < 70; ++i) Observe({4, 32}, 100);
  EXPECT_EQ(FactorOf({4, 32}), kLargestCorrection);
  for (int i = 0; i < 70; ++i) Observe({64, 8}, 0.01);
  EXPECT_EQ(FactorOf({64, 8}), kSmallestCorrection);
}

TEST_F(CostCorrectionTest, BandsThatWereNotSeenBorrowFromNearOnesTheLessTheFartherTheyAre) {
  for (int i = 0; i < 20; ++i) Observe({4, 32}, 1.5);
  const double own = FactorOf({4, 32});
  const double next = FactorOf({8, 32});
  const double far = FactorOf({64, 512});
  EXPECT_GT(own, next);
  EXPECT_GT(next, far);
  EXPECT_GT(far, 1);
}

TEST_F(CostCorrectionTest, BorrowsTheLargestOfTheNearOnes) {
  for (int i = 0; i < 20; ++i) Observe({4, 32}, 1.1);
  const double of_one = FactorOf({4, 64});
  for (int i = 0; i < 20; ++i) Observe({4, 128}, 1.4);
  EXPECT_GT(FactorOf({4, 64}), of_one);
}

TEST_F(CostCorrectionTest, BandsThatWereNotSeenGetNoDiscount) {
  for (int i = 0; i < 20; ++i) Observe({4, 32}, 0.5);
  EXPECT_EQ(FactorOf({8, 32}), 1);
}

TEST_F(CostCorrectionTest, OtherWaysOfFoldingAreLearnedApart) {
  for (int i = 0; i < 20; ++i) Observe({4, 32}, 0.5);
  EXPECT_EQ(FactorOf({4, 32}, {.layer_metrics = true}), 1);
  EXPECT_EQ(FactorOf({4, 32}, {.uniform_rollout = true}), 1);
}

TEST_F(CostCorrectionTest, LearnsNothingWhereTheEndExplainsThePeak) {
  const OutputCost output{.rollout_matrix = true, .cell_bytes = 4, .top_cells = 1 << 20};
  const ChunkShape chunk{1, 8};
  const PeakTerms terms = PredictTerms(Model(), chunk, output);
  const double end = terms.own_held + terms.common_held + terms.own_output + terms.common_end;
  correction_.Observe(Model(), chunk, output, std::nullopt, static_cast<int64_t>(end));
  EXPECT_EQ(correction_.factors(), nullptr);
  correction_.Observe(Model(), chunk, output, std::nullopt, 0);
  EXPECT_EQ(correction_.factors(), nullptr);
}

TEST_F(CostCorrectionTest, AFailureRaisesAndNeverLowers) {
  const ChunkShape chunk{4, 32};
  correction_.ObserveAtLeast(Model(), chunk, {}, std::nullopt, Measured(chunk, 0.5));
  EXPECT_EQ(FactorOf(chunk), 1);
  correction_.ObserveAtLeast(Model(), chunk, {}, std::nullopt, Measured(chunk, 1.2));
  EXPECT_GT(FactorOf(chunk), 1.2);
}

// A model whose peak is up to a third off, another way for each shape.
TEST_F(CostCorrectionTest, ConvergesOnMixedShapes) {
  std::mt19937 random(3);
  const auto draw = [&random](double most) {
    return std::llround(std::exp2(std::uniform_real_distribution<double>(0, most)(random)));
  };
  const auto truth = [](const ChunkShape& chunk) {
    return 0.75 + 0.25 * std::sin(std::log2(static_cast<double>(chunk.padded_length)) / 2) +
           0.02 * std::log2(static_cast<double>(chunk.sequences));
  };
  int good = 0;
  constexpr int kRequests = 400;
  for (int i = 0; i < kRequests; ++i) {
    const ChunkShape chunk{draw(5), draw(9)};
    const double ratio = RatioOf(chunk, truth(chunk));
    if (i >= kRequests / 2 && ratio >= 0.8 && ratio <= 1) ++good;
    Observe(chunk, truth(chunk));
  }
  EXPECT_GE(good, kRequests / 2 * 95 / 100);
}

}  // namespace
}  // namespace attribution::admission
