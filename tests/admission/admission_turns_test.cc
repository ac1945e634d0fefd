// How many chunks run at once, and who has the next turn of a worker.
#include "server/admission/admission_controller.h"
#include "tests/admission/controller_fixture.h"

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TurnRequest TurnOf(int32_t priority, absl::Time deadline = absl::InfiniteFuture()) {
  TurnRequest request;
  request.priority = priority;
  request.deadline = deadline;
  return request;
}

class AdmissionTurnsTest : public AdmissionControllerTest {
 protected:
  AdmissionTurnsTest() : AdmissionControllerTest(Workers(1)) {}
};

TEST_F(AdmissionTurnsTest, NoMoreChunksRunThanThereAreWorkers) {
  Replace(Workers(2));
  for (const char* name : {"a", "b", "c"}) Submit(name, 10);
  EXPECT_TRUE(Granted("b"));
  EXPECT_FALSE(Answered("c"));
  EXPECT_EQ(controller_->queue_depth(), 1);
  End("a");
  EXPECT_TRUE(Granted("c"));
}

TEST_F(AdmissionTurnsTest, TheEndOfAChunkStartsTheNextWhileItsRequestKeepsItsMemory) {
  Submit("a", 100);
  Submit("b", 50);
  EndFirstChunk("a");
  EXPECT_TRUE(Granted("b"));
  EXPECT_EQ(budget_.reserved_bytes(), 150 * kMiB);
}

TEST_F(AdmissionTurnsTest, MemoryThatIsReturnedIsNoTurn) {
  Submit("a", 100);
  Submit("b", 50);
  answers_.at("a")->reservation.Release();
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionTurnsTest, OneTurnThatEndsStartsOne) {
  for (const char* name : {"a", "b", "c"}) Submit(name, 10);
  End("a");
  EXPECT_THAT(order_, ElementsAre("a", "b"));
}

TEST_F(AdmissionTurnsTest, GoesOnAtOnceWhileAWorkerIsFree) {
  Submit("a", 100);
  EndFirstChunk("a");
  Continue("a2");
  ASSERT_TRUE(Granted("a2"));
  EXPECT_EQ((*turns_.at("a2"))->members, 1);
  EXPECT_EQ(budget_.reserved_bytes(), 100 * kMiB);
}

TEST_F(AdmissionTurnsTest, TurnsAndRequestsComeInOneOrder) {
  Submit("a", 10);
  Submit("b", 10);
  EndFirstChunk("a");
  Continue("a2");
  Submit("c", 10);
  EndFirstChunk("b");
  Continue("b2");
  for (const char* running : {"a2", "c", "b2"}) End(running);
  EXPECT_THAT(order_, ElementsAre("a", "b", "a2", "c", "b2"));
}

TEST_F(AdmissionTurnsTest, TheLargerPriorityHasTheNextTurn) {
  Submit("a", 10);
  Submit("b", 10);
  Continue("low", TurnOf(-1));
  Continue("high", TurnOf(1));
  for (const char* running : {"a", "high", "b", "low"}) End(running);
  EXPECT_THAT(order_, ElementsAre("a", "high", "b", "low"));
}

TEST_F(AdmissionTurnsTest, WhoWaitsForMemoryHoldsUpNobodyThatHasIt) {
  AdmissionLimits limits = Workers(1);
  limits.max_overtakes = 0;
  Replace(limits);
  Submit("a", 200);
  Submit("large", 250);
  EndFirstChunk("a");
  EXPECT_FALSE(Answered("large"));
  Continue("a2");
  EXPECT_TRUE(Granted("a2"));
  End("a2");
  Continue("a3");
  EXPECT_TRUE(Granted("a3"));
}

TEST_F(AdmissionTurnsTest, ATurnDoesNotCountAsOvertaking) {
  AdmissionLimits limits = Workers(1);
  limits.max_overtakes = 1;
  Replace(limits);
  Submit("a", 200);
  Submit("large", 250);
  EndFirstChunk("a");
  Continue("a2");
  End("a2");
  Continue("a3");
  End("a3");
  Submit("small", 10);
  EXPECT_TRUE(Granted("small"));
}

TEST_F(AdmissionTurnsTest, TheQueuesLimitsDoNotBindWhatIsAdmitted) {
  AdmissionLimits limits = Workers(1);
  limits.queue_limit = 0;
  limits.queue_bytes = 0;
  Replace(limits);
  Submit("a", 10);
  Continue("turn");
  EXPECT_FALSE(Answered("turn"));
  EXPECT_EQ(controller_->queue_depth(), 0);
  EXPECT_THAT(listener_.depths, IsEmpty());
  now_ += limits.queue_timeout * 2;
  controller_->Expire();
  EXPECT_FALSE(Answered("turn"));
  End("a");
  EXPECT_TRUE(Granted("turn"));
}

TEST_F(AdmissionTurnsTest, WhatIsAdmittedGoesOnWhileTheServerDrains) {
  Submit("a", 10);
  controller_->Drain();
  Continue("turn");
  End("a");
  EXPECT_TRUE(Granted("turn"));
}

