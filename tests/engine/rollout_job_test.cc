#include "server/engine/rollout_job.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "attribution/status_details.h"
#include "server/admission/admission_errors.h"
#include "server/admission/memory_model.h"
#include "tests/engine/recording_sink.h"
#include "tests/rollout/streamed_sample.h"

namespace attribution::engine {
namespace {

using rollout::Sample;

// A host without threads: what is to run on a worker waits until the test runs it.
class PuppetHost : public RolloutHost {
 public:
  void Check(std::function<void()> step) override { step(); }

  admission::Ticket Admit(int64_t estimated_bytes, const CallContext&,
                          std::function<void(absl::StatusOr<Lease>)> done) override {
    estimate = estimated_bytes;
    if (holds_admission) {
      held = std::move(done);
      return ++tickets;
    }
    if (!refusal.ok()) {
      done(refusal);
    } else {
      done(Lease{*budget.TryReserve(admission::ReservedBytes(estimated_bytes)), absl::Seconds(2)});
    }
    return ++tickets;
  }

  admission::Ticket RunOnWorker(const CallContext&, std::function<void()> step,
                                std::function<void(const absl::Status&)> afterwards) override {
    work.push_back([step = std::move(step), afterwards] {
      step();
      afterwards(absl::OkStatus());
    });
    turn_refused = std::move(afterwards);
    return ++tickets;
  }

  void CancelTicket(admission::Ticket ticket, const absl::Status& reason) override {
    cancelled = ticket;
    if (ticket != tickets) return;
    if (held) std::exchange(held, nullptr)(reason);
    if (!work.empty()) {
      work.clear();
      turn_refused(reason);
    }
  }

  memory::Ledger* ledger() override { return nullptr; }
  absl::Time Now() const override { return now; }
  c10::Device device() const override { return c10::kCPU; }
  const RequestLimits& limits() const override { return limits_; }
  telemetry::Metrics& metrics() override { return metrics_; }
  void OnFinished(const AttributionCall*) override { ++finished; }

  // Runs what waits for a worker.
  void Work() {
    while (!work.empty()) {
      const std::function<void()> next = std::move(work.front());
      work.pop_front();
      next();
    }
  }

  admission::MemoryBudget budget{int64_t{1} << 30, nullptr};
  std::deque<std::function<void()>> work;
  std::function<void(const absl::Status&)> turn_refused;
  bool holds_admission = false;
  std::function<void(absl::StatusOr<Lease>)> held;
  absl::Status refusal;
  int64_t estimate = 0;
  admission::Ticket tickets = 0;
  admission::Ticket cancelled = 0;
  absl::Time now = absl::UnixEpoch();
  int finished = 0;

 private:
  RequestLimits limits_;
  telemetry::Metrics metrics_{{"1.2.3", "4.5.6"}};
};

class RolloutJobTest : public testing::Test {
 protected:
  std::shared_ptr<RolloutJob> Start(RolloutRequest request, CallContext context = {}) {
    auto job = std::make_shared<RolloutJob>(host_, std::move(request), std::move(context), sink_);
    job->Start();
    return job;
  }

  // Sends every layer of the sample, each in pieces of `bytes`, and the end.
  void Send(RolloutJob& job, const Sample& sample, size_t bytes) {
    for (size_t l = 0; l < sample.layers.size(); ++l) {
      const std::string layer = rollout::BytesOf(rollout::LayerTensor(sample, l, TensorDtype::kFloat32));
      for (size_t offset = 0; offset < layer.size(); offset += bytes) {
        bool taken = false;
        job.Append(static_cast<int32_t>(l), static_cast<int64_t>(offset), layer.substr(offset, bytes),
                   [&] { taken = true; });
        EXPECT_FALSE(taken);
        host_.Work();
        EXPECT_TRUE(taken);
      }
    }
    job.End();
    host_.Work();
  }

  static RolloutRequest RequestFor(const Sample& sample) {
    RolloutRequest request;
    request.header = rollout::HeaderOf(sample);
    request.output.layer_metrics = true;
    request.output.rollout_matrix = true;
    request.output.top_k = 2;
    return request;
  }

