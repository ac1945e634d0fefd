// What is refused or dropped because it cannot finish before its deadline, and how long a wait is expected.
#include "server/admission/admission_controller.h"
#include "tests/admission/controller_fixture.h"

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

// Predictions may be wrong by a factor of two: half of what is expected must fit.
class AdmissionDeadlineTest : public AdmissionControllerTest {
 protected:
  AdmissionDeadlineTest() : AdmissionControllerTest(Workers(1)) {}

  // Submits a request that is expected to take `seconds`.
  void Expect(const std::string& name, double seconds, absl::Duration allowed = absl::InfiniteDuration(),
              int64_t mebibytes = 10, int32_t priority = 0) {
    AdmissionRequest request;
    request.plan = PlanOf(mebibytes * kMiB);
    request.expected_seconds = seconds;
    request.deadline = now_ + allowed;
    request.priority = priority;
    Submit(name, std::move(request));
  }

  void ExpectTooNear(const std::string& name, const std::string& wait, const std::string& duration) {
    const absl::Status status = StatusOf(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_EQ(ReasonOf(status), "DEADLINE_TOO_NEAR");
    EXPECT_FALSE(RetryDelayOf(status).has_value());
    EXPECT_THAT(MetadataOf(status), UnorderedElementsAre(Pair("expected_wait_seconds", wait),
                                                         Pair("expected_duration_seconds", duration)));
  }

  AdmissionController::Outlook OutlookOf(int64_t mebibytes = 10, int32_t priority = 0) const {
    return controller_->OutlookOf(PlanOf(mebibytes * kMiB), priority);
  }
};

TEST_F(AdmissionDeadlineTest, RefusesWhatCannotFinishThoughItStartedAtOnce) {
  Expect("a", 10, absl::Seconds(5));
  ExpectTooNear("a", "0", "10");
  EXPECT_THAT(listener_.decisions, ElementsAre("refused deadline_too_near"));
  EXPECT_EQ(budget_.reserved_bytes(), 0);
  Expect("b", 10, absl::Seconds(5) + absl::Nanoseconds(1));
  EXPECT_TRUE(Granted("b"));
}

TEST_F(AdmissionDeadlineTest, RefusesWhatCannotFinishAfterItsWait) {
  Expect("a", 10);
  Expect("b", 2, absl::Seconds(6));
  ExpectTooNear("b", "10", "2");
  EXPECT_EQ(listener_.decisions.back(), "refused deadline_too_near");
  EXPECT_EQ(controller_->queue_depth(), 0);
  Expect("c", 2, absl::Seconds(7));
  EXPECT_FALSE(Answered("c"));
}

TEST_F(AdmissionDeadlineTest, AnUnknownDurationRefusesNothing) {
  Expect("a", 0);
  Expect("b", 0, absl::Nanoseconds(1));
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionDeadlineTest, WhatStartsAtOnceIsNotRefusedForTheWaitOfOthers) {
  Replace(Workers(2));
  Expect("a", 100, absl::InfiniteDuration(), 200);
  Expect("large", 100, absl::InfiniteDuration(), 250);  // waits for memory
  Expect("small", 2, absl::Seconds(3));
  EXPECT_TRUE(Granted("small"));
}

TEST_F(AdmissionDeadlineTest, IsDroppedAtTheLastMomentFromWhichItCouldFinish) {
  Expect("a", 0);
  Expect("b", 4, absl::Seconds(10));
  EXPECT_EQ(controller_->NextExpiry(), now_ + absl::Seconds(8));
  now_ += absl::Seconds(8) - absl::Nanoseconds(1);
  controller_->Expire();
  EXPECT_FALSE(Answered("b"));
  now_ += absl::Nanoseconds(1);
  controller_->Expire();
  ExpectTooNear("b", "0", "4");
  EXPECT_EQ(listener_.decisions.back(), "dropped deadline");
}

TEST_F(AdmissionDeadlineTest, IsNotStartedAfterThatMoment) {
  Expect("a", 0);
  Expect("b", 4, absl::Seconds(10));
  now_ += absl::Seconds(9);
  End("a");
  ExpectTooNear("b", "0", "4");
}

TEST_F(AdmissionDeadlineTest, ADeadlineThatPassedSaysSo) {
  Expect("a", 0);
  Expect("b", 4, absl::Seconds(10));
  now_ += absl::Seconds(10);
  controller_->Expire();
  EXPECT_EQ(StatusOf("b").code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_FALSE(ReasonOf(StatusOf("b")).has_value());
}

TEST_F(AdmissionDeadlineTest, TheQueuesTimeoutMayComeFirst) {
  Expect("a", 0);
  Expect("b", 4, absl::Seconds(60));
  EXPECT_EQ(controller_->NextExpiry(), now_ + absl::Seconds(30));
  now_ += absl::Seconds(30);
  controller_->Expire();
  EXPECT_EQ(ReasonOf(StatusOf("b")), "QUEUE_TIMEOUT");
}

TEST_F(AdmissionDeadlineTest, TheWaitIsThatForWhatRunsAndForThoseBefore) {
  Expect("a", 10);
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(10));
  Expect("b", 4);
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(14));
  EXPECT_EQ(OutlookOf(10, 1).wait, absl::Seconds(10));
  now_ += absl::Seconds(3);
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(11));
  now_ += absl::Seconds(20);  // later than expected
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(4));
}

