// Tests what ends a request early, and what it may not hold meanwhile: cancelling, deadlines, slow readers,
// draining.
#include <gtest/gtest.h>

#include <functional>
#include <future>
#include <latch>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "attribution/status_details.h"
#include "server/admission/memory_model.h"
#include "tests/engine/oracle_example.h"
#include "tests/engine/test_engine.h"

namespace attribution::engine {
namespace {

constexpr char kModel[] = "bare-two-inputs";

// Two chunks of one sequence each.
AttributionRequest TwoChunks() {
  AttributionRequest request = LoadExample(kModel).Pick({0, 2}).Request();
  request.options.max_chunk_size = 1;
  return request;
}

// Bytes that TwoChunks() reserves.
int64_t BytesOfTwoChunks() {
  TestEngine engine({kModel});
  const TestEngine::Outcome outcome = engine.Run(TwoChunks());
  EXPECT_TRUE(outcome.status.ok()) << outcome.status;
  return admission::ReservedBytes(std::get<Admitted>(outcome.events.at(0)).estimated_peak_bytes);
}

// A request whose reader stopped after its first chunk: it holds its memory until Resume().
class PausedCall {
 public:
  explicit PausedCall(TestEngine& engine, AttributionRequest request = TwoChunks()) {
    const auto sink = std::make_shared<RecordingSink>();
    sink->writable_hook = [this](std::function<void()> resume) {
      resume_ = std::move(resume);
      paused_.count_down();
    };
    started_ = engine.Start(std::move(request), sink);
    paused_.wait();
  }
  ~PausedCall() {
    if (resume_ != nullptr) Finish().IgnoreError();
  }

  // Lets it go on, and returns how it ended.
  absl::Status Finish() {
    std::exchange(resume_, nullptr)();
    return started_.sink->Wait();
  }

  const RecordingSink& sink() const { return *started_.sink; }
  AttributionCall& call() const { return *started_.call; }

 private:
  std::latch paused_{1};
  std::function<void()> resume_;
  StartedCall started_;
};

// An engine whose memory is enough for one of two equal requests.
class EngineQueueTest : public testing::Test {
 protected:
  static void SetUpTestSuite() { bytes_ = BytesOfTwoChunks(); }
  EngineQueueTest() : engine_({kModel}, Options()) {}

  static EngineOptions Options() {
    EngineOptions options = SmallOptions();
    options.memory_budget_bytes = bytes_ + bytes_ / 2;
    return options;
  }

