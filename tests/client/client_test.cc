#include "attribution/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <latch>

#include "attribution/status_details.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "tests/client/fake_server.h"

namespace attribution {
namespace {

using ::testing::HasSubstr;

// A gRPC status with google.rpc details, as the server makes them.
template <typename... Details>
grpc::Status StatusWith(grpc::StatusCode code, const std::string& message, const Details&... details) {
  google::rpc::Status status;
  (status.add_details()->PackFrom(details), ...);
  return {code, message, status.SerializeAsString()};
}

google::rpc::ErrorInfo Reason(const std::string& reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  (*info.mutable_metadata())["limit"] = "1";
  return info;
}

std::unique_ptr<Client> ConnectTo(const FakeServer& server, ClientOptions options = {}) {
  options.target = server.target();
  absl::StatusOr<std::unique_ptr<Client>> client = Client::Connect(options);
  EXPECT_TRUE(client.ok()) << client.status();
  return *std::move(client);
}

ClientOptions Once() {
  ClientOptions options;
  options.retry = false;
  return options;
}

AttributionRequest SomeRequest() {
  AttributionRequest request;
  request.model = "tiny";
  request.input = TextBatch{.texts = {"a b"}};
  return request;
}

TEST(ClientTest, DeliversEventsInOrder) {
  FakeServer server;
  server->events = SmallStream();
  std::vector<size_t> kinds;
  const absl::Status status = ConnectTo(server)->Attribute(
      SomeRequest(), [&](const Event& event) { kinds.push_back(event.index()); });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(kinds, (std::vector<size_t>{Event(Admitted()).index(), Event(LayerMetrics()).index(),
                                        Event(ChunkMetrics()).index(), Event(MatrixSlice()).index(),
                                        Event(AttributionResult()).index()}));
}

TEST(ClientTest, AbsentMetricsStayAbsent) {
  FakeServer server;
  server->events = SmallStream();
  AttributionResult result;
  ASSERT_TRUE(ConnectTo(server)
                  ->Attribute(SomeRequest(),
                              [&](const Event& event) {
                                if (const auto* last = std::get_if<AttributionResult>(&event)) result = *last;
                              })
                  .ok());
  EXPECT_EQ(result.metrics.rollout_max, 1.0);
  EXPECT_FALSE(result.metrics.rollout_entropy.has_value());
}

TEST(ClientTest, SendsOptionsAndLeavesOthersUnset) {
  FakeServer server;
  server->events = SmallStream();
  AttributionRequest request = SomeRequest();
  request.options.preset = Preset::kIclrMetrics;
  request.options.residual_weight = 0.0;
  request.options.head_fusion = HeadFusion::kMin;
  request.options.head = 2;
  request.options.start_layer = 1;
  request.options.end_layer = -2;
  request.options.discard_ratio = 0.25;
  request.options.include_padding = true;
  request.output.rows = {.kind = RowSelection::Kind::kIndices, .indices = {1}};
  request.output.layer_matrices = true;
  request.output.top_k = 9;
  request.output.encoding = MatrixEncoding::kFloat16;
  ASSERT_TRUE(ConnectTo(server)->Attribute(request, nullptr).ok());
  EXPECT_EQ(server->request.options().preset(), v1::PRESET_ICLR_METRICS);
  EXPECT_TRUE(server->request.options().has_residual_weight());
  EXPECT_FALSE(server->request.options().has_layer_idx());
  EXPECT_EQ(server->request.options().head_fusion(), v1::HEAD_FUSION_MIN);
  EXPECT_EQ(server->request.options().head(), 2);
  EXPECT_EQ(server->request.options().start_layer(), 1);
  EXPECT_EQ(server->request.options().end_layer(), -2);
  EXPECT_EQ(server->request.options().discard_ratio(), 0.25);
  EXPECT_TRUE(server->request.options().include_padding());
  EXPECT_EQ(server->request.output().rows().kind(), v1::RowSelection::KIND_INDICES);
  EXPECT_EQ(server->request.output().rows().indices(0), 1);
  EXPECT_TRUE(server->request.output().layer_matrices());
  EXPECT_EQ(server->request.output().top_k(), 9);
  EXPECT_EQ(server->request.output().encoding(), v1::MATRIX_ENCODING_FP16);
  EXPECT_EQ(server->request.text().texts(0), "a b");
}

TEST(ClientTest, TellsFieldReasonAndMetadataOfAnError) {
  FakeServer server;
  server->attribute_status = [](int, grpc::ServerContext&) {
    google::rpc::BadRequest bad;
    bad.add_field_violations()->set_field("options.residual_weight");
    return StatusWith(grpc::StatusCode::INVALID_ARGUMENT, "Out of range: 2.", bad, Reason("OUT_OF_RANGE"));
  };
  const absl::Status status = ConnectTo(server)->Attribute(SomeRequest(), nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(status.message(), "Out of range: 2.");
  EXPECT_EQ(FieldOf(status), "options.residual_weight");
  EXPECT_EQ(ReasonOf(status), "OUT_OF_RANGE");
  EXPECT_EQ(MetadataOf(status).at("limit"), "1");
  EXPECT_EQ(server->attempts, 1);
}

TEST(ClientTest, RetriesAfterTheServersPushback) {
  FakeServer server;
  server->events = SmallStream();
  server->attribute_status = [](int attempt, grpc::ServerContext& context) {
    if (attempt == 2) return grpc::Status::OK;
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "1");
    return StatusWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "Queue is full.", Reason("QUEUE_FULL"));
  };
  EXPECT_TRUE(ConnectTo(server)->Attribute(SomeRequest(), nullptr).ok());
  EXPECT_EQ(server->attempts, 3);
}

TEST(ClientTest, DoesNotRetryWhenTheServerForbidsIt) {
  FakeServer server;
  server->attribute_status = [](int, grpc::ServerContext& context) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "-1");
    google::rpc::RetryInfo retry;
    retry.mutable_retry_delay()->set_nanos(500000000);
    return StatusWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "Queue is full.", retry);
  };
  const absl::Status status = ConnectTo(server)->Attribute(SomeRequest(), nullptr);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(RetryDelayOf(status), absl::Milliseconds(500));
  EXPECT_EQ(server->attempts, 1);
}

