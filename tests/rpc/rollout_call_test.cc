// The bidirectional method over a real connection: pieces one at a time, events, refusals, cancellation.
#include "server/rpc/rollout_call.h"

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "attribution/status_details.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

using ::testing::HasSubstr;

v1::RolloutRequest Header() {
  v1::RolloutRequest message;
  v1::RolloutHeader& header = *message.mutable_header();
  header.set_dtype(v1::TENSOR_DTYPE_FLOAT16);
  header.set_form(v1::ATTENTION_FORM_PER_HEAD);
  header.set_batch(2);
  header.set_heads(3);
  header.set_seq_length(4);
  header.set_num_layers(5);
  header.add_masks();
  header.add_masks()->add_values(1);
  header.mutable_options()->set_residual_weight(0.25);
  header.mutable_output()->set_top_k(7);
  return message;
}

v1::RolloutRequest Piece(int32_t layer, int64_t offset, std::string data) {
  v1::RolloutRequest message;
  message.mutable_piece()->set_layer(layer);
  message.mutable_piece()->set_offset(offset);
  message.mutable_piece()->set_data(std::move(data));
  return message;
}

std::string FieldIn(const grpc::Status& status) {
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return "";
  google::rpc::BadRequest bad;
  for (const google::protobuf::Any& detail : details.details()) {
    if (detail.UnpackTo(&bad)) return bad.field_violations(0).field();
  }
  return "";
}

class RolloutCallTest : public ServerFixture {
 protected:
  void SetUp() override {
    ServerFixture::SetUp();
    stream_ = stub_->Rollout(&context_);
  }

  // Sends the header and waits until it has reached the engine.
  std::shared_ptr<FakeRollout> Begin() {
    EXPECT_TRUE(stream_->Write(Header()));
    return engine_.TakeRollout();
  }

  // The same, admitted.
  std::shared_ptr<FakeRollout> BeginAdmitted() {
    std::shared_ptr<FakeRollout> call = Begin();
    call->sink->OnEvent(Admitted{}, nullptr);
    EXPECT_TRUE(stream_->Read(&response_));
    return call;
  }

  // Reads what is left and returns the status.
  grpc::Status Finish() {
    while (stream_->Read(&response_)) {
    }
    return stream_->Finish();
  }

  // What the server says of `message` in the place of a piece.
  grpc::Status StatusAfter(const v1::RolloutRequest& message) {
    const auto call = BeginAdmitted();
    stream_->Write(message);
    call->WaitUntilCancelled();
    call->sink->OnDone(absl::CancelledError("The request was cancelled."));
    EXPECT_EQ(call->num_pieces, 0);
    return Finish();
  }

  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<v1::RolloutRequest, v1::RolloutResponse>> stream_;
  v1::RolloutResponse response_;
};

TEST_F(RolloutCallTest, TheHeaderReachesTheEngine) {
  const auto call = Begin();
  const AttentionHeader& header = call->request.header;
  EXPECT_EQ(header.dtype, TensorDtype::kFloat16);
  EXPECT_EQ(header.form, AttentionForm::kPerHead);
  EXPECT_EQ(header.batch, 2);
  EXPECT_EQ(header.heads, 3);
  EXPECT_EQ(header.length, 4);
  EXPECT_EQ(header.layers, 5);
  EXPECT_EQ(header.masks, (std::vector<std::vector<int32_t>>{{}, {1}}));
  EXPECT_EQ(call->request.options.residual_weight, 0.25);
  EXPECT_EQ(call->request.output.top_k, 7);
  call->sink->OnDone(absl::OkStatus());
  EXPECT_TRUE(Finish().ok());
}

