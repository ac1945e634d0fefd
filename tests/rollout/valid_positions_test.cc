#include "server/rollout/valid_positions.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

const at::TensorOptions kFloat32(at::kFloat);

TEST(ValidPositionsTest, EmptyMaskMeansAllValid) {
  const ValidPositions valid({}, 3, kFloat32);
  EXPECT_TRUE(valid.all());
  EXPECT_EQ(valid.count(), 3);
  EXPECT_TRUE(valid.IsValid(2));
  EXPECT_EQ(valid.bytes(), 0);
}

TEST(ValidPositionsTest, MaskOfOnesMeansAllValid) { EXPECT_TRUE(ValidPositions({1, 1}, 2, kFloat32).all()); }

TEST(ValidPositionsTest, CountsLeftRightAndGaps) {
  const ValidPositions valid({0, 1, 0, 1, 1, 0}, 6, kFloat32);
  EXPECT_FALSE(valid.all());
  EXPECT_EQ(valid.count(), 3);
  EXPECT_FALSE(valid.IsValid(0));
  EXPECT_TRUE(valid.IsValid(1));
  EXPECT_FALSE(valid.IsValid(2));
}

TEST(ValidPositionsTest, ClearsRowsAndColumnsOfABlock) {
  const ValidPositions valid({1, 0, 1}, 3, kFloat32);
  at::Tensor block = at::full({2, 3}, std::numeric_limits<float>::quiet_NaN(), kFloat32);
  block[1][0] = 0.25;
  block[1][2] = 0.75;
  valid.ClearInvalid(/*first_row=*/1, block);
  EXPECT_EQ(ToMatrix(block), (oracle::Matrix{{0, 0, 0}, {0.25, 0, 0.75}}));
}

TEST(ValidPositionsTest, FirstIsTheFirstValidOne) {
  EXPECT_EQ(ValidPositions({}, 3, kFloat32).first(), 0);
  EXPECT_EQ(ValidPositions({1, 0, 1}, 3, kFloat32).first(), 0);
  EXPECT_EQ(ValidPositions({0, 0, 1}, 3, kFloat32).first(), 2);
}

TEST(ValidPositionsTest, EverywhereCountsMaskedPositionsAndClearsTheirNanRowsAlone) {
  const ValidPositions everywhere = ValidPositions::Everywhere({1, 0, 0}, 3, kFloat32);
  EXPECT_TRUE(everywhere.all());
  EXPECT_EQ(everywhere.count(), 3);
  EXPECT_TRUE(everywhere.IsValid(1));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  at::Tensor block = at::tensor({nan, 1.0F, 2.0F, nan, 3.0F, 4.0F, 5.0F, 6.0F, 7.0F}).view({3, 3});
  everywhere.ClearInvalid(0, block);
  EXPECT_TRUE(std::isnan(block[0][0].item<float>()));
  EXPECT_EQ(block[0][2].item<float>(), 2);
  EXPECT_TRUE(at::equal(block.slice(0, 1), at::tensor({0.0F, 0.0F, 0.0F, 5.0F, 6.0F, 7.0F}).view({2, 3})));
  // Rows are numbered in the matrix, not in the block.
  at::Tensor last = at::full({1, 3}, nan);
  everywhere.ClearInvalid(2, last);
  EXPECT_TRUE(at::equal(last, at::zeros({1, 3})));
}

}  // namespace
}  // namespace attribution::rollout
