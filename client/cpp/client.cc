#include "attribution/client.h"

#include <grpcpp/client_context.h>

#include <fstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "attribution/v1/attribution_service.grpc.pb.h"
#include "attribution/v1/model_service.grpc.pb.h"
#include "client/cpp/channel.h"
#include "client/cpp/convert.h"
#include "client/cpp/status.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace attribution {
namespace {

// Reads the first line of a file of one bearer token.
absl::StatusOr<std::string> ReadToken(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("Cannot read the token file: ", path, "."));
  std::string line;
  std::getline(file, line);
  std::string token(absl::StripAsciiWhitespace(line));
  if (token.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("The token file is empty: ", path, ". Its first line is the token."));
  }
  return token;
}

class GrpcClient : public Client {
 public:
  GrpcClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options, std::string token)
      : options_(std::move(options)),
        token_(std::move(token)),
        attribution_(v1::AttributionService::NewStub(channel)),
        models_(v1::ModelService::NewStub(channel)),
        health_(grpc::health::v1::Health::NewStub(channel)) {}

  absl::Status Attribute(const AttributionRequest& request,
                         const std::function<void(const Event&)>& on_event) override {
    grpc::ClientContext context;
    Prepare(context);
    const auto reader = attribution_->Attribute(&context, client::ToProto(request));
    v1::AttributeResponse response;
    bool complete = false;
    while (reader->Read(&response)) {
      const std::optional<Event> event = client::FromProto(std::move(response));
      if (!event.has_value()) continue;
      complete = std::holds_alternative<AttributionResult>(*event);
      if (on_event) on_event(*event);
    }
    if (absl::Status status = ToStatus(reader->Finish()); !status.ok()) return status;
    if (!complete)
      return absl::InternalError("The server ended the stream without a result. Look into its log.");
    return absl::OkStatus();
  }

  absl::StatusOr<std::vector<ModelInfo>> ListModels() override {
    std::vector<ModelInfo> models;
    v1::ListModelsRequest request;
    v1::ListModelsResponse response;
    do {
      grpc::ClientContext context;
      Prepare(context);
      const grpc::Status status = models_->ListModels(&context, request, &response);
      if (!status.ok()) return ToStatus(status);
      for (const v1::Model& model : response.models()) models.push_back(client::FromProto(model));
      request.set_page_token(response.next_page_token());
    } while (!request.page_token().empty());
    return models;
  }

  absl::StatusOr<ModelInfo> GetModel(const std::string& name, const std::string& version) override {
    grpc::ClientContext context;
    Prepare(context);
    v1::GetModelRequest request;
    request.set_model(name);
    request.set_model_version(version);
    v1::GetModelResponse response;
    const grpc::Status status = models_->GetModel(&context, request, &response);
    if (!status.ok()) return ToStatus(status);
    return client::FromProto(response.model());
  }

  absl::StatusOr<HealthState> CheckHealth(const std::string& service) override {
    grpc::ClientContext context;
    Prepare(context);
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const grpc::Status status = health_->Check(&context, request, &response);
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
      return absl::NotFoundError(absl::StrCat("The server knows no such service: \"", service, "\"."));
    }
    if (!status.ok()) return ToStatus(status);
    switch (response.status()) {
      case grpc::health::v1::HealthCheckResponse::SERVING:
        return HealthState::kServing;
      case grpc::health::v1::HealthCheckResponse::NOT_SERVING:
        return HealthState::kNotServing;
      default:
        return HealthState::kUnknown;
    }
  }

 private:
  void Prepare(grpc::ClientContext& context) const {
    if (options_.timeout != absl::InfiniteDuration()) {
      context.set_deadline(absl::ToChronoTime(absl::Now() + options_.timeout));
    }
    if (!token_.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token_));
  }

  absl::Status ToStatus(const grpc::Status& status) const {
    return client::FromGrpcStatus(status, options_.target);
  }

  const ClientOptions options_;
  const std::string token_;
  const std::unique_ptr<v1::AttributionService::Stub> attribution_;
  const std::unique_ptr<v1::ModelService::Stub> models_;
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  std::string token;
  if (!options.token_file.empty()) {
    absl::StatusOr<std::string> read = ReadToken(options.token_file);
    if (!read.ok()) return read.status();
    token = *std::move(read);
  }
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel =
      client::ConnectChannel(options.target, options.connect_timeout);
  if (!channel.ok()) return channel.status();
  return std::make_unique<GrpcClient>(*channel, options, std::move(token));
}

}  // namespace attribution