TEST_F(RolloutCallTest, PiecesComeInOrderAndEventsGoOut) {
  const auto call = BeginAdmitted();
  EXPECT_TRUE(response_.has_admitted());
  ASSERT_TRUE(stream_->Write(Piece(0, 0, "ab")));
  ASSERT_TRUE(stream_->Write(Piece(0, 2, "c")));
  stream_->WritesDone();

  FakeRollout::Piece piece = call->TakePiece();
  EXPECT_EQ(piece.data, "ab");
  piece.taken();
  piece = call->TakePiece();
  EXPECT_EQ(piece.layer, 0);
  EXPECT_EQ(piece.offset, 2);
  EXPECT_EQ(piece.data, "c");
  piece.taken();
  call->WaitUntilEnded();
  LayerMetrics layer;
  layer.layer_idx = 3;
  call->sink->OnEvent(layer, nullptr);
  call->sink->OnEvent(AttributionResult{}, nullptr);
  call->sink->OnDone(absl::OkStatus());

  ASSERT_TRUE(stream_->Read(&response_));
  EXPECT_EQ(response_.layer().layer_idx(), 3);
  ASSERT_TRUE(stream_->Read(&response_));
  EXPECT_TRUE(response_.has_result());
  EXPECT_TRUE(Finish().ok());
}

TEST_F(RolloutCallTest, NoPieceIsReadBeforeAdmittedNorBeforeTheLastOneIsTaken) {
  const auto call = Begin();
  ASSERT_TRUE(stream_->Write(Piece(0, 0, "a")));
  ASSERT_TRUE(stream_->Write(Piece(0, 1, "b")));
  // A call that goes through the same server afterwards shows that nothing was read meanwhile.
  EXPECT_FALSE(SendBytes("/attribution.v1.AttributionService/Estimate", "\xFF").ok());
  EXPECT_EQ(call->num_pieces, 0);
  call->sink->OnEvent(Admitted{}, nullptr);
  FakeRollout::Piece piece = call->TakePiece();
  EXPECT_FALSE(SendBytes("/attribution.v1.AttributionService/Estimate", "\xFF").ok());
  EXPECT_EQ(call->num_pieces, 1);
  piece.taken();
  piece = call->TakePiece();
  EXPECT_EQ(piece.data, "b");
  call->sink->OnDone(absl::InternalError("Failed."));
  piece.taken();  // too late, and harmless
  EXPECT_EQ(Finish().error_code(), grpc::StatusCode::INTERNAL);
}

TEST_F(RolloutCallTest, AnEngineMayAnswerBeforeRolloutReturns) {
  engine_.PlayRolloutsAtOnce([](FakeRollout& call) {
    call.sink->OnEvent(Admitted{}, nullptr);
    call.sink->OnDone(absl::ResourceExhaustedError("Full."));
  });
  ASSERT_TRUE(stream_->Write(Header()));
  EXPECT_TRUE(stream_->Read(&response_));
  EXPECT_EQ(Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(RolloutCallTest, AdmittedBeforeRolloutReturnsStartsTheReading) {
  std::shared_ptr<EventSink> sink;
  engine_.PlayRolloutsAtOnce([&](FakeRollout& call) {
    sink = call.sink;
    call.sink->OnEvent(Admitted{}, nullptr);
  });
  ASSERT_TRUE(stream_->Write(Header()));
  ASSERT_TRUE(stream_->Read(&response_));
  v1::RolloutRequest second = Header();  // refused: so it was read
  ASSERT_TRUE(stream_->Write(second));
  sink->OnDone(absl::OkStatus());
  EXPECT_TRUE(Finish().ok());
}

TEST_F(RolloutCallTest, AFirstMessageThatIsNoHeaderIsInvalid) {
  ASSERT_TRUE(stream_->Write(Piece(0, 0, "a")));
  const grpc::Status status = Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(status), "header");
}

TEST_F(RolloutCallTest, NoMessageAtAllIsInvalid) {
  stream_->WritesDone();
  const grpc::Status status = Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(status), "header");
}

TEST_F(RolloutCallTest, AHeaderWithoutFormIsInvalid) {
  v1::RolloutRequest message = Header();
  message.mutable_header()->clear_form();
  ASSERT_TRUE(stream_->Write(message));
  const grpc::Status status = Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(status), "header.form");
}

