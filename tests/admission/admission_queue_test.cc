// How requests leave the queue without having run, and how many may be in it.
#include "server/admission/admission_controller.h"
#include "tests/admission/controller_fixture.h"

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

AdmissionLimits Limits(int32_t queue_limit, int64_t queue_bytes) {
  AdmissionLimits limits;
  limits.queue_limit = queue_limit;
  limits.queue_bytes = queue_bytes;
  limits.workers = 100;
  return limits;
}

AdmissionLimits NoOvertaking() {
  AdmissionLimits limits;
  limits.max_overtakes = 0;
  limits.workers = 100;
  return limits;
}

class AdmissionQueueTest : public AdmissionControllerTest {
 protected:
  // Takes the whole budget.
  AdmissionQueueTest() { Submit("running", 300); }

  // Begins again with these limits.
  void RunWith(AdmissionLimits limits) {
    Replace(limits);
    Submit("running", 300);
  }

  void ExpectNotNow(const std::string& name, const std::string& reason, const std::string& decision) {
    const absl::Status status = StatusOf(name);
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    EXPECT_EQ(ReasonOf(status), reason);
    EXPECT_GT(RetryDelayOf(status).value_or(absl::ZeroDuration()), absl::ZeroDuration());
    EXPECT_EQ(listener_.decisions.back(), decision);
  }
};

TEST_F(AdmissionQueueTest, RefusesWhenTooManyWait) {
  RunWith(Limits(2, 1000));
  Submit("a", 100);
  Submit("b", 100);
  Submit("c", 100);
  ExpectNotNow("c", "QUEUE_FULL", "refused queue_full");
  EXPECT_EQ(controller_->queue_depth(), 2);
}

TEST_F(AdmissionQueueTest, RefusesWhenTooManyBytesWait) {
  RunWith(Limits(10, 1000));
  Submit("a", 100, 0, absl::InfiniteFuture(), 600);
  Submit("b", 100, 0, absl::InfiniteFuture(), 401);
  ExpectNotNow("b", "QUEUE_BYTES_FULL", "refused queue_bytes_full");
  Submit("c", 100, 0, absl::InfiniteFuture(), 400);
  EXPECT_FALSE(Answered("c"));
}

TEST_F(AdmissionQueueTest, BytesOfWhatLeftDoNotCount) {
  RunWith(Limits(10, 1000));
  controller_->Cancel(Submit("a", 100, 0, absl::InfiniteFuture(), 1000), absl::CancelledError(""));
  Submit("b", 100, 0, absl::InfiniteFuture(), 1000);
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionQueueTest, WithoutAQueueWhatFitsIsAdmittedAndTheRestRefused) {
  RunWith(Limits(0, 0));
  Submit("a", 100);
  ExpectNotNow("a", "QUEUE_FULL", "refused queue_full");
  End("running");
  Submit("b", 100, 0, absl::InfiniteFuture(), 5000);
  EXPECT_TRUE(Granted("b"));
}

TEST_F(AdmissionQueueTest, DropsWhatWaitedTooLong) {
  Submit("a", 100);
  now_ += absl::Seconds(30) - absl::Nanoseconds(1);
  controller_->Expire();
  EXPECT_FALSE(Answered("a"));
  now_ += absl::Nanoseconds(1);
  controller_->Expire();
  ExpectNotNow("a", "QUEUE_TIMEOUT", "dropped queue_timeout");
  EXPECT_EQ(listener_.depths.back(), 0);
}

