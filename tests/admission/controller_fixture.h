// A controller over a budget of 300 MiB, with a clock that is set by hand, and requests of a chosen size.
//
// It has more workers than a test needs, unless the test gives limits of its own.
#ifndef TESTS_ADMISSION_CONTROLLER_FIXTURE_H_
#define TESTS_ADMISSION_CONTROLLER_FIXTURE_H_

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "attribution/status_details.h"
#include "server/admission/admission_controller.h"

namespace attribution::admission {

inline constexpr int64_t kMiB = int64_t{1} << 20;

class RecordingListener : public AdmissionListener {
 public:
  void OnDecision(std::string_view decision, std::string_view reason) override {
    decisions.push_back(std::string(decision) + " " + std::string(reason));
  }
  void OnQueueDepth(int64_t depth) override { depths.push_back(depth); }

  std::vector<std::string> decisions;
  std::vector<int64_t> depths;
};

inline int64_t PeakOf(const PlanRequest& plan, int64_t sequences, int64_t length) {
  return PredictPeakBytes(plan.cost, {sequences, length}, plan.output);
}

// A request of one position for which exactly `reserved_bytes` are reserved.
inline PlanRequest PlanOf(int64_t reserved_bytes) {
  PlanRequest plan;
  plan.cost.ranges = {{}};
  plan.lengths = {1};
  const int64_t estimate = EstimateThatFits(reserved_bytes);
  EXPECT_EQ(ReservedBytes(estimate), reserved_bytes) << "a size that rounding leaves out";
  // Found by its effect, so that nothing here depends on what else a sequence takes.
  int64_t too_small = 0;
  int64_t enough = estimate;
  while (enough - too_small > 1) {
    const int64_t middle = too_small + (enough - too_small) / 2;
    plan.cost.ranges[0].forward.fixed_bytes = static_cast<double>(middle);
    (PeakOf(plan, 1, 1) < estimate ? too_small : enough) = middle;
  }
  plan.cost.ranges[0].forward.fixed_bytes = static_cast<double>(enough);
  EXPECT_EQ(PeakOf(plan, 1, 1), estimate);
  return plan;
}

// Limits of a controller with this many workers.
inline AdmissionLimits Workers(int32_t workers) {
  AdmissionLimits limits;
  limits.workers = workers;
  return limits;
}

class AdmissionControllerTest : public ::testing::Test {
 protected:
  explicit AdmissionControllerTest(AdmissionLimits limits = Workers(100)) { Replace(limits); }

  // A turn ends before its controller. What ends may start more.
  void TearDown() override { EndAll(); }

  void EndAll() {
    while (!answers_.empty() || !turns_.empty()) {
      if (!answers_.empty()) answers_.extract(answers_.begin());
      if (!turns_.empty()) turns_.extract(turns_.begin());
    }
  }

  // Submits a request whose answer is kept under `name`.
  Ticket Submit(const std::string& name, AdmissionRequest request) {
    request.done = [this, name](absl::StatusOr<Grant> answer) {
      order_.push_back(name);
      EXPECT_TRUE(answers_.emplace(name, std::move(answer)).second) << name << " was answered twice";
    };
    return controller_->Submit(std::move(request));
  }
  Ticket Submit(const std::string& name, int64_t mebibytes, int32_t priority = 0,
                absl::Time deadline = absl::InfiniteFuture(), int64_t request_bytes = 1) {
    AdmissionRequest request;
    request.plan = PlanOf(mebibytes * kMiB);
    request.priority = priority;
    request.deadline = deadline;
    request.request_bytes = request_bytes;
    return Submit(name, std::move(request));
  }

  // Waits for a turn, which is kept under `name`.
  Ticket Continue(const std::string& name, TurnRequest request = {}) {
    request.done = [this, name](absl::StatusOr<std::shared_ptr<Start>> answer) {
      order_.push_back(name);
      EXPECT_TRUE(turns_.emplace(name, std::move(answer)).second) << name << " was answered twice";
    };
    return controller_->Continue(std::move(request));
  }

  // Ends everything, and begins with a new controller.
  void Replace(AdmissionLimits limits) {
    EndAll();
    controller_.reset();
    controller_ = std::make_unique<AdmissionController>(budget_, limits, [this] { return now_; }, listener_);
  }

  bool Answered(const std::string& name) const { return answers_.contains(name) || turns_.contains(name); }
  bool Granted(const std::string& name) const { return Answered(name) && StatusOf(name).ok(); }
  absl::Status StatusOf(const std::string& name) const {
    if (turns_.contains(name)) return turns_.at(name).status();
    return answers_.contains(name) ? answers_.at(name).status() : absl::UnknownError("not answered");
  }
  // Ends the grant or the turn of `name`, as the end of its job does.
  void End(const std::string& name) {
    const auto grant = answers_.extract(name);
    const auto turn = turns_.extract(name);
  }
  // Ends the first chunk of `name`, which keeps its memory.
  void EndFirstChunk(const std::string& name) { answers_.at(name)->start.reset(); }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  RecordingListener listener_;
  std::vector<std::string> order_;  // of the answers
  MemoryBudget budget_{300 * kMiB, nullptr};
  std::map<std::string, absl::StatusOr<Grant>> answers_;
  std::map<std::string, absl::StatusOr<std::shared_ptr<Start>>> turns_;
  std::unique_ptr<AdmissionController> controller_;  // ends before its budget
};

}  // namespace attribution::admission

#endif  // TESTS_ADMISSION_CONTROLLER_FIXTURE_H_