  static int64_t bytes_;
  TestEngine engine_;
};

int64_t EngineQueueTest::bytes_ = 0;

TEST_F(EngineQueueTest, SecondRequestWaitsForTheMemoryOfTheFirst) {
  PausedCall first(engine_);
  EXPECT_EQ(engine_.ReservedBytes(), static_cast<double>(bytes_));
  const StartedCall second = engine_.Start(TwoChunks());
  engine_.WaitForIntake();
  EXPECT_EQ(engine_.QueueDepth(), 1);
  EXPECT_TRUE(second.sink->events().empty());
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_TRUE(second.sink->Wait().ok());
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST_F(EngineQueueTest, CancelEndsARequestThatWaits) {
  PausedCall first(engine_);
  const StartedCall second = engine_.Start(TwoChunks());
  engine_.WaitForIntake();
  second.call->Cancel();
  EXPECT_EQ(second.sink->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(second.sink->events().empty());
  EXPECT_EQ(engine_.QueueDepth(), 0);
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST_F(EngineQueueTest, CancelAtOnceEndsARequest) {
  PausedCall first(engine_);
  const StartedCall second = engine_.Start(TwoChunks());
  second.call->Cancel();  // before, while or after it meets admission
  EXPECT_EQ(second.sink->Wait().code(), absl::StatusCode::kCancelled);
  second.call->Cancel();  // says nothing new
  EXPECT_TRUE(first.Finish().ok());
}

TEST_F(EngineQueueTest, DeadlineEndsARequestThatWaits) {
  PausedCall first(engine_);
  CallContext context;
  context.deadline = absl::Now() + absl::Milliseconds(20);
  const StartedCall second = engine_.Start(TwoChunks(), nullptr, context);
  EXPECT_EQ(second.sink->Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(second.sink->events().empty());
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST_F(EngineQueueTest, DrainingLetsFinishWhatRunsAndWhatWaits) {
  PausedCall first(engine_);
  const StartedCall second = engine_.Start(TwoChunks());
  engine_.WaitForIntake();
  bool by_itself = false;
  std::thread drain([&] { by_itself = engine_->Drain(absl::InfiniteDuration()); });
  // Whoever comes before the drain waits and is cancelled here; whoever comes after it is refused.
  absl::Status refused;
  while (refused.code() != absl::StatusCode::kUnavailable) {
    const StartedCall probe = engine_.Start(TwoChunks());
    engine_.WaitForIntake();
    probe.call->Cancel();
    refused = probe.sink->Wait();
  }
  EXPECT_FALSE(second.sink->IsDone());
  EXPECT_TRUE(first.Finish().ok());
  EXPECT_TRUE(second.sink->Wait().ok());
  drain.join();
  EXPECT_TRUE(by_itself);
}

class EngineStopTest : public testing::Test {
 protected:
  TestEngine engine_{{kModel}};
};

TEST_F(EngineStopTest, CancelStopsBetweenTwoLayers) {
  const auto sink = std::make_shared<RecordingSink>();
  std::latch started{1};
  std::shared_ptr<AttributionCall> call;
  sink->event_hook = [&](const Event& event) {
    if (!std::holds_alternative<LayerMetrics>(event)) return;
    started.wait();
    call->Cancel();
  };
  double reserved = -1;
  sink->done_hook = [&] { reserved = engine_.ReservedBytes(); };
  call = engine_.Start(TwoChunks(), sink).call;
  started.count_down();
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(sink->EventsOf<LayerMetrics>().size(), 1);
  EXPECT_TRUE(sink->EventsOf<ChunkMetrics>().empty());
  EXPECT_EQ(reserved, 0);
}

TEST_F(EngineStopTest, CancelStopsBetweenTwoChunks) {
  PausedCall paused(engine_);
  paused.call().Cancel();
  EXPECT_EQ(paused.Finish().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(paused.sink().EventsOf<ChunkMetrics>().size(), 1);
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST_F(EngineStopTest, CancelAfterTheEndDoesNothing) {
  const StartedCall started = engine_.Start(TwoChunks());
  ASSERT_TRUE(started.sink->Wait().ok());
  started.call->Cancel();
  EXPECT_TRUE(started.sink->Wait().ok());
}

TEST_F(EngineStopTest, DroppingTheCallDoesNotCancel) {
  const StartedCall started{engine_.Start(TwoChunks()).sink, nullptr};
  EXPECT_TRUE(started.sink->Wait().ok());
}

TEST_F(EngineStopTest, DeadlineThatHasPassedEndsARequestBeforeItRuns) {
  CallContext context;
  context.deadline = absl::InfinitePast();
  const TestEngine::Outcome outcome = engine_.Run(TwoChunks(), context);
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_TRUE(outcome.events.empty());
}

TEST_F(EngineStopTest, DeadlineStopsBetweenTwoLayers) {
  const auto sink = std::make_shared<RecordingSink>();
  CallContext context;
  context.deadline = absl::Now() + absl::Milliseconds(200);
  std::promise<void> never;
  sink->event_hook = [&](const Event& event) {
    if (std::holds_alternative<LayerMetrics>(event))
      never.get_future().wait_until(absl::ToChronoTime(context.deadline));
  };
  engine_.Start(TwoChunks(), sink, context);
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_LE(sink->EventsOf<LayerMetrics>().size(), 1);
  EXPECT_EQ(engine_.ReservedBytes(), 0);
}

TEST(EngineWorkersTest, ReaderThatTakesNothingHoldsNoWorker) {
  EngineOptions options = SmallOptions();
  options.workers = 1;
  TestEngine engine({kModel}, options);
  PausedCall paused(engine);
  const std::vector<StartedCall> others = {engine.Start(TwoChunks()), engine.Start(TwoChunks())};
  for (const StartedCall& other : others) EXPECT_TRUE(other.sink->Wait().ok());
  EXPECT_FALSE(paused.sink().IsDone());
  EXPECT_TRUE(paused.Finish().ok());
}

TEST(EngineDrainTest, IdleEngineDrainsByItselfAndThenRefuses) {
  TestEngine engine({kModel});
  EXPECT_TRUE(engine->Drain(absl::InfiniteDuration()));
  const TestEngine::Outcome outcome = engine.Run(TwoChunks());
  EXPECT_EQ(outcome.status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(outcome.status), "DRAINING");
  EXPECT_TRUE(RetryDelayOf(outcome.status).has_value());
}

// Starts far more chunks than can run before the test goes on, and returns when the first one is done.
StartedCall StartLongRequest(TestEngine& engine) {
  AttributionRequest request = LoadExample(kModel).Pick(std::vector<size_t>(4096, 0)).Request();
  request.options.max_chunk_size = 1;
  const auto runs = std::make_shared<std::latch>(1);
  const auto sink = std::make_shared<RecordingSink>();
  sink->event_hook = [runs](const Event& event) {
    if (std::holds_alternative<ChunkMetrics>(event) && !runs->try_wait()) runs->count_down();
  };
  StartedCall started = engine.Start(std::move(request), sink);
  runs->wait();
  return started;
}

TEST(EngineDrainTest, CancelsWhatRunsWhenTheGraceIsOver) {
  TestEngine engine({kModel});
  const StartedCall started = StartLongRequest(engine);
  EXPECT_FALSE(engine->Drain(absl::ZeroDuration()));
  EXPECT_TRUE(started.sink->IsDone());
  EXPECT_EQ(started.sink->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(engine.ReservedBytes(), 0);
}

TEST(EngineDrainTest, DestroyingTheEngineEndsWhatRuns) {
  std::shared_ptr<RecordingSink> sink;
  {
    TestEngine engine({kModel});
    sink = StartLongRequest(engine).sink;
  }
  ASSERT_TRUE(sink->IsDone());
  EXPECT_EQ(sink->Wait().code(), absl::StatusCode::kCancelled);
}

}  // namespace
}  // namespace attribution::engine
