// Threads submit, continue, cancel, expire, end turns and give memory back at the same time.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "server/admission/admission_controller.h"

namespace attribution::admission {
namespace {

constexpr int64_t kBudget = int64_t{8} << 20;
constexpr int32_t kWorkers = 3;
constexpr int kThreads = 4;
constexpr int kRequests = 1500;  // a thread

class LastDepth : public AdmissionListener {
 public:
  void OnDecision(std::string_view, std::string_view reason) override {
    ++decisions;
    if (reason == "shared") ++shared;
  }
  void OnQueueDepth(int64_t now) override { depth = now; }

  std::atomic<int64_t> decisions = 0;
  std::atomic<int64_t> shared = 0;
  std::atomic<int64_t> depth = 0;
};

// What a request has while it runs.
struct Held {
  Reservation reservation;
  std::shared_ptr<Start> start;
  int chunks_left = 0;
};

// Requests that run, as jobs would on other threads.
class Running {
 public:
  void Add(Held held) {
    const std::scoped_lock lock(mutex_);
    Holders& holders = starts_[held.start.get()];
    ++holders.now;
    too_many_members_ |= ++holders.ever > held.start->members;
    most_starts_ = std::max(most_starts_, starts_.size());
    held_.push_back(std::move(held));
  }

  // Ends the chunk of one of them, outside the lock, and returns it. Nothing if there is none.
  std::optional<Held> EndOneChunk() {
    std::optional<Held> ended;
    std::shared_ptr<Start> start;
    {
      const std::scoped_lock lock(mutex_);
      if (held_.empty()) return std::nullopt;
      ended = std::move(held_.back());
      held_.pop_back();
      start = std::move(ended->start);
      const auto holders = starts_.find(start.get());
      if (--holders->second.now == 0) starts_.erase(holders);
    }
    return ended;
  }

  size_t most_starts() const { return most_starts_; }
  bool too_many_members() const { return too_many_members_; }

 private:
  struct Holders {
    int32_t now = 0;
    int32_t ever = 0;
  };

  std::mutex mutex_;  // guards all below
  std::vector<Held> held_;
  std::map<const Start*, Holders> starts_;
  size_t most_starts_ = 0;
  bool too_many_members_ = false;
};

TEST(AdmissionStressTest, EveryAnswerComesOnceAndNothingIsLost) {
  std::atomic<int64_t> most = 0;
  MemoryBudget budget(kBudget, [&most](int64_t reserved) { most = std::max<int64_t>(most, reserved); });
  LastDepth listener;
  std::atomic<int64_t> seconds = 0;
  AdmissionLimits limits;
  limits.queue_limit = 20;
  limits.workers = kWorkers;
  limits.max_overtakes = 3;
  limits.shared_tokens = 32;
  AdmissionController controller(
      budget, limits, [&seconds] { return absl::FromUnixSeconds(seconds); }, listener);
  Running running;
  std::vector<std::atomic<int>> answers(kThreads * kRequests);
  std::atomic<int64_t> granted = 0;
  std::atomic<int64_t> turns_asked = 0;
  std::atomic<int64_t> turns_answered = 0;

  const auto go_on = [&](Held held, int number) {
    TurnRequest request;
    request.priority = number % 2;
    request.deadline = absl::FromUnixSeconds(seconds + number % 20);
    const auto kept = std::make_shared<Held>(std::move(held));
    request.done = [&, kept](absl::StatusOr<std::shared_ptr<Start>> start) {
      ++turns_answered;
      if (!start.ok()) return;
      kept->start = *std::move(start);
      --kept->chunks_left;
      running.Add(std::move(*kept));
    };
    ++turns_asked;
    const Ticket ticket = controller.Continue(std::move(request));
    if (number % 7 == 0) controller.Cancel(ticket, absl::CancelledError(""));
  };
  const auto work = [&](int thread) {
    for (int i = 0; i < kRequests; ++i) {
      const int number = thread * kRequests + i;
      AdmissionRequest request;
      request.plan.lengths = {1 + number % 7, 1 + number % 5};
      request.plan.cost.ranges = {{.forward = {.fixed_bytes = static_cast<double>((number % 8) << 18)}}};
      request.priority = number % 3;
      request.deadline = absl::FromUnixSeconds(seconds + 1 + number % 50);
      request.expected_seconds = number % 4;
      if (number % 3 != 0) request.share_key = std::to_string(number % 8);  // as the fixed bytes
      const int chunks_left = number % 5 == 0 ? 2 : 0;
      request.done = [&, number, chunks_left](absl::StatusOr<Grant> grant) {
        ++answers[number];
        if (!grant.ok()) return;
        ++granted;
        running.Add({std::move(grant->reservation), std::move(grant->start), chunks_left});
      };
      const Ticket ticket = controller.Submit(std::move(request));
      if (number % 4 == 0) controller.Cancel(ticket, absl::CancelledError(""));
      if (number % 9 == 0) ++seconds;
      if (number % 5 == 0) controller.Expire();
      if (number % 3 == 0) continue;
      std::optional<Held> ended = running.EndOneChunk();
      if (ended.has_value() && ended->chunks_left > 0) go_on(*std::move(ended), number);
    }
  };
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) threads.emplace_back(work, t);
  for (std::thread& thread : threads) thread.join();
  while (running.EndOneChunk().has_value()) {
  }

  for (const std::atomic<int>& count : answers) ASSERT_EQ(count, 1);
  EXPECT_EQ(turns_answered, turns_asked);
  EXPECT_EQ(listener.decisions, kThreads * kRequests);
  EXPECT_EQ(listener.depth, 0);
  EXPECT_EQ(controller.queue_depth(), 0);
  EXPECT_GT(granted, 0);
  EXPECT_GT(turns_asked, 0);
  EXPECT_EQ(running.most_starts(), static_cast<size_t>(kWorkers));
  EXPECT_FALSE(running.too_many_members());
  EXPECT_LE(most, kBudget);
  EXPECT_EQ(budget.reserved_bytes(), 0);
}

}  // namespace
}  // namespace attribution::admission