TEST_F(AdmissionDeadlineTest, TheWorkerThatIsFreeFirstCounts) {
  Replace(Workers(2));
  Expect("long", 100);
  Expect("short", 2);
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(2));
  Expect("next", 5);
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(7));
  Expect("b", 1, absl::Seconds(5));
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionDeadlineTest, OfSeveralChunksTheNextCounts) {
  const auto submit = [this](const std::string& name) {
    AdmissionRequest request;
    request.plan.lengths = {8, 8, 8, 8};
    request.plan.max_chunk_size = 1;
    request.expected_seconds = 40;
    Submit(name, std::move(request));
  };
  submit("runs");
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(10));
  submit("waits");
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(20));
  TurnRequest rest;
  rest.expected_seconds = 30;
  rest.chunks = 3;
  Continue("turn", std::move(rest));
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(30));
  End("runs");
  End("waits");
  EXPECT_TRUE(Granted("turn"));
  EXPECT_EQ(OutlookOf().wait, absl::Seconds(10));
}

TEST_F(AdmissionDeadlineTest, WhatFindsAWorkerAndMemoryStartsNow) {
  EXPECT_TRUE(OutlookOf(300).starts_now);
  EXPECT_EQ(OutlookOf(300).wait, absl::ZeroDuration());
  EXPECT_FALSE(OutlookOf(301).starts_now);
  Expect("a", 5);
  EXPECT_FALSE(OutlookOf().starts_now);
  EndFirstChunk("a");
  EXPECT_TRUE(OutlookOf(290).starts_now);
  EXPECT_FALSE(OutlookOf(291).starts_now);
}

TEST_F(AdmissionDeadlineTest, WhatMayGoBeforeOneThatWaitsForMemoryStartsNow) {
  AdmissionLimits limits = Workers(100);
  limits.max_overtakes = 1;
  Replace(limits);
  Expect("a", 5, absl::InfiniteDuration(), 200);
  Expect("large", 7, absl::InfiniteDuration(), 250);
  EXPECT_TRUE(OutlookOf().starts_now);
  EXPECT_EQ(OutlookOf().wait, absl::ZeroDuration());
  Expect("small", 1);
  ASSERT_TRUE(Granted("small"));
  EXPECT_FALSE(OutlookOf().starts_now);
  EXPECT_TRUE(OutlookOf(10, 1).starts_now);
}

TEST_F(AdmissionDeadlineTest, NothingStartsNowWhileTheServerDrains) {
  controller_->Drain();
  EXPECT_FALSE(OutlookOf().starts_now);
}

}  // namespace
}  // namespace attribution::admission
