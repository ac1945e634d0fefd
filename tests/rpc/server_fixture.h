// A real server on a free port over a FakeEngine, and clients of it.
#ifndef TESTS_RPC_SERVER_FIXTURE_H_
#define TESTS_RPC_SERVER_FIXTURE_H_

#include <latch>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "attribution/v1/attribution_service.grpc.pb.h"
#include "attribution/v1/model_service.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "server/rpc/server.h"
#include "server/telemetry/metrics.h"
#include "tests/rpc/fake_engine.h"

namespace attribution::rpc {

class ServerFixture : public testing::Test {
 protected:
  void SetUp() override { StartServer(ServerOptions{}); }

  // Replaces the server by one with `options`, on a free port.
  void StartServer(ServerOptions options) {
    server_.reset();
    options.listen = "127.0.0.1:0";
    auto server = Server::Start(options, engine_, metrics_);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = Connect(server_->port());
    stub_ = v1::AttributionService::NewStub(channel_);
    models_ = v1::ModelService::NewStub(channel_);
  }

  static std::shared_ptr<grpc::Channel> Connect(int port, const grpc::ChannelArguments& arguments = {}) {
    return grpc::CreateCustomChannel(absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials(),
                                     arguments);
  }

  // Sends raw bytes to a method and returns the status.
  grpc::Status SendBytes(const std::string& method, const std::string& bytes) {
    grpc::ClientContext context;
    grpc::Slice slice(bytes);
    grpc::ByteBuffer request(&slice, 1);
    grpc::ByteBuffer response;
    grpc::Status status;
    std::latch done(1);
    grpc::GenericStub(channel_).UnaryCall(&context, method, grpc::StubOptions(), &request, &response,
                                          [&](grpc::Status result) {
                                            status = std::move(result);
                                            done.count_down();
                                          });
    done.wait();
    return status;
  }

  FakeEngine engine_;
  telemetry::Metrics metrics_{{"1.2.3", "4.5.6"}};
  std::unique_ptr<Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<v1::AttributionService::Stub> stub_;
  std::unique_ptr<v1::ModelService::Stub> models_;
};

}  // namespace attribution::rpc

#endif  // TESTS_RPC_SERVER_FIXTURE_H_
