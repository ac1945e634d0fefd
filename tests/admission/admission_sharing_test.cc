// Which requests that wait start together, in one chunk, and what each of them then holds.
#include "server/admission/admission_controller.h"
#include "server/admission/shared_chunk.h"
#include "tests/admission/controller_fixture.h"

namespace attribution::admission {
namespace {

using ::testing::ElementsAre;

AdmissionRequest Small(std::vector<int64_t> lengths, const std::string& share_key = "key") {
  AdmissionRequest request;
  request.plan.cost.layers = 6;
  request.plan.cost.heads = 12;
  request.plan.cost.ranges = {{.forward = {.bytes_per_token = 5000, .fixed_bytes = 300000}}};
  request.plan.lengths = std::move(lengths);
  request.share_key = share_key;
  return request;
}

AdmissionLimits SharedTokens(int64_t tokens) {
  AdmissionLimits limits = Workers(1);
  limits.shared_tokens = tokens;
  return limits;
}

// The only worker runs something else, so that what is submitted waits.
class AdmissionSharingTest : public AdmissionControllerTest {
 protected:
  AdmissionSharingTest() { RunWith(Workers(1)); }

  void RunWith(AdmissionLimits limits) {
    Replace(limits);
    Submit("running", 1);
    listener_.decisions.clear();
  }

