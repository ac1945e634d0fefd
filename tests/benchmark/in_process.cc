#include "tests/benchmark/in_process.h"

#include <utility>
#include <variant>

#include "absl/synchronization/notification.h"
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
  Require(engine_->GetModel(model, "").status());  // nothing would tell of a model that is not there

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
  model_ = {info->name, info->version, info->num_layers, info->num_heads, info->vocabulary_size, {}};
  for (const ModelInput& input : info->inputs) model_.inputs.push_back(input.name);
}

AttributionResult InProcess::Attribute() {
  const auto sink = std::make_shared<ResultSink>();
  engine_->Attribute(request_, {}, sink);
  return sink->Take();
}

Memory InProcess::Prepare(const Shape& shape) {
  request_ = RequestOf(shape, model_);
  Run(kWarmUps);
  const AttributionResult result = Attribute();
  return {result.measured_peak_bytes, result.measured_attention_bytes, result.num_chunks};
}

double InProcess::Run(int64_t repetitions) {
  return SecondsPerRun(repetitions, [this] { Attribute(); });
}

}  // namespace attribution::benchmark
