// Tests that the engine is of use while it still loads, and what it tells of its models.
#include <gtest/gtest.h>

#include <atomic>
#include <memory>

#include "server/engine/engine_factory.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

TEST(EngineLoadingTest, ModelThatServesAnswersWhileOthersLoad) {
  models::TemporaryDirectory repository;
  CopyModels({"bare-eager", "bare-two-inputs"}, repository);
  EngineOptions options = SmallOptions();
  options.model_repository = repository.path();
  options.memory_budget_bytes = 0;  // found out by the engine
  telemetry::Metrics metrics({"test", "test"});
  // Outlives the engine, whose listeners use them.
  const auto sink = std::make_shared<RecordingSink>();
  std::atomic<bool> asked = false;
  const absl::StatusOr<std::unique_ptr<Engine>> engine = CreateEngine(options, metrics);
  ASSERT_TRUE(engine.ok()) << engine.status();
  (*engine)->WatchModels([&](const ModelInfo& info) {
    if (info.state != ModelState::kServing || asked.exchange(true)) return;
    (*engine)->Attribute(LoadExample(info.name).Request(), {}, sink);
    EXPECT_TRUE(sink->Wait().ok());  // no other model loads meanwhile
  });
  const absl::Status status = sink->Wait();
  EXPECT_TRUE(status.ok()) << status;
}

TEST(EngineLoadingTest, ListsModelsWithWhatLoadingFound) {
  TestEngine engine({"tiny-bert-sdpa", "broken", "no-attention"});
  const std::vector<ModelInfo> models = engine->ListModels();
  ASSERT_EQ(models.size(), 3);
  EXPECT_EQ(models[0].name, "broken");
  EXPECT_EQ(models[0].state, ModelState::kFailed);
  EXPECT_FALSE(models[0].load_error.empty());
  EXPECT_EQ(models[1].state, ModelState::kServing);
  EXPECT_EQ(models[1].num_layers, 0);
  EXPECT_EQ(models[2].num_layers, 3);
  EXPECT_EQ(models[2].num_heads, 4);
  EXPECT_TRUE(models[2].has_tokenizer);
  EXPECT_EQ(models[2].device, "cpu");
}

TEST(EngineLoadingTest, GetModelOfAnUnknownNameIsNotFound) {
  TestEngine engine({"bare-eager"});
  EXPECT_EQ(engine->GetModel("bare", "").status().code(), absl::StatusCode::kNotFound);
}

TEST(EngineLoadingTest, UnknownDeviceIsInvalid) {
  telemetry::Metrics metrics({"test", "test"});
  EngineOptions options = SmallOptions();
  options.device = "abacus";
  EXPECT_EQ(CreateEngine(options, metrics).status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace attribution::engine