  // Whether both run in one chunk.
  bool Share(const std::string& one, const std::string& other) const {
    return Granted(one) && Granted(other) && answers_.at(one)->start == answers_.at(other)->start;
  }
  int32_t MembersOf(const std::string& name) const { return answers_.at(name)->start->members; }
};

TEST_F(AdmissionSharingTest, ThoseWhoWaitForTheSameStartTogether) {
  Submit("a", Small({20}));
  Submit("b", Small({22, 18}));
  Submit("c", Small({25}));
  End("running");
  EXPECT_TRUE(Share("a", "b"));
  EXPECT_TRUE(Share("a", "c"));
  EXPECT_EQ(MembersOf("a"), 3);
  EXPECT_THAT(order_, ElementsAre("running", "a", "b", "c"));
  EXPECT_THAT(listener_.decisions,
              ElementsAre("admitted after_waiting", "admitted shared", "admitted shared"));
  EXPECT_EQ(listener_.depths.back(), 0);
}

TEST_F(AdmissionSharingTest, EachHasAPlanOfItsOwn) {
  Submit("a", Small({20}));
  now_ += absl::Seconds(2);
  Submit("b", Small({22, 18}));
  now_ += absl::Seconds(1);
  End("running");
  ASSERT_TRUE(Share("a", "b"));
  EXPECT_THAT(answers_.at("a")->plan.chunks, ElementsAre(Chunk{0, 1, 20}));
  EXPECT_THAT(answers_.at("b")->plan.chunks, ElementsAre(Chunk{0, 2, 22}));
  EXPECT_EQ(answers_.at("b")->plan.chunk_size, 2);
  EXPECT_EQ(answers_.at("b")->plan.rollout_method, RolloutMethod::kFullMatrix);
  EXPECT_EQ(answers_.at("a")->waited, absl::Seconds(3));
  EXPECT_EQ(answers_.at("b")->waited, absl::Seconds(1));
}

TEST_F(AdmissionSharingTest, EstimatesAndReservationsAreSharesThatAddUp) {
  const PlanRequest first = Small({20}).plan;
  const PlanRequest second = Small({22, 18}).plan;
  SharedChunk chunk(first, RolloutMethod::kFullMatrix, 2048);
  ASSERT_TRUE(chunk.TryAdd(second, budget_.budget_bytes()));
  Submit("a", Small({20}));
  Submit("b", Small({22, 18}));
  End("running");
  ASSERT_TRUE(Share("a", "b"));
  const Grant& a = *answers_.at("a");
  const Grant& b = *answers_.at("b");
  EXPECT_EQ(a.plan.estimated_peak_bytes, chunk.EstimateOf(0));
  EXPECT_EQ(b.plan.estimated_peak_bytes, chunk.EstimateOf(1));
  EXPECT_EQ(a.reservation.bytes(), chunk.OwnBytes(0));
  EXPECT_EQ(b.reservation.bytes(), chunk.OwnBytes(1));
  EXPECT_EQ(a.reservation.bytes() + b.reservation.bytes() + a.start->common.bytes(), chunk.BytesToReserve());
  EXPECT_EQ(budget_.reserved_bytes(), chunk.BytesToReserve());
}

TEST_F(AdmissionSharingTest, WorkerAndCommonMemoryGoWithTheLastOfThem) {
  Submit("a", Small({20}));
  Submit("b", Small({20}));
  Submit("next", 1);
  End("running");
  ASSERT_TRUE(Share("a", "b"));
  const int64_t reserved = budget_.reserved_bytes();
  const int64_t own = answers_.at("a")->reservation.bytes();
  const int64_t rest = answers_.at("b")->reservation.bytes();
  End("a");
  EXPECT_EQ(budget_.reserved_bytes(), reserved - own);
  EXPECT_FALSE(Answered("next"));
  EndFirstChunk("b");
  EXPECT_TRUE(Granted("next"));
  EXPECT_EQ(budget_.reserved_bytes(), rest + 1 * kMiB);
}

TEST_F(AdmissionSharingTest, AnswersEveryMemberWhenTheFirstGivesItsPartBackAtOnce) {
  AdmissionRequest first = Small({20});
  bool answered = false;
  first.done = [&answered](const absl::StatusOr<Grant>& grant) { answered = grant.ok(); };
  controller_->Submit(std::move(first));
  Submit("b", Small({20}));
  Submit("c", Small({20}));
  End("running");
  EXPECT_TRUE(answered);
  EXPECT_TRUE(Share("b", "c"));
  EXPECT_EQ(MembersOf("b"), 3);  // as it was started
}

TEST_F(AdmissionSharingTest, WhoWasCancelledHasNoPart) {
  Submit("a", Small({20}));
  const Ticket ticket = Submit("b", Small({20}));
  Submit("c", Small({20}));
  controller_->Cancel(ticket, absl::CancelledError(""));
  End("running");
  EXPECT_TRUE(Share("a", "c"));
  EXPECT_EQ(MembersOf("a"), 2);
}

TEST_F(AdmissionSharingTest, TheNextStartsWhenTheFirstOfThoseWhoWaitedIsCancelled) {
  const Ticket ticket = Submit("a", Small({20}));
  Submit("b", Small({20}));
  Submit("c", Small({20}));
  controller_->Cancel(ticket, absl::CancelledError(""));
  End("running");
  EXPECT_TRUE(Share("b", "c"));
  EXPECT_EQ(StatusOf("a").code(), absl::StatusCode::kCancelled);
}

TEST_F(AdmissionSharingTest, NothingWaitsForCompanyWhileAWorkerIsFree) {
  Replace(Workers(2));
  Submit("a", Small({20}));
  Submit("b", Small({20}));
  EXPECT_TRUE(Granted("a"));
  EXPECT_TRUE(Granted("b"));
  EXPECT_FALSE(Share("a", "b"));
  EXPECT_EQ(MembersOf("a"), 1);
}

TEST_F(AdmissionSharingTest, NobodyJoinsAChunkThatRuns) {
  End("running");
  Submit("a", Small({20}));
  Submit("b", Small({20}));
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionSharingTest, TakesThoseOfItsKeyFromAnywhereInTheQueue) {
  Submit("a", Small({20}));
  Submit("other key", Small({20}, "other"));
  Submit("no key", Small({20}, ""));
  Submit("also no key", Small({20}, ""));
  Submit("b", Small({20}));
  End("running");
  EXPECT_THAT(order_, ElementsAre("running", "a", "b"));
  End("a");
  End("b");
  EXPECT_THAT(order_, ElementsAre("running", "a", "b", "other key"));
  End("other key");
  EXPECT_FALSE(Answered("also no key"));
}

TEST_F(AdmissionSharingTest, UnlikeLengthsRunApart) {
  Submit("a", Small({20}));
  Submit("b", Small({200}));
  Submit("c", Small({30}));
  End("running");
  EXPECT_TRUE(Share("a", "c"));
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionSharingTest, AModelWithoutAMaskTakesEqualLengths) {
  for (const auto& [name, length] : {std::pair("a", 20), std::pair("b", 21), std::pair("c", 20)}) {
    AdmissionRequest request = Small({length});
    request.plan.equal_lengths_only = true;
    Submit(name, std::move(request));
  }
  End("running");
  EXPECT_TRUE(Share("a", "c"));
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionSharingTest, AChunkHasABoundOfTokens) {
  RunWith(SharedTokens(60));
  for (const char* name : {"a", "b", "c", "d"}) Submit(name, Small({20}));
  End("running");
  EXPECT_EQ(MembersOf("a"), 3);
  EXPECT_FALSE(Answered("d"));
}

TEST_F(AdmissionSharingTest, WhatTakesMoreThanHalfOfThemRunsAlone) {
  RunWith(SharedTokens(60));
  Submit("a", Small({12, 12, 12}));
  Submit("b", Small({12}));
  Submit("c", Small({10, 10, 10}));
  End("running");
  EXPECT_EQ(MembersOf("a"), 1);
  End("a");
  EXPECT_TRUE(Share("b", "c"));
}

TEST_F(AdmissionSharingTest, WithoutTokensNothingIsShared) {
  RunWith(SharedTokens(0));
  Submit("a", Small({20}));
  Submit("b", Small({20}));
  End("running");
  EXPECT_EQ(MembersOf("a"), 1);
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionSharingTest, TakesAsManyAsMemoryAllows) {
  const PlanRequest plan = Small({20}).plan;
  SharedChunk three(plan, RolloutMethod::kFullMatrix, 2048);
  ASSERT_TRUE(three.TryAdd(plan, budget_.budget_bytes()));
  const int64_t two_take = three.BytesToReserve();
  ASSERT_TRUE(three.TryAdd(plan, budget_.budget_bytes()));
  for (const char* name : {"a", "b", "c"}) Submit(name, Small({20}));
  budget_.SetBudget(three.BytesToReserve() - 1);
  End("running");
  EXPECT_TRUE(Share("a", "b"));
  EXPECT_EQ(MembersOf("a"), 2);
  EXPECT_EQ(budget_.reserved_bytes(), two_take);
  EXPECT_FALSE(Answered("c"));
}

TEST_F(AdmissionSharingTest, WhatRunsInSeveralChunksRunsAlone) {
  AdmissionRequest unequal = Small({20, 21});
  unequal.plan.equal_lengths_only = true;
  Submit("a", std::move(unequal));
  AdmissionRequest equal = Small({21});
  equal.plan.equal_lengths_only = true;
  Submit("b", std::move(equal));
  End("running");
  ASSERT_TRUE(Granted("a"));
  EXPECT_EQ(answers_.at("a")->plan.chunks.size(), 2u);
  EXPECT_EQ(MembersOf("a"), 1);
  EXPECT_FALSE(Answered("b"));
}

TEST_F(AdmissionSharingTest, KeepsToTheChunkSizeThatTheClientAllows) {
  for (const char* name : {"a", "b", "c"}) {
    AdmissionRequest request = Small({20});
    request.plan.max_chunk_size = 2;
    Submit(name, std::move(request));
  }
  End("running");
  EXPECT_TRUE(Share("a", "b"));
  EXPECT_FALSE(Answered("c"));
}

TEST_F(AdmissionSharingTest, ASmallerPriorityDoesNotMakeALargerOneSlower) {
  for (const auto& [name, priority] :
       {std::pair("low", 0), std::pair("high", 1), std::pair("also high", 1)}) {
    AdmissionRequest request = Small({20});
    request.priority = priority;
    Submit(name, std::move(request));
  }
  End("running");
  EXPECT_TRUE(Share("high", "also high"));
  EXPECT_EQ(MembersOf("high"), 2);
  EXPECT_FALSE(Answered("low"));
}

TEST_F(AdmissionSharingTest, ReleasedQueueBytesCount) {
  AdmissionLimits limits = Workers(1);
  limits.queue_bytes = 100;
  RunWith(limits);
  for (const char* name : {"a", "b"}) {
    AdmissionRequest request = Small({20});
    request.request_bytes = 50;
    Submit(name, std::move(request));
  }
  End("running");
  ASSERT_TRUE(Share("a", "b"));
  Submit("large", 1, 0, absl::InfiniteFuture(), 100);
  EXPECT_FALSE(Answered("large"));
}

}  // namespace
}  // namespace attribution::admission