TEST_F(AdmissionTurnsTest, CancelEndsTheWaitForATurn) {
  Submit("a", 10);
  const Ticket ticket = Continue("turn");
  controller_->Cancel(ticket, absl::CancelledError("enough"));
  EXPECT_EQ(StatusOf("turn"), absl::CancelledError("enough"));
  EXPECT_THAT(listener_.decisions, ElementsAre("admitted at_once"));  // of requests alone
  Continue("next");
  End("a");
  EXPECT_TRUE(Granted("next"));
}

TEST_F(AdmissionTurnsTest, TheDeadlineEndsTheWaitForATurn) {
  Submit("a", 10);
  Continue("turn", TurnOf(0, now_ + absl::Seconds(2)));
  EXPECT_EQ(controller_->NextExpiry(), now_ + absl::Seconds(2));
  now_ += absl::Seconds(2);
  controller_->Expire();
  EXPECT_EQ(StatusOf("turn").code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_THAT(listener_.decisions, ElementsAre("admitted at_once"));
}

TEST_F(AdmissionTurnsTest, ATurnEndsOnce) {
  for (const char* name : {"a", "b", "c"}) Submit(name, 10);
  Turn& turn = answers_.at("a")->start->turn;
  turn.End();
  EXPECT_TRUE(Granted("b"));
  turn.End();
  EndFirstChunk("a");
  EXPECT_FALSE(Answered("c"));
}

TEST_F(AdmissionTurnsTest, AMovedTurnEndsWhereItWent) {
  for (const char* name : {"a", "b", "c"}) Submit(name, 10);
  Turn turn(std::move(answers_.at("a")->start->turn));
  EndFirstChunk("a");
  EXPECT_FALSE(Answered("b"));
  Turn& itself = turn;
  turn = std::move(itself);
  EXPECT_FALSE(Answered("b"));
  turn.End();
  EXPECT_TRUE(Granted("b"));
  turn = std::move(answers_.at("b")->start->turn);
  EndFirstChunk("b");
  EXPECT_FALSE(Answered("c"));
  turn = Turn();
  EXPECT_TRUE(Granted("c"));
}

TEST_F(AdmissionTurnsTest, DoneMayEndItsTurn) {
  Submit("a", 10);
  int answered = 0;
  for (int i = 0; i < 3; ++i) {
    TurnRequest request;
    request.done = [&answered](const absl::StatusOr<std::shared_ptr<Start>>& start) {
      EXPECT_TRUE(start.ok());
      ++answered;
    };
    controller_->Continue(std::move(request));
  }
  Submit("last", 10);
  End("a");
  EXPECT_EQ(answered, 3);
  EXPECT_TRUE(Granted("last"));
}

class FairTurnsTest : public AdmissionControllerTest {
 protected:
  FairTurnsTest() : AdmissionControllerTest(Workers(1)) {}

  Ticket SubmitFor(const std::string& client, const std::string& name, double seconds = 1,
                   int32_t priority = 0) {
    AdmissionRequest request;
    request.plan = PlanOf(kMiB);
    request.client = client;
    request.priority = priority;
    request.expected_seconds = seconds;
    return Submit(name, std::move(request));
  }

  // Lets everything run, one after the other, and returns the order.
  std::vector<std::string> RunAll() {
    for (size_t i = 0; i < order_.size(); ++i) End(order_[i]);
    return order_;
  }
};

TEST_F(FairTurnsTest, ManyRequestsOfOneClientDoNotHoldUpAnother) {
  for (const char* name : {"a1", "a2", "a3", "a4"}) SubmitFor("a", name);
  SubmitFor("b", "b1");
  SubmitFor("b", "b2");
  EXPECT_THAT(RunAll(), ElementsAre("a1", "b1", "a2", "b2", "a3", "a4"));
}

TEST_F(FairTurnsTest, LongRequestsCountForMore) {
  SubmitFor("a", "a1", 3);
  SubmitFor("a", "a2", 3);
  for (const char* name : {"b1", "b2", "b3", "b4"}) SubmitFor("b", name, 1);
  EXPECT_THAT(RunAll(), ElementsAre("a1", "b1", "b2", "b3", "a2", "b4"));
}

TEST_F(FairTurnsTest, PriorityGoesBeforeFairness) {
  for (const char* name : {"a1", "a2", "a3"}) SubmitFor("a", name);
  SubmitFor("b", "b1");
  SubmitFor("a", "urgent", 1, 1);
  EXPECT_THAT(RunAll(), ElementsAre("a1", "urgent", "b1", "a2", "a3"));
}

TEST_F(FairTurnsTest, RefusedRequestsDoNotCostTheirClientItsTurn) {
  SubmitFor("a", "a1");
  for (int i = 0; i < 10; ++i) {
    const std::string name = "gone" + std::to_string(i);
    controller_->Cancel(SubmitFor("b", name), absl::CancelledError(""));
    answers_.erase(name);
  }
  order_.resize(1);
  SubmitFor("a", "a2");
  SubmitFor("b", "b1");
  EXPECT_THAT(RunAll(), ElementsAre("a1", "b1", "a2"));
}

}  // namespace
}  // namespace attribution::admission