TEST_F(RolloutCallTest, FieldsOfOptionsAreNamedInTheHeader) {
  const auto call = Begin();
  call->sink->OnDone(InvalidField("options.residual_weight", "Residual weight out of range: 2."));
  EXPECT_EQ(FieldIn(Finish()), "header.options.residual_weight");
}

TEST_F(RolloutCallTest, ASecondHeaderIsInvalid) {
  const grpc::Status status = StatusAfter(Header());
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(status), "header");
}

TEST_F(RolloutCallTest, AMessageWithoutAPartIsInvalid) {
  const grpc::Status status = StatusAfter({});
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(status), "piece");
}

TEST_F(RolloutCallTest, APieceOfMoreThanAMebibyteIsInvalid) {
  const grpc::Status status = StatusAfter(Piece(0, 0, std::string(kMaxPieceBytes + 1, 'x')));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(FieldIn(status), "piece.data");
  EXPECT_THAT(status.error_message(), HasSubstr("1048577"));
}

TEST_F(RolloutCallTest, APieceOfAMebibyteIsTaken) {
  const auto call = BeginAdmitted();
  ASSERT_TRUE(stream_->Write(Piece(0, 0, std::string(kMaxPieceBytes, 'x'))));
  EXPECT_EQ(call->TakePiece().data.size(), kMaxPieceBytes);
  call->sink->OnDone(absl::OkStatus());
  EXPECT_TRUE(Finish().ok());
}

TEST_F(RolloutCallTest, CancellationReachesTheEngine) {
  const auto call = BeginAdmitted();
  context_.TryCancel();
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  EXPECT_EQ(Finish().error_code(), grpc::StatusCode::CANCELLED);
  EXPECT_FALSE(call->ended);
}

TEST_F(RolloutCallTest, CancellationReachesAnEngineThatHoldsAPiece) {
  const auto call = BeginAdmitted();
  ASSERT_TRUE(stream_->Write(Piece(0, 0, "a")));
  const FakeRollout::Piece piece = call->TakePiece();
  context_.TryCancel();
  call->WaitUntilCancelled();
  piece.taken();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  EXPECT_EQ(Finish().error_code(), grpc::StatusCode::CANCELLED);
}

// Bytes of an AttributeResponse are sent as a RolloutResponse.
TEST(RolloutResponseTest, IsTheSameOnTheWireAsAttributeResponse) {
  const google::protobuf::Descriptor& attribute = *v1::AttributeResponse::descriptor();
  const google::protobuf::Descriptor& rollout = *v1::RolloutResponse::descriptor();
  ASSERT_EQ(attribute.field_count(), rollout.field_count());
  for (int i = 0; i < attribute.field_count(); ++i) {
    EXPECT_EQ(attribute.field(i)->number(), rollout.field(i)->number());
    EXPECT_EQ(attribute.field(i)->message_type(), rollout.field(i)->message_type());
  }
}

// A client that holds memory and sends nothing is given up.
TEST_F(RolloutCallTest, ASenderThatStallsIsAborted) {
  ServerOptions options;
  options.write_stall_timeout = absl::Milliseconds(20);
  stream_.reset();
  StartServer(options);
  grpc::ClientContext context;
  auto stream = stub_->Rollout(&context);
  EXPECT_TRUE(stream->Write(Header()));
  const std::shared_ptr<FakeRollout> call = engine_.TakeRollout();
  call->sink->OnEvent(Admitted{}, nullptr);
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("stopped"));
  while (stream->Read(&response_)) {
  }
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_details(), HasSubstr("SLOW_SENDER"));
}

TEST_F(RolloutCallTest, AHeaderThatDoesNotComeIsNotWaitedForForever) {
  ServerOptions options;
  options.write_stall_timeout = absl::Milliseconds(20);
  stream_.reset();
  StartServer(options);
  grpc::ClientContext context;
  auto stream = stub_->Rollout(&context);
  EXPECT_FALSE(stream->Read(&response_));
  const grpc::Status status = stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_THAT(status.error_details(), HasSubstr("SLOW_SENDER"));
}

}  // namespace
}  // namespace attribution::rpc
