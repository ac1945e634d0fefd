#include "tests/benchmark/in_process.h"

#include <cstdlib>
#include <iostream>
#include <utility>
#include <variant>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "server/engine/engine_factory.h"

namespace attribution::benchmark {
namespace {

// Keeps the result and drops the other events.
class ResultSink : public EventSink {
 public:
  void OnEvent(Event event) override {
    if (auto* result = std::get_if<AttributionResult>(&event)) result_ = std::move(*result);
  }
  void OnDone(const absl::Status& status) override {
    status_ = status;
    done_.Notify();
  }

  AttributionResult Take() {
    done_.WaitForNotification();
    Require(status_);
    return std::move(result_);
  }

 private:
  AttributionResult result_;
  absl::Status status_;
  absl::Notification done_;
};

}  // namespace

void Require(const absl::Status& status) {
  if (status.ok()) return;
  std::cerr << "attribution-bench: " << status.message() << "\n";
  std::_Exit(EXIT_FAILURE);  // at once: threads of the engine may be at work
}

InProcess::InProcess(const std::string& repository, const std::string& model, int threads)
    : metrics_({"benchmark", "benchmark"}) {
  EngineOptions options;
  options.model_repository = repository;
  options.device = "cpu";
  options.workers = 1;
  options.intra_op_threads = threads;
  auto engine = engine::CreateEngine(options, metrics_);
  Require(engine.status());
  engine_ = *std::move(engine);

  // The listener may be called for other models until the engine ends, so it owns what it writes to.
  const auto settled = std::make_shared<absl::Notification>();
  engine_->WatchModels([settled, model](const ModelInfo& info) {
    const bool settles = info.state == ModelState::kServing || info.state == ModelState::kFailed;
    if (info.name == model && settles && !settled->HasBeenNotified()) settled->Notify();
  });
  settled->WaitForNotification();
  const auto info = engine_->GetModel(model, "");
  Require(info.status());
  if (info->state == ModelState::kFailed) Require(absl::FailedPreconditionError(info->load_error));
  model_ = *info;
}

InProcess::Run InProcess::Attribute(const AttributionRequest& request) {
  const auto sink = std::make_shared<ResultSink>();
  const absl::Time start = absl::Now();
  engine_->Attribute(request, {}, sink);
  AttributionResult result = sink->Take();
  return {absl::ToDoubleSeconds(absl::Now() - start), std::move(result)};
}

}  // namespace attribution::benchmark
