// Tests requests that run in one chunk together: the answer, events, memory, cancellation and failure of each
// are its own.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <latch>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attribution/status_details.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"
#include "tests/memory/failing_allocator.h"

namespace attribution::engine {
namespace {

constexpr char kModel[] = "tiny-bert-sdpa";
constexpr char kShared[] = "attribution_admission_decisions_total{decision=\"admitted\",reason=\"shared\"}";

EngineOptions OneWorker() {
  EngineOptions options = SmallOptions();
  options.workers = 1;
  return options;
}

// Keeps the only worker busy until it is let go.
class BusyWorker {
 public:
  explicit BusyWorker(TestEngine& engine) {
    const auto sink = std::make_shared<RecordingSink>();
    sink->event_hook = [this](const Event& event) {
      if (!std::holds_alternative<ChunkMetrics>(event)) return;
      runs_.count_down();
      let_go_.wait();
    };
    AttributionRequest request = LoadExample(kModel).Pick({0}).Request();
    request.options.max_chunk_size = 1;  // shares with nobody
    started_ = engine.Start(std::move(request), sink);
    runs_.wait();
  }
  void LetGo() {
    let_go_.count_down();
    EXPECT_TRUE(started_.sink->Wait().ok());
  }

 private:
  std::latch runs_{1};
  std::latch let_go_{1};
  StartedCall started_;
};

class EngineSharingTest : public testing::TestWithParam<const char*> {
 protected:
  EngineSharingTest() : example_(LoadExample(kModel)), engine_({kModel}, OneWorker()) {}

  static Preset PresetOf(const std::string& name) {
    return name == "iclr" ? Preset::kIclrMetrics : Preset::kAbnar2020;
  }

  OracleExample example_;
  TestEngine engine_;
};

TEST_P(EngineSharingTest, EachGetsItsOwnAnswerAndItsShareOfTheMemory) {
  const Preset preset = PresetOf(GetParam());
  const std::vector<OracleExample> parts = {example_.Pick({0}), example_.Pick({1, 2}), example_.Pick({2}),
                                            example_.Pick({1})};
  std::vector<TestEngine::Outcome> alone;
  for (const OracleExample& part : parts) alone.push_back(engine_.Run(part.Request(preset)));
  EXPECT_EQ(engine_.Value(kShared), 0);

  BusyWorker busy(engine_);
  std::vector<StartedCall> calls;
  for (const OracleExample& part : parts) calls.push_back(engine_.Start(part.Request(preset)));
  engine_.WaitForIntake();
  busy.LetGo();
  int64_t estimated = 0;
  int64_t estimated_alone = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    SCOPED_TRACE(testing::Message() << "request " << i);
    ASSERT_TRUE(calls[i].sink->Wait().ok()) << calls[i].sink->Wait();
    const std::vector<Event> events = calls[i].sink->events();
    ExpectAsOracle(events, parts[i], preset, 0.5, 1e-5);
    ASSERT_EQ(events.size(), alone[i].events.size());
    for (size_t e = 0; e < events.size(); ++e) EXPECT_EQ(events[e].index(), alone[i].events[e].index());
    const auto admitted = std::get<Admitted>(events.front());
    const auto result = std::get<AttributionResult>(events.back());
    EXPECT_EQ(admitted.num_chunks, 1);
    EXPECT_EQ(result.num_chunks, 1);
    EXPECT_LE(result.measured_peak_bytes, admitted.estimated_peak_bytes);
    EXPECT_LT(result.measured_attention_bytes, result.measured_peak_bytes);
    estimated += admitted.estimated_peak_bytes;
    estimated_alone += std::get<Admitted>(alone[i].events.front()).estimated_peak_bytes;
  }
  EXPECT_EQ(engine_.Value(kShared), 3);
  EXPECT_LT(estimated, estimated_alone);
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

INSTANTIATE_TEST_SUITE_P(Presets, EngineSharingTest, testing::Values("abnar", "iclr"),
                         [](const auto& info) { return std::string(info.param); });

class EngineSharedChunkTest : public testing::Test {
 protected:
  EngineSharedChunkTest() : example_(LoadExample(kModel).Pick({0})), engine_({kModel}, OneWorker()) {}

