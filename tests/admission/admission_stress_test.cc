// Threads submit, cancel, expire and give memory back at the same time.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "server/admission/admission_controller.h"

namespace attribution::admission {
namespace {

constexpr int64_t kBudget = 1000;
constexpr int kThreads = 4;
constexpr int kRequests = 1500;  // a thread

class LastDepth : public AdmissionListener {
 public:
  void OnDecision(std::string_view, std::string_view) override { ++decisions; }
  void OnQueueDepth(int64_t now) override { depth = now; }

  std::atomic<int64_t> decisions = 0;
  std::atomic<int64_t> depth = 0;
};

// Grants that run, as jobs would on other threads.
class Running {
 public:
  void Add(Grant grant) {
    const std::scoped_lock lock(mutex_);
    grants_.push_back(std::move(grant));
  }
  // Ends one of them, outside the lock. Returns false if there is none.
  bool EndOne() {
    std::optional<Grant> ended;
    {
      const std::scoped_lock lock(mutex_);
      if (grants_.empty()) return false;
      ended = std::move(grants_.back());
      grants_.pop_back();
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::vector<Grant> grants_;
};

TEST(AdmissionStressTest, EveryRequestIsAnsweredOnceAndNoByteIsLost) {
  std::atomic<int64_t> most = 0;
  MemoryBudget budget(kBudget, [&most](int64_t reserved) { most = std::max<int64_t>(most, reserved); });
  LastDepth listener;
  std::atomic<int64_t> seconds = 0;
  AdmissionLimits limits;
  limits.queue_limit = 20;
  AdmissionController controller(
      budget, limits, [&seconds] { return absl::FromUnixSeconds(seconds); }, listener);
  Running running;
  std::vector<std::atomic<int>> answers(kThreads * kRequests);
  std::atomic<int64_t> granted = 0;

  const auto work = [&](int thread) {
    for (int i = 0; i < kRequests; ++i) {
      const int number = thread * kRequests + i;
      AdmissionRequest request;
      request.plan.lengths = {1 + number % 7, 1 + number % 5};
      request.plan.cost.ranges = {{.forward = {.fixed_bytes = static_cast<double>(number % 300)}}};
      request.priority = number % 3;
      request.deadline = absl::FromUnixSeconds(seconds + 1 + number % 50);
      request.done = [&, number](absl::StatusOr<Grant> grant) {
        ++answers[number];
        if (!grant.ok()) return;
        ++granted;
        running.Add(*std::move(grant));
      };
      const Ticket ticket = controller.Submit(std::move(request));
      if (number % 4 == 0) controller.Cancel(ticket, absl::CancelledError(""));
      if (number % 9 == 0) ++seconds;
      if (number % 5 == 0) controller.Expire();
      if (number % 3 != 0) running.EndOne();
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  while (running.EndOne()) {
  }

  for (const std::atomic<int>& count : answers) ASSERT_EQ(count, 1);
  EXPECT_EQ(listener.decisions, kThreads * kRequests);
  EXPECT_EQ(listener.depth, 0);
  EXPECT_EQ(controller.queue_depth(), 0);
  EXPECT_GT(granted, 0);
  EXPECT_LE(most, kBudget);
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

}  // namespace
}  // namespace attribution::admission
