#include "tests/benchmark/in_process.h"

#include <cstring>
#include <utility>
#include <variant>

#include "absl/synchronization/notification.h"
#include "server/engine/engine_factory.h"

namespace attribution::benchmark {
namespace {

// Keeps the result, the way of the rollout and the last row that comes; drops the rest.
class ResultSink : public EventSink {
 public:
  void OnEvent(Event event, EventMemory /*memory*/) override {
    if (auto* result = std::get_if<AttributionResult>(&event)) result_ = std::move(*result);
    if (const auto* admitted = std::get_if<Admitted>(&event)) rollout_method_ = admitted->rollout_method;
    if (const auto* slice = std::get_if<MatrixSlice>(&event)) {
      last_row_.resize(slice->columns);
      const size_t bytes = last_row_.size() * sizeof(float);
      std::memcpy(last_row_.data(), slice->data.data() + slice->data.size() - bytes, bytes);
    }
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

  // REQUIRES: Take() returned.
  RolloutMethod rollout_method() const { return rollout_method_; }
  const std::vector<float>& last_row() const { return last_row_; }

 private:
  AttributionResult result_;
  RolloutMethod rollout_method_ = RolloutMethod::kFullMatrix;
  std::vector<float> last_row_;
  absl::Status status_;
  absl::Notification done_;
};

}  // namespace

InProcess::InProcess(const std::string& repository, const std::string& model, int workers, int threads,
                     OutputSelection output)
    : output_(std::move(output)), metrics_({"benchmark", "benchmark"}) {
  EngineOptions options;
  options.model_repository = repository;
  options.device = "cpu";
  options.workers = workers;
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
  model_.name = info->name;
  model_.version = info->version;
  model_.num_layers = info->num_layers;
  model_.num_heads = info->num_heads;
  model_.vocabulary_size = info->vocabulary_size;
  for (const AttentionSite& site : info->sites)
    ++(site.kind == SiteKind::kBlocked ? model_.blocked_sites : model_.tapped_sites);
  for (const ModelInput& input : info->inputs) model_.inputs.push_back(input.name);
}

std::vector<AttributionResult> InProcess::Attribute(const std::vector<AttributionRequest>& requests) {
  std::vector<std::shared_ptr<ResultSink>> sinks;
  for (const AttributionRequest& request : requests) {
    sinks.push_back(std::make_shared<ResultSink>());
    engine_->Attribute(request, {}, sinks.back());
  }
  std::vector<AttributionResult> results;
  results.reserve(sinks.size());
  for (const auto& sink : sinks) results.push_back(sink->Take());
  if (!sinks.empty()) {
    rollout_method_ = sinks.back()->rollout_method();
    last_row_ = sinks.back()->last_row();
  }
  return results;
}

Memory InProcess::Prepare(const Shape& shape, int warm_ups) {
  request_ = {RequestOf(shape, model_)};
  request_.front().output = output_;
  Run(warm_ups + 1);
  return {result_.measured_peak_bytes, result_.measured_attention_bytes, result_.num_chunks};
}

double InProcess::Run(int64_t repetitions) {
  return SecondsPerRun(repetitions, [this] { result_ = Attribute(request_).front(); });
}

}  // namespace attribution::benchmark
