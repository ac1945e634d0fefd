#include "client/cli/load_generator.h"

#include <gtest/gtest.h>

#include <functional>
#include <mutex>
#include <utility>
#include <vector>

#include "attribution/client.h"

namespace attribution::cli {
namespace {

// Answers every attribution at once, on the thread that starts it.
class PuppetClient : public Client {
 public:
  absl::Status Attribute(const AttributionRequest&, const std::function<void(const Event&)>&) override {
    return absl::UnimplementedError("Not used.");
  }

  void StartAttribute(const AttributionRequest& request, std::function<void(const Event&)> on_event,
                      std::function<void(const CallEnd&)> on_done) override {
    {
      const std::lock_guard lock(mutex);
      requests.push_back(request);
    }
    if (!status.ok()) return on_done({status, 0});
    Admitted admitted;
    admitted.estimated_peak_bytes = 100;
    on_event(admitted);
    AttributionResult result;
    result.measured_peak_bytes = 90;
    on_event(result);
    on_done({absl::OkStatus(), 11});
  }

  absl::StatusOr<AdmissionEstimate> Estimate(const EstimateRequest&) override {
    return absl::UnimplementedError("Not used.");
  }
  absl::Status Rollout(const RolloutRequest&, const std::function<absl::StatusOr<std::string>(int32_t)>&,
                       const std::function<void(const Event&)>&) override {
    return absl::UnimplementedError("Not used.");
  }
  absl::StatusOr<std::vector<ModelInfo>> ListModels() override {
    return absl::UnimplementedError("Not used.");
  }
  absl::StatusOr<ModelInfo> GetModel(const std::string&, const std::string&) override {
    return absl::UnimplementedError("Not used.");
  }
  absl::StatusOr<ModelInfo> LoadModel(const std::string&, const std::string&, LoadModelOptions) override {
    return absl::UnimplementedError("Not used.");
  }
  absl::Status UnloadModel(const std::string&, const std::string&) override {
    return absl::UnimplementedError("Not used.");
  }
  absl::StatusOr<HealthState> CheckHealth(const std::string&) override {
    return absl::UnimplementedError("Not used.");
  }

  std::mutex mutex;
  std::vector<AttributionRequest> requests;
  absl::Status status;
};

LoadPlan SomePlan() {
  LoadPlan plan;
  plan.request.model = "minilm";
  plan.shapes = {{2, 3}};
  plan.vocabulary = 10;
  plan.duration = absl::Milliseconds(2);
  return plan;
}

TEST(LoadGeneratorTest, AnOpenLoopSendsWhatIsDue) {
  PuppetClient client;
  LoadPlan plan = SomePlan();
  plan.clients = 0;
  plan.rate = 10000;
  plan.duration = absl::Milliseconds(10);
  LoadChance chance(plan.seed);
  size_t due = 0;
  for (absl::Duration at = chance.Gap(plan.rate); at < plan.duration; at += chance.Gap(plan.rate)) {
    chance.Shape(plan.shapes);
    chance.Tokens(plan.shapes[0], plan.vocabulary);
    ++due;
  }
  const LoadReport report = RunLoad(client, plan);
  EXPECT_EQ(client.requests.size(), due);
  EXPECT_EQ(report.all.requests, static_cast<int64_t>(due));
  EXPECT_EQ(report.seconds, 0.01);
  EXPECT_GE(report.all_seconds, 0.01);
  EXPECT_EQ(report.all.sequences, 2 * report.all.requests);
  EXPECT_EQ(report.all.received_bytes, 11 * report.all.requests);
  EXPECT_EQ(report.all.memory_ratios.at(0), 0.9);
  EXPECT_EQ(report.all.first_event.count(), report.all.requests);
  const auto& tokens = std::get<TokenBatch>(client.requests[0].input);
  ASSERT_EQ(tokens.sequences.size(), 2u);
  EXPECT_EQ(tokens.sequences[0].input_ids.size(), 3u);
}

TEST(LoadGeneratorTest, TheWarmUpIsSentAndNotMeasured) {
  PuppetClient client;
  LoadPlan plan = SomePlan();
  plan.clients = 0;
  plan.rate = 10000;
  plan.warm_up = absl::Milliseconds(10);
  plan.duration = absl::ZeroDuration();
  const LoadReport report = RunLoad(client, plan);
  EXPECT_GT(client.requests.size(), 0u);
  EXPECT_EQ(report.all.requests, 0);
}

TEST(LoadGeneratorTest, FailuresAreCounted) {
  PuppetClient client;
  client.status = absl::UnavailableError("Draining.");
  LoadPlan plan = SomePlan();
  plan.clients = 0;
  plan.rate = 10000;
  plan.duration = absl::Milliseconds(5);
  const LoadReport report = RunLoad(client, plan);
  EXPECT_EQ(report.all.succeeded, 0);
  EXPECT_EQ(report.all.outcomes.at("UNAVAILABLE"), report.all.requests);
  EXPECT_EQ(report.first_error.message(), "Draining.");
}

TEST(LoadGeneratorTest, TextsAreSentAsTheyAre) {
  PuppetClient client;
  LoadPlan plan = SomePlan();
  plan.shapes.clear();
  plan.request.input = TextBatch{.texts = {"a", "b"}};
  plan.clients = 0;
  plan.rate = 10000;
  const LoadReport report = RunLoad(client, plan);
  EXPECT_EQ(report.shapes.at(0).first, "text");
  EXPECT_EQ(report.all.sequences, 2 * report.all.requests);
}

}  // namespace
}  // namespace attribution::cli
