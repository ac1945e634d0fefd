// Who goes before a request that waits for memory, and how often.
#include "absl/strings/str_cat.h"
#include "server/admission/admission_controller.h"
#include "tests/admission/controller_fixture.h"

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;

AdmissionLimits Overtakes(int32_t most) {
  AdmissionLimits limits = Workers(100);
  limits.max_overtakes = most;
  return limits;
}

class AdmissionOvertakingTest : public AdmissionControllerTest {
 protected:
  AdmissionOvertakingTest() : AdmissionControllerTest(Overtakes(2)) {}
};

TEST_F(AdmissionOvertakingTest, SmallerOnesGoBeforeABoundedNumberOfTimes) {
  Submit("a", 200);
  Submit("large", 250);
  for (const char* small : {"first", "second", "third"}) Submit(small, 10);
  EXPECT_THAT(order_, ElementsAre("a", "first", "second"));
  End("a");
  EXPECT_THAT(order_, ElementsAre("a", "first", "second", "large", "third"));
}

TEST_F(AdmissionOvertakingTest, NobodyGoesBeforeIfNobodyMay) {
  Replace(Overtakes(0));
  Submit("a", 200);
  Submit("large", 250);
  Submit("small", 50);
  EXPECT_FALSE(Answered("small"));
  End("a");
  EXPECT_THAT(order_, ElementsAre("a", "large", "small"));
}

TEST_F(AdmissionOvertakingTest, ThoseWhoWereHeldUpGoOnWhenTheLargeOneLeaves) {
  Submit("a", 200);
  const Ticket large = Submit("large", 250);
  for (const char* small : {"first", "second", "third", "fourth"}) Submit(small, 10);
  controller_->Cancel(large, absl::CancelledError(""));
  EXPECT_TRUE(Granted("third"));
  EXPECT_TRUE(Granted("fourth"));
}

TEST_F(AdmissionOvertakingTest, ALargerPriorityIsAheadAndNotCounted) {
  Replace(Overtakes(1));
  Submit("a", 200);
  Submit("large", 250);
  for (const char* urgent : {"first", "second", "third"}) Submit(urgent, 10, 1);
  EXPECT_TRUE(Granted("third"));
  Submit("small", 10);
  EXPECT_TRUE(Granted("small"));
  Submit("next", 10);
  EXPECT_FALSE(Answered("next"));
  Submit("urgent", 10, 1);
  EXPECT_TRUE(Granted("urgent"));
}

TEST_F(AdmissionOvertakingTest, EachThatWaitsCountsForItself) {
  Submit("a", 200);
  Submit("large", 250);
  Submit("first", 10);
  Submit("also large", 240);
  Submit("second", 10);
  Submit("third", 10);
  EXPECT_FALSE(Answered("third"));  // both have gone before "large", "second" alone before "also large"
  End("a");
  EXPECT_THAT(order_, ElementsAre("a", "first", "second", "large", "third"));
  Submit("fourth", 10);
  EXPECT_FALSE(Answered("fourth"));
}

TEST_F(AdmissionOvertakingTest, WhoWaitsForAWorkerIsNotOvertaken) {
  Replace(Workers(1));
  Submit("a", 10);
  Submit("large", 250);
  Submit("small", 10);
  End("a");
  EXPECT_THAT(order_, ElementsAre("a", "large"));
}

TEST_F(AdmissionOvertakingTest, ARefusalIsNoOvertaking) {
  Submit("a", 200);
  Submit("large", 160);
  for (const char* name : {"x", "y", "z"}) Submit(name, 240);
  budget_.SetBudget(230 * kMiB);
  EXPECT_EQ(ReasonOf(StatusOf("z")), "NEVER_FITS");
  EXPECT_FALSE(Answered("large"));
  Submit("small", 10);
  EXPECT_TRUE(Granted("small"));
}

// Small ones come for ever, and at any time one of them runs.
TEST_F(AdmissionOvertakingTest, ALargeOneIsNotStarved) {
  Submit("0", 10);
  Submit("large", 300);
  for (int i = 1; i < 10; ++i) {
    Submit(absl::StrCat(i), 10);
    End(absl::StrCat(i - 1));
  }
  ASSERT_TRUE(Granted("large"));
  EXPECT_THAT(order_, ElementsAre("0", "1", "2", "large"));
}

}  // namespace
}  // namespace attribution::admission