TEST(ClientTest, StreamWithoutAResultIsAnError) {
  FakeServer server;
  server->events = SmallStream();
  server->events.pop_back();
  EXPECT_EQ(ConnectTo(server)->Attribute(SomeRequest(), nullptr).code(), absl::StatusCode::kInternal);
}

TEST(ClientTest, SendsTheTokenOfTheFile) {
  FakeServer server;
  server->events = SmallStream();
  const std::string path = ::testing::TempDir() + "/client_test_token";
  std::ofstream(path) << "secret\n";
  ASSERT_TRUE(ConnectTo(server, {.token_file = path})->Attribute(SomeRequest(), nullptr).ok());
  EXPECT_EQ(server->metadata.find("authorization")->second, "Bearer secret");
}

TEST(ClientTest, TokenFileThatIsNotThereIsNotFound) {
  EXPECT_EQ(Client::Connect({.token_file = "/nonexistent/token"}).status().code(),
            absl::StatusCode::kNotFound);
}

TEST(ClientTest, NoServerIsCannotConnect) {
  ClientOptions options;
  options.target = FakeServer().target();  // nothing listens there any more
  const absl::Status status = Client::Connect(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ReasonOf(status), kCannotConnectReason);
  EXPECT_THAT(std::string(status.message()), HasSubstr(options.target));
}

TEST(ClientTest, StartedCallsTellEventsAndTheirEnd) {
  FakeServer server;
  server->events = SmallStream();
  const std::unique_ptr<Client> client = ConnectTo(server);
  int events = 0;
  CallEnd end;
  std::latch done(1);
  client->StartAttribute(
      SomeRequest(), [&](const Event&) { ++events; },
      [&](const CallEnd& result) {
        end = result;
        done.count_down();
      });
  done.wait();
  EXPECT_TRUE(end.status.ok()) << end.status;
  EXPECT_EQ(events, 5);
  int64_t bytes = 0;
  for (const v1::AttributeResponse& event : SmallStream())
    bytes += static_cast<int64_t>(event.ByteSizeLong());
  EXPECT_EQ(end.received_bytes, bytes);
}

TEST(ClientTest, StartedCallsTellTheServersError) {
  FakeServer server;
  server->attribute_status = [](int, grpc::ServerContext&) {
    return StatusWith(grpc::StatusCode::RESOURCE_EXHAUSTED, "Queue is full.", Reason("QUEUE_FULL"));
  };
  const std::unique_ptr<Client> client = ConnectTo(server, Once());
  CallEnd end;
  std::latch done(1);
  client->StartAttribute(SomeRequest(), nullptr, [&](const CallEnd& result) {
    end = result;
    done.count_down();
  });
  done.wait();
  EXPECT_EQ(ReasonOf(end.status), "QUEUE_FULL");
  EXPECT_EQ(server->attempts, 1);  // without retry
}

TEST(ClientTest, EstimatesAShape) {
  FakeServer server;
  server->estimate.set_estimated_peak_bytes(7);
  server->estimate.set_ever_fits(true);
  EstimateRequest request;
  request.model = "tiny";
  request.batch_size = 2;
  request.seq_length = 3;
  request.options.residual_weight = 0.25;
  request.output.top_k = 4;
  const absl::StatusOr<AdmissionEstimate> estimate = ConnectTo(server)->Estimate(request);
  ASSERT_TRUE(estimate.ok()) << estimate.status();
  EXPECT_EQ(estimate->estimated_peak_bytes, 7);
  EXPECT_TRUE(estimate->ever_fits);
  EXPECT_FALSE(estimate->fits_now);
  EXPECT_EQ(server->estimate_request.model(), "tiny");
  EXPECT_EQ(server->estimate_request.batch_size(), 2);
  EXPECT_EQ(server->estimate_request.seq_length(), 3);
  EXPECT_EQ(server->estimate_request.options().residual_weight(), 0.25);
  EXPECT_EQ(server->estimate_request.output().top_k(), 4);
}

