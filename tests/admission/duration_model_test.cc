#include "server/admission/duration_model.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

namespace attribution::admission {
namespace {

// A machine on which a chunk takes 2 ms, 40 µs a token and 0.1 µs a cell.
double Truth(int64_t sequences, int64_t length) {
  const auto tokens = static_cast<double>(sequences * length);
  return 2e-3 + 4e-5 * tokens + 1e-7 * tokens * static_cast<double>(length);
}

void ObserveMixed(DurationModel& model, int chunks, double noise_octaves, uint32_t seed = 1) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> octave(0, 1);
  for (int i = 0; i < chunks; ++i) {
    const auto sequences = static_cast<int64_t>(std::exp2(5 * octave(random)));
    const auto length = static_cast<int64_t>(std::exp2(9 * octave(random)));
    const double noise = std::exp2(noise_octaves * (2 * octave(random) - 1));
    model.Observe(sequences, length, noise * Truth(sequences, length));
  }
}

TEST(DurationModelTest, IsUnknownUntilThreeChunksRan) {
  DurationModel model;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(model.ChunkSeconds(4, 100), 0);
    EXPECT_EQ(model.RequestSeconds({100, 100}), 0);
    model.Observe(4, 100, Truth(4, 100));
  }
  EXPECT_NEAR(model.ChunkSeconds(4, 100), Truth(4, 100), 1e-3 * Truth(4, 100));
}

TEST(DurationModelTest, LearnsFixedSecondsThoseOfTokensAndOfCells) {
  DurationModel model;
  ObserveMixed(model, 100, /*noise_octaves=*/0);
  for (const auto& [sequences, length] : {std::pair<int64_t, int64_t>{1, 1}, {1, 16}, {32, 128}, {8, 512}}) {
    const double truth = Truth(sequences, length);
    EXPECT_NEAR(model.ChunkSeconds(sequences, length), truth, 0.03 * truth) << sequences << " x " << length;
  }
}

TEST(DurationModelTest, StandsNoiseOfAFactorOfTwo) {
  DurationModel model;
  ObserveMixed(model, 200, /*noise_octaves=*/1);
  for (const auto& [sequences, length] : {std::pair<int64_t, int64_t>{1, 16}, {32, 128}, {8, 512}}) {
    const double ratio = model.ChunkSeconds(sequences, length) / Truth(sequences, length);
    EXPECT_GT(ratio, 0.5) << sequences << " x " << length;
    EXPECT_LT(ratio, 2) << sequences << " x " << length;
  }
}

TEST(DurationModelTest, OneChunkThatStoodStillChangesLittle) {
  DurationModel model;
  ObserveMixed(model, 50, /*noise_octaves=*/0);
  model.Observe(8, 128, 100 * Truth(8, 128));
  EXPECT_LT(model.ChunkSeconds(8, 128), 1.1 * Truth(8, 128));
}

TEST(DurationModelTest, FollowsAMachineThatBecomesSlower) {
  DurationModel model;
  for (int i = 0; i < 50; ++i) model.Observe(8, 128, 0.1);
  for (int i = 0; i < 200; ++i) model.Observe(8, 128, 0.3);
  EXPECT_NEAR(model.ChunkSeconds(8, 128), 0.3, 0.03);
}

TEST(DurationModelTest, OfOneShapeItIsTheTokensThatCount) {
  DurationModel model;
  for (int i = 0; i < 10; ++i) model.Observe(8, 100, 0.8);
  EXPECT_NEAR(model.ChunkSeconds(16, 100), 1.6, 0.1);
}

TEST(DurationModelTest, ARequestIsTheSumOfItsSequences) {
  DurationModel model;
  ObserveMixed(model, 100, /*noise_octaves=*/0);
  EXPECT_NEAR(model.RequestSeconds({64, 64, 64, 64}), model.ChunkSeconds(4, 64), 1e-9);
  EXPECT_LT(model.RequestSeconds({64, 8, 8, 8}), model.ChunkSeconds(4, 64));
}

TEST(DurationModelTest, WhatIsNoTimeIsNotLearned) {
  DurationModel model;
  for (const double seconds : {0.0, -1.0, std::nan(""), std::numeric_limits<double>::infinity()})
    for (int i = 0; i < 5; ++i) model.Observe(1, 10, seconds);
  for (int i = 0; i < 5; ++i) model.Observe(0, 10, 1);
  EXPECT_EQ(model.ChunkSeconds(1, 10), 0);
}

}  // namespace
}  // namespace attribution::admission
