#include "server/rollout/row_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace attribution::rollout {
namespace {

using ::testing::ElementsAre;
using Kind = RowSelection::Kind;

TEST(RowSelectionTest, AllIsOneRun) {
  EXPECT_THAT(SelectRows({}, {}, 5), ElementsAre(RowRun{0, 5}));
  EXPECT_THAT(SelectRows({}, {0, 1, 0}, 3), ElementsAre(RowRun{0, 3}));
}

TEST(RowSelectionTest, FirstAndLastValidFollowTheMask) {
  const std::vector<int32_t> mask = {0, 0, 1, 0, 1, 1, 0};
  EXPECT_THAT(SelectRows({Kind::kFirstValid, {}}, mask, 7), ElementsAre(RowRun{2, 1}));
  EXPECT_THAT(SelectRows({Kind::kLastValid, {}}, mask, 7), ElementsAre(RowRun{5, 1}));
  EXPECT_THAT(SelectRows({Kind::kFirstValid, {}}, {1}, 1), ElementsAre(RowRun{0, 1}));
  EXPECT_THAT(SelectRows({Kind::kLastValid, {}}, {1}, 1), ElementsAre(RowRun{0, 1}));
}

TEST(RowSelectionTest, WithoutAMaskEveryPositionIsValid) {
  EXPECT_THAT(SelectRows({Kind::kFirstValid, {}}, {}, 4), ElementsAre(RowRun{0, 1}));
  EXPECT_THAT(SelectRows({Kind::kLastValid, {}}, {}, 4), ElementsAre(RowRun{3, 1}));
}

TEST(RowSelectionTest, ConsecutiveIndicesAreOneRun) {
  EXPECT_THAT(SelectRows({Kind::kIndices, {0, 1, 2, 5, 7, 8}}, {}, 9),
              ElementsAre(RowRun{0, 3}, RowRun{5, 1}, RowRun{7, 2}));
}

}  // namespace
}  // namespace attribution::rollout
