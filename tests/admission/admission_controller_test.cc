#include "server/admission/admission_controller.h"

#include "absl/strings/str_cat.h"
#include "tests/admission/controller_fixture.h"

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

TEST_F(AdmissionControllerTest, AdmitsAtOnceWhatFits) {
  Submit("a", 100);
  ASSERT_TRUE(Granted("a"));
  const Grant& grant = *answers_.at("a");
  EXPECT_EQ(grant.plan.estimated_peak_bytes, EstimateThatFits(100 * kMiB));
  EXPECT_EQ(grant.plan.chunk_size, 1);
  EXPECT_EQ(grant.reservation.bytes(), 100 * kMiB);
  EXPECT_EQ(grant.waited, absl::ZeroDuration());
  ASSERT_NE(grant.start, nullptr);
  EXPECT_EQ(grant.start->members, 1);
  EXPECT_EQ(grant.start->common.bytes(), 0);
  EXPECT_EQ(budget_.reserved_bytes(), 100 * kMiB);
  EXPECT_THAT(listener_.decisions, ElementsAre("admitted at_once"));
  EXPECT_THAT(listener_.depths, IsEmpty());
}

TEST_F(AdmissionControllerTest, GivesEveryRequestItsOwnTicket) {
  EXPECT_NE(Submit("a", 100), Submit("b", 100));
}

TEST_F(AdmissionControllerTest, ARequestWaitsForMemoryThatIsReturned) {
  Submit("a", 250);
  Submit("b", 100);
  EXPECT_FALSE(Answered("b"));
  EXPECT_EQ(controller_->queue_depth(), 1);
  now_ += absl::Seconds(3);
  End("a");
  ASSERT_TRUE(Granted("b"));
  EXPECT_EQ(answers_.at("b")->waited, absl::Seconds(3));
  EXPECT_EQ(budget_.reserved_bytes(), 100 * kMiB);
  EXPECT_THAT(listener_.decisions, ElementsAre("admitted at_once", "admitted after_waiting"));
  EXPECT_THAT(listener_.depths, ElementsAre(1, 0));
}

TEST_F(AdmissionControllerTest, ShrinkingAReservationLetsTheNextIn) {
  Submit("a", 300);
  Submit("b", 100);
  answers_.at("a")->reservation.Shrink(200 * kMiB);
  EXPECT_TRUE(Granted("b"));
}

TEST_F(AdmissionControllerTest, PlansForWhatIsFreeNow) {
  Submit("a", 200);
  AdmissionRequest request;
  request.plan.lengths = {512, 512, 512};
  budget_.SetBudget(200 * kMiB + ReservedBytes(PeakOf(request.plan, 3, 512)) - 1);
  Submit("b", std::move(request));
  ASSERT_TRUE(Granted("b"));
  const Grant& grant = *answers_.at("b");
  EXPECT_EQ(grant.plan.chunk_size, 2);
  EXPECT_EQ(grant.reservation.bytes(), ReservedBytes(grant.plan.estimated_peak_bytes));
}

TEST_F(AdmissionControllerTest, OneReleaseMayAdmitSeveralInOrder) {
  Submit("a", 300);
  Submit("b", 100);
  Submit("c", 100);
  Submit("d", 100);
  Submit("e", 100);
  End("a");
  EXPECT_THAT(order_, ElementsAre("a", "b", "c", "d"));
  EXPECT_FALSE(Answered("e"));
}

TEST_F(AdmissionControllerTest, HigherPriorityGoesFirstAndEqualOnesInOrder) {
  Submit("a", 300);
  Submit("low", 300, -1);
  Submit("first", 300, 5);
  Submit("second", 300, 5);
  for (const char* running : {"a", "first", "second", "low"}) End(running);
  EXPECT_THAT(order_, ElementsAre("a", "first", "second", "low"));
}

TEST_F(AdmissionControllerTest, AHigherPriorityThatFitsNeedNotQueue) {
  Submit("a", 200);
  Submit("waits", 250);
  Submit("urgent", 50, 1);
  EXPECT_TRUE(Granted("urgent"));
  EXPECT_FALSE(Answered("waits"));
}

