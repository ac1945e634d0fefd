// What happens to clients that take nothing of their stream. The rest of EventStream is in attribute_test.cc.
#include "server/rpc/event_stream.h"

#include <latch>
#include <memory>
#include <sstream>
#include <string>

#include "attribution/status_details.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

constexpr int kSlices = 32;  // of a MiB: far more than the windows of a connection hold

class EventStreamTest : public ServerFixture {
 protected:
  // Starts a call to a server with this timeout and waits until it has reached the engine.
  std::shared_ptr<FakeCall> Begin(absl::Duration write_stall_timeout) {
    ServerOptions options;
    options.write_stall_timeout = write_stall_timeout;
    StartServer(options);
    reader_ = stub_->Attribute(&context_, {});
    return engine_.TakeCall();
  }

  // Gives the call more than its client takes. Each slice counts `returned` down when its memory goes back.
  static void Fill(FakeCall& call, std::latch& returned) {
    for (int i = 0; i < kSlices; ++i) {
      MatrixSlice slice;
      slice.sequence_index = i;
      slice.data.assign(1 << 20, 'x');
      call.sink->OnEvent(std::move(slice),
                         EventMemory(&returned, [](std::latch* latch) { latch->count_down(); }));
    }
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::AttributeResponse>> reader_;
};

std::string ReasonOf(const grpc::Status& status) {
  google::rpc::Status details;
  google::rpc::ErrorInfo info;
  if (details.ParseFromString(status.error_details()) && details.details_size() > 0) {
    details.details(0).UnpackTo(&info);
  }
  return info.reason();
}

TEST_F(EventStreamTest, AClientThatTakesNothingIsAborted) {
  std::latch returned(kSlices);
  const auto call = Begin(absl::Seconds(1));
  Fill(*call, returned);
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  // Reading again lets the message in flight out, and the status behind it.
  v1::AttributeResponse response;
  int slices = 0;
  while (reader_->Read(&response)) EXPECT_EQ(response.matrix().sequence_index(), slices++);
  EXPECT_LT(slices, kSlices);
  const grpc::Status status = reader_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED) << status.error_message();
  EXPECT_EQ(ReasonOf(status), "SLOW_READER");
}

TEST_F(EventStreamTest, AStallIsAbortedAlsoAfterTheEnginesLastWord) {
  std::latch returned(kSlices);
  const auto call = Begin(absl::Seconds(1));
  Fill(*call, returned);
  call->sink->OnDone(absl::OkStatus());
  returned.wait();  // the rest was dropped, and what was in flight has failed
  v1::AttributeResponse response;
  while (reader_->Read(&response)) {
  }
  EXPECT_FALSE(reader_->Finish().ok());
}

TEST_F(EventStreamTest, MemoryOfUnsentEventsGoesBackThoughTheClientNeverReads) {
  std::latch returned(kSlices);
  const auto call = Begin(absl::Milliseconds(20));
  Fill(*call, returned);
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  returned.wait();
}

TEST_F(EventStreamTest, AStallResumesAnEngineThatWaitsForTheReader) {
  std::latch returned(kSlices);
  std::latch resumed(1);
  const auto call = Begin(absl::Milliseconds(20));
  Fill(*call, returned);
  call->sink->WhenWritable([&] { resumed.count_down(); });
  resumed.wait();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  returned.wait();
}

TEST_F(EventStreamTest, AMessageThatTheClientNeverTakesWholeEndsTheCall) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 5);  // bytes that it takes unasked
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  ServerOptions options;
  options.write_stall_timeout = absl::Milliseconds(20);
  StartServer(options);
  stub_ = v1::AttributionService::NewStub(Connect(server_->port(), arguments));
  reader_ = stub_->Attribute(&context_, {});
  const auto call = engine_.TakeCall();
  MatrixSlice slice;
  slice.data.assign(1 << 10, 'x');
  call->sink->OnEvent(std::move(slice), nullptr);
  call->sink->OnDone(absl::OkStatus());
  server_->Shutdown(absl::Hours(1));  // returns when every call has ended
}

TEST_F(EventStreamTest, AClientThatPausesForLessKeepsItsStream) {
  std::latch returned(kSlices);
  const auto call = Begin(absl::Seconds(600));
  Fill(*call, returned);
  call->sink->OnDone(absl::OkStatus());
  v1::AttributeResponse response;
  int slices = 0;
  while (reader_->Read(&response)) ++slices;
  EXPECT_EQ(slices, kSlices);
  EXPECT_TRUE(reader_->Finish().ok());
  returned.wait();
}