  std::vector<StartedCall> StartThreeTogether(const std::shared_ptr<RecordingSink>& first_sink = nullptr) {
    BusyWorker busy(engine_);
    std::vector<StartedCall> calls = {engine_.Start(example_.Request(), first_sink),
                                      engine_.Start(example_.Request()), engine_.Start(example_.Request())};
    engine_.WaitForIntake();
    first_call_ = calls.front().call;
    busy.LetGo();
    return calls;
  }

  OracleExample example_;
  TestEngine engine_;
  std::shared_ptr<AttributionCall> first_call_;
};

TEST_F(EngineSharedChunkTest, CancellingOneLeavesTheOthersAlone) {
  const auto sink = std::make_shared<RecordingSink>();
  sink->event_hook = [this](const Event& event) {
    if (std::holds_alternative<LayerMetrics>(event)) first_call_->Cancel();
  };
  const std::vector<StartedCall> calls = StartThreeTogether(sink);
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sink->EventsOf<LayerMetrics>().size(), 1);
  for (size_t i = 1; i < calls.size(); ++i) {
    ASSERT_TRUE(calls[i].sink->Wait().ok());
    ExpectAsOracle(calls[i].sink->events(), example_, Preset::kAbnar2020, 0.5, 1e-5);
  }
  EXPECT_EQ(engine_.Value(kShared), 2);
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST_F(EngineSharedChunkTest, WhatStopsTheChunkIsTriedAgainAlone) {
  memory::FailingMemory memory;
  const auto sink = std::make_shared<RecordingSink>();
  sink->event_hook = [&, layers = 0](const Event& event) mutable {
    if (std::holds_alternative<LayerMetrics>(event) && ++layers == 1) memory->FailAllocation(5);
  };
  const std::vector<StartedCall> calls = StartThreeTogether(sink);
  for (const StartedCall& call : calls) {
    ASSERT_TRUE(call.sink->Wait().ok()) << call.sink->Wait();
    EXPECT_THAT(call.sink->EventsOf<Replanned>(), testing::ElementsAre(Replanned{0, 1, 1, 1}));
    EXPECT_EQ(call.sink->EventsOf<Admitted>().size(), 1);
    const std::vector<AttributionResult> results = call.sink->EventsOf<AttributionResult>();
    ASSERT_EQ(results.size(), 1);
    EXPECT_EQ(results.front().oom_retries, 1);
    ExpectAsOracle(call.sink->events(), example_, Preset::kAbnar2020, 0.5, 1e-5);
  }
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST_F(EngineSharedChunkTest, OtherOptionsRunApart) {
  BusyWorker busy(engine_);
  AttributionRequest other = example_.Request();
  other.options.residual_weight = 0.25;
  const std::vector<StartedCall> calls = {engine_.Start(example_.Request()), engine_.Start(std::move(other))};
  engine_.WaitForIntake();
  busy.LetGo();
  for (const StartedCall& call : calls) ASSERT_TRUE(call.sink->Wait().ok());
  ExpectAsOracle(calls[1].sink->events(), example_, Preset::kAbnar2020, 0.25, 1e-5);
  EXPECT_EQ(engine_.Value(kShared), 0);
}

TEST(EngineWithoutSharingTest, EveryRequestRunsByItself) {
  EngineOptions options = OneWorker();
  options.share_chunks = false;
  TestEngine engine({kModel}, options);
  const OracleExample example = LoadExample(kModel).Pick({0});
  BusyWorker busy(engine);
  const std::vector<StartedCall> calls = {engine.Start(example.Request()), engine.Start(example.Request())};
  engine.WaitForIntake();
  busy.LetGo();
  for (const StartedCall& call : calls) EXPECT_TRUE(call.sink->Wait().ok());
  EXPECT_EQ(engine.Value(kShared), 0);
}

}  // namespace
}  // namespace attribution::engine
