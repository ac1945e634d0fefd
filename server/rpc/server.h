// Server puts an Engine on the network: its services, health and reflection, on one or more addresses.
//
// Thread-safe. The destructor stops what is still running.
#ifndef SERVER_RPC_SERVER_H_
#define SERVER_RPC_SERVER_H_

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "attribution/engine.h"
#include "grpcpp/server.h"
#include "server/rpc/call_gate.h"
#include "server/rpc/health.h"
#include "server/rpc/model_health.h"
#include "server/rpc/open_calls.h"
#include "server/rpc/tls.h"
#include "server/telemetry/metrics.h"

namespace attribution::rpc {

struct ServerOptions {
  std::string listen = "127.0.0.1:8500";                     // port 0: a free one
  std::string admin_listen;                                  // ModelService and health alone; empty: none
  std::string health_listen;                                 // health alone; empty: none
  int64_t max_message_bytes = 64 << 20;                      // of a request
  int32_t max_streams = 1024;                                // calls at once on one connection
  absl::Duration write_stall_timeout = absl::Seconds(60);    // a client may take nothing; above 0
  absl::Duration max_connection_age = absl::ZeroDuration();  // then a client connects anew; zero: never
  TlsOptions tls;                                            // of listen and admin_listen
  std::string auth_tokens_file;                              // empty: no tokens are asked for
  absl::Duration auth_refresh_interval = absl::Seconds(10);
};

class Server {
 public:
  // Binds every address and starts to serve. Health says NOT_SERVING until the engine's models have settled.
  // UNAVAILABLE, naming the address, when one cannot be bound; INVALID_ARGUMENT, naming the file, when one of
  // TLS or the tokens cannot be used.
  // REQUIRES: `engine` and `metrics` outlive the server.
  static absl::StatusOr<std::unique_ptr<Server>> Start(const ServerOptions& options, Engine& engine,
                                                       telemetry::Metrics& metrics);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Bound ports; 0 for an address that was not asked for.
  int port() const { return main_.port; }
  int admin_port() const { return admin_.port; }
  int health_port() const { return health_.port; }

  // Says NOT_SERVING to every name but `liveness`. Requests are still taken: refusing them is the engine's
  // part.
  void StopServing() { model_health_->Stop(); }

  // Ends: ends the watches of health, waits for the calls that have begun, at most `grace`, closes every
  // connection, and returns when all calls are over. Calls that come meanwhile are answered as before, then
  // clients find the server UNAVAILABLE. Once the engine has drained, what is waited for are clients that
  // still take their output. Idempotent.
  void Shutdown(absl::Duration grace);

 private:
  // One address with its services.
  struct Listener {
    std::shared_ptr<grpc::ServerCredentials> credentials;  // asked by `server` at each handshake
    std::vector<std::unique_ptr<grpc::Service>> services;
    std::unique_ptr<grpc::Server> server;
    int port = 0;
    std::atomic<bool> closed = false;  // its sockets are shut down
  };

  Server() = default;
  static absl::Status Listen(const ServerOptions& options, const std::string& address, const TlsOptions& tls,
                             telemetry::Metrics& metrics, std::shared_ptr<OpenCalls> open_calls,
                             Listener* listener);

  std::shared_ptr<HealthStatuses> statuses_ = std::make_shared<HealthStatuses>();
  std::shared_ptr<ModelHealth> model_health_;  // shared with the engine's listener
  std::shared_ptr<OpenCalls> open_calls_ = std::make_shared<OpenCalls>();
  std::unique_ptr<CallGate> gate_;  // before the services, which use it
  Listener main_;
  Listener admin_;
  Listener health_;
};

}  // namespace attribution::rpc

#endif  // SERVER_RPC_SERVER_H_