TEST_F(AdmissionControllerTest, RefusesWhatNeverFits) {
  Submit("a", 301);
  const absl::Status status = StatusOf("a");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ReasonOf(status), "NEVER_FITS");
  EXPECT_FALSE(RetryDelayOf(status).has_value());
  const std::string estimate = absl::StrCat(EstimateThatFits(301 * kMiB));
  EXPECT_THAT(MetadataOf(status),
              UnorderedElementsAre(Pair("estimated_bytes", estimate), Pair("budget_bytes", "314572800"),
                                   Pair("max_seq_length_that_fits", "0")));
  // The estimate alone may be below the budget.
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("for which 315621376 are reserved, the budget is 314572800"));
  EXPECT_THAT(listener_.decisions, ElementsAre("refused never_fits"));
}

TEST_F(AdmissionControllerTest, TellsTheLongestSequenceThatFits) {
  AdmissionRequest request;
  request.plan.lengths = {600};
  budget_.SetBudget(ReservedBytes(PeakOf(request.plan, 1, 500)));
  Submit("a", std::move(request));
  EXPECT_EQ(MetadataOf(StatusOf("a"))["max_seq_length_that_fits"], "500");
}

TEST_F(AdmissionControllerTest, WhatNeverFitsIsRefusedBehindAQueueToo) {
  Submit("a", 300);
  Submit("b", 300);
  Submit("c", 301);
  EXPECT_EQ(ReasonOf(StatusOf("c")), "NEVER_FITS");
  EXPECT_EQ(controller_->queue_depth(), 1);
}

TEST_F(AdmissionControllerTest, ABudgetThatShrankRefusesWhatWaits) {
  Submit("a", 200);
  Submit("b", 250);
  Submit("c", 110);
  budget_.SetBudget(240 * kMiB);
  EXPECT_EQ(ReasonOf(StatusOf("b")), "NEVER_FITS");
  EXPECT_EQ(listener_.decisions.back(), "refused never_fits");
  EXPECT_FALSE(Answered("c"));  // 40 MiB are free
  End("a");
  EXPECT_TRUE(Granted("c"));
}

TEST_F(AdmissionControllerTest, ABudgetThatGrewAdmitsWhatWaits) {
  Submit("a", 300);
  Submit("b", 300);
  budget_.SetBudget(600 * kMiB);
  EXPECT_TRUE(Granted("b"));
}

TEST_F(AdmissionControllerTest, DrainRefusesNewRequestsAndKeepsThoseThatWait) {
  Submit("a", 300);
  Submit("b", 300);
  controller_->Drain();
  Submit("c", 10);
  const absl::Status status = StatusOf("c");
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), "DRAINING");
  EXPECT_TRUE(RetryDelayOf(status).has_value());
  EXPECT_EQ(listener_.decisions.back(), "refused draining");
  End("a");
  EXPECT_TRUE(Granted("b"));
}

TEST_F(AdmissionControllerTest, TheEndOfTheControllerAnswersWhatWaits) {
  Submit("a", 300);
  Submit("b", 300);
  EndFirstChunk("a");
  controller_.reset();
  EXPECT_EQ(StatusOf("b").code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(listener_.decisions.back(), "dropped cancelled");
  EXPECT_EQ(listener_.depths.back(), 0);
  End("a");
  EXPECT_EQ(budget_.reserved_bytes(), 0);
}

TEST_F(AdmissionControllerTest, DoneMayGiveTheMemoryBackAndSubmitAgain) {
  int answered = 0;
  AdmissionRequest request;
  std::function<void(absl::StatusOr<Grant>)> done = [&](absl::StatusOr<Grant> grant) {
    ASSERT_TRUE(grant.ok());
    if (++answered == 3) return;
    AdmissionRequest next;
    next.plan = PlanOf(200 * kMiB);  // more than is free until this grant ends
    next.done = done;
    controller_->Submit(std::move(next));
  };
  request.plan = PlanOf(200 * kMiB);
  request.done = done;
  controller_->Submit(std::move(request));
  EXPECT_EQ(answered, 3);
  EXPECT_EQ(budget_.reserved_bytes(), 0);
}

TEST_F(AdmissionControllerTest, DecisionsAreCountedBeforeDone) {
  AdmissionRequest request;
  request.plan = PlanOf(100 * kMiB);
  size_t counted = 0;
  request.done = [&](const absl::StatusOr<Grant>&) { counted = listener_.decisions.size(); };
  controller_->Submit(std::move(request));
  EXPECT_EQ(counted, 1u);
}

}  // namespace
}  // namespace attribution::admission
