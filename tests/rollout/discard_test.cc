#include "server/rollout/discard.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "tests/rollout/attention_samples.h"

namespace attribution::rollout {
namespace {

const at::TensorOptions kFloat32(at::kFloat);

// What is left of `cells` [n][n]; every position is valid unless there is a mask.
oracle::Matrix Kept(const oracle::Matrix& cells, double ratio, const std::vector<int32_t>& mask = {}) {
  at::Tensor matrix = ToTensor({cells})[0].contiguous();
  DiscardSmallest(ratio, ValidPositions(mask, matrix.size(0), kFloat32), matrix);
  return ToMatrix(matrix);
}

TEST(DiscardTest, SetsTheSmallestCellsToZero) {
  const oracle::Matrix cells = {{9, 4, 3}, {8, 1, 7}, {2, 6, 5}};
  EXPECT_EQ(Kept(cells, 0.35), (oracle::Matrix{{9, 4, 0}, {8, 0, 7}, {0, 6, 5}}));
  EXPECT_EQ(Kept(cells, 0.99), (oracle::Matrix{{9, 0, 0}, {0, 0, 0}, {0, 0, 0}}));
}

TEST(DiscardTest, CountIsRoundedDown) {
  const oracle::Matrix cells = {{9, 4, 3}, {8, 1, 7}, {2, 6, 5}};
  EXPECT_EQ(Kept(cells, 0.11), cells);  // 0.99 of a cell
  EXPECT_EQ(Kept(cells, 0.12), (oracle::Matrix{{9, 4, 3}, {8, 0, 7}, {2, 6, 5}}));
  EXPECT_EQ(Kept(cells, 0.0), cells);
}

TEST(DiscardTest, OfEqualCellsTheSmallerFlatIndexGoesFirst) {
  const oracle::Matrix cells = {{9, 2, 1}, {2, 2, 9}, {2, 9, 2}};
  // 4 of 9: the 1, then the first three of the five 2s.
  EXPECT_EQ(Kept(cells, 0.45), (oracle::Matrix{{9, 0, 0}, {0, 0, 9}, {2, 9, 2}}));
}

TEST(DiscardTest, TiesGoOnFromBlockToBlock) {
  const oracle::Matrix ones(300, std::vector<double>(300, 1.0));
  const double ratio = 200.5 / 300;  // half of row 200 is the last to go
  const oracle::Matrix kept = Kept(ones, ratio);
  for (size_t i = 0; i < 300; ++i) {
    for (size_t j = 0; j < 300; ++j) {
      const bool stays = i * 300 + j >= 200 * 300 + 150 || (i == 0 && j == 0);
      ASSERT_EQ(kept[i][j], stays ? 1 : 0) << i << ", " << j;
    }
  }
}

TEST(DiscardTest, ZerosThatAreThereCountAmongTheSmallest) {
  const oracle::Matrix causal = {{9, 0, 0}, {1, 8, 0}, {2, 3, 4}};
  EXPECT_EQ(Kept(causal, 0.34), causal);  // three cells: the three zeros
  EXPECT_EQ(Kept(causal, 0.45), (oracle::Matrix{{9, 0, 0}, {0, 8, 0}, {2, 3, 4}}));
}

TEST(DiscardTest, TheFirstValidCellStaysAndNoneGoesInItsStead) {
  EXPECT_EQ(Kept({{1, 2}, {3, 4}}, 0.5), (oracle::Matrix{{1, 0}, {3, 4}}));
  EXPECT_EQ(Kept({{1, 1}, {1, 1}}, 0.5), (oracle::Matrix{{1, 0}, {1, 1}}));
}

TEST(DiscardTest, InvalidCellsDoNotCount) {
  // Positions 1 and 3 are valid: 2 of 4 cells, of which the first stays.
  const oracle::Matrix cells = {{0, 0, 0, 0}, {0, 1, 0, 2}, {0, 0, 0, 0}, {0, 4, 0, 3}};
  const oracle::Matrix kept = {{0, 0, 0, 0}, {0, 1, 0, 0}, {0, 0, 0, 0}, {0, 4, 0, 3}};
  EXPECT_EQ(Kept(cells, 0.5, {0, 1, 0, 1}), kept);
}

TEST(DiscardTest, TellsNeighbouringFloatsApart) {
  const float above = std::nextafter(0.25F, 1.0F);
  const oracle::Matrix cells = {{1, above}, {0.25, 1}};
  EXPECT_EQ(Kept(cells, 0.25), (oracle::Matrix{{1, above}, {0, 1}}));
}

}  // namespace
}  // namespace attribution::rollout
