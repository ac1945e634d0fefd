#include "server/rpc/server.h"

#include <chrono>
#include <latch>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/descriptor_database.h"
#include "google/protobuf/message.h"
#include "google/protobuf/util/json_util.h"
#include "server/rpc/convert_request.h"
#include "server/rpc/convert_response.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

using ::testing::HasSubstr;
using ::testing::IsSupersetOf;

class ReflectionTest : public ServerFixture {
 protected:
  // A message of the reflection service. Its header is not packaged, its descriptor is in every program that
  // links it.
  static std::unique_ptr<google::protobuf::Message> NewMessage(const std::string& name) {
    const auto* type = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
        "grpc.reflection.v1alpha." + name);
    return std::unique_ptr<google::protobuf::Message>(
        google::protobuf::MessageFactory::generated_factory()->GetPrototype(type)->New());
  }

  // Asks one question, written as JSON.
  std::unique_ptr<google::protobuf::Message> Ask(const std::string& question) {
    auto request = NewMessage("ServerReflectionRequest");
    EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(question, request.get()).ok());
    auto response = NewMessage("ServerReflectionResponse");
    const grpc::ByteBuffer bytes = ToBytes(*request);
    grpc::ByteBuffer answer;
    grpc::ClientContext context;
    grpc::Status status;
    std::latch done(1);
    grpc::GenericStub(channel_).UnaryCall(&context,
                                          "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                                          grpc::StubOptions(), &bytes, &answer, [&](grpc::Status result) {
                                            status = std::move(result);
                                            done.count_down();
                                          });
    done.wait();
    EXPECT_TRUE(status.ok()) << status.error_message();
    EXPECT_TRUE(ParseMessage(answer, response.get()).ok());
    return response;
  }

  // The message in field `name` of `message`.
  static const google::protobuf::Message& Field(const google::protobuf::Message& message,
                                                const std::string& name) {
    return message.GetReflection()->GetMessage(message, message.GetDescriptor()->FindFieldByName(name));
  }
};

const std::vector<std::string>& Services() {
  static const auto* const services = new std::vector<std::string>{
      "attribution.v1.AttributionService", "attribution.v1.ModelService", "grpc.health.v1.Health"};
  return *services;
}

TEST_F(ReflectionTest, ListsEveryService) {
  const auto response = Ask(R"({"listServices": ""})");
  const auto& list = Field(*response, "list_services_response");
  const auto* field = list.GetDescriptor()->FindFieldByName("service");
  std::vector<std::string> names;
  for (int i = 0; i < list.GetReflection()->FieldSize(list, field); ++i) {
    const auto& service = list.GetReflection()->GetRepeatedMessage(list, field, i);
    names.push_back(
        service.GetReflection()->GetString(service, service.GetDescriptor()->FindFieldByName("name")));
  }
  EXPECT_THAT(names, IsSupersetOf(Services()));
}

TEST_F(ReflectionTest, ResolvesEveryServiceWithAllItsMessages) {
  for (const std::string& service : Services()) {
    const auto response = Ask(R"({"fileContainingSymbol": ")" + service + "\"}");
    const auto& files = Field(*response, "file_descriptor_response");
    const auto* field = files.GetDescriptor()->FindFieldByName("file_descriptor_proto");
    google::protobuf::SimpleDescriptorDatabase database;
    for (int i = 0; i < files.GetReflection()->FieldSize(files, field); ++i) {
      google::protobuf::FileDescriptorProto file;
      ASSERT_TRUE(file.ParseFromString(files.GetReflection()->GetRepeatedString(files, field, i)));
      database.Add(file);
    }
    google::protobuf::DescriptorPool pool(&database);
    const auto* descriptor = pool.FindServiceByName(service);
    ASSERT_NE(descriptor, nullptr) << service;
    EXPECT_GT(descriptor->method_count(), 0);
  }
}

class ServerTest : public ServerFixture {};

TEST_F(ServerTest, ATakenPortIsAClearError) {
  ServerOptions options;
  options.listen = absl::StrCat("127.0.0.1:", server_->port());
  const absl::Status status = Server::Start(options, engine_, metrics_).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr(options.listen));
}

TEST_F(ServerTest, TheAdminAddressServesModelsAlone) {
  ServerOptions options;
  options.admin_listen = "127.0.0.1:0";
  StartServer(options);
  const auto channel = Connect(server_->admin_port());
  grpc::ClientContext list_context;
  v1::ListModelsResponse page;
  EXPECT_TRUE(v1::ModelService::NewStub(channel)->ListModels(&list_context, {}, &page).ok());
  grpc::ClientContext attribute_context;
  v1::ComputeMetricsResponse metrics;
  EXPECT_EQ(
      v1::AttributionService::NewStub(channel)->ComputeMetrics(&attribute_context, {}, &metrics).error_code(),
      grpc::StatusCode::UNIMPLEMENTED);
}

