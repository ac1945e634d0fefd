// A server on a free port of this machine whose answers the test scripts.
#ifndef ATTRIBUTION_TESTS_CLIENT_FAKE_SERVER_H_
#define ATTRIBUTION_TESTS_CLIENT_FAKE_SERVER_H_

#include <grpcpp/grpcpp.h>

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "attribution/v1/attribution_service.grpc.pb.h"
#include "attribution/v1/model_service.grpc.pb.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace attribution {

// What a FakeServer answers, which the test sets before it calls, and what it was asked.
struct FakeServerScript {
  // Attribute sends these, then ends with what `attribute_status` returns for the number of the attempt, from
  // 0.
  std::vector<v1::AttributeResponse> events;
  std::function<grpc::Status(int attempt, grpc::ServerContext&)> attribute_status;
  v1::EstimateResponse estimate;
  // Rollout answers the header with the first of `rollout_events`, and the end of the pieces with the others,
  // then with `rollout_status`. A status that is not OK comes at once.
  std::vector<v1::RolloutResponse> rollout_events;
  grpc::Status rollout_status;
  std::vector<v1::Model> models;
  size_t models_per_page = 100;
  std::map<std::string, grpc::health::v1::HealthCheckResponse::ServingStatus> health;

  // What the last Attribute call held.
  v1::AttributeRequest request;
  v1::EstimateRequest estimate_request;
  v1::RolloutHeader rollout_header;
  std::vector<v1::RolloutPiece> pieces;
  std::multimap<std::string, std::string> metadata;
  int attempts = 0;
};

// Thread-safe; sees one call at a time.
class FakeServer : private v1::AttributionService::Service,
                   private v1::ModelService::Service,
                   private grpc::health::v1::Health::Service {
 public:
  // Access to the script, locked while it lives.
  class LockedScript {
   public:
    LockedScript(std::mutex& mutex, FakeServerScript& script) : lock_(mutex), script_(script) {}
    FakeServerScript* operator->() const { return &script_; }

   private:
    const std::lock_guard<std::mutex> lock_;
    FakeServerScript& script_;
  };

  FakeServer();
  ~FakeServer() override { server_->Shutdown(); }

  // `127.0.0.1:port`.
  const std::string& target() const { return target_; }

  // Locks the script until the end of the expression. REQUIRES: once in an expression.
  LockedScript operator->() { return {mutex_, script_}; }

 private:
  grpc::Status Attribute(grpc::ServerContext* context, const v1::AttributeRequest* message,
                         grpc::ServerWriter<v1::AttributeResponse>* writer) override;
  grpc::Status Estimate(grpc::ServerContext* context, const v1::EstimateRequest* message,
                        v1::EstimateResponse* response) override;
  grpc::Status Rollout(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<v1::RolloutResponse, v1::RolloutRequest>* stream) override;
  grpc::Status ListModels(grpc::ServerContext* context, const v1::ListModelsRequest* message,
                          v1::ListModelsResponse* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* message,
                        v1::GetModelResponse* response) override;
  grpc::Status Check(grpc::ServerContext* context, const grpc::health::v1::HealthCheckRequest* message,
                     grpc::health::v1::HealthCheckResponse* response) override;

  std::mutex mutex_;
  FakeServerScript script_ ABSL_GUARDED_BY(mutex_);
  std::string target_;
  std::unique_ptr<grpc::Server> server_;
};

// The events of one sequence of two tokens, "a" and "b".
std::vector<v1::AttributeResponse> SmallStream();

// The same as the answer to a rollout of one layer.
std::vector<v1::RolloutResponse> SmallRollout();

}  // namespace attribution

#endif  // ATTRIBUTION_TESTS_CLIENT_FAKE_SERVER_H_
