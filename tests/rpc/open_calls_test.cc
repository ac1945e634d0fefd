#include "server/rpc/open_calls.h"

#include <thread>

#include "absl/time/clock.h"
#include "gtest/gtest.h"

namespace attribution::rpc {
namespace {

class OpenCallsTest : public testing::Test {
 protected:
  std::shared_ptr<OpenCalls> calls_ = std::make_shared<OpenCalls>();
};

TEST_F(OpenCallsTest, NothingToWaitForEndsAtOnce) {
  EXPECT_TRUE(calls_->WaitForEarlier(absl::InfiniteFuture()));
}

TEST_F(OpenCallsTest, ACallThatRunsOnIsWaitedForUntilTheDeadline) {
  const auto call = calls_->Enter();
  EXPECT_FALSE(calls_->WaitForEarlier(absl::Now()));
}

TEST_F(OpenCallsTest, WaitsUntilTheLastCopyIsGone) {
  auto call = calls_->Enter();
  auto copy = call;
  std::thread ender([&] {
    call.reset();
    copy.reset();
  });
  EXPECT_TRUE(calls_->WaitForEarlier(absl::InfiniteFuture()));
  ender.join();
}

TEST_F(OpenCallsTest, LaterCallsAreNotWaitedFor) {
  auto early = calls_->Enter();
  EXPECT_FALSE(calls_->WaitForEarlier(absl::Now()));
  const auto late = calls_->Enter();
  std::thread ender([&] { early.reset(); });
  EXPECT_FALSE(calls_->WaitForEarlier(absl::Now()));  // `late` is earlier than this wait
  ender.join();
}

}  // namespace
}  // namespace attribution::rpc
