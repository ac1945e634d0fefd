#include "attribution/client.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <condition_variable>
#include <fstream>
#include <functional>
#include <mutex>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "attribution/v1/attribution_service.grpc.pb.h"
#include "attribution/v1/model_service.grpc.pb.h"
#include "client/cpp/channel.h"
#include "client/cpp/convert.h"
#include "client/cpp/credentials.h"
#include "client/cpp/send_rollout.h"
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

// What every way to attribute says of a stream that ended well and was cut short.
absl::Status NoResult() {
  return absl::InternalError("The server ended the stream without a result. Look into its log.");
}

// Counts the calls that run, so that a client can outlive them. A call holds its channel: were it the last to
// do so, the channel would end on one of gRPC's own threads, in the midst of a callback, which gRPC does not
// survive.
class RunningCalls {
 public:
  void Begin() {
    const std::lock_guard lock(mutex_);
    ++running_;
  }
  void End() {
    const std::lock_guard lock(mutex_);
    --running_;
    changed_.notify_all();
  }
  // Not wait(), which would lock again inside libstdc++, where the thread sanitizer does not see it.
  void WaitForNone() {
    std::unique_lock lock(mutex_);
    while (!changed_.wait_for(lock, std::chrono::hours(1), [this] { return running_ == 0; })) {
    }
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;  // a call has ended
  int running_ ABSL_GUARDED_BY(mutex_) = 0;
};

// One attribution that nobody waits for. Deletes itself after its last word.
class StartedCall : public grpc::ClientReadReactor<v1::AttributeResponse> {
 public:
  using ToStatus = std::function<absl::Status(const grpc::Status&)>;

  StartedCall(RunningCalls& running, v1::AttributeRequest request, std::function<void(const Event&)> on_event,
              std::function<void(const CallEnd&)> on_done, ToStatus to_status)
      : running_(running),
        request_(std::move(request)),
        on_event_(std::move(on_event)),
        on_done_(std::move(on_done)),
        to_status_(std::move(to_status)) {
    running_.Begin();
  }

  grpc::ClientContext& context() { return context_; }

  void Start(v1::AttributionService::Stub& stub) {
    stub.async()->Attribute(&context_, &request_, this);
    StartRead(&response_);
    StartCall();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    received_bytes_ += static_cast<int64_t>(response_.ByteSizeLong());
    if (const std::optional<Event> event = client::FromProto(std::move(response_))) {
      complete_ = std::holds_alternative<AttributionResult>(*event);
      if (on_event_) on_event_(*event);
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    CallEnd end{to_status_(status), received_bytes_};
    if (end.status.ok() && !complete_) end.status = NoResult();
    on_done_(end);
    RunningCalls& running = running_;
    delete this;
    running.End();
  }

 private:
  RunningCalls& running_;
  grpc::ClientContext context_;
  const v1::AttributeRequest request_;
  const std::function<void(const Event&)> on_event_;
  const std::function<void(const CallEnd&)> on_done_;
  const ToStatus to_status_;
  v1::AttributeResponse response_;
  int64_t received_bytes_ = 0;
  bool complete_ = false;
};

class GrpcClient : public Client {
 public:
  GrpcClient(const std::shared_ptr<grpc::Channel>& channel, ClientOptions options, std::string token)
      : options_(std::move(options)),
        token_(std::move(token)),
        attribution_(v1::AttributionService::NewStub(channel)),
        models_(v1::ModelService::NewStub(channel)),
        health_(grpc::health::v1::Health::NewStub(channel)) {}

  ~GrpcClient() override { running_.WaitForNone(); }

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
    return complete ? absl::OkStatus() : NoResult();
  }

  void StartAttribute(const AttributionRequest& request, std::function<void(const Event&)> on_event,
                      std::function<void(const CallEnd&)> on_done) override {
    auto* call = new StartedCall(running_, client::ToProto(request), std::move(on_event), std::move(on_done),
                                 [this](const grpc::Status& status) { return ToStatus(status); });
    Prepare(call->context());
    call->Start(*attribution_);
  }

  absl::StatusOr<AdmissionEstimate> Estimate(const EstimateRequest& request) override {
    grpc::ClientContext context;
    Prepare(context);
    v1::EstimateResponse response;
    const grpc::Status status = attribution_->Estimate(&context, client::ToProto(request), &response);
    if (!status.ok()) return ToStatus(status);
    return client::FromProto(response);
  }

  absl::Status Rollout(const RolloutRequest& request,
                       const std::function<absl::StatusOr<std::string>(int32_t layer)>& next_layer,
                       const std::function<void(const Event&)>& on_event) override {
    grpc::ClientContext context;
    Prepare(context);
    const auto stream = attribution_->Rollout(&context);
    bool complete = false;
    absl::Status sent = client::SendRollout(*stream, context, request, next_layer, [&](const Event& event) {
      complete = std::holds_alternative<AttributionResult>(event);
      if (on_event) on_event(event);
    });
    absl::Status status = ToStatus(stream->Finish());
    if (!sent.ok()) return sent;
    if (!status.ok()) return status;
    return complete ? absl::OkStatus() : NoResult();
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

  absl::StatusOr<ModelInfo> LoadModel(const std::string& name, const std::string& version,
                                      LoadModelOptions options) override {
    grpc::ClientContext context;
    Prepare(context);
    v1::LoadModelRequest request;
    request.set_model(name);
    request.set_model_version(version);
    request.set_force(options.force);
    request.set_unload_first(options.unload_first);
    v1::LoadModelResponse response;
    const grpc::Status status = models_->LoadModel(&context, request, &response);
    if (!status.ok()) return ToStatus(status);
    return client::FromProto(response.model());
  }

  absl::Status UnloadModel(const std::string& name, const std::string& version) override {
    grpc::ClientContext context;
    Prepare(context);
    v1::UnloadModelRequest request;
    request.set_model(name);
    request.set_model_version(version);
    v1::UnloadModelResponse response;
    return ToStatus(models_->UnloadModel(&context, request, &response));
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
  RunningCalls running_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(const ClientOptions& options) {
  std::string token;
  if (!options.token_file.empty()) {
    absl::StatusOr<std::string> read = ReadToken(options.token_file);
    if (!read.ok()) return read.status();
    token = *std::move(read);
  }
  const absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> credentials =
      client::MakeCredentials(options);
  if (!credentials.ok()) return credentials.status();
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel =
      client::ConnectChannel(options.target, *credentials, options.connect_timeout, options.retry);
  if (!channel.ok()) return channel.status();
  return std::make_unique<GrpcClient>(*channel, options, std::move(token));
}

}  // namespace attribution
