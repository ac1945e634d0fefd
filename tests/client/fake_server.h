// A server on a free port of this machine whose answers the test scripts.
#ifndef ATTRIBUTION_TESTS_CLIENT_FAKE_SERVER_H_
#define ATTRIBUTION_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "attribution/v1/attribution_service.grpc.pb.h"
#include "attribution/v1/model_service.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace attribution {

// Answers calls from its public members, which the test sets before it calls. Calls are seen one at a time.
class FakeServer : private v1::AttributionService::Service,
                   private v1::ModelService::Service,
                   private grpc::health::v1::Health::Service {
 public:
  FakeServer();
  ~FakeServer() override { server_->Shutdown(); }

  // `127.0.0.1:port`.
  const std::string& target() const { return target_; }

  // Attribute sends these, then ends with what `attribute_status` returns for the number of the attempt, from
  // 0.
  std::vector<v1::AttributeResponse> events;
  std::function<grpc::Status(int attempt, grpc::ServerContext&)> attribute_status;
  std::vector<v1::Model> models;
  size_t models_per_page = 100;
  std::map<std::string, grpc::health::v1::HealthCheckResponse::ServingStatus> health;

  // What the last Attribute call held.
  v1::AttributeRequest request;
  std::multimap<std::string, std::string> metadata;
  int attempts = 0;

 private:
  grpc::Status Attribute(grpc::ServerContext* context, const v1::AttributeRequest* message,
                         grpc::ServerWriter<v1::AttributeResponse>* writer) override;
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* message,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* message,
                        v1::GetModelResponse* response) override;
  grpc::Status Check(grpc::ServerContext* context, const grpc::health::v1::HealthCheckRequest* message,
                     grpc::health::v1::HealthCheckResponse* response) override;

  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

// The events of one sequence of two tokens, "a" and "b".
std::vector<v1::AttributeResponse> SmallStream();

}  // namespace attribution

#endif  // ATTRIBUTION_TESTS_CLIENT_FAKE_SERVER_H_
