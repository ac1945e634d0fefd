// A controller over a budget of 300 bytes, with a clock that is set by hand, and requests of a chosen size.
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

#include "absl/status/statusor.h"
#include "attribution/status_details.h"
#include "server/admission/admission_controller.h"

namespace attribution::admission {

class RecordingListener : public AdmissionListener {
 public:
  void OnDecision(std::string_view decision, std::string_view reason) override {
    decisions.push_back(std::string(decision) + " " + std::string(reason));
  }
  void OnQueueDepth(int64_t depth) override { depths.push_back(depth); }

  std::vector<std::string> decisions;
  std::vector<int64_t> depths;
};

// A request that needs `bytes`: one sequence of one position takes 24 bytes (R 4, spare 4 and a row 16
// without blocks).
inline PlanRequest PlanOf(int64_t bytes) {
  PlanRequest plan;
  plan.cost.block_rows = 0;
  plan.cost.ranges = {{.forward = {.fixed_bytes = static_cast<double>(bytes - 24)}}};
  plan.lengths = {1};
  return plan;
}

class AdmissionControllerTest : public ::testing::Test {
 protected:
  explicit AdmissionControllerTest(AdmissionLimits limits = {})
      : controller_(
            std::make_unique<AdmissionController>(budget_, limits, [this] { return now_; }, listener_)) {}

  // Submits a request whose answer is kept under `name`.
  Ticket Submit(const std::string& name, int64_t bytes, int32_t priority = 0,
                absl::Time deadline = absl::InfiniteFuture(), int64_t request_bytes = 1) {
    AdmissionRequest request;
    request.plan = PlanOf(bytes);
    request.priority = priority;
    request.deadline = deadline;
    request.request_bytes = request_bytes;
    request.done = [this, name](absl::StatusOr<Grant> answer) {
      order_.push_back(name);
      EXPECT_TRUE(answers_.emplace(name, std::move(answer)).second) << name << " was answered twice";
    };
    return controller_->Submit(std::move(request));
  }

  void Replace(AdmissionLimits limits) {
    controller_.reset();
    controller_ = std::make_unique<AdmissionController>(budget_, limits, [this] { return now_; }, listener_);
  }

  bool Answered(const std::string& name) const { return answers_.contains(name); }
  bool Granted(const std::string& name) const { return Answered(name) && answers_.at(name).ok(); }
  absl::Status StatusOf(const std::string& name) const {
    return Answered(name) ? answers_.at(name).status() : absl::UnknownError("not answered");
  }
  // Ends the grant of `name`, as the end of its job does.
  void End(const std::string& name) { const auto ended = answers_.extract(name); }

  absl::Time now_ = absl::FromUnixSeconds(1000);
  RecordingListener listener_;
  std::vector<std::string> order_;  // of the answers
  MemoryBudget budget_{300, nullptr};
  std::map<std::string, absl::StatusOr<Grant>> answers_;
  std::unique_ptr<AdmissionController> controller_;  // ends before its budget
};

}  // namespace attribution::admission

#endif  // TESTS_ADMISSION_CONTROLLER_FIXTURE_H_