TEST_F(AdmissionQueueTest, DropsWhatPassedItsDeadline) {
  Submit("a", 100, 0, now_ + absl::Seconds(2));
  now_ += absl::Seconds(2);
  controller_->Expire();
  EXPECT_EQ(StatusOf("a").code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(listener_.decisions.back(), "dropped deadline");
}

TEST_F(AdmissionQueueTest, ADeadlineThatIsOverIsNotQueued) {
  End("running");
  Submit("a", 100, 0, now_);
  EXPECT_EQ(StatusOf("a").code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(listener_.decisions.back(), "dropped deadline");
  EXPECT_EQ(budget_.reserved_bytes(), 0);
}

TEST_F(AdmissionQueueTest, MemoryIsNotGivenToWhatHasExpired) {
  Submit("late", 100, 0, now_ + absl::Seconds(1));
  Submit("next", 300);
  now_ += absl::Seconds(1);
  End("running");
  EXPECT_EQ(StatusOf("late").code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(Granted("next"));
}

TEST_F(AdmissionQueueTest, ExpiryOfTheFirstLetsTheNextIn) {
  RunWith(NoOvertaking());
  answers_.at("running")->reservation.Shrink(200 * kMiB);
  Submit("large", 250, 0, now_ + absl::Seconds(1));
  Submit("small", 50);
  EXPECT_FALSE(Answered("small"));
  now_ += absl::Seconds(1);
  controller_->Expire();
  EXPECT_TRUE(Granted("small"));
}

TEST_F(AdmissionQueueTest, CancelEndsTheWaitWithTheGivenStatus) {
  const Ticket ticket = Submit("a", 100);
  controller_->Cancel(ticket, absl::CancelledError("enough"));
  EXPECT_EQ(StatusOf("a"), absl::CancelledError("enough"));
  EXPECT_EQ(listener_.decisions.back(), "dropped cancelled");
  EXPECT_EQ(controller_->queue_depth(), 0);
}

TEST_F(AdmissionQueueTest, CancelForADeadlineIsCountedAsOne) {
  controller_->Cancel(Submit("a", 100), absl::DeadlineExceededError("late"));
  EXPECT_EQ(StatusOf("a"), absl::DeadlineExceededError("late"));
  EXPECT_EQ(listener_.decisions.back(), "dropped deadline");
}

TEST_F(AdmissionQueueTest, CancelWithoutAReasonIsCancelled) {
  controller_->Cancel(Submit("a", 100), absl::OkStatus());
  EXPECT_EQ(StatusOf("a").code(), absl::StatusCode::kCancelled);
}

TEST_F(AdmissionQueueTest, CancelOfTheFirstLetsTheNextIn) {
  RunWith(NoOvertaking());
  answers_.at("running")->reservation.Shrink(200 * kMiB);
  const Ticket ticket = Submit("large", 250);
  Submit("small", 50);
  EXPECT_FALSE(Answered("small"));
  controller_->Cancel(ticket, absl::CancelledError(""));
  EXPECT_TRUE(Granted("small"));
}

TEST_F(AdmissionQueueTest, CancelOfWhatDoesNotWaitDoesNothing) {
  const Ticket ticket = Submit("a", 100);
  End("running");
  ASSERT_TRUE(Granted("a"));
  controller_->Cancel(ticket, absl::CancelledError(""));
  controller_->Cancel(ticket + 100, absl::CancelledError(""));
  EXPECT_TRUE(Granted("a"));
  EXPECT_THAT(listener_.decisions, ElementsAre("admitted at_once", "admitted after_waiting"));
}

TEST_F(AdmissionQueueTest, NextExpiryIsTheEarliestOfDeadlinesAndTimeouts) {
  EXPECT_EQ(controller_->NextExpiry(), absl::InfiniteFuture());
  Submit("a", 100);
  EXPECT_EQ(controller_->NextExpiry(), now_ + absl::Seconds(30));
  const Ticket ticket = Submit("b", 100, 0, now_ + absl::Seconds(4));
  EXPECT_EQ(controller_->NextExpiry(), now_ + absl::Seconds(4));
  controller_->Cancel(ticket, absl::CancelledError(""));
  EXPECT_EQ(controller_->NextExpiry(), now_ + absl::Seconds(30));
}

TEST_F(AdmissionQueueTest, WakesWhenTheNextExpiryBecameEarlier) {
  std::vector<absl::Time> wakes;
  controller_->SetWakeListener(
      [&] { wakes.push_back(controller_->NextExpiry()); });  // asks, so outside the lock
  Submit("a", 100);
  now_ += absl::Seconds(1);
  Submit("later", 100);
  Submit("earlier", 100, 0, now_ + absl::Seconds(2));
  EXPECT_THAT(wakes, ElementsAre(now_ + absl::Seconds(29), now_ + absl::Seconds(2)));
}

TEST_F(AdmissionQueueTest, DoesNotWakeForWhatIsRefused) {
  RunWith(Limits(0, 0));
  std::vector<int> wakes;
  controller_->SetWakeListener([&] { wakes.push_back(1); });
  Submit("a", 100);
  ExpectNotNow("a", "QUEUE_FULL", "refused queue_full");
  EXPECT_THAT(wakes, IsEmpty());
}

TEST_F(AdmissionQueueTest, DoesNotWakeForWhatNeverWaits) {
  std::vector<int> wakes;
  controller_->SetWakeListener([&] { wakes.push_back(1); });
  End("running");
  Submit("a", 100);
  EXPECT_THAT(wakes, IsEmpty());
}

}  // namespace
}  // namespace attribution::admission
