#include "server/rpc/health.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "server/rpc/model_health.h"
#include "tests/rpc/server_fixture.h"

namespace attribution::rpc {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

ModelInfo Version(const std::string& version, ModelState state) {
  ModelInfo model;
  model.name = "m";
  model.version = version;
  model.state = state;
  return model;
}

class ModelHealthTest : public testing::Test {
 protected:
  HealthStatuses::Status Of(const std::string& name) { return statuses_->Get(name); }

  std::shared_ptr<HealthStatuses> statuses_ = std::make_shared<HealthStatuses>();
  ModelHealth health_{statuses_, {"service"}};
};

TEST_F(ModelHealthTest, ServesOnceEveryModelHasLoadedOrFailed) {
  health_.OnModel(Version("1", ModelState::kLoading));
  health_.OnModel(Version("2", ModelState::kLoading));
  health_.AllKnown();
  EXPECT_EQ(Of(""), HealthCheckResponse::NOT_SERVING);
  health_.OnModel(Version("1", ModelState::kFailed));
  EXPECT_EQ(Of(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Of("service"), HealthCheckResponse::NOT_SERVING);
  health_.OnModel(Version("2", ModelState::kServing));
  EXPECT_EQ(Of(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Of("service"), HealthCheckResponse::SERVING);
}

TEST_F(ModelHealthTest, DoesNotServeBeforeAllAreKnown) {
  health_.OnModel(Version("1", ModelState::kServing));
  EXPECT_EQ(Of(""), HealthCheckResponse::NOT_SERVING);
  health_.AllKnown();
  EXPECT_EQ(Of(""), HealthCheckResponse::SERVING);
}

TEST_F(ModelHealthTest, AnEmptyRepositoryServes) {
  health_.AllKnown();
  EXPECT_EQ(Of(""), HealthCheckResponse::SERVING);
}

TEST_F(ModelHealthTest, ALaterReloadLeavesTheServerServing) {
  health_.OnModel(Version("1", ModelState::kServing));
  health_.AllKnown();
  health_.OnModel(Version("1", ModelState::kLoading));
  EXPECT_EQ(Of(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Of("model/m"), HealthCheckResponse::NOT_SERVING);
}

TEST_F(ModelHealthTest, AModelServesWhileOneOfItsVersionsDoes) {
  EXPECT_EQ(Of("model/m"), HealthCheckResponse::SERVICE_UNKNOWN);
  health_.OnModel(Version("1", ModelState::kServing));
  health_.OnModel(Version("2", ModelState::kFailed));
  EXPECT_EQ(Of("model/m"), HealthCheckResponse::SERVING);
  health_.OnModel(Version("1", ModelState::kUnloaded));
  EXPECT_EQ(Of("model/m"), HealthCheckResponse::NOT_SERVING);
}

TEST_F(ModelHealthTest, StopLeavesOnlyLivenessServing) {
  health_.OnModel(Version("1", ModelState::kServing));
  health_.AllKnown();
  health_.Stop();
  health_.OnModel(Version("1", ModelState::kServing));
  EXPECT_EQ(Of(""), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Of("service"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Of("model/m"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Of("liveness"), HealthCheckResponse::SERVING);
}

TEST_F(ModelHealthTest, LivenessIsTheHealthOfEveryDevice) {
  health_.OnDevice({"cuda:0", absl::OkStatus()});
  health_.OnDevice({"cuda:1", absl::InternalError("It sparks.")});
  EXPECT_EQ(Of("liveness"), HealthCheckResponse::NOT_SERVING);
  health_.OnDevice({"cuda:0", absl::OkStatus()});
  EXPECT_EQ(Of("liveness"), HealthCheckResponse::NOT_SERVING);
  health_.Stop();
  health_.OnDevice({"cuda:1", absl::OkStatus()});
  EXPECT_EQ(Of("liveness"), HealthCheckResponse::SERVING);
}

class HealthTest : public ServerFixture {
 protected:
  grpc::Status Check(const std::string& name, const std::shared_ptr<grpc::Channel>& channel) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(name);
    response_.Clear();
    return Health::NewStub(channel)->Check(&context, request, &response_);
  }

  HealthCheckResponse response_;
};

TEST_F(HealthTest, EveryServiceHasAName) {
  for (const char* name : {"", "liveness", "attribution.v1.AttributionService", "attribution.v1.ModelService",
                           "grpc.health.v1.Health"}) {
    ASSERT_TRUE(Check(name, channel_).ok()) << name;
    EXPECT_EQ(response_.status(), HealthCheckResponse::SERVING) << name;
  }
}

TEST_F(HealthTest, LivenessEndsWithTheDevice) {
  engine_.SetDevice({"cpu", absl::InternalError("It sparks.")});
  ASSERT_TRUE(Check("liveness", channel_).ok());
  EXPECT_EQ(response_.status(), HealthCheckResponse::NOT_SERVING);
  ASSERT_TRUE(Check("", channel_).ok());
  EXPECT_EQ(response_.status(), HealthCheckResponse::SERVING);
}

TEST_F(HealthTest, CheckDoesNotFindAnUnknownName) {
  EXPECT_EQ(Check("model/none", channel_).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthTest, WatchFollowsAModelFromUnknownToTheEnd) {
  grpc::ClientContext context;
  HealthCheckRequest request;
  request.set_service("model/m");
  const auto stub = Health::NewStub(channel_);
  const auto reader = stub->Watch(&context, request);
  HealthCheckResponse response;
  const auto next = [&] {
    EXPECT_TRUE(reader->Read(&response));
    return response.status();
  };
  EXPECT_EQ(next(), HealthCheckResponse::SERVICE_UNKNOWN);
  engine_.SetModel(Version("1", ModelState::kLoading));
  EXPECT_EQ(next(), HealthCheckResponse::NOT_SERVING);
  engine_.SetModel(Version("1", ModelState::kServing));
  EXPECT_EQ(next(), HealthCheckResponse::SERVING);
  server_->StopServing();
  EXPECT_EQ(next(), HealthCheckResponse::NOT_SERVING);
  server_->Shutdown(absl::Hours(1));  // a watch does not hold it up
  EXPECT_FALSE(reader->Read(&response));
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::UNAVAILABLE);
}

class RecordingWatcher : public HealthWatcher {
 public:
  void OnStatus(HealthStatuses::Status status) override { statuses.push_back(status); }
  void OnEnd() override { ++ends; }

  std::vector<HealthStatuses::Status> statuses;
  int ends = 0;
};

TEST(HealthStatusesTest, AWatchThatComesAfterTheEndHearsOneStatus) {
  HealthStatuses statuses;
  statuses.Set("m", false);
  statuses.EndWatches();
  RecordingWatcher watcher;
  statuses.Watch("m", &watcher);
  EXPECT_THAT(watcher.statuses, testing::ElementsAre(HealthCheckResponse::NOT_SERVING));
  EXPECT_EQ(watcher.ends, 1);
  statuses.Unwatch("m", &watcher);
}

TEST_F(HealthTest, AClientMayLeaveItsWatch) {
  {
    grpc::ClientContext context;
    const auto stub = Health::NewStub(channel_);
    const auto reader = stub->Watch(&context, HealthCheckRequest());
    HealthCheckResponse response;
    EXPECT_TRUE(reader->Read(&response));
    context.TryCancel();
    EXPECT_FALSE(reader->Read(&response));
  }
  server_->StopServing();
  EXPECT_TRUE(Check("liveness", channel_).ok());
}

TEST_F(HealthTest, TheHealthAddressServesHealthAlone) {
  ServerOptions options;
  options.health_listen = "127.0.0.1:0";
  StartServer(options);
  const auto channel = Connect(server_->health_port());
  EXPECT_TRUE(Check("", channel).ok());
  grpc::ClientContext context;
  v1::ListModelsResponse page;
  EXPECT_EQ(v1::ModelService::NewStub(channel)->ListModels(&context, {}, &page).error_code(),
            grpc::StatusCode::UNIMPLEMENTED);
}

}  // namespace
}  // namespace attribution::rpc
