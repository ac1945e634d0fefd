// What reaches the engine, and what is refused before it.
#include <algorithm>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

using ::testing::HasSubstr;

constexpr char kAttribute[] = "/attribution.v1.AttributionService/Attribute";
constexpr char kComputeMetrics[] = "/attribution.v1.AttributionService/ComputeMetrics";

// Field 1, a string of the one byte 0xFF.
const std::string kInvalidUtf8("\x0A\x01\xFF", 3);

class RequestTest : public ServerFixture {
 protected:
  // Runs ComputeMetrics to its end with the engine saying OK; returns the call as the engine saw it.
  std::shared_ptr<FakeCall> Run(const v1::ComputeMetricsRequest& request = {}) {
    std::thread client([&] { status_ = stub_->ComputeMetrics(&context_, request, &response_); });
    const auto call = engine_.TakeCall();
    Admitted admitted;
    admitted.num_layers = 6;
    call->sink->OnEvent(admitted, nullptr);
    call->sink->OnEvent(LayerMetrics{}, nullptr);
    AttributionResult result;
    result.metrics.rollout_max = 0.25;
    call->sink->OnEvent(result, nullptr);
    call->sink->OnDone(absl::OkStatus());
    client.join();
    return call;
  }

  std::string Trailer(const char* key) {
    const auto entry = context_.GetServerTrailingMetadata().find(key);
    if (entry == context_.GetServerTrailingMetadata().end()) return "";
    return {entry->second.data(), entry->second.size()};
  }

  grpc::ClientContext context_;
  grpc::Status status_;
  v1::ComputeMetricsResponse response_;
};

TEST_F(RequestTest, ComputeMetricsAnswersWithTheFirstAndTheLastEvent) {
  v1::ComputeMetricsRequest request;
  request.set_model("minilm");
  request.mutable_text()->add_texts("Hello");
  request.set_skip_rollout_metrics(true);
  const auto call = Run(request);
  EXPECT_TRUE(status_.ok());
  EXPECT_EQ(response_.admitted().num_layers(), 6);
  EXPECT_EQ(response_.result().metrics().rollout_max(), 0.25);
  EXPECT_FALSE(response_.result().metrics().has_rollout_entropy());
  EXPECT_EQ(call->request.model, "minilm");
  EXPECT_EQ(std::get<TextBatch>(call->request.input).texts, std::vector<std::string>{"Hello"});
  EXPECT_TRUE(call->request.output.skip_rollout_metrics);
  EXPECT_FALSE(call->request.output.rollout_matrix);
}

TEST_F(RequestTest, AnErrorOfTheEngineEndsComputeMetrics) {
  engine_.PlayAtOnce([](FakeCall& call) { call.sink->OnDone(absl::NotFoundError("No such model.")); });
  status_ = stub_->ComputeMetrics(&context_, {}, &response_);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_EQ(status_.error_message(), "No such model.");
}

