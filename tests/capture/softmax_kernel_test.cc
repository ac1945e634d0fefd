#include "server/capture/softmax_kernel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

namespace attribution::capture {
namespace {

constexpr double kTolerance = 2e-7;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> RandomCells(int64_t count, double deviation, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0.0F, static_cast<float>(deviation));
  std::vector<float> cells(count);
  std::generate(cells.begin(), cells.end(), [&] { return normal(generator); });
  return cells;
}

// The textbook softmax of row `row` in double. A row that is hidden as a whole is 0.
std::vector<double> ExpectedRow(const float* row, const float* mask, int64_t seen, int64_t columns) {
  std::vector<double> cells(columns, 0.0);
  double maximum = -kInfinity;
  for (int64_t j = 0; j < seen; ++j) {
    cells[j] = mask == nullptr ? row[j] : static_cast<double>(row[j]) + mask[j];
    maximum = std::max(maximum, cells[j]);
  }
  if (maximum == -kInfinity) return std::vector<double>(columns, 0.0);
  double sum = 0;
  for (int64_t j = 0; j < seen; ++j) sum += cells[j] = std::exp(cells[j] - maximum);
  for (int64_t j = 0; j < seen; ++j) cells[j] /= sum;
  return cells;
}

struct Case {
  int64_t heads;
  int64_t rows;
  int64_t columns;
  int64_t causal_row;
  bool mask_of_heads;
  bool mask_of_rows;
};

class SoftmaxKernelTest : public testing::TestWithParam<Case> {
 protected:
  void ExpectSoftmax(const std::vector<float>& scores, const AddedMask& mask) {
    const Case& c = GetParam();
    std::vector<float> cells = scores;
    SoftmaxInPlace({cells.data(), c.heads, c.rows, c.columns}, mask, c.causal_row, HiddenRows::kZero);
    for (int64_t h = 0; h < c.heads; ++h) {
      for (int64_t i = 0; i < c.rows; ++i) {
        const int64_t seen = c.causal_row < 0 ? c.columns : std::min(c.columns, c.causal_row + i + 1);
        const float* added =
            mask.cells == nullptr ? nullptr : mask.cells + h * mask.head_stride + i * mask.row_stride;
        const int64_t offset = (h * c.rows + i) * c.columns;
        const std::vector<double> want = ExpectedRow(scores.data() + offset, added, seen, c.columns);
        for (int64_t j = 0; j < c.columns; ++j) {
          ASSERT_NEAR(cells[offset + j], want[j], kTolerance) << h << ", " << i << ", " << j;
          ASSERT_TRUE(want[j] != 0 || cells[offset + j] == 0) << "what is hidden is exactly 0";
        }
      }
    }
  }
};

TEST_P(SoftmaxKernelTest, IsTheSoftmax) {
  const Case& c = GetParam();
  const int64_t count = c.heads * c.rows * c.columns;
  ExpectSoftmax(RandomCells(count, 1, 1), {});
  ExpectSoftmax(RandomCells(count, 30, 2), {});  // nearly one-hot
}

TEST_P(SoftmaxKernelTest, AddsTheMask) {
  const Case& c = GetParam();
  const int64_t mask_rows = c.mask_of_rows ? c.rows : 1;
  std::vector<float> mask = RandomCells((c.mask_of_heads ? c.heads : 1) * mask_rows * c.columns, 1, 3);
  const AddedMask added{mask.data(), c.mask_of_heads ? mask_rows * c.columns : 0,
                        c.mask_of_rows ? c.columns : 0};
  const std::vector<float> scores = RandomCells(c.heads * c.rows * c.columns, 2, 4);
  ExpectSoftmax(scores, added);
  for (size_t j = 1; j < mask.size(); j += 3) mask[j] = j % 2 == 0 ? -kInfinity : -3.4e38F;
  ExpectSoftmax(scores, added);
  std::fill_n(mask.begin(), c.columns, -kInfinity);  // hides a row as a whole
  ExpectSoftmax(scores, added);
}

INSTANTIATE_TEST_SUITE_P(Shapes, SoftmaxKernelTest,
                         testing::Values(Case{1, 1, 1, kNotCausal, false, false},
                                         Case{3, 5, 7, kNotCausal, false, true},
                                         Case{2, 4, 16, kNotCausal, true, true},
                                         Case{2, 3, 33, kNotCausal, true, false},
                                         Case{2, 9, 9, 0, false, true}, Case{2, 6, 40, 17, true, true},
                                         Case{1, 2, 515, 300, false, false}));

TEST(SoftmaxKernelErrorsTest, WhatIsNotFiniteStaysVisible) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const float bad : {nan, kInfinity}) {
    std::vector<float> cells = RandomCells(2 * 21, 1, 5);
    cells[3] = bad;
    SoftmaxInPlace({cells.data(), 1, 2, 21}, {}, kNotCausal, HiddenRows::kZero);
    for (int64_t j = 0; j < 21; ++j) {
      EXPECT_TRUE(std::isnan(cells[j])) << j;
      EXPECT_TRUE(std::isfinite(cells[21 + j])) << "the next row is its own";
    }
  }
}

TEST(SoftmaxKernelErrorsTest, OnlyAMaskMayHideARow) {
  std::vector<float> cells(5, -kInfinity);
  SoftmaxInPlace({cells.data(), 1, 1, 5}, {}, kNotCausal, HiddenRows::kZero);
  EXPECT_TRUE(std::isnan(cells[0]));
  std::vector<float> nans(5, std::numeric_limits<float>::quiet_NaN());
  const std::vector<float> mask(5, 0.0F);
  SoftmaxInPlace({nans.data(), 1, 1, 5}, {mask.data(), 0, 0}, kNotCausal, HiddenRows::kZero);
  EXPECT_TRUE(std::isnan(nans[0]));
}

TEST(SoftmaxKernelErrorsTest, AHiddenRowIsZeroOrNanAsAsked) {
  const std::vector<float> mask(5, -kInfinity);
  for (const HiddenRows hidden : {HiddenRows::kZero, HiddenRows::kNan}) {
    std::vector<float> cells(5, 1.0F);
    SoftmaxInPlace({cells.data(), 1, 1, 5}, {mask.data(), 0, 0}, kNotCausal, hidden);
    for (const float cell : cells) EXPECT_EQ(std::isnan(cell), hidden == HiddenRows::kNan);
    EXPECT_EQ(cells == std::vector<float>(5, 0.0F), hidden == HiddenRows::kZero);
  }
}

}  // namespace
}  // namespace attribution::capture
