// The streaming method over a real connection: events, flow, cancellation.
#include <latch>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "attribution/status_details.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

class AttributeTest : public ServerFixture {
 protected:
  // Starts a call and waits until it has reached the engine.
  std::shared_ptr<FakeCall> Begin(const v1::AttributeRequest& request = {}) {
    reader_ = stub_->Attribute(&context_, request);
    return engine_.TakeCall();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::AttributeResponse>> reader_;
};

MatrixSlice Megabyte(int32_t index) {
  MatrixSlice slice;
  slice.sequence_index = index;
  slice.data.assign(1 << 20, 'x');
  return slice;
}

TEST_F(AttributeTest, EventsArriveInTheOrderTheyWereGiven) {
  const auto call = Begin();
  const std::vector<Event> events = {Admitted{}, LayerMetrics{}, ChunkMetrics{},     MatrixSlice{},
                                     TopCells{}, Replanned{},    AttributionResult{}};
  for (const Event& event : events) call->sink->OnEvent(event, nullptr);
  call->sink->OnDone(absl::OkStatus());

  std::vector<v1::AttributeResponse::EventCase> seen;
  v1::AttributeResponse response;
  while (reader_->Read(&response)) seen.push_back(response.event_case());
  using R = v1::AttributeResponse;
  EXPECT_EQ(seen, (std::vector<R::EventCase>{R::kAdmitted, R::kLayer, R::kChunk, R::kMatrix, R::kTop,
                                             R::kReplanned, R::kResult}));
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(AttributeTest, AnErrorComesAfterTheEventsBeforeIt) {
  const auto call = Begin();
  call->sink->OnEvent(Admitted{}, nullptr);
  call->sink->OnDone(absl::InternalError("The model failed."));
  v1::AttributeResponse response;
  EXPECT_TRUE(reader_->Read(&response));
  EXPECT_FALSE(reader_->Read(&response));
  const grpc::Status status = reader_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INTERNAL);
  EXPECT_EQ(status.error_message(), "The model failed.");
}

TEST_F(AttributeTest, AnEngineMayAnswerBeforeAttributeReturns) {
  engine_.PlayAtOnce([](FakeCall& call) {
    call.sink->OnEvent(Admitted{}, nullptr);
    call.sink->OnDone(absl::OkStatus());
  });
  reader_ = stub_->Attribute(&context_, {});
  v1::AttributeResponse response;
  EXPECT_TRUE(reader_->Read(&response));
  EXPECT_FALSE(reader_->Read(&response));
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(AttributeTest, ASinkWithRoomResumesAtOnce) {
  const auto call = Begin();
  bool resumed = false;
  call->sink->WhenWritable([&] { resumed = true; });
  EXPECT_TRUE(resumed);
  call->sink->OnDone(absl::OkStatus());
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(AttributeTest, ASlowReaderHoldsTheEngineBackUntilItReads) {
  const auto call = Begin();
  constexpr int kSlices = 32;  // far more than the windows of a connection hold
  for (int i = 0; i < kSlices; ++i) call->sink->OnEvent(Megabyte(i), nullptr);
  std::latch resumed(1);
  call->sink->WhenWritable([&] { resumed.count_down(); });
  EXPECT_FALSE(resumed.try_wait());

  v1::AttributeResponse response;
  for (int i = 0; i < kSlices; ++i) {
    ASSERT_TRUE(reader_->Read(&response));
    EXPECT_EQ(response.matrix().sequence_index(), i);
    EXPECT_EQ(response.matrix().data().size(), size_t{1} << 20);
  }
  resumed.wait();
  call->sink->OnDone(absl::OkStatus());
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(AttributeTest, CancellationReachesTheEngine) {
  const auto call = Begin();
  call->sink->OnEvent(Admitted{}, nullptr);
  context_.TryCancel();
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  v1::AttributeResponse response;
  while (reader_->Read(&response)) {
  }
  EXPECT_EQ(reader_->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(AttributeTest, CancellationResumesAnEngineThatWaitsForTheReader) {
  const auto call = Begin();
  for (int i = 0; i < 32; ++i) call->sink->OnEvent(Megabyte(i), nullptr);
  std::latch resumed(1);
  call->sink->WhenWritable([&] { resumed.count_down(); });
  context_.TryCancel();
  resumed.wait();
  call->WaitUntilCancelled();
  call->sink->OnEvent(Megabyte(32), nullptr);  // dropped, not kept
  call->sink->OnDone(absl::CancelledError("Cancelled."));
}

TEST_F(AttributeTest, AClientThatLeavesCancelsItsCall) {
  auto channel = Connect(server_->port(), [] {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection of its own
    return arguments;
  }());
  auto stub = v1::AttributionService::NewStub(channel);
  auto context = std::make_unique<grpc::ClientContext>();
  auto reader = stub->Attribute(context.get(), {});
  const auto call = engine_.TakeCall();
  context->TryCancel();
  reader->Finish();
  reader.reset();
  context.reset();
  stub.reset();
  channel.reset();
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
}

TEST_F(AttributeTest, TheServerMayStopWhileACallRuns) {
  const auto call = Begin();
  std::thread engine([&] {
    call->WaitUntilCancelled();
    call->sink->OnDone(absl::CancelledError("Cancelled."));
  });
  server_->Shutdown(absl::ZeroDuration());
  engine.join();
  EXPECT_FALSE(reader_->Finish().ok());
}

TEST_F(AttributeTest, ARefusalBeforeTheFirstEventIsRetriedByTheClient) {
  grpc::ChannelArguments arguments;
  arguments.SetServiceConfigJSON(R"({"methodConfig": [{"name": [{}], "retryPolicy": {"maxAttempts": 3,
      "initialBackoff": "3600s", "maxBackoff": "3600s", "backoffMultiplier": 1,
      "retryableStatusCodes": ["UNAVAILABLE"]}}]})");
  auto stub = v1::AttributionService::NewStub(Connect(server_->port(), arguments));
  // Without the pushback of this status the client would wait an hour; with initial metadata it would not
  // retry.
  engine_.PlayAtOnce([this](FakeCall& call) {
    if (engine_.num_calls() == 1) {
      return call.sink->OnDone(WithRetryDelay(absl::UnavailableError("Loading."), absl::Milliseconds(1)));
    }
    call.sink->OnEvent(Admitted{}, nullptr);
    call.sink->OnDone(absl::OkStatus());
  });
  auto reader = stub->Attribute(&context_, {});
  v1::AttributeResponse response;
  EXPECT_TRUE(reader->Read(&response));
  EXPECT_TRUE(reader->Finish().ok());
  EXPECT_EQ(engine_.num_calls(), 2);
}

}  // namespace
}  // namespace attribution::rpc
