#include "server/capture/needed_columns.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

namespace attribution::capture {
namespace {

using Kind = ScoreMask::Kind;

constexpr int64_t kLength = 12;
constexpr int64_t kHeads = 3;
constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
constexpr double kLowest = std::numeric_limits<float>::lowest();

at::Tensor CausalKept() { return at::ones({1, kLength, kLength}, at::kBool).tril(); }

at::Tensor Added(const at::Tensor& kept, double hides) {
  return at::zeros(kept.sizes()).masked_fill(kept.logical_not(), hides);
}

std::vector<int64_t> ColumnsOfRows(const std::vector<ScoreMask>& masks) {
  std::vector<int64_t> columns;
  for (int64_t row = 0; row < kLength; ++row) columns.push_back(NeededColumns(masks, row, 1, kLength));
  return columns;
}

const std::vector<int64_t> kCausal = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12};
const std::vector<int64_t> kAll(kLength, kLength);

TEST(NeededColumnsTest, EveryKindOfMaskEndsAtTheDiagonal) {
  EXPECT_EQ(ColumnsOfRows({{Kind::kKeepsTrue, CausalKept()}}), kCausal);
  EXPECT_EQ(ColumnsOfRows({{Kind::kHidesTrue, CausalKept().logical_not()}}), kCausal);
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), kMinusInfinity)}}), kCausal);
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), kLowest)}}), kCausal);
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), -65504).to(at::kHalf)}}), kCausal);
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), -kLowest), -1}}), kCausal);
}

TEST(NeededColumnsTest, ABlockNeedsWhatItsLastRowSees) {
  EXPECT_EQ(NeededColumns({{Kind::kKeepsTrue, CausalKept()}}, 2, 5, kLength), 7);
}

TEST(NeededColumnsTest, NoMaskHidesNothing) { EXPECT_EQ(ColumnsOfRows({}), kAll); }

TEST(NeededColumnsTest, HeadsThatSeeMoreDecide) {
  at::Tensor kept = CausalKept().repeat({kHeads, 1, 1});
  kept[1][4][9] = true;
  EXPECT_EQ(NeededColumns({{Kind::kKeepsTrue, kept}}, 4, 1, kLength), 10);
  EXPECT_EQ(NeededColumns({{Kind::kKeepsTrue, kept}}, 5, 1, kLength), 6);
}

TEST(NeededColumnsTest, ARowThatSeesNothingNeedsEverything) {
  at::Tensor kept = CausalKept();
  kept[0][4].fill_(false);
  EXPECT_EQ(NeededColumns({{Kind::kKeepsTrue, kept}}, 2, 5, kLength), kLength);
  EXPECT_EQ(NeededColumns({{Kind::kKeepsTrue, kept}}, 5, 5, kLength), 10);
}

// Left padding: each mask leaves something of rows 0 and 1, both together nothing.
TEST(NeededColumnsTest, ARowThatSeesNothingOfBothMasksNeedsEverything) {
  at::Tensor padding = at::ones({1, 1, kLength}, at::kBool);
  padding.narrow(2, 0, 2).fill_(false);
  std::vector<int64_t> want = kCausal;
  want[0] = want[1] = kLength;
  EXPECT_EQ(ColumnsOfRows({{Kind::kKeepsTrue, CausalKept()}, {Kind::kKeepsTrue, padding}}), want);
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(padding, kLowest)}, {Kind::kKeepsTrue, CausalKept()}}), want);
  // -10000 leaves the padding a share, should there be nothing else.
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(padding, -1e4)}, {Kind::kKeepsTrue, CausalKept()}}), want);
}

TEST(NeededColumnsTest, MildMasksHideNothing) {
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), -1e4)}}), kAll);
}

TEST(NeededColumnsTest, ABiasThatCouldLiftWhatIsHiddenNeedsEverything) {
  const at::Tensor bias = at::zeros({1, kLength, kLength});
  EXPECT_EQ(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), kLowest)}, {Kind::kAdded, bias}}), kCausal);
  EXPECT_NE(ColumnsOfRows({{Kind::kAdded, Added(CausalKept(), kLowest)}, {Kind::kAdded, bias.add(2e4)}}),
            kCausal);
}

TEST(NeededColumnsTest, NanIsNotHidden) {
  at::Tensor added = Added(CausalKept(), kMinusInfinity);
  added[0][3][8] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(NeededColumns({{Kind::kAdded, added}}, 3, 1, kLength), 9);
}

TEST(NeededColumnsTest, SlidingWindowEndsAtTheDiagonalToo) {
  const at::Tensor kept = CausalKept().logical_and(at::ones({1, kLength, kLength}, at::kBool).triu(-2));
  EXPECT_EQ(ColumnsOfRows({{Kind::kKeepsTrue, kept}}), kCausal);
}

// What is left out must be 0 in float32 whatever the scores are.
TEST(NeededColumnsTest, RandomMasksLeaveOutOnlyZeros) {
  at::Generator generator = at::detail::createCPUGenerator(/*seed_val=*/3);
  for (int trial = 0; trial < 200; ++trial) {
    const double share = trial % 4 == 0 ? 0.9 : 0.3;
    const at::Tensor kept = at::rand({trial % 2 == 0 ? kHeads : 1, kLength, kLength}, generator)
                                .gt(share)
                                .logical_and(CausalKept());
    const at::Tensor padding = at::rand({1, 1, kLength}, generator).gt(0.3);
    const at::Tensor added = Added(padding, trial % 3 == 0 ? kLowest : -1e4);
    const std::vector<ScoreMask> masks = {{Kind::kKeepsTrue, kept}, {Kind::kAdded, added}};
    const at::Tensor scores = at::randn({kHeads, kLength, kLength}, generator, at::kFloat).mul(4);
    const at::Tensor all =
        at::softmax(scores.masked_fill(kept.logical_not(), kLowest).add(added), -1).nan_to_num(1);
    for (const int64_t rows : {1, 3}) {
      for (int64_t first = 0; first + rows <= kLength; ++first) {
        const int64_t columns = NeededColumns(masks, first, rows, kLength);
        EXPECT_EQ(
            all.narrow(1, first, rows).narrow(2, columns, kLength - columns).count_nonzero().item<int64_t>(),
            0)
            << "trial " << trial << ", row " << first;
      }
    }
  }
}

TEST(VisibleCellsTest, ACellIsVisibleIfEveryMaskLeavesItInSomeHead) {
  const at::Tensor keeps = at::tensor({1, 1, 0, 1, 0, 1}).view({2, 1, 3}).to(at::kBool);  // of two heads
  const at::Tensor added = at::tensor({0.0F, -10000.0F, -3.0F}).view({1, 1, 3});
  const std::vector<ScoreMask> masks = {{ScoreMask::Kind::kKeepsTrue, keeps},
                                        {ScoreMask::Kind::kAdded, added}};
  const at::Tensor visible = VisibleCells(masks, 0, 1, 3, at::TensorOptions());
  EXPECT_TRUE(visible.equal(at::tensor({1, 0, 1}).view({1, 3}).to(at::kBool)));
  EXPECT_TRUE(VisibleCells({}, 4, 2, 3, at::TensorOptions()).all().item<bool>());
}

}  // namespace
}  // namespace attribution::capture