TEST_F(RequestTest, CancellingComputeMetricsReachesTheEngine) {
  std::thread client([&] { status_ = stub_->ComputeMetrics(&context_, {}, &response_); });
  const auto call = engine_.TakeCall();
  context_.TryCancel();
  call->WaitUntilCancelled();
  call->sink->OnDone(absl::CancelledError("Cancelled."));
  client.join();
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(RequestTest, TheDeadlineReachesTheEngine) {
  const absl::Time deadline = absl::Now() + absl::Hours(1);
  context_.set_deadline(absl::ToChronoTime(deadline));
  const auto call = Run();
  EXPECT_GT(call->context.deadline, deadline - absl::Minutes(1));
  EXPECT_LT(call->context.deadline, deadline + absl::Minutes(1));
}

TEST_F(RequestTest, NoDeadlineIsTheInfiniteFuture) {
  EXPECT_EQ(Run()->context.deadline, absl::InfiniteFuture());
}

TEST_F(RequestTest, TheRequestIdIsPassedOnAndEchoed) {
  context_.AddMetadata("x-request-id", "abc-1");
  EXPECT_EQ(Run()->context.request_id, "abc-1");
  EXPECT_EQ(Trailer("x-request-id"), "abc-1");
}

TEST_F(RequestTest, ARequestIdIsMadeWhenThereIsNone) {
  const auto call = Run();
  EXPECT_EQ(call->context.request_id.size(), 32u);
  EXPECT_EQ(Trailer("x-request-id"), call->context.request_id);
}

TEST_F(RequestTest, ATooLongRequestIdIsReplaced) {
  context_.AddMetadata("x-request-id", std::string(129, 'a'));
  EXPECT_EQ(Run()->context.request_id.size(), 32u);
}

TEST_F(RequestTest, PriorityAndPeerReachTheEngine) {
  context_.AddMetadata("x-priority", "-7");
  const auto call = Run();
  EXPECT_EQ(call->context.priority, -7);
  EXPECT_THAT(call->context.peer, HasSubstr("127.0.0.1"));
}

TEST_F(RequestTest, TheTraceIdOfATraceParentReachesTheEngine) {
  context_.AddMetadata("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
  EXPECT_EQ(Run()->context.trace_id, "0af7651916cd43dd8448eb211c80319c");
}

TEST_F(RequestTest, ATraceParentOfALaterVersionMayBeLonger) {
  context_.AddMetadata("traceparent", "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-what-comes");
  EXPECT_EQ(Run()->context.trace_id, "0af7651916cd43dd8448eb211c80319c");
}

class TraceParentTest : public RequestTest, public testing::WithParamInterface<const char*> {};

TEST_P(TraceParentTest, AMalformedTraceParentIsIgnored) {
  context_.AddMetadata("traceparent", GetParam());
  EXPECT_EQ(Run()->context.trace_id, "");
}

INSTANTIATE_TEST_SUITE_P(Malformed, TraceParentTest,
                         testing::Values("", "00", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
                                         "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
                                         "00-00000000000000000000000000000000-b7ad6b7169203331-01",
                                         "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
                                         "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                         "0x-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0g",
                                         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
                                         "cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01x",
                                         "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                                         "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
                                         "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331_01"));

TEST_F(RequestTest, ARefusalBeforeTheEngineLeavesALogLine) {
  testing::internal::CaptureStderr();
  context_.AddMetadata("x-request-id", "refused-1");
  context_.AddMetadata("x-priority", "high");
  status_ = stub_->ComputeMetrics(&context_, {}, &response_);
  EXPECT_FALSE(SendBytes(kAttribute, kInvalidUtf8).ok());
  const std::string log = testing::internal::GetCapturedStderr();
  EXPECT_THAT(log, HasSubstr("request_id=refused-1"));
  EXPECT_THAT(log, HasSubstr("Metadata x-priority"));
  EXPECT_EQ(std::count(log.begin(), log.end(), '\n'), 2) << log;
}

TEST_F(RequestTest, APriorityThatIsNoNumberIsInvalid) {
  context_.AddMetadata("x-priority", "high");
  status_ = stub_->ComputeMetrics(&context_, {}, &response_);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(engine_.num_calls(), 0);
}

TEST_F(RequestTest, BytesThatAreNoMessageAreInvalid) {
  for (const char* method : {kAttribute, kComputeMetrics}) {
    const grpc::Status status = SendBytes(method, "\xFF\xFF\xFF");
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_THAT(status.error_message(), HasSubstr("cannot be parsed"));
  }
  EXPECT_EQ(engine_.num_calls(), 0);
}

TEST_F(RequestTest, TextThatIsNotUtf8IsInvalid) {
  for (const char* method : {kAttribute, kComputeMetrics, "/attribution.v1.ModelService/GetModel"}) {
    EXPECT_EQ(SendBytes(method, kInvalidUtf8).error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
  }
  EXPECT_EQ(engine_.num_calls(), 0);
}

TEST_F(RequestTest, AnOversizedMessageIsRefusedWithoutARetryHint) {
  ServerOptions options;
  options.max_message_bytes = 4096;
  StartServer(options);
  v1::ComputeMetricsRequest request;
  request.mutable_text()->add_texts(std::string(8192, 'a'));
  status_ = stub_->ComputeMetrics(&context_, request, &response_);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(status_.error_details(), "");
  EXPECT_EQ(engine_.num_calls(), 0);
}

TEST_F(RequestTest, AnUnknownEnumNamesItsField) {
  v1::ComputeMetricsRequest request;
  request.mutable_options()->set_preset(static_cast<v1::Preset>(99));
  status_ = stub_->ComputeMetrics(&context_, request, &response_);
  EXPECT_EQ(status_.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status_.error_details()));
  google::rpc::BadRequest bad_request;
  ASSERT_EQ(details.details_size(), 1);
  ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "options.preset");
}

}  // namespace
}  // namespace attribution::rpc
