#include "server/admission/expected_wait.h"

#include <gtest/gtest.h>

namespace attribution::admission {
namespace {

using absl::Seconds;

TEST(ExpectedWaitTest, AFreeWorkerWaitsForNobody) {
  EXPECT_EQ(ExpectedWait({}, {}, 1), Seconds(0));
  EXPECT_EQ(ExpectedWait({Seconds(9)}, {}, 2), Seconds(0));
}

TEST(ExpectedWaitTest, IsThatOfTheWorkerThatIsFreeFirst) {
  EXPECT_EQ(ExpectedWait({Seconds(5), Seconds(3)}, {}, 2), Seconds(3));
}

TEST(ExpectedWaitTest, TurnsAheadGoToWhoeverIsFreeFirst) {
  // One is done at 3 and again at 7, the other at 5 and again at 6.
  EXPECT_EQ(ExpectedWait({Seconds(5), Seconds(3)}, {Seconds(4), Seconds(1)}, 2), Seconds(6));
}

TEST(ExpectedWaitTest, WhatIsOverdueIsDoneNow) { EXPECT_EQ(ExpectedWait({Seconds(-4)}, {}, 1), Seconds(0)); }

}  // namespace
}  // namespace attribution::admission
