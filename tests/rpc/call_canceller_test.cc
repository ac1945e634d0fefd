#include "server/rpc/call_canceller.h"

#include <memory>

#include "gtest/gtest.h"

namespace attribution::rpc {
namespace {

struct CountingCall : AttributionCall {
  int cancels = 0;
  void Cancel() override { ++cancels; }
};

TEST(CallCancellerTest, CancelsACallThatRuns) {
  CallCanceller canceller;
  const auto call = std::make_shared<CountingCall>();
  canceller.Started(call);
  canceller.Cancel();
  EXPECT_EQ(call->cancels, 1);
}

TEST(CallCancellerTest, CancelsACallThatStartsLater) {
  CallCanceller canceller;
  const auto call = std::make_shared<CountingCall>();
  canceller.Cancel();
  canceller.Started(call);
  EXPECT_EQ(call->cancels, 1);
}

TEST(CallCancellerTest, LeavesACallThatEnded) {
  CallCanceller canceller;
  const auto call = std::make_shared<CountingCall>();
  canceller.Started(call);
  canceller.Ended();
  canceller.Cancel();
  EXPECT_EQ(call->cancels, 0);
}

TEST(CallCancellerTest, HoldsNoCallAfterItsEnd) {
  CallCanceller canceller;
  const auto call = std::make_shared<CountingCall>();
  canceller.Started(call);
  canceller.Ended();
  EXPECT_EQ(call.use_count(), 1);
}

TEST(CallCancellerTest, TakesNoCallThatEndedBeforeItWasKnown) {
  CallCanceller canceller;
  const auto call = std::make_shared<CountingCall>();
  canceller.Ended();
  canceller.Started(call);
  EXPECT_EQ(call.use_count(), 1);
}

}  // namespace
}  // namespace attribution::rpc