TEST_F(ServerTest, ShutdownTwiceIsHarmless) {
  server_->Shutdown(absl::ZeroDuration());
  server_->Shutdown(absl::ZeroDuration());
}

class GrpcMetricsTest : public ServerFixture {
 protected:
  // The value in the line of /metrics that starts with `series`, as text; empty if there is none.
  std::string ValueOf(const std::string& series) const {
    const std::string text = "\n" + metrics_.Text();
    const size_t line = text.find("\n" + series + " ");
    if (line == std::string::npos) return "";
    const size_t value = line + series.size() + 2;
    return text.substr(value, text.find('\n', value) - value);
  }
};

// Labels in the order in which prometheus-cpp writes them: by name.
std::string Labels(const std::string& method, const std::string& type) {
  return R"(grpc_method=")" + method + R"(",grpc_service="attribution.v1.AttributionService",grpc_type=")" +
         type + "\"";
}

std::string Handled(const std::string& code, const std::string& method, const std::string& type) {
  return R"(grpc_server_handled_total{grpc_code=")" + code + "\"," + Labels(method, type) + "}";
}

TEST_F(GrpcMetricsTest, EveryMethodIsThereFromTheStart) {
  EXPECT_EQ(ValueOf("grpc_server_started_total{" + Labels("Attribute", "server_stream") + "}"), "0");
  EXPECT_EQ(ValueOf("grpc_server_started_total{" + Labels("ComputeMetrics", "unary") + "}"), "0");
  EXPECT_EQ(ValueOf("grpc_server_started_total{" + Labels("Rollout", "bidi_stream") + "}"), "0");
  EXPECT_EQ(ValueOf(Handled("ResourceExhausted", "Attribute", "server_stream")), "0");
}

TEST_F(GrpcMetricsTest, AStreamIsCountedWithItsMessages) {
  engine_.PlayAtOnce([](FakeCall& call) {
    call.sink->OnEvent(Admitted{}, nullptr);
    call.sink->OnEvent(AttributionResult{}, nullptr);
    call.sink->OnDone(absl::OkStatus());
  });
  grpc::ClientContext context;
  const auto reader = stub_->Attribute(&context, {});
  v1::AttributeResponse response;
  while (reader->Read(&response)) {
  }
  ASSERT_TRUE(reader->Finish().ok());
  const std::string labels = "{" + Labels("Attribute", "server_stream") + "}";
  EXPECT_EQ(ValueOf("grpc_server_started_total" + labels), "1");
  EXPECT_EQ(ValueOf("grpc_server_msg_received_total" + labels), "1");
  EXPECT_EQ(ValueOf("grpc_server_msg_sent_total" + labels), "2");
  EXPECT_EQ(ValueOf("grpc_server_handling_seconds_count" + labels), "1");
  EXPECT_EQ(ValueOf(Handled("OK", "Attribute", "server_stream")), "1");
}

TEST_F(GrpcMetricsTest, AnErrorIsCountedByItsCode) {
  engine_.PlayAtOnce([](FakeCall& call) { call.sink->OnDone(absl::FailedPreconditionError("No.")); });
  grpc::ClientContext context;
  v1::ComputeMetricsResponse response;
  ASSERT_FALSE(stub_->ComputeMetrics(&context, {}, &response).ok());
  EXPECT_EQ(ValueOf(Handled("FailedPrecondition", "ComputeMetrics", "unary")), "1");
  EXPECT_EQ(ValueOf(Handled("OK", "ComputeMetrics", "unary")), "0");
  EXPECT_EQ(ValueOf("grpc_server_msg_sent_total{" + Labels("ComputeMetrics", "unary") + "}"), "0");
}

TEST_F(GrpcMetricsTest, AMethodThatDoesNotExistIsNoLabel) {
  EXPECT_EQ(SendBytes("/attribution.v1.AttributionService/Nothing", "").error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
  EXPECT_EQ(metrics_.Text().find("Nothing"), std::string::npos);
}

TEST_F(ServerTest, AgedConnectionIsClosedAndTheClientConnectsAnew) {
  ServerOptions options;
  options.max_connection_age = absl::Milliseconds(50);
  StartServer(options);
  for (int i = 0; i < 3; ++i) {
    grpc::ClientContext context;
    v1::ListModelsResponse response;
    ASSERT_TRUE(models_->ListModels(&context, {}, &response).ok());
    const auto deadline = std::chrono::system_clock::now() + std::chrono::seconds(20);
    EXPECT_TRUE(channel_->WaitForStateChange(GRPC_CHANNEL_READY, deadline)) << i;
  }
}

}  // namespace
}  // namespace attribution::rpc
