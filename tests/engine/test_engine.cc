#include "tests/engine/test_engine.h"

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <mutex>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/engine/engine_factory.h"

namespace attribution::engine {

EngineOptions SmallOptions() {
  EngineOptions options;
  options.device = "cpu";
  options.memory_budget_bytes = int64_t{1} << 30;
  options.workers = 2;
  options.intra_op_threads = 1;
  return options;
}

void CopyModels(const std::vector<std::string>& models, const models::TemporaryDirectory& repository) {
  for (const std::string& model : models) {
    const std::filesystem::path bundle = std::filesystem::path(ATTRIBUTION_FIXTURES) / model;
    ASSERT_TRUE(std::filesystem::is_directory(bundle))
        << bundle << " is missing. Run: python tests/fixtures/make_models.py --output "
        << ATTRIBUTION_FIXTURES;
    std::filesystem::copy(bundle, repository.path() / model, std::filesystem::copy_options::recursive);
  }
}

TestEngine::TestEngine(const std::vector<std::string>& models, EngineOptions options)
    : metrics_({"test", "test"}) {
  CopyModels(models, repository_);
  options.model_repository = repository_.path();
  auto engine = CreateEngine(options, metrics_);
  EXPECT_TRUE(engine.ok()) << engine.status();
  engine_ = *std::move(engine);

  // The listener may outlive this constructor, so it owns what it writes to.
  struct Loading {
    std::mutex mutex;
    std::condition_variable changed;
    std::set<std::string> settled;
  };
  const auto loading = std::make_shared<Loading>();
  engine_->WatchModels([loading](const ModelInfo& info) {
    if (info.state != ModelState::kServing && info.state != ModelState::kFailed) return;
    const std::lock_guard lock(loading->mutex);
    loading->settled.insert(info.name);
    loading->changed.notify_all();
  });
  std::unique_lock lock(loading->mutex);
  EXPECT_TRUE(loading->changed.wait_for(lock, std::chrono::minutes(2), [&] {
    return loading->settled.size() == models.size();
  })) << "Not every model has loaded or failed.";
}

StartedCall TestEngine::Start(AttributionRequest request, std::shared_ptr<RecordingSink> sink,
                              CallContext context) {
  if (sink == nullptr) sink = std::make_shared<RecordingSink>();
  auto call = engine_->Attribute(std::move(request), std::move(context), sink);
  return {std::move(sink), std::move(call)};
}

TestEngine::Outcome TestEngine::Run(AttributionRequest request, CallContext context) {
  const auto sink = std::make_shared<RecordingSink>();
  double reserved = -1;
  sink->done_hook = [&] { reserved = ReservedBytes(); };
  Start(std::move(request), sink, std::move(context));
  Outcome outcome;
  outcome.status = sink->Wait();
  EXPECT_EQ(reserved, 0) << "when OnDone came with " << outcome.status;
  outcome.events = sink->events();
  const auto results = sink->EventsOf<AttributionResult>();
  EXPECT_EQ(results.size(), outcome.status.ok() ? 1 : 0);
  if (!results.empty()) outcome.result = results.back();
  return outcome;
}

void TestEngine::WaitForIntake() {
  // Intake is one thread, first come, first served: when it refuses this one it has done with the earlier
  // ones.
  AttributionRequest request;
  request.model = "no such model";
  EXPECT_EQ(Start(std::move(request)).sink->Wait().code(), absl::StatusCode::kNotFound);
}

double TestEngine::ReservedBytes() const {
  return Value("attribution_memory_reserved_bytes{device=\"cpu\"}");
}
double TestEngine::QueueDepth() const { return Value("attribution_queue_depth{device=\"cpu\"}"); }

double TestEngine::Value(const std::string& series) const {
  for (const absl::string_view line : absl::StrSplit(metrics_.Text(), '\n')) {
    const std::vector<absl::string_view> parts = absl::StrSplit(line, ' ');
    double value = 0;
    if (parts.size() == 2 && parts[0] == series && absl::SimpleAtod(parts[1], &value)) return value;
  }
  ADD_FAILURE() << "There is no " << series;
  return -1;
}

}  // namespace attribution::engine