TEST_F(EventStreamTest, AnAnswerThatTheClientDoesNotTakeEndsTheCall) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 5);
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  ServerOptions options;
  options.write_stall_timeout = absl::Milliseconds(20);
  StartServer(options);
  engine_.PlayAtOnce([](FakeCall& call) {
    AttributionResult result;
    result.sequences.resize(4096);
    call.sink->OnEvent(std::move(result), nullptr);
    call.sink->OnDone(absl::OkStatus());
  });
  // A stream from the client's side: it may leave the one message unread.
  grpc::GenericStub generic(Connect(server_->port(), arguments));
  grpc::CompletionQueue queue;
  const auto stream =
      generic.PrepareCall(&context_, "/attribution.v1.AttributionService/ComputeMetrics", &queue);
  void* tag = nullptr;
  bool ok = false;
  stream->StartCall(nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  stream->WriteLast(grpc::ByteBuffer(), grpc::WriteOptions(), nullptr);
  ASSERT_TRUE(queue.Next(&tag, &ok) && ok);
  server_->Shutdown(absl::Hours(1));  // returns when every call has ended
  grpc::Status status;
  stream->Finish(&status, nullptr);
  EXPECT_TRUE(queue.Next(&tag, &ok));
  EXPECT_FALSE(status.ok());
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
}

// A request that says it is over in a moment.
class MomentTest : public EventStreamTest {
 protected:
  void SetUp() override {
    call_ = Begin(absl::Minutes(1));
    admitted_.num_chunks = 1;
    admitted_.expected_seconds = EventStream::kMomentSeconds / 2;
  }

  void Tell(Event event, EventMemory memory = nullptr) {
    call_->sink->OnEvent(std::move(event), std::move(memory));
  }

  // Of calls of Attribute, as the metrics have it.
  std::string MessagesSent() {
    std::istringstream text(metrics_.Text());
    for (std::string line; std::getline(text, line);) {
      if (line.rfind("grpc_server_msg_sent_total{", 0) == 0 &&
          line.find("\"Attribute\"") != std::string::npos) {
        return line.substr(line.rfind(' ') + 1);
      }
    }
    return "none";
  }

  // Whether the first event has left although the engine has not said its last word.
  bool FirstEventLeaves() {
    v1::AttributeResponse response;
    const bool leaves = reader_->Read(&response) && response.has_admitted();
    call_->sink->OnDone(absl::OkStatus());
    return leaves;
  }

  std::shared_ptr<FakeCall> call_;
  Admitted admitted_;
};

TEST_F(MomentTest, EventsLeaveWithTheLastWord) {
  Tell(admitted_);
  Tell(ChunkMetrics{});
  Tell(AttributionResult{});
  EXPECT_EQ(MessagesSent(), "0");
  call_->sink->OnDone(absl::OkStatus());
  v1::AttributeResponse response;
  ASSERT_TRUE(reader_->Read(&response));
  EXPECT_TRUE(response.has_admitted());
  ASSERT_TRUE(reader_->Read(&response));
  EXPECT_TRUE(response.has_chunk());
  ASSERT_TRUE(reader_->Read(&response));
  EXPECT_TRUE(response.has_result());
  EXPECT_FALSE(reader_->Read(&response));
  EXPECT_TRUE(reader_->Finish().ok());
}

TEST_F(MomentTest, ErrorComesBehindWhatWasTold) {
  Tell(admitted_);
  call_->sink->OnDone(absl::InternalError("It threw."));
  v1::AttributeResponse response;
  ASSERT_TRUE(reader_->Read(&response));
  EXPECT_FALSE(reader_->Read(&response));
  EXPECT_EQ(reader_->Finish().error_code(), grpc::StatusCode::INTERNAL);
}

TEST_F(MomentTest, LongRequestIsToldAtOnce) {
  admitted_.expected_seconds = EventStream::kMomentSeconds;
  Tell(admitted_);
  EXPECT_TRUE(FirstEventLeaves());
}

TEST_F(MomentTest, RequestOfUnknownTimeIsToldAtOnce) {
  admitted_.expected_seconds = 0;
  Tell(admitted_);
  EXPECT_TRUE(FirstEventLeaves());
}

TEST_F(MomentTest, RequestOfSeveralChunksIsToldAtOnce) {
  admitted_.num_chunks = 2;
  Tell(admitted_);
  EXPECT_TRUE(FirstEventLeaves());
}

TEST_F(MomentTest, MatricesDoNotWait) {
  Tell(admitted_);
  Tell(MatrixSlice{}, std::make_shared<int>());
  EXPECT_TRUE(FirstEventLeaves());
}

TEST_F(MomentTest, ManyEventsDoNotWait) {
  Tell(admitted_);
  TopCells cells;
  cells.cells.resize(EventStream::kMomentBytes);
  Tell(std::move(cells));
  EXPECT_TRUE(FirstEventLeaves());
}

TEST_F(MomentTest, NewPlanDoesNotWait) {
  Tell(admitted_);
  Tell(Replanned{});
  EXPECT_TRUE(FirstEventLeaves());
}

}  // namespace
}  // namespace attribution::rpc
