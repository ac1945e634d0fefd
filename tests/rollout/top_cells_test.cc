#include "server/rollout/top_cells.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "tests/rollout/attention_samples.h"

namespace attribution {

bool operator==(const Cell& a, const Cell& b) {
  return a.row == b.row && a.column == b.column && a.value == b.value;
}
void PrintTo(const Cell& cell, std::ostream* stream) {
  *stream << "(" << cell.row << ", " << cell.column << ") " << cell.value;
}

namespace rollout {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// The largest of `cells` [n][n]; every position is valid unless there is a mask.
std::vector<Cell> Largest(const oracle::Matrix& cells, int64_t count, const std::vector<int32_t>& mask = {}) {
  const at::Tensor matrix = ToTensor({cells})[0].contiguous();
  return LargestCells(matrix, ValidPositions(mask, matrix.size(0), at::kFloat), count);
}

TEST(TopCellsTest, LargestComesFirst) {
  EXPECT_THAT(Largest({{9, 4, 3}, {8, 1, 7}, {2, 6, 5}}, 4),
              ElementsAre(Cell{0, 0, 9}, Cell{1, 0, 8}, Cell{1, 2, 7}, Cell{2, 1, 6}));
}

TEST(TopCellsTest, OfEqualCellsTheSmallerFlatIndexComesFirst) {
  const oracle::Matrix cells = {{1, 2, 1}, {2, 3, 2}, {2, 1, 2}};
  EXPECT_THAT(Largest(cells, 4), ElementsAre(Cell{1, 1, 3}, Cell{0, 1, 2}, Cell{1, 0, 2}, Cell{1, 2, 2}));
  EXPECT_THAT(Largest({{0, 0}, {0, 0}}, 3), ElementsAre(Cell{0, 0, 0}, Cell{0, 1, 0}, Cell{1, 0, 0}));
}

TEST(TopCellsTest, MoreThanThereAreIsAll) {
  EXPECT_THAT(Largest({{1, 2}, {2, 0}}, 1000),
              ElementsAre(Cell{0, 1, 2}, Cell{1, 0, 2}, Cell{0, 0, 1}, Cell{1, 1, 0}));
}

TEST(TopCellsTest, MaskedRowsAndColumnsDoNotCount) {
  const oracle::Matrix cells = {{0, 0, 0}, {0, 0.25, 0.75}, {0, 0.5, 0.5}};
  EXPECT_THAT(Largest(cells, 9, {0, 1, 1}),
              ElementsAre(Cell{1, 2, 0.75}, Cell{2, 1, 0.5}, Cell{2, 2, 0.5}, Cell{1, 1, 0.25}));
}

TEST(TopCellsTest, NoneIsNone) { EXPECT_THAT(Largest({{1, 2}, {3, 4}}, 0), IsEmpty()); }

// Against sorting all cells, over several blocks of rows; values are few, so ties are many.
TEST(TopCellsTest, AgreesWithSortingEverything) {
  const int64_t size = 300;
  const at::Tensor matrix = at::arange(size * size, at::kFloat).mul(7919).remainder(101).view({size, size});
  std::vector<int32_t> mask(size, 1);
  for (int64_t i = 0; i < size; i += 7) mask[i] = 0;
  std::vector<Cell> all;
  for (int32_t i = 0; i < size; ++i) {
    for (int32_t j = 0; j < size; ++j) {
      if (mask[i] == 1 && mask[j] == 1) all.push_back({i, j, matrix[i][j].item<float>()});
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Cell& a, const Cell& b) { return a.value > b.value; });
  const ValidPositions valid(mask, size, at::kFloat);
  for (const size_t count : {size_t{1}, size_t{100}, size_t{5000}, all.size() - 1, all.size()}) {
    const std::vector<Cell> found = LargestCells(matrix, valid, static_cast<int64_t>(count));
    EXPECT_TRUE(
        std::equal(found.begin(), found.end(), all.begin(), all.begin() + static_cast<ptrdiff_t>(count)))
        << count;
  }
}

}  // namespace
}  // namespace rollout
}  // namespace attribution
