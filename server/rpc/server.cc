#include "server/rpc/server.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/stubs/logging.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/health_check_service_interface.h"
#include "grpcpp/impl/server_builder_option.h"
#include "grpcpp/impl/server_builder_plugin.h"
#include "grpcpp/resource_quota.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "server/rpc/attribution_service.h"
#include "server/rpc/connections.h"
#include "server/rpc/grpc_metrics_interceptor.h"
#include "server/rpc/model_service.h"
#include "server/telemetry/logging.h"

namespace attribution::rpc {
namespace {

// A connection that is silent for so long is asked whether it lives.
constexpr int kKeepaliveMilliseconds = 60'000;

// How long the answer may take, and bytes may wait for the other side to take them. Longer than a slow reader
// has, who would lose its connection instead of hearing what became of its stream.
absl::Duration KeepaliveTimeout(const ServerOptions& options) {
  return 2 * options.write_stall_timeout + absl::Seconds(20);
}

int Milliseconds(absl::Duration duration) {
  return static_cast<int>(
      std::min(absl::ToInt64Milliseconds(duration), int64_t{std::numeric_limits<int>::max()}));
}

// A new connection has as long to speak HTTP/2.
constexpr int kHandshakeMilliseconds = 20'000;

// Threads of one address that answer reflection, a stream each; more streams at once are RESOURCE_EXHAUSTED.
constexpr int kReflectionThreads = 4;

// Leaves reflection, which gRPC adds to every server of a program that links it, out of one.
class WithoutPlugins : public grpc::ServerBuilderOption {
 public:
  void UpdateArguments(grpc::ChannelArguments* /*arguments*/) override {}
  void UpdatePlugins(std::vector<std::unique_ptr<grpc::ServerBuilderPlugin>>* plugins) override {
    plugins->clear();
  }
};

std::vector<std::string> ServiceNames() {
  return {v1::AttributionService::service_full_name(), v1::ModelService::service_full_name(),
          grpc::health::v1::Health::service_full_name()};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Server>> Server::Start(const ServerOptions& options, Engine& engine,
                                                      telemetry::Metrics& metrics) {
  // Protobuf writes a line to standard error for each request that is not UTF-8, which a client could fill a
  // disk with.
  google::protobuf::SetLogHandler(nullptr);
  grpc::EnableDefaultHealthCheckService(false);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  DeclareGrpcMetrics(metrics);

  std::unique_ptr<TokenAuthority> tokens;
  if (!options.auth_tokens_file.empty()) {
    auto opened = TokenAuthority::Open(options.auth_tokens_file, options.auth_refresh_interval, absl::Now);
    if (!opened.ok()) return opened.status();
    tokens = *std::move(opened);
    if (!options.tls.enabled()) {
      telemetry::Log(telemetry::LogLevel::kWarning,
                     "Tokens travel without TLS: everybody on the way can read them. Set --tls-cert.");
    }
  }

  std::unique_ptr<Server> server(new Server());
  server->gate_ = std::make_unique<CallGate>(std::move(tokens), !options.tls.client_ca.empty());
  server->model_health_ = std::make_shared<ModelHealth>(server->statuses_, ServiceNames());
  for (Listener* listener : {&server->main_, &server->admin_, &server->health_}) {
    listener->services.push_back(std::make_unique<HealthServiceImpl>(server->statuses_));
  }
  server->main_.services.push_back(
      std::make_unique<AttributionServiceImpl>(engine, *server->gate_, options.write_stall_timeout));
  server->main_.services.push_back(std::make_unique<ModelServiceImpl>(engine, *server->gate_));
  server->admin_.services.push_back(std::make_unique<ModelServiceImpl>(engine, *server->gate_));

  absl::Status status =
      Listen(options, options.listen, options.tls, metrics, server->open_calls_, &server->main_);
  if (!options.admin_listen.empty()) {
    status.Update(
        Listen(options, options.admin_listen, options.tls, metrics, server->open_calls_, &server->admin_));
  }
  if (!options.health_listen.empty()) {
    status.Update(
        Listen(options, options.health_listen, TlsOptions(), metrics, server->open_calls_, &server->health_));
  }
  if (!status.ok()) return status;

  engine.WatchModels([health = server->model_health_](const ModelInfo& model) { health->OnModel(model); });
  server->model_health_->AllKnown();
  engine.WatchDevices(
      [health = server->model_health_](const DeviceState& state) { health->OnDevice(state); });
  return server;
}

absl::Status Server::Listen(const ServerOptions& options, const std::string& address, const TlsOptions& tls,
                            telemetry::Metrics& metrics, std::shared_ptr<OpenCalls> open_calls,
                            Listener* listener) {
  auto credentials = MakeServerCredentials(tls);
  if (!credentials.ok()) return credentials.status();
  listener->credentials = *std::move(credentials);
  grpc::ServerBuilder builder;
  builder.AddListeningPort(address, listener->credentials, &listener->port);
  // Two servers on one port would share its requests without a word.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, options.max_streams);
  // gRPC would keep a silent peer for two hours, and one that never says what it is for two minutes.
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMilliseconds);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, Milliseconds(KeepaliveTimeout(options)));
  builder.AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeMilliseconds);
  // gRPC varies the age by a tenth, so that clients do not come back all at once; running calls go on.
  if (options.max_connection_age > absl::ZeroDuration()) {
    builder.AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS, Milliseconds(options.max_connection_age));
  }
  builder.SetMaxReceiveMessageSize(static_cast<int>(options.max_message_bytes));
  // Reflection is the only service that is not asynchronous.
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::NUM_CQS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MIN_POLLERS, 1);
  builder.SetSyncServerOption(grpc::ServerBuilder::SyncServerOption::MAX_POLLERS, 1);
  grpc::ResourceQuota quota;
  quota.SetMaxThreads(kReflectionThreads);
  builder.SetResourceQuota(quota);
  if (listener->services.size() == 1) builder.SetOption(std::make_unique<WithoutPlugins>());  // health alone
  for (const auto& service : listener->services) builder.RegisterService(service.get());
  std::vector<std::unique_ptr<grpc::experimental::ServerInterceptorFactoryInterface>> interceptors;
  interceptors.push_back(MakeGrpcMetricsInterceptors(metrics, std::move(open_calls)));
  builder.experimental().SetInterceptorCreators(std::move(interceptors));
  listener->server = builder.BuildAndStart();
  if (listener->server != nullptr && listener->port != 0) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat(
      "The address cannot be bound. \"", address,
      "\" is taken by another process or is not an address of this machine. Free it, or choose another."));
}

void Server::Shutdown(absl::Duration grace) {
  statuses_->EndWatches();
  open_calls_->WaitForEarlier(absl::Now() + grace);
  // gRPC's own graceful end answers calls that are on their way with CANCELLED, which clients take for their
  // own doing. On a closed connection they are UNAVAILABLE; what was written before still arrives.
  for (Listener* listener : {&main_, &admin_, &health_}) {
    if (listener->server == nullptr) continue;
    // Once: later another server of this process may have the port.
    if (!listener->closed.exchange(true)) ShutDownSockets(listener->port);
    listener->server->Shutdown(std::chrono::system_clock::now());
  }
}

Server::~Server() { Shutdown(absl::ZeroDuration()); }

}  // namespace attribution::rpc
