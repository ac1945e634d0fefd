#include "server/rollout/valid_positions.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace attribution::rollout