RolloutRequest SomeRollout() {
  RolloutRequest request;
  request.header.form = AttentionForm::kFused;
  request.header.dtype = TensorDtype::kFloat16;
  request.header.batch = 2;
  request.header.length = 3;
  request.header.layers = 2;
  request.header.masks = {{1, 1, 0}, {}};
  return request;
}

TEST(ClientTest, SendsARolloutInPiecesAndTellsItsEvents) {
  FakeServer server;
  server->rollout_events = SmallRollout();
  const std::string large(3 << 19, 'x');  // one piece and a half
  std::vector<size_t> kinds;
  const absl::Status status = ConnectTo(server)->Rollout(
      SomeRollout(),
      [&](int32_t layer) -> absl::StatusOr<std::string> { return layer == 0 ? large : std::string("end"); },
      [&](const Event& event) { kinds.push_back(event.index()); });
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(kinds.size(), 5u);
  EXPECT_EQ(kinds.front(), Event(Admitted()).index());
  EXPECT_EQ(kinds.back(), Event(AttributionResult()).index());
  const v1::RolloutHeader header = server->rollout_header;
  EXPECT_EQ(header.form(), v1::ATTENTION_FORM_FUSED);
  EXPECT_EQ(header.dtype(), v1::TENSOR_DTYPE_FLOAT16);
  EXPECT_EQ(header.batch(), 2);
  EXPECT_EQ(header.heads(), 1);
  EXPECT_EQ(header.seq_length(), 3);
  EXPECT_EQ(header.num_layers(), 2);
  ASSERT_EQ(header.masks_size(), 2);
  EXPECT_EQ(header.masks(0).values(2), 0);
  const std::vector<v1::RolloutPiece> pieces = server->pieces;
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].data().size(), size_t{1} << 20);
  EXPECT_EQ(pieces[1].offset(), 1 << 20);
  EXPECT_EQ(pieces[1].data().size(), size_t{1} << 19);
  EXPECT_EQ(pieces[2].layer(), 1);
  EXPECT_EQ(pieces[2].data(), "end");
}

TEST(ClientTest, ARefusedRolloutAsksForNoLayer) {
  FakeServer server;
  server->rollout_status =
      StatusWith(grpc::StatusCode::FAILED_PRECONDITION, "Never fits.", Reason("NEVER_FITS"));
  bool asked = false;
  const absl::Status status = ConnectTo(server)->Rollout(
      SomeRollout(),
      [&](int32_t) -> absl::StatusOr<std::string> {
        asked = true;
        return "";
      },
      nullptr);
  EXPECT_EQ(ReasonOf(status), "NEVER_FITS");
  EXPECT_FALSE(asked);
}

TEST(ClientTest, ALayerThatIsNotThereEndsTheRollout) {
  FakeServer server;
  server->rollout_events = SmallRollout();
  const absl::Status status = ConnectTo(server)->Rollout(
      SomeRollout(),
      [](int32_t) -> absl::StatusOr<std::string> { return absl::NotFoundError("No such file."); }, nullptr);
  EXPECT_EQ(status.message(), "No such file.");
}

TEST(ClientTest, ListsModelsOverAllPages) {
  FakeServer server;
  server->models_per_page = 2;
  for (const char* name : {"a", "b", "c"}) server->models.emplace_back().set_name(name);
  const absl::StatusOr<std::vector<ModelInfo>> models = ConnectTo(server)->ListModels();
  ASSERT_TRUE(models.ok()) << models.status();
  ASSERT_EQ(models->size(), 3u);
  EXPECT_EQ((*models)[2].name, "c");
}

TEST(ClientTest, UnknownModelIsNotFound) {
  FakeServer server;
  EXPECT_EQ(ConnectTo(server)->GetModel("x", "").status().code(), absl::StatusCode::kNotFound);
}

TEST(ClientTest, TellsHealthOfAService) {
  FakeServer server;
  server->health[""] = grpc::health::v1::HealthCheckResponse::SERVING;
  server->health["model/a"] = grpc::health::v1::HealthCheckResponse::NOT_SERVING;
  const std::unique_ptr<Client> client = ConnectTo(server);
  EXPECT_EQ(*client->CheckHealth(""), HealthState::kServing);
  EXPECT_EQ(*client->CheckHealth("model/a"), HealthState::kNotServing);
  EXPECT_EQ(client->CheckHealth("model/b").status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace attribution