  PuppetHost host_;
  const std::shared_ptr<RecordingSink> sink_ = std::make_shared<RecordingSink>();
};

Sample SomeSample() { return rollout::PaddedSample(1, 3, 2, {{1, 1, 1, 1, 1}, {1, 1, 1, 0, 0}}); }

TEST_F(RolloutJobTest, TellsWhatTheStreamHasComputed) {
  const Sample sample = SomeSample();
  const auto job = Start(RequestFor(sample));
  Send(*job, sample, 17);
  ASSERT_TRUE(sink_->IsDone());
  ASSERT_TRUE(sink_->Wait().ok()) << sink_->Wait();
  EXPECT_EQ(host_.finished, 1);
  EXPECT_EQ(host_.budget.reserved_bytes(), 0);

  rollout::AttentionStream stream = rollout::NewStream(rollout::HeaderOf(sample), rollout::Defaults(3));
  ASSERT_TRUE(rollout::StreamSample(stream, sample, TensorDtype::kFloat32, 64).ok());
  const auto admitted = sink_->EventsOf<Admitted>();
  ASSERT_EQ(admitted.size(), 1u);
  EXPECT_EQ(admitted[0].chunk_size, 2);
  EXPECT_EQ(admitted[0].num_chunks, 1);
  EXPECT_EQ(admitted[0].num_layers, 3);
  EXPECT_EQ(admitted[0].device, "cpu");
  EXPECT_EQ(admitted[0].queue_seconds, 2);
  EXPECT_EQ(admitted[0].options.end_layer, 2);
  EXPECT_EQ(sink_->EventsOf<LayerMetrics>().size(), 3u);
  EXPECT_EQ(sink_->EventsOf<ChunkMetrics>().size(), 1u);
  EXPECT_EQ(sink_->EventsOf<TopCells>().size(), 2u);
  const auto matrices = sink_->EventsOf<MatrixSlice>();
  ASSERT_EQ(matrices.size(), 2u);
  EXPECT_EQ(matrices[1].data, rollout::BytesOf(stream.fold(1).rollout()));
  const AttributionResult result = sink_->EventsOf<AttributionResult>().at(0);
  EXPECT_EQ(result.metrics.rollout_entropy, stream.BatchMetrics().rollout_entropy);
  EXPECT_EQ(result.metrics.max_attention, stream.BatchMetrics().max_attention);
  ASSERT_EQ(result.sequences.size(), 2u);
  EXPECT_EQ(result.sequences[1].rollout_max, stream.MetricsOf(1).rollout_max);
  EXPECT_EQ(result.layers.size(), 3u);
  EXPECT_GE(result.measured_attention_bytes, stream.bytes());
  EXPECT_TRUE(std::holds_alternative<Admitted>(sink_->events().front()));
  EXPECT_TRUE(std::holds_alternative<AttributionResult>(sink_->events().back()));
}

TEST_F(RolloutJobTest, APieceMaySeparateWhatIsToldFromWhatCame) {
  const Sample sample = SomeSample();
  const auto job = Start(RequestFor(sample));
  const std::string layer = rollout::BytesOf(rollout::LayerTensor(sample, 0, TensorDtype::kFloat32));
  job->Append(0, 0, layer.substr(0, 4), [] {});
  host_.Work();
  EXPECT_TRUE(sink_->EventsOf<LayerMetrics>().empty());
  job->Append(0, 4, layer.substr(4), [] {});
  host_.Work();
  EXPECT_EQ(sink_->EventsOf<LayerMetrics>().size(), 1u);
  job->Cancel();
}

TEST_F(RolloutJobTest, APieceThatComesWhileAdmittedIsToldIsNotLost) {
  const Sample sample = SomeSample();
  std::shared_ptr<RolloutJob> job;
  bool taken = false;
  sink_->event_hook = [&](const Event& event) {
    if (!std::holds_alternative<Admitted>(event)) return;
    job->Append(0, 0, std::string(4, '\0'), [&] { taken = true; });
  };
  job = std::make_shared<RolloutJob>(host_, RequestFor(sample), CallContext(), sink_);
  job->Start();
  host_.Work();
  EXPECT_TRUE(taken);
  EXPECT_FALSE(sink_->IsDone());
  job->Cancel();
}

TEST_F(RolloutJobTest, TheMeasuredPeakIsWithinTheEstimate) {
  for (const Preset preset :
       {Preset::kAbnar2020, Preset::kIclrMetrics, Preset::kChefer2021, Preset::kVitExplainFixed}) {
    for (const CausalCorrection correction : {CausalCorrection::kNone, CausalCorrection::kUniformRatio}) {
      const std::vector<int32_t> mask(200, 1);
      const Sample sample = rollout::RandomSample(1, 2, 2, {mask, mask});
      RolloutRequest request = RequestFor(sample);
      request.options.preset = preset;
      request.options.causal_correction = correction;
      const auto sink = std::make_shared<RecordingSink>();
      const auto job = std::make_shared<RolloutJob>(host_, request, CallContext(), sink);
      job->Start();
      Send(*job, sample, 1 << 18);
      ASSERT_TRUE(sink->IsDone());
      if (sink->Wait().code() == absl::StatusCode::kInvalidArgument) continue;  // does not go together
      ASSERT_TRUE(sink->Wait().ok()) << sink->Wait();
      const int64_t measured = sink->EventsOf<AttributionResult>().at(0).measured_peak_bytes;
      EXPECT_LE(measured, host_.estimate);
      EXPECT_GE(measured, host_.estimate / 3);
    }
  }
}

TEST_F(RolloutJobTest, WrongHeadersNeverAskForMemory) {
  Start({});
  EXPECT_EQ(FieldOf(sink_->Wait()), "header.seq_length");
  EXPECT_EQ(host_.tickets, 0);
  EXPECT_EQ(host_.finished, 1);
}

TEST_F(RolloutJobTest, WhatNeverFitsIsToldWithTheLengthThatDoes) {
  host_.refusal = admission::NeverFits(1, 20 << 20, 1);
  RolloutRequest request;
  request.header.length = 100000;
  request.header.layers = 1;
  Start(request);
  const absl::Status status = sink_->Wait();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  const std::string longest = MetadataOf(status).at("max_seq_length_that_fits");
  EXPECT_GT(std::stoi(longest), 1000);
  EXPECT_LT(std::stoi(longest), 2000);
}

TEST_F(RolloutJobTest, NaNIsTheCallersError) {
  const Sample sample = SomeSample();
  const auto job = Start(RequestFor(sample));
  const float nan = std::numeric_limits<float>::quiet_NaN();
  bool taken = false;
  job->Append(0, 0, std::string(reinterpret_cast<const char*>(&nan), sizeof(nan)), [&] {
    taken = true;
    EXPECT_FALSE(sink_->IsDone());
  });
  host_.Work();
  EXPECT_TRUE(taken);
  EXPECT_EQ(sink_->Wait().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(FieldOf(sink_->Wait()), "piece.data");
  EXPECT_EQ(host_.budget.reserved_bytes(), 0);
}

TEST_F(RolloutJobTest, MissingLayersAreTheCallersError) {
  const auto job = Start(RequestFor(SomeSample()));
  job->End();
  host_.Work();
  EXPECT_EQ(FieldOf(sink_->Wait()), "header.num_layers");
}

TEST_F(RolloutJobTest, CancellingAnIdleJobEndsItAtOnce) {
  const auto job = Start(RequestFor(SomeSample()));
  EXPECT_GT(host_.budget.reserved_bytes(), 0);
  job->Cancel();
  ASSERT_TRUE(sink_->IsDone());
  EXPECT_EQ(sink_->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(host_.budget.reserved_bytes(), 0);
  job->Cancel();
  bool taken = false;
  job->Append(0, 0, "abcd", [&] { taken = true; });
  EXPECT_TRUE(taken);
  EXPECT_EQ(host_.finished, 1);
}

TEST_F(RolloutJobTest, CancellingWhileAPieceWaitsForAWorkerTakesItOut) {
  const auto job = Start(RequestFor(SomeSample()));
  bool taken = false;
  job->Append(0, 0, "abcd", [&] { taken = true; });
  job->Cancel();
  EXPECT_TRUE(taken);
  EXPECT_EQ(sink_->Wait().code(), absl::StatusCode::kCancelled);
}

TEST_F(RolloutJobTest, CancellingWhileItWaitsForMemoryTakesItOut) {
  host_.holds_admission = true;
  const auto job = Start(RequestFor(SomeSample()));
  EXPECT_FALSE(sink_->IsDone());
  job->Cancel();
  EXPECT_EQ(sink_->Wait().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(sink_->events().empty());
}

TEST_F(RolloutJobTest, ADeadlineThatHasPassedEndsItAtTheNextPiece) {
  CallContext context;
  context.deadline = host_.now + absl::Seconds(1);
  const auto job = Start(RequestFor(SomeSample()), context);
  host_.now += absl::Seconds(2);
  job->Append(0, 0, "abcd", [] {});
  host_.Work();
  EXPECT_EQ(sink_->Wait().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(RolloutJobTest, OutputWaitsUntilTheSinkHasRoom) {
  const Sample sample = SomeSample();
  std::function<void()> resume;
  sink_->writable_hook = [&](std::function<void()> room) { resume = std::move(room); };
  const auto job = Start(RequestFor(sample));
  Send(*job, sample, 1000);
  EXPECT_FALSE(sink_->IsDone());
  ASSERT_TRUE(resume);
  resume();
  host_.Work();
  EXPECT_TRUE(sink_->Wait().ok());
}

}  // namespace
}  // namespace attribution::engine
