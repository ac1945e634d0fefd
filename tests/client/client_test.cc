#include "attribution/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

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
